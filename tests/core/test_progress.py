"""Progress: a line in a notebook or on a terminal, and no noise elsewhere."""

import io
import sys
import types

import pytest
from child import python

import nlicl
from nlicl.core import progress as module
from nlicl.core.progress import COMPILING


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, bundle, raw):
        self.shown.append(bundle)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Whatever this process has compiled, and wherever it runs."""
    monkeypatch.setattr(module, "_said", module.threading.Event())
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook is to us: an IPython with a kernel, and a display. Returns the list of what is shown."""
    shown = []

    def display(bundle, raw, display_id):
        shown.append(bundle)
        return Handle(shown)

    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    return shown


def work():
    with nlicl.progress() as bar:
        for done in (1, 2, 3):
            bar(done, 4, 0.25)
            module.compiling()
    return bar


def test_nothing_is_said_elsewhere(capsys):
    module.compiling()
    work()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_line_that_goes_away(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    work()
    lines = screen.getvalue().split("\r\x1b[K")
    assert lines == ["", "1 of 4: loss 0.25", COMPILING, "2 of 4: loss 0.25", "3 of 4: loss 0.25", ""]


def test_a_notebook_has_a_bar_that_stays(notebook):
    work()
    assert [each["text/plain"] for each in notebook] == [
        "1 of 4: loss 0.25",
        COMPILING,
        "2 of 4: loss 0.25",
        "3 of 4: loss 0.25",
        "3 of 4: loss 0.25",
    ]
    assert "width:25%" in notebook[0]["text/html"] and "width:100%" in notebook[-1]["text/html"]


def test_a_text_in_it_is_no_markup(notebook):
    nlicl.progress()(1, 2, "<b>\nx\x1b")
    assert notebook[0]["text/plain"] == "1 of 2: <b> x\\x1b" and "&lt;b&gt;" in notebook[0]["text/html"]


def test_after_an_error_it_says_how_far_it_was(notebook):
    with pytest.raises(ValueError), nlicl.progress() as bar:
        bar(1, 4, "half")
        raise ValueError
    assert [each["text/plain"] for each in notebook] == ["1 of 4: half"] and not module._shown


def test_it_is_drawn_now_and_then(notebook, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 60.0)
    bar = nlicl.progress()
    for done in range(1, 1001):
        bar(done, 1000)
    assert [each["text/plain"] for each in notebook] == ["1 of 1000", "1000 of 1000"]


def test_a_notebook_is_told_once_that_kernels_are_compiled(notebook, capsys):
    module.compiling()
    module.compiling()
    assert capsys.readouterr().err == COMPILING + "\n" and not notebook


def test_what_cannot_be_said_stops_nothing(notebook, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    module.compiling()


def test_training_and_sweeps_take_it(notebook):
    from nlicl.papers import li2024

    problem = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, length=5, m=6, batch=8, steps=3, alpha=0.7)
    with nlicl.progress() as bar:
        nlicl.train(problem, measure=None, progress=bar)
    assert notebook[-1]["text/plain"].startswith("3 of 3: loss ")
    with nlicl.progress() as bar:
        nlicl.sweep(problem, {"alpha": [0.5]}, seeds=1, measure="training_loss", training={"batch": 4}, progress=bar)
    assert notebook[-1]["text/plain"] == "1 of 1: alpha"


COMPILES = """
import numpy as np
from nlicl.kernels import cache, products
said = []
cache.compiling = lambda: said.append(1)
products.are_finite(np.ones(3))
first = len(said)
products.are_finite(np.ones(3))
print(first > 0, len(said) - first)
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_it_is_said_where_a_kernel_is_not_in_the_cache(tmp_path):
    assert python(COMPILES, NUMBA_CACHE_DIR=str(tmp_path)) == "True 0"
    assert python(COMPILES, NUMBA_CACHE_DIR=str(tmp_path)) == "False 0"
