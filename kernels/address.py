"""Kernels that lie apart from those that call them; and kernels as functions of arguments that are not looked at again.

A kernel that calls another one has it inside (`inside`): right for what is small, or called for every number. What is large
and does much in a call is compiled once, alone, and called by its address, which takes some nanoseconds:

    @apart
    @kernel
    def attend(...)

So a call compiles in a fraction of the time, and there is one copy of the kernel, whoever calls it: one sequence of bits.

Private to numba are `get_overload`, which says what is to be lowered for a call, and `_reload_init`: what a kernel from the
cache needs to be there before it.
"""

import hashlib
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import numba
from llvmlite.binding import add_symbol
from numba.core import cgutils
from numba.core.types import unliteral  # type: ignore[attr-defined]
from numba.extending import is_jitted, lower_builtin

from .cache import code_of

__all__ = ["apart", "entry"]

F = TypeVar("F", bound=Callable[..., Any])


class _Callee(NamedTuple):
    """A kernel for arguments of certain types, as its callers and the cache know it."""

    module: str
    name: str
    kinds: tuple[Any, ...]

    @property
    def symbol(self) -> str:
        """What it is called in machine code. Its own name there has a number in it that is another one in every process."""
        return f"{self.module}.{self.name}.{hashlib.sha256(repr(self.kinds).encode()).hexdigest()[:16]}"

    def __call__(self) -> Any:
        """Compile it, or take it from the cache, so that its callers find it."""
        kernel = getattr(import_module(self.module), self.name)
        kernel.compile(self.kinds)
        found = kernel.overloads[self.kinds]
        add_symbol(self.symbol, code_of(found).get_pointer_to_function(found.fndesc.llvm_func_name))
        return found.fndesc


def apart(kernel: F) -> F:
    """A kernel of this package that callers do not have inside. It must do much in a call. A plain function is itself."""
    if is_jitted(kernel):
        compiled: Any = kernel
        known: dict[tuple[Any, ...], object] = {}

        def get_overload(kinds: tuple[Any, ...]) -> object:
            if kinds not in known:
                known[kinds] = _lowered(_Callee(compiled.__module__, compiled.__name__, kinds))
            return known[kinds]

        def get_call_template(kinds: Sequence[Any], named: dict[str, Any]) -> Any:
            """As of any compiled function; but a number written in a call is one as any other."""
            return type(compiled).get_call_template(compiled, tuple(map(unliteral, kinds)), named)

        compiled.get_call_template, compiled.get_overload = get_call_template, get_overload
    return kernel


def _lowered(callee: _Callee) -> object:
    """What stands for the kernel where numba looks for the way to lower a call of it."""
    described = callee()
    key = object()

    @lower_builtin(key, *callee.kinds)
    def call(context, builder, signature, arguments):
        context.active_code_library._reload_init.add(callee)
        convention, kinds, result = context.call_conv, described.argtypes, described.restype
        kind = convention.get_function_type(result, kinds)
        function = cgutils.get_or_insert_function(builder.module, kind, callee.symbol)
        status, value = convention.call_function(builder, function, result, kinds, arguments)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return value

    return key


def entry(kernel: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """A kernel as a function of arguments of the types of these, which are not looked at again: of many, it takes longer than
    a small step. A plain function is itself."""
    if not is_jitted(kernel):
        return kernel
    compiled: Any = kernel
    kinds = tuple(map(numba.typeof, arguments))
    compiled.compile(kinds)
    return compiled.overloads[kinds].entry_point
