"""Runs in MLflow, logged to a file first: the one package that talks to MLflow's tracking.

Events are appended to `events.jsonl` in the run's own folder (`run_log`), which needs no server. `shipping` sends the
events that the server does not have yet; a background process (`sender`) calls it. So a dead server stops nothing and
loses nothing.
"""
