"""Files that are odd as files, that change the world around them, or that have odd neighbours."""

from .entry import ANY, Entry, names

__all__ = ["ENTRIES"]

_WORLD = (
    "os.chdir('/')", "os.umask(0o777)", "os.environ.clear()", "os.environ['PYTHONPATH'] = '/nowhere'",
    "os.environ['PATH'] = ''", "os.environ['HOME'] = '/nowhere'", "os.environ['TMPDIR'] = '/nowhere'", "os.nice(5)",
    "os.environ['LD_PRELOAD'] = '/nowhere.so'", "os.environ['OMP_NUM_THREADS'] = 'x'", "os.putenv('LANG', 'xx')",
    "import locale; locale.setlocale(locale.LC_ALL, 'C')", "import decimal; decimal.getcontext().prec = 1",
    "import decimal; decimal.getcontext().traps = {s: True for s in decimal.getcontext().traps}",
    "import numpy; numpy.seterr(all='raise')", "import numpy; numpy.seterr(all='call'); numpy.seterrcall(lambda *a: 1 / 0)",
    "import numpy; numpy.random.seed(0)", "import numpy; numpy.set_printoptions(threshold=0, precision=0)",
    "import numpy; numpy.setbufsize(16)", "import random; random.seed(0)", "import gc; gc.disable()",
    "import gc; gc.set_threshold(1, 1, 1)", "import gc; gc.set_debug(gc.DEBUG_STATS)", "import gc; gc.freeze()",
    "import sys; sys.setrecursionlimit(60)", "import sys; sys.setrecursionlimit(10**9)",
    "import warnings; warnings.simplefilter('error')", "import warnings; warnings.warn('many words\\n' * 100)",
    "import faulthandler; faulthandler.enable()", "import faulthandler; faulthandler.dump_traceback_later(1, exit=True)",
    "import logging; logging.basicConfig(level=0); logging.error('words')", "import threading; threading.stack_size(32768)",
    "import ctypes; ctypes.pythonapi.PyErr_SetInterrupt()", "import socket; socket.setdefaulttimeout(0.001)",
    "import tracemalloc; tracemalloc.start()", "import asyncio; asyncio.new_event_loop()",
    "import builtins; builtins._ = 3", "__builtins__['abs'] = None if isinstance(__builtins__, dict) else 0",
    "open(__file__, 'a').write('\\n# more')", "open(__file__, 'w').write('1 / 0')", "os.unlink(__file__)",
    "os.rename(__file__, __file__ + '.old')", "os.chmod(__file__, 0)", "os.utime(__file__, (0, 0))",
    "os.rmdir(os.path.dirname(__file__)) if 0 else None", "__name__ = '__main__'", "__file__ = None", "del __file__",
    "__doc__ = 3", "__spec__ = None", "__loader__ = None", "del __builtins__", "globals().update(vars(__import__('os')))",
    "import this_is_not_there", "from . import neighbour", "from .. import above", "from __future__ import not_there",
    "import nlicl.not_there", "import sys; sys.modules[__name__] = None", "import sys; del sys.modules[__name__]",
    "import sys; sys.modules[__name__] = type('M', (), {'f': 3})", "def f(*a): return a[0]", "import __main__; __main__.f = 0",
    "import sys; sys.flags = None", "import sys; sys.float_info = None", "import sys; sys.maxsize = 3",
    "if __name__ == '__main__': raise SystemExit(3)", "import antigravity_not", "exit()", "quit()", "help",
    "breakpoint()", "input()", "import pdb; pdb.set_trace()", "import code; code.interact()",
    "raise SystemExit", "raise StopIteration", "yield_ = 1", "return_ = 1", "print(open('/proc/self/environ').read()[:1])",
)  # fmt: skip
_NEIGHBOURS = names(
    "numpy json struct os select time io signal subprocess sys inspect math tempfile ast importlib pickle linecache tokenize "
    "warnings functools types typing random re abc collections enum copy nlicl scipy numba contextlib dataclasses traceback "
    "threading multiprocessing socket zipfile ctypes resource argparse encodings site sitecustomize usercustomize __main__ "
    "__init__ f codecs shutil string operator hashlib queue runpy token keyword"
)


