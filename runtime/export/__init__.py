"""A spiking network in the formats of others."""
