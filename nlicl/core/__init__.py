"""What everything stands on: errors, checks, arrays, seeds, files, memory. Knows no model and no paper."""
