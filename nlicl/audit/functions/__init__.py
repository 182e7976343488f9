"""The audit of any function: witnesses, judgement, verdict."""

from .general import assert_gradient, audit_files, audit_gradient
from .remote import Files

__all__ = ["Files", "assert_gradient", "audit_files", "audit_gradient"]
