"""Hostile values for every setting: each is refused in one line, or it is all right. None looks like a bug, and none is one.

In process and without a step of training. What is drawn is few: a problem's observer draws what its tests need, at most 20
prompts here.
"""

import copy
import functools
import io
import json
from dataclasses import fields, replace

import numpy as np
import pytest
from of_nlicl import SHOWN

import nlicl
from nlicl.cli import main
from nlicl.cli.train import OPTIONS
from nlicl.experiments import registry
from nlicl.experiments.figure import Figure
from nlicl.experiments.theorem import Theorem
from nlicl.papers import li2024, load

NUMBERS = (
    "1e999", "-1e999", "1e308", "-1e308", "5e-324", "0", "-0.0", "-1", "2", "1.5", "1+2j", "1e999j", "nan", "1_0",
    "2147483648", "9223372036854775807", "9223372036854775808", "99999999999999999999", "-99999999999999999999",
    "1" + "0" * 400, "1" + "0" * 5000, "0x" + "f" * 400, "0x" + "f" * 5000,
)  # fmt: skip
TEXTS = (
    "", "abc", "True", "None", "...", "b'x'", "'\\n'", "'\\0'", "\udcff", "\u0661", "x" * 500, "f8,f8", "float16", ",", "é",
    "W_Q,W_Q", "population", "'\\d'", "1if",
)  # fmt: skip
NESTED = (
    "()", "(1,)", "(1,2)", "[[1],[2,3]]", "((1,2),3)", "{}", "{1:2}", "{1,2}", "{[]:1}", "{[1]}", "((0,1),(1,0))",
    "((0,0x" + "f" * 5000 + "),)", "(0x" + "f" * 400 + ",1)", "((1e999,0),(0,1))", "((1e308,1e308),(1e308,1e308))",
    "(('a','b'),('c','d'))", "((1+2j,0),(0,1))", "((None,None),(1,2))", "((True,False),(False,True))", "((-1,0),(0,1))",
    "-" * 30 + "1", "-" * 5000 + "1", "(" * 500, "[" * 90 + "]" * 90,
)  # fmt: skip
VALUES = NUMBERS + TEXTS + NESTED


LIGHT = {"li2024": "calibrated", "huang2023": "imbalanced", "bu2024": "small"}


def light(paper):
    """The name of settings that take little."""
    return LIGHT.get(paper) or next(iter(load(paper).problems))


def settings_of_papers():
    for name in SHOWN:
        of_problem = [field.name for field in fields(load(name).Problem)]
        for n, key in enumerate(dict.fromkeys([*of_problem, *OPTIONS])):
            yield pytest.param(name, key, VALUES[n % 2 :: 2], id=f"{name}-{key}")


@pytest.fixture
def small(monkeypatch):
    """Little memory, few prompts."""
    monkeypatch.setattr("nlicl.core.memory._memory", lambda: 2**25)
    for name in SHOWN:
        kind = load(name).Problem
        observer = kind.observer
        monkeypatch.setattr(
            kind, "observer", lambda self, seed=0, of=observer: type(of(SMALL[type(self)]))(self, n=20, seed=seed)
        )


SMALL = {load(name).Problem: load(name).Problem() for name in SHOWN}


def no_bug(capsys, *arguments):
    """The command ends by 0, or by 1 or 2 and one line of reasonable length."""
    status = main(list(arguments))
    out, err = capsys.readouterr()
    case = " ".join(argument[:60] for argument in arguments)
    err = err if len(err) < 2000 else err[:1000] + err[-1000:]
    assert status in (0, 1, 2), f"{case}\n{err}"
    assert "Traceback" not in out + err, f"{case}\n{err}"
    if status:
        assert err.startswith("nlicl: ") and err.count("\n") == 1 and len(err) <= 410, f"{case}\n{err}"
    else:
        assert not err, f"{case}\n{err}"
    return status


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "key", "values"), list(settings_of_papers()))
def test_settings_of_training(paper, key, values, small, capsys):
    """Half of the values each, in turns: all of them meet every kind of setting."""
    statuses = set()
    for value in values:
        steps = [] if key == "steps" else ["--steps", "0"]
        if key == "steps" and value in ("2147483648", "2", "1_0"):  # that is long, or right
            continue
        statuses.add(no_bug(capsys, "train", f"{paper}:{light(paper)}", "--set", f"{key}={value}", *steps))
    assert 2 in statuses


