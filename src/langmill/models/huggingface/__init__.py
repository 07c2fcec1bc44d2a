"""Models of `transformers` behind the architecture `pretrained`: one class a family, one file each."""
