"""A family's module with other random data: what is right there by its numbers alone is right no more."""

import re
from types import ModuleType

from .case import Case

__all__ = ["with_other_data"]


def with_other_data(text: str, family: str) -> list[Case]:
    """The cases of a module's text, whose random numbers come from another seed; sizes stay."""
    other, count = re.subn(r"default_rng\((\d+)\)", lambda seed: f"default_rng({int(seed[1]) + 1000})", text, count=1)
    assert count == 1, f"{family} draws its data from no seed"
    module = ModuleType(f"{__package__}.{family}")
    module.__package__ = __package__
    exec(compile(other, f"{family} with other data", "exec"), vars(module))
    cases: list[Case] = module.CASES
    return cases
