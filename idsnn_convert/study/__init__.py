"""The ablation and convergence studies of IDSNN, on the user's own teacher, student and data."""
