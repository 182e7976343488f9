"""`nlicl audit FILE.py:SUBJECT`: a paper of one's own from a file, without a package."""

import sys

import pytest

import nlicl.cli

MINE = """
from typing import NamedTuple

import numpy as np

import sizes  # a neighbour
from nlicl.audit import Formula, Point, Subject, fill


class Params(NamedTuple):
    w: np.ndarray


class Prompts:
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] if isinstance(i, int) else Prompts(self.x[i])


def definition(params, x):
    return np.sum(params.w * x) ** 2 / 2, np.empty(0)


def mean(params, prompts):
    return sum(definition(params, x)[0] for x in prompts.x) / len(prompts)


def dw(params, x):
    return np.sum(params.w * x) * x


def gradient(params, prompts):
    return Params(sum(dw(params, x) for x in prompts.x) / len(prompts))


def points(draws, seed, attends):
    rng = np.random.default_rng(seed)

    def random():
        while True:
            yield Point("random", Params(rng.standard_normal(sizes.d)), Prompts(rng.standard_normal((3, sizes.d))))

    return fill([], random(), draws)


def of_an_odd_width(params, x):
    raise ZeroDivisionError("no width")


functions = dict(points=points, kernel=mean, source=mean, gradient=gradient)
formulas = {"dw": Formula(dw, "dw", "w", "(w . x) x", "derived")}
subject = Subject(name="mine", title="Mine", formulas=formulas, definition=definition, **functions)
broken = Subject(name="broken", title="It raises", formulas=formulas, definition=of_an_odd_width, **functions)
number = 3
"""
OWN = """
import numpy as np


def grad(params, x):
    import sizes  # a module of the reader's, imported while the formula runs

    return np.sum(params.w * x) * x


def twice(params, x):
    return 2 * grad(params, x)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with the files; what their imports leave in this process is taken away."""
    for name, text in {"mine.py": MINE, "own.py": OWN, "sizes.py": "d = 5\n", "bad.py": "1 / 0\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name == "sizes" or name.startswith("nlicl_reader_"):
            del sys.modules[name]
    sys.path_importer_cache.clear()


def said(capsys, *arguments):
    status = nlicl.cli.main([*arguments])
    found = capsys.readouterr()
    return status, found.out, found.err


def test_every_formula_of_a_subject_in_a_file_is_audited(folder, capsys):
    status, out, err = said(capsys, "audit", "mine.py:subject", "--draws", "6")
    assert (status, err) == (0, "")
    assert out.startswith("nlicl audit mine: 6 draws")
    assert "All 3 verdicts are as expected; 3 of 3 negative controls caught." in out


def test_a_formula_is_held_against_it(folder, capsys):
    status, out, _ = said(capsys, "audit", "mine.py:subject", "--formula", "own.py:grad", "--wrt", "w")
    assert status == 0 and "agree" in out
    status, out, _ = said(capsys, "audit", "mine.py:subject", "--formula", "own.py:twice=w", "--mend", "0")
    assert status == 1 and "2 times the expected one" in out
    assert (
        "it calls nlicl's own" not in out
    )  # Python calls nlicl's loader for the import inside; the formula calls nothing


def test_an_error_of_the_reader_s_definition_is_no_bug_of_nlicl_s(folder, capsys):
    status, out, err = said(capsys, "audit", "mine.py:broken")
    assert status == 2 and out == "" and err.count("\n") == 1
    line = MINE[: MINE.index("    raise ZeroDivisionError")].count("\n") + 1
    assert f"mine.py raises ZeroDivisionError: no width (line {line} of mine.py)" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mine.py:subjet"], "mine.py has no subjet (did you mean subject?); it has subject, broken"),
        (
            ["mine.py:number"],
            "mine.py:number is 3; expected a loss, an nlicl.audit.Subject, such as subject, or a Paper",
        ),
        (["mine.py:dw"], "mine.py:dw needs --at POINT"),
        (["mine.py:Subject"], "mine.py:Subject needs --at POINT"),
        (["mine.py"], "expected FILE.py:LOSS or FILE.py:SUBJECT"),
        (["none.py:subject"], "there is no file none.py"),
        (["bad.py:subject"], "bad.py does not import: ZeroDivisionError"),
        (["mine.py:subject", "--formula", "own.py:grad"], "of mine.py:subject one of w"),
        (["mine.py:subject", "--formula", "own.py:grad=v"], "wrt is 'v'"),
        (["mine.py:subject", "--backend", "cuda"], "there are no GPU kernels for mine"),
        (["mine.py:dw", "--at", "number", "--draws", "3"], "--draws belongs to a paper's formulas"),
    ],
)
def test_wrong_input_is_told_in_a_line(folder, capsys, arguments, expected):
    status, out, err = said(capsys, "audit", *arguments)
    assert status == 2 and out == "" and err.count("\n") == 1
    assert expected in err


