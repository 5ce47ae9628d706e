"""To SpikingJelly: a state dict and the Python file of the network it fits."""
