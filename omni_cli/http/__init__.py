"""HTTP/1.1 of our own, server and client: for the gateway's hot path, the simulator, and calls to
models that have no proxy on their way.

Everything else goes over httpx (providers/http.py), which knows every kind of proxy, redirects and
cookies, and takes as long to import as all the rest of ``omni chat``. What is here knows none of
these, and costs a request less than either of its steps would elsewhere: parsing is httptools' (C),
an answer goes out in one write, no message objects are made on the way.

    our client, one call        20 us of CPU        httpx                    1,300 us
    our server, one answer      beside uvicorn      32 to 50 us less

``python -m benchmarks.gateway_instructions`` counts the instructions of a request through both;
docs/gateway-costs.md has the figures and how they were taken.

``server`` (callers' connections), ``request`` (one request and its answer), ``outbox`` (one write a
turn of the event loop), ``client`` (connections to providers), ``answer`` (one answer of theirs),
``environment`` (proxies and certificates: one rule for this client and for httpx).
"""
