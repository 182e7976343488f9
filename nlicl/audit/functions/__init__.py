"""The audit of any function: witnesses, judgement, verdict."""

from .general import assert_gradient, audit_gradient

__all__ = ["assert_gradient", "audit_gradient"]
