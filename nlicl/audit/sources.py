"""The source text of functions."""

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["source_text"]


def source_text(function: Callable[..., Any]) -> str:
    """The source text of a function; empty where Python does not know it."""
    try:
        return inspect.getsource(function)
    except Exception:  # what Python does not know, or attributes that raise
        return ""
