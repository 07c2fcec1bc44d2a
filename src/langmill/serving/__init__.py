"""Champions over HTTP: the engine that runs them, the follower that keeps them current, the interface.

The way of a request: `server` listens, `lifecycle` has put the parts together. `connections` reads it from the socket,
within limits; `middleware` counts it and checks host, key and size; `app` calls the `handle` of its route (`routes/`).
That finds the loaded version (`service`) and makes a job for it (`jobs`, `generation`, `routes/classify`). `engine`
runs all jobs in one thread; its `workers` compute together what can be: the next token of every text, texts of like
length. What comes out returns as a stream of chunks (`streaming`).

The way of a version: the `follower` asks the registry (`source`), the `version_cache` fetches and loads it, into this
process or one of vLLM's (`vllm`, to which `relay` hands requests). `trial/` has two versions answer the same requests.
"""
