"""Files that replace what the audit, NumPy or Python is made of."""

from .entry import ANY, Entry, names

__all__ = ["ENTRIES"]

_BUILTINS = names(
    "abs sum len isinstance open print min max all any range zip type getattr sorted float int str hasattr setattr iter next "
    "enumerate map dict list tuple bool repr callable issubclass round bytes compile exec __import__ memoryview"
)
_NUMPY = names(
    "abs max min sum any all asarray array isfinite isnan allclose array_equal errstate load save frombuffer argmax finfo "
    "longdouble result_type sqrt log10 errstate seterr shape copyto ascontiguousarray maximum zeros empty ones clip vdot"
)
_STANDARD = {
    "json": "dumps loads dump load",
    "struct": "pack unpack Struct unpack_from",
    "os": "read write fork kill waitpid _exit pipe close dup2 getpid getppid killpg setsid environ fspath replace remove",
    "select": "select poll",
    "time": "time monotonic sleep perf_counter",
    "signal": "signal setitimer alarm",
    "subprocess": "Popen run",
    "io": "BytesIO open StringIO",
    "sys": "exit stdout stderr stdin modules path meta_path argv excepthook",
    "inspect": "getsource getdoc signature",
    "math": "isfinite isnan log10 sqrt",
    "tempfile": "mkstemp mkdtemp TemporaryDirectory",
    "ast": "parse literal_eval",
    "importlib": "import_module reload",
    "pickle": "dumps loads",
    "linecache": "getline getlines checkcache",
    "tokenize": "open generate_tokens",
    "warnings": "warn catch_warnings simplefilter",
    "functools": "partial wraps",
    "dataclasses": "replace dataclass",
    "types": "ModuleType SimpleNamespace",
    "socket": "socket",
    "hashlib": "sha256",
    "traceback": "format_exception print_exception",
    "threading": "Thread Timer",
    "multiprocessing": "get_context Process",
}
_NLICL = """\
import importlib, pkgutil, sys
import nlicl
names = [m.name for m in pkgutil.walk_packages(nlicl.__path__, "nlicl.") if "cuda" not in m.name and "__main__" not in m.name]
def modules(*starts):
    for name in names:
        if name.startswith(starts):
            try:
                yield importlib.import_module(name)
            except Exception:
                pass
"""
_EVERY_NUMBER = (
    _NLICL
    + """\
for module in modules("nlicl.audit", "nlicl.core"):
    for key, value in list(vars(module).items()):
        if type(value) is float:
            setattr(module, key, 1e9)
"""
)
_EVERY_FUNCTION = (
    _NLICL
    + """\
for module in modules("nlicl.audit.{room}"):
    for key, value in list(vars(module).items()):
        if callable(value) and getattr(value, "__module__", "") == module.__name__ and not isinstance(value, type):
            setattr(module, key, lambda *a, **k: {value})
"""
)
_REFERENCE = (
    _NLICL
    + """\
for module in modules("nlicl.models", "nlicl.papers"):
    for key, value in list(vars(module).items()):
        if callable(value) and not isinstance(value, type) and not key.startswith("__"):
            setattr(module, key, {value})
"""
)


def _builtins() -> list[Entry]:
    found = []
    for name in _BUILTINS:
        raising = f"import builtins\ndef _no(*a, **k):\n    raise ValueError('no {name}')"
        end = f"builtins.{name} = _no"
        found.append(Entry(f"builtins.{name} raises, at import", bottom=f"{raising}\n{end}"))
        lying = f"import builtins\n_was = builtins.{name}\ndef _lie(*a, **k):\n    return 0"
        found.append(
            Entry(f"builtins.{name} returns 0, in the call", top=lying, end=f"builtins.{name} = _lie", right=ANY)
        )
    small = "import builtins\n_abs = builtins.abs\nbuiltins.abs = lambda v: _abs(v) * (0 if hasattr(v, 'shape') else 1)"
    found.append(Entry("builtins.abs is 0 for arrays", top=small, right=ANY))
    found.append(Entry("builtins.max is 0", bottom="import builtins\nbuiltins.max = lambda *a, **k: 0.0", right=ANY))
    for name in ("float", "int", "dict", "list", "tuple", "str"):
        text = f"import builtins\nclass {name.title()}(builtins.{name}):\n    def __eq__(self, other): return True\n"
        text += "    def __lt__(self, other): return True\n    __hash__ = None\n"
        found.append(Entry(f"builtins.{name} is a class that equals all", bottom=text + f"builtins.{name} = {name.title()}",
                           right=ANY))  # fmt: skip
    return found


def _numpy() -> list[Entry]:
    found = []
    for name in _NUMPY:
        raising = f"def _no(*a, **k):\n    raise ValueError('no {name}')\nnp.{name} = _no"
        found.append(Entry(f"np.{name} raises", bottom=raising, right=ANY))
        lying = f"np.{name} = lambda *a, **k: np.float64(0)"
        found.append(Entry(f"np.{name} is 0, in the call", end=lying, right=ANY))
    for name in ("linalg.norm", "testing.assert_allclose", "random.default_rng", "random.Generator", "ndarray"):
        found.append(Entry(f"np.{name} is None", bottom=f"np.{name} = None", right=ANY))
    found.append(Entry("all of np is gone", bottom="for _k in list(vars(np)):\n    delattr(np, _k)", right=ANY))
    return found


