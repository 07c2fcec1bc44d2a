"""Models of `transformers` behind the architecture `pretrained`: one class and one file for each family."""
