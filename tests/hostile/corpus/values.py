"""Files whose gradient raises or returns something odd, or another thing each time."""

from .entry import ANY, Entry

__all__ = ["ENTRIES"]

_RAISED = {
    "an exception whose text raises": "class E(Exception):\n    def __str__(self): raise ValueError('no')\nraise E()",
    "an exception whose text is no text": "class E(Exception):\n    def __str__(self): return 1\nraise E()",
    "an exception whose text ends the process": "class E(Exception):\n"
    "    def __str__(self): raise SystemExit(0)\nraise E()",
    "an exception whose text never ends": "class E(Exception):\n    def __str__(self):\n"
    "        while True: pass\nraise E()",
    "an exception with a name of 5,000 letters": "raise type('E' * 5000, (Exception,), {})('x' * 5000)",
    "an exception with control characters": "raise ValueError('\\x1b[2J\\r\\n\\0 \\u202e agree \\ud800')",
    "an exception whose class has no name": "class M(type):\n    __name__ = property(lambda c: 1 / 0)\n"
    "class E(Exception, metaclass=M): pass\nraise E('x')",
    "a BaseException": "class E(BaseException): pass\nraise E('x')",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "StopIteration": "raise StopIteration(g if 'g' in dir() else 0)",
    "an exception group": "raise ExceptionGroup('many', [ValueError('a'), ExceptionGroup('more', [KeyError('b')])])",
    "a group of base exceptions": "raise BaseExceptionGroup('many', [KeyboardInterrupt(), SystemExit(3)])",
    "MemoryError": "raise MemoryError",
    "RecursionError": "raise RecursionError('deep')",
    "an exception that is its own cause": "e = ValueError('x')\ne.__cause__ = e\ne.__context__ = e\nraise e",
    "an exception with a chain of 3,000": "e = ValueError('x')\nfor _ in range(3000):\n"
    "    n = ValueError('y'); n.__cause__ = e; e = n\nraise e",
    "an exception of nlicl's own": "from nlicl.core.errors import InvalidValue\n"
    "raise InvalidValue('the verdict is agree.')",
    "CannotRun": "from nlicl.cli.common import CannotRun\nraise CannotRun('the verdict is agree')",
    "Diverged": "import nlicl\nraise nlicl.Diverged",
    "BrokenPipeError": "raise BrokenPipeError",
    "an OSError of a full disk": "raise OSError(28, 'No space left on device')",
    "an ImportError": "import not_there_at_all",
    "a SyntaxError": "raise SyntaxError('x', ('f.py', 1, 1, 'text'))",
    "a UnicodeDecodeError": "b'\\xff'.decode()",
    "an exception with __traceback__ None": "raise ValueError('x').with_traceback(None)",
    "a class whose making fails": "class E(Exception):\n    def __init__(self, a, b): super().__init__(a, b)\nraise E",
    "a warning as an error": "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('x')",
    "an assertion without words": "assert 0",
    "an exception with notes": "e = ValueError('x')\ne.add_note('agree\\n' * 1000)\nraise e",
}

