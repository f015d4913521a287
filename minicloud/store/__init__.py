"""A store keeps membership over restarts of the control plane (DESIGN 6).

    store: Store = MemoryStore()
    snapshot = await store.load()
    await nursery.start(store.run)
    store.append(change)
    await store.flushed()  # the change is durable

`port` has the protocol of stores and their records, `memory` and `sqlite` have the stores.
"""
