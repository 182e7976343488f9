"""Kernels that others have inside: compiled as far as their callers need them, and no further.

Numba makes of every kernel that another one calls a kernel that Python may call, too: optimised alone, made machine code alone,
with a wrapper for Python's objects. A caller needs none of it. It has the kernel inside, and is optimised with it as a whole.
For `nlicl train` that was half of the time of compiling.

Private to numba are `compile_extra`, which makes a kernel of types, its flag `no_compile`, and the two steps of a library's end
that are left out here.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Flags, compile_extra
from numba.core.types import unliteral  # type: ignore[attr-defined]
from numba.core.typing import make_concrete_template

__all__ = ["inside"]

F = TypeVar("F", bound=Callable[..., Any])


class _Part(JITCodeLibrary):
    """Code that is linked into that of callers as it was written."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def inside(kernel: F) -> F:
    """A kernel of this package: what calls it has it inside."""
    compiled: Any = kernel
    known: dict[tuple[Any, ...], Any] = {}

    def get_call_template(kinds: Sequence[Any], named: dict[str, Any]) -> Any:
        """What numba asks for first, the type of the result. A number written in a call is one as any other."""
        described, kinds = compiled._compiler.fold_argument_types(tuple(map(unliteral, kinds)), named)
        if kinds not in known:
            known[kinds] = _made(compiled, kinds)
        name = compiled.py_func.__name__
        return make_concrete_template(f"CallTemplate({name})", name, [known[kinds].signature]), described, kinds, {}

    def get_overload(kinds: tuple[Any, ...]) -> object:
        """What numba asks for next: by what name it is to look for the way to lower a call."""
        return known[kinds].library

    compiled.get_call_template, compiled.get_overload = get_call_template, get_overload
    return kernel


def _made(compiled: Any, kinds: tuple[Any, ...]) -> Any:
    target, flags = compiled.targetdescr, Flags()
    target.options.parse_as_flags(flags, compiled.targetoptions)
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    library = _Part(target.target_context.codegen(), compiled.py_func.__qualname__)
    made = compile_extra(target.typing_context, target.target_context, compiled.py_func, kinds, None, flags, {}, library)
    target.target_context.insert_user_function(library, made.fndesc, [library])
    return made
