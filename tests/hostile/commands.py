"""Command lines, right but for one or two words, in this process; some of them in a process of its own, in an odd world."""

import contextlib
import functools
import io
import os
import shlex
import shutil
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from nlicl.cli import main
from nlicl.cli.train import OPTIONS
from nlicl.core import memory
from nlicl.experiments import registry
from nlicl.experiments.figure import Figure
from nlicl.experiments.theorem import Theorem
from nlicl.papers import load

from .machine import run
from .outcome import Outcome, of_command
from .part import generator

__all__ = ["Part"]

_NUMBERS = (
    "1e999", "-1e999", "1e308", "-1e308", "5e-324", "0", "-0.0", "-1", "2", "1.5", "1+2j", "1e999j", "nan", "inf", "1_0",
    "2147483648", "9223372036854775807", "9223372036854775808", "99999999999999999999", "-99999999999999999999", "07", "1.",
    "1" + "0" * 400, "1" + "0" * 5000, "0x" + "f" * 400, "0x" + "f" * 5000, " 3 ", "３", "1e5", "1,000", "+-+-1", "1__0",
)  # fmt: skip
_TEXTS = (
    "", "abc", "True", "None", "...", "b'x'", "'\\n'", "'\\0'", "\udcff", "\u0661", "x" * 500, "f8,f8", "float16", ",", "é",
    "W_Q,W_Q", "population", "'\\d'", "1if", "-", "--", "-h", "--help", "@file", "=", "==", "a=b", "%s", "{0}", "$HOME", "*",
    "\u202egpj", "\x1b[2J", "a\nb", "a\rb", "\x7f", "\ud800", "\U0001f600", "x" * 70_000, "é" * 200, "/", "/dev/null/x", ".",
    "..", "~", "con", "a" * 300, "li2024", "li2024:", ":", "li2024:x", "li2024:3.4:5", "LI2024", "nlicl.papers", "os", "../..",
    "__init__", "f.py:f", "f.py", ".py:f", "f.py:", ":f", "f.py:f:f", "http://x/y.py:f", "f.py:f.g", "1.py:1",
)  # fmt: skip
_NESTED = (
    "()", "(1,)", "(1,2)", "[[1],[2,3]]", "((1,2),3)", "{}", "{1:2}", "{1,2}", "{[]:1}", "{[1]}", "((0,1),(1,0))",
    "((0,0x" + "f" * 5000 + "),)", "(0x" + "f" * 400 + ",1)", "((1e999,0),(0,1))", "((1e308,1e308),(1e308,1e308))",
    "(('a','b'),('c','d'))", "((1+2j,0),(0,1))", "((None,None),(1,2))", "((True,False),(False,True))", "((-1,0),(0,1))",
    "-" * 30 + "1", "-" * 5000 + "1", "-" * 100_000 + "1", "(" * 500, "[" * 90 + "]" * 90, "(" * 90 + ")" * 90,
    "~" * 3000 + "1", "not " * 3000 + "1", "1" + "+1" * 5000, "[" + "1," * 30_000 + "]", "'" + "a" * 5000 + "'", "f'{1}'",
    "lambda: 1", "__import__('os')", "1 .real", "a.b.c.d", "1 if 1 else 2", "{**{}}", "(yield)", "x := 1",
)  # fmt: skip
_VALUES = _NUMBERS + _TEXTS + _NESTED
_SMALL = {
    "li2024": ("li2024", "--set", "M1=4", "--set", "M2=3", "--set", "d_X=8", "--set", "d_Y=3", "--set", "m=7", "--set",
               "length=5", "--set", "batch=6"),
    "huang2023": ("huang2023", "--set", "K=4", "--set", "d=5", "--set", "length=6"),
    "bu2024": ("bu2024:small", "--set", "batch=6"),
}  # fmt: skip
_LONG = {"2147483648", "1e5", "10", "07"}  # as --steps, --draws, --entries: rightly long
_FORMULA = """\
import numpy as np
x0 = np.array([0.3, -1.2])
def loss(x): return (x * x).sum()
def grad(x): return 2 * x
def f(params, prompt): return np.zeros_like(params.W_V)
"""
_LONGEST = 150  # seconds: kernels may have to be compiled
_REAL = 40  # of so many cases one is a process of its own


