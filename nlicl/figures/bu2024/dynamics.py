"""To be written."""

RECIPES = []
