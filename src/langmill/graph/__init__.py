"""The graph of stages in dvc.yaml: reading, freshness, running and pulling. Nothing else talks to DVC."""