class Part:
    """Case by case: a command, with one or two hostile words."""

    limit = _LONGEST + 10.0

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        os.chdir(folder)
        _idle()

    def _case(self, case: int) -> tuple[list[str], np.random.Generator]:
        rng = generator(self.seed, case)
        return _words(rng), rng

    def describe(self, case: int) -> str:
        words, rng = self._case(case)
        shown = ascii(shlex.join(["nlicl", *words]))
        return (shown if len(shown) < 1500 else shown[:1000] + " ... " + shown[-300:]) + (
            f"; {_WORLDS[rng.integers(len(_WORLDS))]}, a process of its own" if self._real(case) else ""
        )

    def _real(self, case: int) -> bool:
        return case % _REAL == _REAL - 1

    def judge(self, case: int) -> Outcome:
        words, rng = self._case(case)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        (folder / "f.py").write_text(_FORMULA)
        try:
            os.chdir(folder)
            if self._real(case):
                return _of_process(words, _WORLDS[rng.integers(len(_WORLDS))], folder)
            return _in_process(words)
        finally:
            os.chdir(self.folder)
            for path in (folder, *folder.rglob("*")):
                with contextlib.suppress(OSError):
                    path.chmod(0o700)
            shutil.rmtree(folder, ignore_errors=True)


def _in_process(words: list[str]) -> Outcome:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:  # of --help and --version
            status = end.code if isinstance(end.code, int) else 1
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(errors="replace"))  # type: ignore[attr-defined]
    return of_command(status, *texts)


# ---- Words


def _words(rng: np.random.Generator) -> list[str]:
    """A command."""

    def one(options: Any) -> Any:
        return options[rng.integers(len(options))]

    kind = one(
        (
            "train",
            "train",
            "train",
            "audit",
            "audit",
            "audit",
            "function",
            "reproduce",
            "theorem",
            "theorem",
            "papers",
            "compare",
            "any",
        )
    )
    value = one(_VALUES)
    if kind == "train":
        paper = one(list(_SMALL))
        words = ["train", *_SMALL[paper], "--steps", one(("0", "1", "2"))]
        names = [field.name for field in fields(load(paper).Problem)] + list(OPTIONS)
        extra = one((["--set", f"{one(names)}={value}"],) * 6 + (
            ["--set", value], ["--seed", value], ["--out", value], ["--resume", value], ["--backend", value], [value],
            ["--out", "run", "--set", f"{one(names)}={value}"], ["--set", f"{value}=1"]))  # fmt: skip
        if extra[0] == "--set":
            key = extra[1].partition("=")[0]
            words = _without(words, key)
        return words + extra
    if kind == "audit":
        words = ["audit", one(("li2024", "huang2023")), "--draws", "2", "--wrt", "Q"]
        words[5] = "W_V" if words[1] == "li2024" else "Q"
        if rng.random() < 0.8:
            words = ["audit", "--draws", "2", "--wrt", "W_V", "--formula", "f.py:f"]
        option = one(
            (
                "--seed",
                "--wrt",
                "--timeout",
                "--mend",
                "--json",
                "--html",
                "--formula",
                "--draws",
                "--backend",
                "--at",
                "--names",
                "--tolerance",
            )
        )
        if option == "--draws" and value in _LONG:
            return words
        return [*words, option, value]
    if kind == "function":
        words = ["audit", "f.py:loss", "--gradient", "grad", "--at", "x0"]
        option = one(("--seed", "--wrt", "--timeout", "--mend", "--json", "--html", "--gradient", "--at", "--points",
                      "--names", "--entries",
                      "--tolerance", "--hessian-vector", "--hessian", "--only-wrong"))  # fmt: skip
        if option == "--only-wrong":
            words[1] = value
            return [*words, option]
        return [*words, option, value]
    if kind in ("reproduce", "theorem"):
        paper = one(list(_SMALL))
        known = registry.theorems(paper) if kind == "theorem" else registry.figures(paper)
        name = one(list(known))
        words = [kind, f"{paper}:{name}", "--quick", "--seeds", "1", "--jobs", "1"]
        if kind == "reproduce":
            return [*words, one(("--out", "--format", "--seeds", "--jobs")), value]
        keys = list(known[name].options) or ["x"]
        extra = (["--set", f"{one(keys)}={value}"],) * 5 + (
            ["--json", value],
            ["--seeds", value],
            ["--jobs", value],
            [value],
        )
        return words + one(extra)
    if kind == "papers":
        return ["papers", *one(([value], [f"li2024:{value}"], ["bu2024:small", "--json", value]))]
    if kind == "compare":
        return ["compare", *one(([value], ["results", "--out", value], ["results", "--keep", value]))]
    words = [
        one(("train", "audit", "papers", "doctor", "theorem", "reproduce", "compare", value, "")),
        one(_VALUES),
        value,
    ]
    return [*words, "--steps", "0"] if words[0] == "train" else words


