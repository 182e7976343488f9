"""Settings as a result lists them: name -> [value, where the value comes from]."""

from collections.abc import Mapping
from typing import Any

from .experiment import Options

__all__ = ["Settings", "of_problem", "set_here"]

Settings = dict[str, list[Any]]


def set_here(values: Mapping[str, Any]) -> Settings:
    """Values that this experiment chose."""
    return {name: [value, "set here"] for name, value in values.items()}


def of_problem(problem: Any, options: Options) -> Settings:
    """Settings of the problem with their marks, and the options that are none of its fields."""
    found = problem.settings()
    more = {name: value for name, value in options.items() if name not in found and (name != "quick" or value)}
    return found | set_here(more)
