"""Checkpoint -> spiking network: load, train, evaluate."""