def _without(words: list[str], key: str) -> list[str]:
    """The words without the setting of that name: it is given otherwise."""
    found = []
    for i, word in enumerate(words):
        if not (word.startswith(f"{key}=") or (word == "--set" and words[i + 1].startswith(f"{key}="))):
            found.append(word)
    return found


# ---- Nothing long is done in this process


def _idle() -> None:
    """Figures and theorems pass their checks and make their training runs, of which none is done; memory is little."""
    tables = {"theorems": registry.theorems, "figures": registry.figures}

    def idle(kind: str, paper: str) -> dict[str, Any]:
        known = tables[kind](paper)
        own = {"assemble": _no_theorem} if kind == "theorems" else {"assemble": _no_figure, "draw": _no_drawing}
        return {name: replace(each, runs=_checked(each.runs), measure=_nothing, **own) for name, each in known.items()}

    for kind in tables:
        setattr(registry, kind, functools.partial(idle, kind))
    if hasattr(memory, "_memory"):
        memory._memory = lambda *arguments: 2**25


def _checked(runs: Any) -> Any:
    def check(options: Any) -> dict[str, Any]:
        runs(options)
        return {}

    return check


def _nothing(options: Any, seed: int, runs: Any) -> dict[str, Any]:
    return {}


def _no_theorem(options: Any, seeds: Any, found: Any) -> Theorem:
    return Theorem("nothing", "Nothing was done.", {}, seeds, [], [])


def _no_figure(options: Any, seeds: Any, found: Any) -> Figure:
    return Figure("Nothing was done.", {}, seeds, [], [])


def _no_drawing(data: Any) -> Any:
    from matplotlib.figure import Figure as Drawing

    return Drawing()


# ---- A process of its own

_WORLDS = (
    "LANG=C", "no locale, ascii", "no home", "standard output closed", "standard error closed", "all three closed",
    "a full disk",
    "python -OO", "python -W error", "an odd folder", "a folder that is gone", "no environment", "a long name of a folder",
    "a folder that cannot be written", "no temporary folder", "few descriptors",
)  # fmt: skip


def _of_process(words: list[str], world: str, folder: Path) -> Outcome:
    encoded = []
    for word in words:
        try:
            encoded.append(os.fsencode(word))
        except UnicodeEncodeError:
            encoded.append(word.encode("utf-8", "surrogatepass"))
    encoded = [word.replace(b"\0", b"")[:100_000] for word in encoded]
    if words[0] in ("reproduce", "theorem"):  # those are long
        encoded = [b"papers", *encoded[1:2]]
    python, environment, pipes, cwd = [sys.executable], {}, {}, folder
    if world == "LANG=C":
        environment = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    elif world == "no locale, ascii":
        environment = {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "POSIX", "PYTHONUTF8": "0"}
    elif world == "no home":
        environment = {"HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere"}
    elif world == "python -OO":
        python.append("-OO")
    elif world == "python -W error":
        python += ["-W", "error::SyntaxWarning"]
    elif world in ("an odd folder", "a long name of a folder"):
        cwd = folder / ("a b'\"\n\u202eé" if world == "an odd folder" else "x" * 250)
        cwd.mkdir()
    elif world == "no temporary folder":
        environment = {"TMPDIR": "/nowhere"}
    first: Any = _FIRST.get(world)
    if world == "a full disk":
        with open("/dev/full", "wb") as full:
            ended = run([*python, "-m", "nlicl", *encoded], _LONGEST, cwd=cwd, environment=environment, stdout=full)
    else:
        ended = run(
            [*python, "-m", "nlicl", *encoded], _LONGEST, cwd=cwd, environment=environment, first=first, **pipes
        )
    failures: tuple[tuple[str, str], ...] = ()
    if not ended.in_time:
        failures += (("hang", f"not finished in time\n{ended.err[-500:]}"),)
        return Outcome("", failures)
    if ended.left:
        failures += (("processes", f"{ended.left}"),)
    if "closed" in world and ended.status == 2 and not ended.err:
        outcome = Outcome("refused")  # it cannot say why
    else:
        outcome = of_command(ended.status, ended.out, ended.err)
    return Outcome(outcome.good if not failures else "", outcome.failures + failures)


def _closed(*numbers: int) -> Any:
    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


def _gone() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def _few() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))


_FIRST = {
    "standard output closed": _closed(1),
    "standard error closed": _closed(2),
    "all three closed": _closed(0, 1, 2),
    "a folder that is gone": _gone,
    "few descriptors": _few,
}
