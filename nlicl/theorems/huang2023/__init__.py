"""Theorems of Huang et al. 2023: none yet."""

THEOREMS = {}