@pytest.mark.slow
def test_settings_of_other_problems(small, capsys):
    """Two settings that are right alone, and too large or too wide together."""
    for paper, *pairs in (
        ("li2024", "M1=100000000", "d_X=200000000"),
        ("li2024", "M1=20000", "d_X=30000"),
        ("li2024", "d_Y=9000000000000000000", "m=9000000000000000000"),
        ("li2024", "M1=9000000000000000000", "d_X=9200000000000000000"),
        ("huang2023", "counts=enumerated"),
        ("huang2023", "counts=enumerated", "K=3", "length=9000000000000000000"),
        ("huang2023", "counts=enumerated", "K=1000", "length=100000"),
        ("huang2023", "counts=infinite", "K=9000000000000000000"),
        ("huang2023", "p_1=None", "K=900000000000"),
        ("huang2023", "prompts=9000000000000000000", "length=9000000000000000000"),
        ("bu2024", "p_z=0", "sigma_xi=0", "prompts=population", "match=balanced", "length=9000000000000000000"),
        ("bu2024", "p_z=0", "sigma_xi=0", "prompts=population", "match=iid", "length=9000000000000000000"),
        ("bu2024", "match=balanced", "length=9000000000000000000"),
        ("bu2024", "dictionary=9000000000000000000", "d_x=9000000000000000000"),
        ("bu2024", "weight_decay=0", "learning_rate=None"),
        ("bu2024", "weight_decay=5e-324", "step_offset=2"),
    ):
        given = [part for pair in pairs for part in ("--set", pair)]
        assert no_bug(capsys, "train", paper, *given, "--steps", "0") == 2


# ---- Theorems


FIRST_TIER = ("li2024:3.4", "huang2023:imbalanced")


def theorems():
    for name in SHOWN:
        for number, experiment in registry.theorems(name).items():
            for key in experiment.options:
                theorem = f"{name}:{number}"
                yield pytest.param(theorem, key, marks=() if theorem in FIRST_TIER else pytest.mark.slow)


def nothing(options, seed, runs):
    return {}


def no_claims(options, seeds, found):
    return Theorem("nothing", "Nothing was done.", {}, seeds, [], [])


@pytest.mark.slow
@pytest.mark.parametrize(("theorem", "key"), list(theorems()), ids=lambda value: value)
def test_settings_of_theorems(theorem, key, monkeypatch, capsys):
    """They pass the checks of the experiment and make its training runs, of which none is done."""
    paper, _, number = theorem.partition(":")
    experiment = registry.theorems(paper)[number]

    def runs(options):
        experiment.runs(options)
        return {}

    idle = {number: replace(experiment, runs=runs, measure=nothing, assemble=no_claims)}
    monkeypatch.setattr("nlicl.experiments.registry.theorems", lambda paper: idle)
    monkeypatch.setattr("nlicl.core.memory._memory", lambda: 2**25)
    statuses = {
        no_bug(capsys, "theorem", theorem, "--set", f"{key}={value}", "--seeds", "1", "--jobs", "1") for value in VALUES
    }
    assert 2 in statuses


# ---- Figures


def figures():
    """One figure for each set of settings."""
    for name in SHOWN:
        seen = []
        for number, recipe in registry.figures(name).items():
            if set(recipe.options) not in seen:
                seen.append(set(recipe.options))
                yield from (pytest.param(name, number, key, marks=pytest.mark.slow) for key in recipe.options)


def no_figure(options, seeds, found):
    return Figure("nothing", {}, seeds, [], [])


@pytest.mark.parametrize(("paper", "number", "key"), list(figures()), ids=lambda value: value)
def test_settings_of_figures(paper, number, key, monkeypatch, capsys, tmp_path):
    """They pass the checks of the experiment and make its training runs, of which none is done."""
    pytest.importorskip("matplotlib")
    recipe = registry.figures(paper)[number]

    def runs(options):
        recipe.runs(options)
        return {}

    idle = {number: replace(recipe, runs=runs, measure=nothing, assemble=no_figure)}
    monkeypatch.setattr("nlicl.experiments.registry.figures", lambda paper: idle)
    monkeypatch.setattr("nlicl.core.memory._memory", lambda: 2**25)
    monkeypatch.setattr(Figure, "write", lambda *arguments: [])
    arguments = ("reproduce", f"{paper}:{number}", "--seeds", "1", "--jobs", "1", "--out", str(tmp_path))
    assert 2 in {no_bug(capsys, *arguments, "--set", f"{key}={value}") for value in VALUES}


# ---- Checkpoints, which may be damaged, or made up


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The bytes of a small run's checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    problem = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6)
    nlicl.train(problem, steps=5, measure=2, out=folder)
    return (folder / "checkpoint.npz").read_bytes()


