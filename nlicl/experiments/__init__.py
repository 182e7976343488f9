"""Experiments over seeds: figures, theorems, their claims and pages."""
