"""To and from NIR, the neuromorphic intermediate representation (Pedersen et al. 2024)."""
