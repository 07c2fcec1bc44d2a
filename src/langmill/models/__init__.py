"""Networks: backbones by architecture, heads on top, their folders on the disk, and generation."""
