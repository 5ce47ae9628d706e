"""The comparison of LaSNN (Hong et al., arXiv 2304.09101, tables II and IV, figures 4, 5 and 7) on the user's own data."""
