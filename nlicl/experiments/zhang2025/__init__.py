"""Figures, theorems and sweeps of Zhang et al. 2025."""
