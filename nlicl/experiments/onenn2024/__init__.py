"""Figures, theorems and sweeps of Li et al. 2024 and of its multiclass case by Athreya and Wang."""
