"""Fitting any task's network: data order, optimizer steps, checkpoints, and what a training says."""
