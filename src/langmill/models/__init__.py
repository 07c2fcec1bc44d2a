"""Networks: backbones by architecture and their layers, heads on top, their folders on the disk, and generation."""
