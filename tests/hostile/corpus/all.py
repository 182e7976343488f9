"""Every hostile formula file."""

from . import processes, replaced, sources, values

__all__ = ["ENTRIES"]

ENTRIES = [*sources.ENTRIES, *values.ENTRIES, *processes.ENTRIES, *replaced.ENTRIES]
