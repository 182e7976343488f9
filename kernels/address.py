"""Kernels by their address: as arguments of other kernels, and as functions of arguments that are not looked at again.

A kernel that names another one has it inside, compiled once more. One that gets it as an argument calls the one that is
compiled already: for what is large, and called seldom enough that a call costs nothing.
"""

from collections.abc import Callable
from typing import Any

import numba
from numba.core.types import WrapperAddressProtocol
from numba.extending import is_jitted

__all__ = ["entry", "pointer"]


class _Pointer(WrapperAddressProtocol):
    """A kernel for arguments of certain types, by its address."""

    def __init__(self, kernel: Any, kinds: tuple[Any, ...]) -> None:
        kernel.compile(kinds)
        found = kernel.overloads[kinds]
        self.kernel, self._signature = kernel, found.signature
        self._address = found.library.get_pointer_to_function(found.fndesc.llvm_cfunc_wrapper_name)

    def __wrapper_address__(self) -> int:
        return self._address

    def signature(self) -> Any:
        """What numba asks for: the types of arguments and result."""
        return self._signature


def pointer(kernel: Callable[..., Any], *arguments: Any) -> Any:
    """A kernel as another kernel takes it as an argument, for arguments of the types of these. A plain function is itself."""
    return _Pointer(kernel, tuple(map(numba.typeof, arguments))) if is_jitted(kernel) else kernel


def entry(kernel: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """A kernel as a function of arguments of the types of these, which are not looked at again: with a pointer among them that
    would take longer than a small step. A plain function is itself."""
    if not is_jitted(kernel):
        return kernel
    compiled: Any = kernel
    kinds = tuple(map(numba.typeof, arguments))
    compiled.compile(kinds)
    return compiled.overloads[kinds].entry_point