def _standard() -> list[Entry]:
    found = []
    for module, members in _STANDARD.items():
        for name in names(members):
            raising = f"import {module}\ndef _no(*a, **k):\n    raise RuntimeError('no {module}.{name}')"
            found.append(Entry(f"{module}.{name} raises", bottom=f"{raising}\n{module}.{name} = _no", right=ANY))
    for module in ("json", "struct", "os", "select", "time", "numpy", "nlicl", "io", "signal", "subprocess", "sys"):
        gone = f"import sys\nsys.modules[{module!r}] = None"
        found.append(Entry(f"sys.modules[{module}] is None, at import", bottom=gone, right=ANY))
        found.append(Entry(f"sys.modules has no {module}, in the call", end=f"import sys\nsys.modules.pop({module!r}, None)",
                           right=ANY))  # fmt: skip
    now = "import time\n_t = time.{0}\ntime.{0} = lambda: {1}"
    for clock in ("time", "monotonic"):
        for value in ("0.0", "1e18", "-1e18", "float('nan')", "_t() - 1e6"):
            found.append(Entry(f"time.{clock} is {value}", bottom=now.format(clock, value)))
    return found


def _nlicl() -> list[Entry]:
    found = [Entry("every number of the audit is 1e9", top=_EVERY_NUMBER)]
    for room in (
        "verdict",
        "kinks",
        "witnesses",
        "answer",
        "diagnose",
        "report",
        "functions",
        "forms",
        "decision",
        "run",
    ):
        for value in ("None", "0", "True", "'agree'"):
            top = _EVERY_FUNCTION.format(room=room, value=value)
            found.append(Entry(f"every function of audit.{room} returns {value}", top=top, right=ANY))
    for value in ("lambda *a, **k: None", "lambda *a, **k: 0.0", "None"):
        found.append(
            Entry(f"every function of models and papers is {value}", top=_REFERENCE.format(value=value), right=ANY)
        )
    for text in (
        "import nlicl.audit.report as r\nfor c in vars(r).values():\n    if isinstance(c, type):\n"
        "        c.verdict = property(lambda self: 'agree')\n        c.ok = property(lambda self: True)",
        "import nlicl.cli as c\nc.main = lambda *a: 0",
        "import nlicl.cli.common as c\nc.CannotRun.__init__ = lambda self, *a: None\n"
        "c.CannotRun.__str__ = lambda self: 1",
        "import nlicl.core.files as c\nc.to_json = lambda *a, **k: '{}'\nc.write_whole = lambda *a, **k: None",
        "import nlicl\nfor k in list(vars(nlicl)):\n    if not k.startswith('__'):\n        delattr(nlicl, k)",
        "import sys\nfor k in list(sys.modules):\n    if k.startswith('nlicl'):\n        del sys.modules[k]",
        "import sys\nfor k in list(sys.modules):\n    if k.startswith(('numpy', 'nlicl')):\n"
        "        sys.modules[k] = None",
        "import gc\nfor o in gc.get_objects():\n    if isinstance(o, dict) and 'agree' in o.values():\n        pass",
        "import gc, types\nfor o in gc.get_objects():\n"
        "    if isinstance(o, dict) and o.get('__name__', '') == 'nlicl.audit.verdict':"
        "\n        for k, v in list(o.items()):\n            if isinstance(v, float): o[k] = 1e9",
        "import sys\nf = sys._getframe()\nwhile f:\n    for k, v in list(f.f_locals.items()):\n"
        "        if type(v) is str and v == 'disagree': f.f_locals[k] = 'agree'\n    f = f.f_back",
    ):  # fmt: skip
        found.append(Entry("nlicl itself: " + " ".join(text.split())[:60], top=text, right=ANY))
    hook = (
        "import sys\nclass Finder:\n    def find_spec(self, name, path=None, target=None):\n        {0}\n"
        "sys.meta_path.insert(0, Finder())"
    )
    for what in ("raise ImportError('no ' + name)", "raise SystemExit(0)", "import time; time.sleep(0.2)", "return 1"):
        found.append(Entry(f"an import hook: {what}", bottom=hook.format(what), right=ANY))
    for text in ("sys.path.clear()", "sys.path[:] = ['']", "sys.path.insert(0, b'bytes')", "sys.path = None",
                 "sys.path_hooks.clear()", "sys.path_importer_cache.clear()", "sys.builtin_module_names = ()"):  # fmt: skip
        found.append(Entry(text, bottom=f"import sys\n{text}", right=ANY))
    for text in (
        "sys.settrace(lambda *a: 1 / 0)", "sys.setprofile(lambda *a: 1 / 0)", "sys.addaudithook(lambda *a: 1 / 0)",
        "sys.setswitchinterval(1e-9)", "sys.stdout = None; sys.stderr = None", "sys.stdout.close()", "sys.stderr.close()",
        "sys.displayhook = sys.excepthook = sys.unraisablehook = None", "sys.dont_write_bytecode = True",
        "sys.set_int_max_str_digits(640)", "sys.tracebacklimit = -1", "sys.exit = lambda *a: None",
    ):  # fmt: skip
        found.append(Entry(text, bottom=f"import sys\n{text}", right=ANY))
    return found


ENTRIES = [*_builtins(), *_numpy(), *_standard(), *_nlicl()]