_SUBCLASS = "class A(np.ndarray):\n{0}\n"
_RETURNED = {  # a result that is right, or that cannot be read
    "a generator": "(row for row in g)",
    "an iterator": "iter(g)",
    "a map": "map(list, g)",
    "None": "None",
    "a text": "'agree'",
    "bytes": "g.tobytes()",
    "a memoryview": "memoryview(g)",
    "a set": "{1.0, 2.0}",
    "a dict": "{'g': g}",
    "itself": "f",
    "the module": "np",
    "a class": "np.ndarray",
    "nested lists": "g.tolist()",
    "a tuple of rows": "tuple(g)",
    "a list of objects": "[object()] * 3",
    "an object array": "g.astype(object)",
    "an object array of objects": "np.array([object()] * g.size, dtype=object).reshape(g.shape)",
    "fractions": "np.vectorize(__import__('fractions').Fraction, otypes=[object])(g)",
    "decimals": "np.vectorize(__import__('decimal').Decimal, otypes=[object])(g)",
    "texts": "g.astype(str)",
    "complex values": "g + 0j",
    "complex values with parts": "g + 1e-30j",
    "long doubles": "g.astype(np.longdouble)",
    "float16": "g.astype(np.float16)",
    "float32": "g.astype(np.float32)",
    "big-endian": "g.astype('>f8')",
    "Fortran order": "np.asfortranarray(g)",
    "negative strides": "np.ascontiguousarray(g[..., ::-1])[..., ::-1]",
    "read-only": "(g.setflags(write=False), g)[1]",
    "not aligned": "np.frombuffer(b'0' + g.tobytes(), dtype='u1')[1:].view('f8').reshape(g.shape)",
    "strides of 0": "np.broadcast_to(g.ravel()[0], g.shape)",
    "a structured array": "np.zeros(g.shape, dtype=[('a', 'f8'), ('b', 'i4')])",
    "dates": "g.astype('datetime64[s]') if False else np.zeros(g.shape, 'datetime64[s]')",
    "durations": "np.zeros(g.shape, 'timedelta64[ns]')",
    "booleans": "g > 0",
    "void": "np.zeros(g.shape, 'V8')",
    "a masked array without a mask": "np.ma.masked_array(g)",
    "a masked array": "np.ma.masked_array(g, mask=np.ones(g.shape, bool))",
    "a masked array with hard mask": "np.ma.masked_array(g, mask=np.arange(g.size).reshape(g.shape) == 0, hard_mask=True)",
    "a matrix": "np.matrix(g)",
    "NaN": "g * np.nan",
    "one NaN": "np.where(np.arange(g.size).reshape(g.shape) == 0, np.nan, g)",
    "infinities": "g * np.inf",
    "one infinity": "np.where(np.arange(g.size).reshape(g.shape) == 0, np.inf, g)",
    "1e308": "g * 0 + 1e308",
    "the least number": "g * 0 + 5e-324",
    "an axis more": "g[None]",
    "an axis less": "g.ravel()",
    "33 axes": "g.reshape((1,) * (32 - g.ndim) + g.shape)",
    "no entry": "g[:0]",
    "a number": "float(g.sum())",
    "an integer of 400 digits": "10**400",
    "a huge array": "np.zeros(2**30, 'u1')",
    "a huge array that holds nothing": "np.broadcast_to(np.float64(0), (10**9, 10**9))",
    "a list of a million": "[0.0] * 10**6",
    "a list in itself": "(lambda l: (l.append(l), l)[1])([])",
    "a deep list": "__import__('functools').reduce(lambda a, _: [a], range(5000), 0.0)",
    "a ragged list": "[[1.0], [1.0, 2.0]]",
    "a range": "range(10**18)",
    "a sparse matrix": "__import__('scipy.sparse').sparse.csr_matrix(np.atleast_2d(g))",
    "an array of arrays": "np.array([None, g], dtype=object)[1:]",
    "a record array": "np.rec.array(np.zeros(g.shape, dtype=[('a', 'f8')]))",
    "a memory map": "M(g)",
    "a scalar type": "np.float64",
    "Ellipsis": "...",
    "NotImplemented": "NotImplemented",
    "a pair": "(g, g)",
    "a named tuple of rows": "__import__('collections').namedtuple('N', ['r%d' % i for i in range(len(g))])(*g)",
    "an array.array": "__import__('array').array('d', g.ravel())",
    "a ctypes array": "__import__('ctypes').c_double * 3",
    "a coroutine": "(lambda: (yield))()",
    "an array with a fill value type": "np.char.array(['a'])",
}
_MAP = """\
import os, tempfile
def M(g):
    fd, name = tempfile.mkstemp()
    os.write(fd, g.tobytes()); os.close(fd)
    m = np.memmap(name, dtype='f8', mode='r', shape=g.shape)
    os.unlink(name)
    return m"""
