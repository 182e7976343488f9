"""The papers that belong to the library, by name: a new one is in the tests that go through them without a line there."""

from nlicl.core.registry import PAPERS

__all__ = ["ALL", "EXPECTED", "SHOWN"]

ALL = PAPERS.own()
SHOWN = [name for name in ALL if PAPERS.load(name).figures]
"""Those with figures, theorems and sweeps."""
EXPECTED = "expected one of " + ", ".join(map(repr, ALL))
"""As errors list them."""
