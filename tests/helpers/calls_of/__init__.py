"""Right calls of the functions of one paper each: see `calls`."""
