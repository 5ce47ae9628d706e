"""To torch.export programs (.pt2)."""
