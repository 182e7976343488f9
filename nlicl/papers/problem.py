"""What the problems of all papers share: how a frozen dataclass keeps a checked setting."""

from typing import Any

__all__ = ["keep"]


def keep(problem: Any, name: str, value: Any) -> None:
    """Keep a checked setting of a frozen dataclass; what was given already as a plain number or text stays as it is."""
    if type(getattr(problem, name)) not in (int, float, str, bool):
        object.__setattr__(problem, name, value)
