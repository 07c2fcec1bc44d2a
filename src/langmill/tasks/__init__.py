"""What is learned: a file a task, with its batches, loss, scores, metrics and baselines."""
