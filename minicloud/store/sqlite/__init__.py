"""The registry in one SQLite file.

    store = SqliteStore(Path("registry.db"))
    snapshot = await store.load()
    await nursery.start(store.run)
    store.append(change)
    await store.flushed()

`store` queues changes and commits them in groups, `database` has the SQL, `columns` the one list of fields,
`schema` and `seal` the steps from older files, `opening` and `unwritable` the ways a file is opened, `copies`
and `backup` the copies of it.
"""
