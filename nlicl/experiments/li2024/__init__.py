"""Figures and theorems of Li et al. 2024."""
