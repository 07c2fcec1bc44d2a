"""What is learned: a file a task, with its batches, loss and predictions."""