def _sources() -> list[Entry]:
    error, either = frozenset({"error"}), frozenset({"agree", "error"})

    def entry(name: str, raw: object, right: frozenset[str] = either) -> Entry:
        return Entry(f"a source {name}", raw=raw, right=right)  # type: ignore[arg-type]

    return [
        entry("with a byte order mark", lambda s: b"\xef\xbb\xbf" + s.encode()),
        entry("in UTF-16", lambda s: s.encode("utf-16")),
        entry("in UTF-32", lambda s: s.encode("utf-32")),
        entry("in Latin-1 that says so", lambda s: ("# -*- coding: latin-1 -*-\n# \xe9\n" + s).encode("latin-1")),
        entry("in Latin-1 that does not", lambda s: ("# \xe9\n" + s).encode("latin-1")),
        entry("that says UTF-16 and is not", lambda s: b"# -*- coding: utf-16 -*-\n" + s.encode()),
        entry("of an unknown encoding", lambda s: b"# -*- coding: klingon -*-\n" + s.encode()),
        entry("in rot13", lambda s: b"# -*- coding: rot13 -*-\n" + s.encode()),
        entry("in a mark and another cookie", lambda s: b"\xef\xbb\xbf# -*- coding: latin-1 -*-\n" + s.encode()),
        entry("with NUL bytes", lambda s: s.encode() + b"\0\0"),
        entry("with a NUL in a comment", lambda s: b"# a\0b\n" + s.encode()),
        entry("with CRLF", lambda s: s.replace("\n", "\r\n").encode()),
        entry("with CR alone", lambda s: s.replace("\n", "\r").encode()),
        entry("with line ends mixed", lambda s: s.replace("\n", "\r\n", 5).encode()),
        entry("with tabs", lambda s: s.replace("    ", "\t").encode()),
        entry("with tabs and spaces mixed", lambda s: s.replace("    ", "\t", 3).encode()),
        entry("with form feeds", lambda s: s.replace("\n\n", "\n\f\n").encode()),
        entry("with bidirectional characters", lambda s: ("# \u202e\u2066 eerga \u2069\n" + s).encode()),
        entry("with a bidirectional name", lambda s: s.encode() + "\n\u202ex = 1\n".encode()),
        entry("with lone surrogates", lambda s: b"# \xed\xa0\x80\n" + s.encode()),
        entry("with control characters", lambda s: b"# \x1b[2J\x07\x08\n" + s.encode()),
        entry("with line separators in comments", lambda s: "# a\u2028b\x85c\x0bd\n".encode() + s.encode()),
        entry("without a newline at the end", lambda s: s.rstrip().encode()),
        entry("that ends in a backslash", lambda s: s.rstrip().encode() + b"\n\\", either),
        entry("of one megabyte", lambda s: s.encode() + b"# " + b"x" * 2**20),
        entry("of 50,000 lines", lambda s: s.encode() + b"x = 1\n" * 50_000),
        entry("of one line of a megabyte", lambda s: s.encode() + b"y = [" + b"1," * 2**19 + b"]\n"),
        entry("with parentheses 300 deep", lambda s: s.encode() + b"(" * 300, error),
        entry("with parentheses 90 deep", lambda s: s.encode() + b"(" * 90 + b"1" + b")" * 90),
        entry("with a minus 5,000 times", lambda s: s.encode() + b"y = " + b"-" * 5000 + b"1\n"),
        entry("with 10,000 terms", lambda s: s.encode() + b"y = 0" + b" + 1" * 10_000 + b"\n"),
        entry("with an integer of 5,000 digits", lambda s: s.encode() + b"y = 1" + b"0" * 5000 + b"\n"),
        entry("with a syntax error", lambda s: s.encode() + b"def (:\n", error),
        entry("with a syntax error and odd letters", lambda s: s.encode() + "\ndef \u202e\u0661(:\n".encode(), error),
        entry("with an indentation error", lambda s: s.encode() + b"\n   x = 1\n", error),
        entry("with an open text", lambda s: s.encode() + b"'''", error),
        entry("that is empty", lambda s: b"", error),
        entry("of spaces", lambda s: b" " * 1000, error),
        entry("that is no text", lambda s: bytes(range(256)) * 10, error),
        entry("that is compiled code", lambda s: b"\xa7\r\r\n" + b"\0" * 50, error),
        entry("with odd escapes", lambda s: s.encode() + b"\ny = '\\d \\8'\n"),
        entry("with a future import too late", lambda s: s.encode() + b"\nfrom __future__ import annotations\n", error),
        entry("with the function twice", lambda s: s.encode() + b"\n_g = f\ndef f(*a): return _g(*a)\n"),
        entry("with a lambda", lambda s: s.encode() + b"\n_g = f\nf = lambda *a: _g(*a)\n"),
        entry("with a partial", lambda s: s.encode() + b"\nimport functools\nf = functools.partial(f)\n"),
        entry("with a class", lambda s: s.encode() + b"\n_g = f\nclass f:\n    def __new__(c, *a): return _g(*a)\n"),
        entry("with a callable object", lambda s: s.encode() +
            b"\n_g = f\nclass C:\n    def __call__(s, *a): return _g(*a)\nf = C()\n"),
        entry("with an object that lies about its name",
              lambda s: s.encode() + b"\n_g = f\nclass C:\n    __name__ = 5\n    __code__ = 'x'\n    __doc__ = 7\n"
              b"    def __call__(s, *a): return _g(*a)\nf = C()\n"),
        entry("with an object that raises when asked",
              lambda s: s.encode() + b"\n_g = f\nclass C:\n    def __getattr__(s, n): raise RuntimeError(n)\n"
              b"    def __call__(s, *a): return _g(*a)\nf = C()\n"),
        entry("with an async function", lambda s: s.encode() + b"\n_g = f\nasync def f(*a): return _g(*a)\n", error),
        entry("with a generator function", lambda s: s.encode() + b"\n_g = f\ndef f(*a): yield _g(*a)\n", ANY),
        entry("with f that is no function", lambda s: s.encode() + b"\nf = 3\n", error),
        entry("without f", lambda s: s.encode() + b"\ndel f\n", error),
        entry("with a module's __getattr__", lambda s: s.encode() + b"\n_g = f\ndel f\ndef __getattr__(n):\n"
              b"    if n == 'f': return _g\n    raise AttributeError(n)\n"),
        entry("with a module's __getattr__ that raises", lambda s: s.encode() +
            b"\ndel f\ndef __getattr__(n): 1 / 0\n", error),
        entry("with too many arguments", lambda s: s.encode() +
            b"\n_g = f\ndef f(a, b, c, d): return _g(a, b)\n", error),
        entry("with annotations that raise", lambda s: s.encode() +
            b"\nf.__annotations__ = property(lambda s: 1 / 0)\n"),
        entry("with a docstring of a megabyte", lambda s: s.encode() + b"\nf.__doc__ = 'x' * 2**20\n"),
        entry("with a docstring that is no text", lambda s: s.encode() + b"\nf.__doc__ = 3\n"),
        entry("with a docstring of markup", lambda s: s.encode() +
            b"\nf.__doc__ = '<script>1</script>\\x1b[2J \\u202e \\ud800'\n"),
        entry("with a name of markup", lambda s: s.encode() + b"\nf.__name__ = '<b>\\x1b[2J\\ud800' + 'x' * 5000\n"),
        entry("with a name of another kind", lambda s: s.encode() + b"\nimport sys\nf.__qualname__ = ''\n"),
        entry("with __wrapped__ in a circle", lambda s: s.encode() + b"\nf.__wrapped__ = f\n"),
        entry("with another code's place", lambda s: s.encode() +
            b"\nf.__code__ = f.__code__.replace(co_firstlineno=10**6,"
              b" co_filename='/etc/hostname')\n"),
        entry("with a signature that raises", lambda s: s.encode() + b"\nf.__signature__ = 3\n", ANY),
        entry("with odd defaults", lambda s: s.encode() + b"\nf.__defaults__ = ()\nf.__kwdefaults__ = None\n"),
    ]  # fmt: skip


