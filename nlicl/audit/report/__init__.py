"""A report as a table for a terminal, as JSON, and as a page."""
