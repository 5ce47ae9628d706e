"""Networks that are one chain of layers (VGG and its kin), and densely connected ones."""