_OBJECTS = {  # a class by its lines: an object that says it is an array
    "__array__ raises": "def __array__(self, *a, **k): raise ValueError('no')",
    "__array__ ends the process": "def __array__(self, *a, **k): __import__('os')._exit(0)",
    "__array__ never ends": "def __array__(self, *a, **k):\n        while True: pass",
    "__array__ returns a text": "def __array__(self, *a, **k): return 'x'",
    "__array__ returns itself": "def __array__(self, *a, **k): return self",
    "__array__ returns it": "def __array__(self, *a, **k): return self.g",
    "__array_interface__ lies": "__array_interface__ = {'shape': (10**6,), 'typestr': '<f8', 'data': (0, 0), 'version': 3}",
    "__array_interface__ is odd": "__array_interface__ = {'shape': 'x', 'typestr': 7, 'version': 'y'}",
    "a length of 10**18": "def __len__(self): return 10**18\n    def __getitem__(self, i): return 0.0",
    "a length of -1": "def __len__(self): return -1\n    def __getitem__(self, i): return 0.0",
    "items without end": "def __iter__(self):\n        while True: yield 0.0\n    def __len__(self): return 3",
    "a shape that lies": "shape = (5,)\n    dtype = 'f8'\n    ndim = 1",
    "a shape that raises": "@property\n    def shape(self): raise KeyError('shape')",
    "a class that lies": "__class__ = np.ndarray",
    "a class that raises": "@property\n    def __class__(self): raise ValueError('no')",
    "every attribute": "def __getattr__(self, name): return self",
    "every attribute raises": "def __getattribute__(self, name): raise RuntimeError(name)",
    "__eq__ is true": "def __eq__(self, other): return True\n    __hash__ = None",
    "__bool__ raises": "def __bool__(self): raise ValueError('no')",
    "__float__ lies": "def __float__(self): return float('nan')",
    "__repr__ raises": "def __repr__(self): raise ValueError('no')",
    "__repr__ is long": "def __repr__(self): return 'x' * 10**7",
    "__dlpack__ raises": "def __dlpack__(self, **k): raise ValueError('no')\n"
                         "    def __dlpack_device__(self): return (1, 0)",
    "detach and numpy lie": "def detach(self): return self\n    def cpu(self): return self\n"
                            "    def numpy(self): return np.zeros(2)\n    shape = (2,)",
    "__reduce__ runs code": "def __reduce__(self): return (__import__('os')._exit, (0,))",
    "__del__ ends the process": "def __del__(self): __import__('os')._exit(0)",
    "toarray raises": "def toarray(self): raise ValueError('no')\n    nnz = 3\n    format = 'csr'",
}  # fmt: skip
_SUBCLASSES = {
    "__array_ufunc__ is None": "    __array_ufunc__ = None",
    "__array_ufunc__ raises": "    def __array_ufunc__(self, *a, **k): raise ValueError('no')",
    "__array_ufunc__ returns 0": "    def __array_ufunc__(self, *a, **k): return 0.0",
    "__array_function__ raises": "    def __array_function__(self, *a, **k): raise ValueError('no')",
    "__array_function__ returns 0": "    def __array_function__(self, *a, **k): return 0.0",
    "__array_finalize__ raises later": "    def __array_finalize__(self, o):\n"
    "        if isinstance(o, A): raise ValueError('no')",
    "__eq__ is true": "    def __eq__(self, o): return True",
    "__abs__ is 0": "    def __abs__(self): return np.zeros(self.shape)",
    "__sub__ is 0": "    def __sub__(self, o): return np.zeros(self.shape)\n    __rsub__ = __sub__",
    "shape lies": "    @property\n    def shape(self): return (1,)",
    "dtype lies": "    @property\n    def dtype(self): return np.dtype('i4')",
    "astype lies": "    def astype(self, *a, **k): return np.zeros(3)",
    "__array__ lies": "    def __array__(self, *a, **k): return np.zeros(3)",
    "copy lies": "    def copy(self, *a): return np.zeros(3)\n    __copy__ = __deepcopy__ = copy",
    "tobytes lies": "    def tobytes(self, *a): return b'x'\n    def tofile(self, *a): pass",
    "an odd priority": "    __array_priority__ = float('nan')",
}
_STATE = {
    "its argument is changed": ("", "g = np.array(g)\nfor a in (x if isinstance(x, tuple) else [x]):\n"
                                    "    try: a[...] = 0\n    except ValueError: pass", "g"),
    "its argument is made writeable and changed": (
        "", "for a in (x if isinstance(x, tuple) else [x]):\n    try: a.setflags(write=True); a[...] = 7\n"
            "    except ValueError: pass", "g"),
    "one array for all calls": ("_one = {}", "o = _one.setdefault('o', np.zeros_like(g))\no[...] = g", "o"),
    "one array, changed by a thread": ("_one = {}\nimport threading",
        "o = _one.setdefault('o', np.zeros_like(g))\no[...] = g\nthreading.Timer(0.02, lambda: None).start()", "o"),
    "a view of its argument's copy": ("", "b = np.zeros((2, *g.shape))\nb[1] = g", "b[1]"),
    "it keeps its arguments": ("_kept = []", "_kept.append(x)", "g"),
    "it calls itself once more": ("_n = []", "_n.append(1)", "g"),
}  # fmt: skip
_WRONG_LATER = {  # right where it is asked first, wrong later: never "agree", even as the right one
    "wrong from the second call on": ("_n = []", "_n.append(1)\nif len(_n) > 1: g = g * 1.5"),
    "wrong at the third call only": ("_n = []", "_n.append(1)\nif len(_n) == 3: g = g + 1.0"),
    "wrong where there is no terminal": ("import sys", "if not sys.stdout or not sys.stdout.isatty(): g = -g"),
    "wrong in the main thread": (
        "import threading",
        "if threading.current_thread() is threading.main_thread(): g = -g",
    ),
    "wrong beyond the first process": ("import os\n_p = os.getpid()", "g = -g"),
    "wrong by the clock": ("import time\n_t = time.time()", "if time.time() > _t: g = 1.5 * g"),
    "wrong by chance": ("", "g = g * (1 + np.random.default_rng().random())"),
    "wrong in its last digits": ("", "g = g * (1 + 1e-6)"),
    "wrong in one entry": ("", "g = np.array(g)\ng.flat[0] += 1e-3"),
}


