"""Teacher file -> spiking checkpoint: pure graph work, no data, no training."""
