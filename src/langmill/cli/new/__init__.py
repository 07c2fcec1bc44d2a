"""`langmill new`: the files and the lines of dvc.yaml for another corpus, recipe or pretrained model."""
