"""Figures and theorems of Bu et al. 2024."""
