"""This package is the HTTP interface of the control plane: workers, events, probes, metrics and their
documentation.

    app = create_rest_app(membership, feed, metrics, random=random, readiness=readiness)
    await nursery.start(partial(serve_rest, app, listeners, readiness=readiness))

`app` puts the routes together: `workers`, `events`, `backup`, `probes` and `docs`. `envelope` surrounds every
request, `problems` makes every error, `access` refuses pages of other sites (DESIGN 26). `server`,
`connection` and `http1` serve the connections, and `seats` bounds them (DESIGN 49).
"""