def resumed(capsys, folder, data):
    (folder / "checkpoint.npz").write_bytes(data)
    return no_bug(capsys, "train", "li2024", "--resume", str(folder), "--steps", "6")


def test_damaged_checkpoints(checkpoint, tmp_path, capsys):
    size = len(checkpoint)
    statuses = [resumed(capsys, tmp_path, checkpoint[:end]) for end in range(0, size, size // 20)]
    assert set(statuses) == {2}
    for place in range(7, size, size // 60):
        damaged = bytearray(checkpoint)
        damaged[place] ^= 1 << place % 8
        statuses.append(resumed(capsys, tmp_path, bytes(damaged)))
    assert statuses.count(2) > 60
    assert resumed(capsys, tmp_path, checkpoint) == 0


def places(value, at=()):
    """The keys that lead to everything in nested dicts."""
    yield at
    for key in value if isinstance(value, dict) else ():
        yield from places(value[key], (*at, key))


@pytest.mark.slow
def test_made_up_settings_of_checkpoints(checkpoint, tmp_path, capsys):
    arrays = dict(np.load(io.BytesIO(checkpoint)))
    about = json.loads(str(arrays["about"]))
    for at in list(places(about))[1:]:
        for value in (None, -1, 10**30, "abc", [[1], [2, 3]], {"a": 1}, DELETED):
            changed = copy.deepcopy(about)
            inner = functools.reduce(dict.__getitem__, at[:-1], changed)
            if value is DELETED:
                del inner[at[-1]]
            else:
                inner[at[-1]] = value
            file = io.BytesIO()
            np.savez(file, **arrays | {"about": np.array(json.dumps(changed))})
            resumed(capsys, tmp_path, file.getvalue())


DELETED = object()


@pytest.mark.slow
def test_made_up_arrays_of_checkpoints(checkpoint, tmp_path, capsys):
    arrays = dict(np.load(io.BytesIO(checkpoint)))
    odd = (np.zeros(0), np.array(3.0), np.array("x"), np.zeros((2, 2)), np.zeros(3, complex), np.arange(5), None)
    for name in arrays:
        for array in odd:
            file = io.BytesIO()
            np.savez(file, **{key: value for key, value in (arrays | {name: array}).items() if value is not None})
            resumed(capsys, tmp_path, file.getvalue())


# ---- Other options


@pytest.mark.parametrize("value", [*NUMBERS, *TEXTS])
@pytest.mark.parametrize("option", ["--timeout", "--mend", "--draws", "--seed"])
def test_options_of_the_audit(option, value, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nlicl.audit.judge", lambda *_, **__: pytest.fail("it began"), raising=False)
    (tmp_path / "a.py").write_text("def f(params, prompt): return None\n")
    given = ["audit", "--formula", f"{tmp_path / 'a.py'}:f", "--wrt", "W_X", option, value]
    assert no_bug(capsys, *given) == 2  # there is no W_X, which is seen last


@pytest.mark.parametrize("value", [*NUMBERS, *TEXTS])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("train", "--steps"),
        ("train", "--seed"),
        ("reproduce", "--seeds"),
        ("reproduce", "--jobs"),
        ("theorem", "--seeds"),
    ],
)
def test_options_that_are_numbers(command, option, value, capsys, monkeypatch):
    right = {"--seed": ("2",), "--steps": ("0", "2", "1_0", "2147483648")}
    if value in right.get(option, ()):
        return
    paper = "li2024" if command == "train" else "li2024:none"
    more = ["--steps", "0"] if option == "--seed" else []
    monkeypatch.setattr("nlicl.core.memory._memory", lambda: 2**25)
    assert no_bug(capsys, command, paper, option, value, *more) in (0, 2)


@pytest.mark.parametrize(
    "name",
    ["", "x" * 5000, "a/" * 3000, "\udcff", "no/such/folder", "/proc/self/mem/x", "/dev/null", "/dev/null/x", ".", "-"],
)
@pytest.mark.parametrize("option", ["--out", "--resume", "--json", "--html", "--formula"])
def test_names_of_files(option, name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nlicl.audit.audit_paper", lambda *_, **__: pytest.fail("it began"))
    if option in ("--out", "--resume"):
        status = no_bug(
            capsys, "train", "li2024", "--steps", "0", "--set", "m=2", "--set", "measure=None", option, name
        )
    else:
        other = ["--wrt", "W_X"] if option != "--formula" else ["--wrt", "W_K"]
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        status = no_bug(capsys, "audit", *other, option, f"{name}:f" if option == "--formula" else name)
        assert status == 2
    assert status in (0, 2)
