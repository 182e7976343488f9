"""Figures and theorems of Huang et al. 2023."""
