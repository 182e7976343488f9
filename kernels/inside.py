"""Kernels that others have inside: compiled as far as their callers need them, and no further.

Numba makes of every kernel that another one calls one that Python may call, too: optimised alone, made machine code alone, and
with a wrapper for Python's objects. A caller needs none of it. It has the kernel inside, and is optimised as a whole.

In what is left, a third of all instructions said nothing: numba takes every number out of an array, its shape and its strides
among them, to look whether one of them is counted by references. `counted` looks at the types first. What is computed is the
same. Both together save a sixth of a compilation.

Private to numba are `compile_extra`, which makes a kernel for types, its flag `no_compile`, the two last steps of a library,
which are left out here, and `get_meminfos`.
"""

from collections.abc import Sequence
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Flags, compile_extra
from numba.core.runtime.context import NRTContext
from numba.core.types import unliteral  # type: ignore[attr-defined]
from numba.core.typing import make_concrete_template

__all__ = ["inside"]


class _Part(JITCodeLibrary):
    """Code that is linked into that of callers as it was written."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


def inside(compiled: Any) -> None:
    """Let what calls a compiled kernel of this package have it inside."""
    known: dict[tuple[Any, ...], Any] = {}

    def get_call_template(given: Sequence[Any], named: dict[str, Any]) -> Any:
        """What numba asks for where it finds a call: the type of the result. A number written in it is one as any other."""
        kinds: tuple[Any, ...]
        described, kinds = compiled._compiler.fold_argument_types(tuple(map(unliteral, given)), named)
        if kinds not in known:
            known[kinds] = _made(compiled, kinds)
        name = compiled.py_func.__name__
        return make_concrete_template(f"CallTemplate({name})", name, [known[kinds].signature]), described, kinds, {}

    def get_overload(kinds: tuple[Any, ...]) -> object:
        """What numba looks for the way to lower a call by."""
        return known[kinds].fndesc

    compiled.get_call_template, compiled.get_overload = get_call_template, get_overload


def _made(compiled: Any, kinds: tuple[Any, ...]) -> Any:
    """A kernel for arguments of these types, of its callers alone."""
    target, flags = compiled.targetdescr, Flags()
    target.options.parse_as_flags(flags, compiled.targetoptions)
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    library = _Part(target.target_context.codegen(), compiled.py_func.__qualname__)
    made = compile_extra(
        target.typing_context, target.target_context, compiled.py_func, kinds, None, flags, {}, library
    )
    target.target_context.insert_user_function(made.fndesc, made.fndesc, [library])
    return made


def counted(self: Any, builder: Any, kind: Any, value: Any) -> list[tuple[Any, Any]]:
    """What numba's `get_meminfos` gives: all in a value that is counted by references, with its type."""
    models = self._context.data_model_manager
    if not models[kind].contains_nrt_meminfo():
        return []
    found = [(kind, models[kind].get_nrt_meminfo(builder, value))] if models[kind].has_nrt_meminfo() else []
    for inner, taken_from in models[kind].traverse(builder):
        if models[inner].contains_nrt_meminfo():
            found += self.get_meminfos(builder, inner, taken_from(value))
    return found


NRTContext.get_meminfos = counted
