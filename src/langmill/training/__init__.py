"""Fitting any task's network: data order, optimizer steps, checkpoints, and logging."""