def test_a_paper_in_a_file_is_audited_by_its_subject(folder, capsys):
    (folder / "whole.py").write_text(
        "from mine import Params, subject\n"
        "from nlicl.papers.paper import Paper\n"
        "class Problem:\n    def initialize(self): pass\n    def sample(self): pass\n"
        "PAPER = Paper('whole', 'Whole', subject, Problem, Params)\n"
    )
    status, out, _ = said(capsys, "audit", "whole.py:PAPER", "--draws", "4", "--wrt", "w")
    assert status == 0 and out.startswith("nlicl audit mine: 4 draws")
    sys.modules.pop("mine")


@pytest.mark.parametrize(
    ("old", "new", "said_of_it"),
    [
        ("rng.standard_normal(sizes.d))", "1.5)", "parameter w of mine is 1.5; expected an array of floating"),
        ("return fill(", "return [1, 2]\n    return fill(", "a place of mine is 1; expected an nlicl.audit.Point"),
        ("return fill(", "return []\n    return fill(", "points of mine returns []; expected a list"),
        ("** 2 / 2, np.empty(0)", "** 2 / 2", "definition of mine is"),
        ("** 2 / 2, np.empty(0)", "* np.nan, np.empty(0)", "expected a pair (loss, margins)"),
        ("kernel=mean", "kernel=lambda p, q: None", "kernel of mine is None; expected the loss, a number"),
        ("source=mean", "source=mean, sizes=lambda p, q: {'n': 'x'}", "sizes of mine is {'n': 'x'}; expected a dict"),
        ('{"dw": Formula(dw, "dw", "w", "(w . x) x", "derived")}', "{}", "formulas of mine is empty"),
        ('{"dw": Formula(dw, "dw", "w", "(w . x) x", "derived")}', "{'dw': 1}", "formulas['dw'] of mine is 1"),
        ('"dw", "w",', '"dw", "v",', "wrt of formula dw is 'v'; expected one of w"),
        ('"derived")', '"derived", expected="maybe")', "expected of formula dw is 'maybe'"),
        ("source=mean", "source=mean, statement=Statement((3,), 'x')", "statement of mine is"),
    ],
)
def test_what_is_no_subject_is_said_to_be_none(folder, capsys, old, new, said_of_it):
    text = MINE.replace("import Formula", "import Formula, Statement").replace(old, new)
    assert text.count(new) >= 1
    (folder / "mine.py").write_text(text)
    status, out, err = said(capsys, "audit", "mine.py:subject", "--draws", "6")
    assert (status, out) == (2, "") and said_of_it in err


def test_a_loss_without_a_gradient_on_some_draws_ends_the_audit(folder, capsys):
    text = MINE.replace(
        "return np.sum(params.w * x) ** 2 / 2,",
        "return np.sum(params.w * x) ** 2 / (2 if params.w[0].real > 0 else np.nan),",
    )
    (folder / "mine.py").write_text(text)
    status, _, err = said(capsys, "audit", "mine.py:subject", "--draws", "30")
    assert status == 2 and "the loss of mine has no finite gradient by w on draw" in err
