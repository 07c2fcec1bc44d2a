"""Runs in MLflow, by way of a file: the one package that talks to MLflow's tracking.

Whoever has something to log appends it to `events.jsonl` in the run's own folder (`run_log`), which needs no server.
`shipping` sends what the server does not have yet, and a process of its own (`sender`) calls it while the work goes on.
So a dead server stops nothing and loses nothing.
"""