def _neighbours() -> list[Entry]:
    found = []
    for name in _NEIGHBOURS:
        found.append(
            Entry(f"a neighbour {name}.py that raises", files={f"{name}.py": "raise RuntimeError('the neighbour')"})
        )
    for name in ("json", "struct", "select", "random", "numpy", "pickle", "inspect", "nlicl", "typing"):
        found.append(
            Entry(f"a neighbour {name}.py that ends the process", files={f"{name}.py": "import os\nos._exit(0)"})
        )
        found.append(Entry(f"a neighbour {name}.py that is empty", files={f"{name}.py": ""}))
        found.append(
            Entry(f"a neighbour folder {name}", files={f"{name}/__init__.py": "raise RuntimeError('the folder')"})
        )
    found.append(Entry("a neighbour that it imports", top="import neighbour", files={"neighbour.py": "x = 1"}))
    found.append(
        Entry("neighbours in a circle", top="import one", files={"one.py": "import two", "two.py": "import one"})
    )
    found.append(
        Entry("a neighbour that never ends", top="import one", files={"one.py": "while True: pass"}, timeout=2)
    )
    found.append(
        Entry(
            "a .pth file and a pyvenv.cfg", files={"x.pth": "import os; os._exit(3)", "pyvenv.cfg": "home = /nowhere"}
        )
    )
    found.append(Entry("a pyproject.toml and a setup.cfg", files={"pyproject.toml": "][", "setup.cfg": "]["}))
    return found


def _world() -> list[Entry]:
    found = []
    errors = {"exit", "quit", "breakpoint", "input", "raise", "import this_is_not_there", "from"}
    for line in _WORLD:
        top = f"import os\n{line}"
        right = (
            ANY
            if line.split("(")[0].split()[0] in errors or "sys." in line or "def f" in line
            else frozenset({"agree", "error"})
        )
        found.append(Entry(f"{line}, at import", bottom=top, right=right))
        if "from _" not in line and "from ." not in line and "__name__ =" not in line and "__file__" not in line:
            found.append(Entry(f"{line}, in the call", end=top, right=ANY))
    return found


ENTRIES = [
    *_sources(),
    *_neighbours(),
    *_world(),
    Entry("an older file of the same size and second was imported", stale=True),
    Entry(
        "an older file was imported, and its neighbour is stale",
        top="import neighbour",
        stale=True,
        files={"neighbour.py": "x = 1"},
    ),
]
