"""The cache of one compiled kernel: what numba asks before it compiles, and hands over afterwards.

It never lets numba see a file that is not as it was written (`files`), and it never stops the work: what is damaged is deleted
and compiled anew; what cannot be written is not kept. A process says either once, in one line.

Private to numba is `NullCache`, which shows what a cache has to offer; `_reduce` and `_rebuild` of a compile result, by which
numba's own cache keeps it; `serialize.dumps`; `magic_tuple` (the processor), `has_dynamic_globals` (addresses) and
`_reload_init` (what a kernel needs to be there first).
"""

import hashlib
import pickle
import re
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from ..core.describe import short
from ..core.progress import compiling
from . import files

__all__ = ["KernelCache", "code_of", "warn_in_one_line"]

# What numba compiles differs with these. Its own cache does not look at them.
_SETTINGS = ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE")
code_of = attrgetter("library")  # what numba calls the code of a compile result
_said: set[str] = set()  # what this process has warned of


def say_once(kind: str, text: str) -> None:
    """Warn in one line, the first time that this process has something of this kind to say."""
    if kind not in _said:
        _said.add(kind)
        warn_in_one_line(text)


def warn_in_one_line(text: str) -> None:
    """Warn without a line of source beside it, which would be one of this library."""
    warnings.warn_explicit(text, RuntimeWarning, "nlicl", 0)


class KernelCache(NullCache):
    """The cache of a function that numba compiles.

    Parameters
    ----------
    function : function
    folder, base : Path
        Where its files lie, and the folder below which their checksums know their places.
    more : sequence of str
        What its files are named after, besides the function's name and its place in its module.
    """

    def __init__(self, function: FunctionType, folder: Path, base: Path, more: Sequence[str] = ()) -> None:
        self.function, self.folder, self.base, self.more = function, folder, base, tuple(more)

    @property
    def cache_path(self) -> str:
        """What `stats` of a compiled function shows."""
        return str(self.folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for these types; None where there is none, or none that is as it was written."""
        target_context.refresh()
        path, key = self._place(sig, target_context.codegen())
        found = f"{path.name} in the cache of compiled kernels, {_shown(self.folder)},"
        try:
            contents = files.read(path, self.base)
            kept = None if contents is None else _rebuilt(contents, (key, sig), target_context)
            if kept is not None:
                return kept
        except files.Damaged as reason:
            try:
                files.remove(path)
                done = "It is deleted"
            except OSError as error:
                done = f"It cannot be deleted ({error.strerror})"
            say_once("damaged", f"{found} is damaged: {reason}. {done}; its kernel is compiled anew.")
        except OSError as error:
            say_once("unread", f"{found} cannot be read: {error.strerror}. Its kernel is compiled anew.")
        compiling()
        return None

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Keep a compiled function, if it means the same in another process and can be written."""
        if (
            code_of(cres).has_dynamic_globals
            or not all(loop.can_cache for loop in cres.lifted)
            or " at 0x" in repr(sig)
        ):
            return  # the last: one of the types is that of a function, which another process would not find again
        try:
            path, key = self._place(sig, cres.codegen)
            files.write(path, self.base, dumps(((key, sig), cres._reduce())))
        except SystemError:  # what Ctrl-C may become inside numba
            raise
        except Exception as error:  # most of them of the disk; others of what a kernel of another package names
            reason = (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {short(str(error))}"
            say_once(
                "unwritten",
                f"compiled kernels cannot be kept in {_shown(self.folder)}: {reason}. "
                "They are compiled anew in every process; make room there, or set NUMBA_CACHE_DIR to a writable folder.",
            )

    def flush(self) -> None:
        """Forget what is kept of this function: numba is told to compile it anew."""
        for path in self.folder.glob(f"{self._name()}-*.nbc"):
            with suppress(OSError):
                files.remove(path)

    def _name(self) -> str:
        return re.sub(r"[^A-Za-z0-9_.]+", "_", f"{self.function.__module__}.{self.function.__qualname__}")[-60:]

    def _place(self, sig: Any, codegen: Any) -> tuple[Path, str]:
        """The file for these types, and the whole of the digest that it is named after."""
        function = self.function
        enclosed = dumps(tuple(cell.cell_contents for cell in function.__closure__ or ()))
        key = (
            (numba.__version__, llvmlite.__version__, sys.implementation.cache_tag, getattr(sys, "abiflags", "")),
            codegen.magic_tuple(),
            [str(getattr(config, name, None)) for name in _SETTINGS],
            (function.__module__, function.__qualname__, function.__code__.co_firstlineno, enclosed, self.more),
            sig,
        )
        digest = hashlib.sha256(repr(key).encode("utf-8", "backslashreplace")).hexdigest()
        return self.folder / f"{self._name()}-{digest[:16]}.nbc", digest


def _shown(folder: Path) -> str:
    text = repr(str(folder))
    return text if len(text) <= 200 else short(str(folder))


def _rebuilt(contents: bytes, expected: object, target_context: Any) -> Any:
    try:
        key, parts = pickle.loads(contents)
        if key != expected:
            return None
        found = CompileResult._rebuild(target_context, *parts)
        *_, needed, _ = parts  # to be there before it, and before what has it inside, which numba forgets
        code_of(found)._reload_init.update(needed)
        return found
    except (MemoryError, SystemError):  # the latter is what Ctrl-C may become inside numba
        raise
    except Exception as error:  # of a numba that was edited
        raise files.Damaged(f"numba does not load it ({type(error).__name__}: {short(str(error))})") from None
