"""Kernels that a kernel gets as arguments, and calls by their address.

A kernel that names another one has it inside, compiled once more (`compile`). One that gets it as an argument calls the one
that is compiled already: for what is large, and called seldom enough that a call costs nothing.
"""

from collections.abc import Callable
from typing import Any

from numba import typeof
from numba.core.types import WrapperAddressProtocol
from numba.extending import is_jitted

__all__ = ["pointer"]


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
    return _Pointer(kernel, tuple(map(typeof, arguments))) if is_jitted(kernel) else kernel
