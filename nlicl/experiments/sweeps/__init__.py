"""Sweeps: runs over grids of settings and over seeds, what is measured in each, and the laws that come out."""
