"""The graph of stages in dvc.yaml: read, judged fresh or stale, run and pulled. Nothing else speaks to DVC."""
