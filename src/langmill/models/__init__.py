"""Networks: backbones and their layers, heads, model folders, and generation."""