def _entries() -> list[Entry]:
    found = []
    for name, lines in _RAISED.items():
        short = 2 if "never" in name else 5
        error = frozenset({"error"})
        found.append(Entry(f"raises {name}", end=lines, right=error, wrong=error, timeout=short))
        found.append(
            Entry(
                f"raises {name}, at import", top="import numpy as np\n" + lines, right=error, wrong=error, timeout=short
            )
        )
    for name, result in _RETURNED.items():
        found.append(Entry(f"returns {name}", bottom=_MAP if "M(" in result else "", result=result, right=ANY))
    for name, lines in _OBJECTS.items():
        top = f"import numpy as np\nclass O:\n    def __init__(self, g): self.g = g\n    {lines}"
        found.append(
            Entry(f"returns an object: {name}", top=top, result="O(g)", right=ANY, timeout=2 if "never" in name else 5)
        )
        found.append(Entry(f"returns a list of objects: {name}", top=top, result="[O(r) for r in g]", right=ANY,
                           timeout=2 if "never" in name else 5))  # fmt: skip
    for name, lines in _SUBCLASSES.items():
        top = "import numpy as np\n" + _SUBCLASS.format(lines)
        found.append(Entry(f"returns a subclass: {name}", top=top, result="np.array(g).view(A)", right=ANY))
    for name, (top, end, result) in _STATE.items():
        found.append(Entry(name, top="import numpy as np\n" + top, end=end, result=result))
    for name, (top, end) in _WRONG_LATER.items():
        found.append(Entry(name, top="import numpy as np\n" + top, end=end, right=ANY - {"agree"}))
    return found


ENTRIES = _entries()
