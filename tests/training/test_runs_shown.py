"""Runs in a notebook, as pictures, and as tables of pandas."""

import sys

import numpy as np
import pytest

import nlicl
from nlicl.papers import li2024
from nlicl.training import Diverged

PROBLEM = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, length=5, m=6, batch=8, steps=6, alpha=0.7)
HOSTILE = "<script>alert(1)</script>"


def observe(params):
    return {"a": params.a[0], HOSTILE: 1.0, "wide": params.a}


@pytest.fixture(scope="module")
def run():
    return nlicl.train(PROBLEM, seed=0, measure=2, observe=observe)


@pytest.fixture(scope="module")
def runs():
    return nlicl.train(PROBLEM, seed=[3, 5, 8], measure=2, observe=observe)


@pytest.fixture
def axes():
    from matplotlib.figure import Figure

    return Figure().subplots()


@pytest.mark.parametrize("what", ["run", "history", "runs"])
def test_a_notebook_shows_them(what, run, runs):
    shown = {"run": run, "history": run.history, "runs": runs}[what]._repr_html_()
    assert "<svg" in shown and ">a<" in shown and len(shown) < 20_000
    assert HOSTILE not in shown and "&lt;script&gt;" in shown
    assert (what == "history") or "li2024.problem.Problem" in shown


def test_a_run_shows_its_parameters_and_settings(run):
    shown = run._repr_html_()
    assert all(f">{name}<" in shown for name in ("W_Q", "W_O", "learning_rate", "alpha"))
    assert "6 steps" in shown and "optimizer SGD" in shown and "wide" in shown


def test_runs_show_their_seeds_and_none_alone(runs):
    shown = runs._repr_html_()
    assert "seeds [3, 5, 8]" in shown and "seed 3" not in shown and "3 training runs" in shown


def test_a_run_without_measurements_or_steps_is_shown():
    for options in ({"measure": None}, {"steps": 1, "measure": None}):
        assert "Training run" in nlicl.train(PROBLEM, **options)._repr_html_()


def test_a_long_run_is_short():
    problem = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, length=5, m=6, batch=1, alpha=0.7)
    long = nlicl.train(problem, steps=20_000, measure=None, learning_rate=1e-3)
    assert len(long._repr_html_()) < 30_000


def test_seeds_that_diverged_are_told():
    with pytest.raises(Diverged) as caught:
        nlicl.train(PROBLEM, seed=range(2), learning_rate=1e200, steps=30)
    runs = caught.value.runs
    assert "2 training runs; 2 diverged: [0, 1]" in runs._repr_html_()
    with pytest.raises(ValueError, match="all 2 seeds diverged"):
        runs.plot()


# ---- Pictures


def test_a_run_is_drawn(run, axes):
    assert run.plot(axes=axes) is axes
    (line,) = axes.lines
    assert np.array_equal(line.get_ydata(), run.history.loss)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_legend()) == ("step", "training_loss", None)
    run.plot("a", axes=axes)
    assert np.array_equal(axes.lines[1].get_xdata(), run.history.steps)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training_loss", "a"]


def test_seeds_are_drawn_as_a_band(runs, axes):
    runs.plot("a", axes=axes)
    values = np.array([run.history["a"] for run in runs])
    assert np.array_equal(axes.lines[0].get_ydata(), np.median(values, axis=0))
    ends = axes.collections[0].get_paths()[0].get_extents()
    assert (ends.y0, ends.y1) == (values.min(), values.max())
    assert axes.get_ylabel() == "a"


def test_of_runs_that_ended_early_the_common_steps_are_drawn(axes):
    runs = nlicl.train(PROBLEM, seed=[0, 1], measure=None, until=lambda losses: len(losses) >= 3)
    runs._runs[0].history.__dict__["loss"] = runs[0].history.loss[:2]
    runs.plot(axes=axes)
    assert axes.lines[0].get_xdata().tolist() == [0, 1]


def test_new_axes_are_made(run):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    axes = run.plot()
    assert axes.figure in map(pyplot.figure, pyplot.get_fignums())
    pyplot.close(axes.figure)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("A", KeyError, r"'A' was not measured \(did you mean a\?\); expected one of 'training_loss', 'a'"),
        (3, KeyError, "3 was not measured"),
        ("wide", ValueError, r"'wide' is an array of shape \(6,\) at each step"),
    ],
)
def test_what_cannot_be_drawn(run, runs, name, kind, message):
    for drawn in (run, runs):
        with pytest.raises(kind, match=message):
            drawn.plot(name)


# ---- pandas


@pytest.mark.parametrize(
    ("missing", "call", "message"),
    [
        ("pandas", "history.to_pandas", r"history.to_pandas needs pandas, .*pip install '.\[notebook\]'"),
        ("pandas", "runs.to_pandas", r"runs.to_pandas needs pandas, .*pip install '.\[notebook\]'"),
        ("matplotlib", "run.plot", r"run.plot needs matplotlib, which is not installed: pip install '.\[plot\]'"),
        ("matplotlib", "runs.plot", "runs.plot needs matplotlib"),
    ],
)
def test_a_library_that_is_missing_is_named(missing, call, message, run, runs, monkeypatch):
    for name in [missing, *(name for name in sys.modules if name.startswith(f"{missing}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    method = {
        "history.to_pandas": run.history.to_pandas,
        "runs.to_pandas": runs.to_pandas,
        "run.plot": run.plot,
        "runs.plot": runs.plot,
    }[call]
    with pytest.raises(ModuleNotFoundError, match=message):
        method()


@pytest.mark.slow  # the second tier has pandas
def test_history_as_a_table(run):
    pytest.importorskip("pandas")
    frame = run.history.to_pandas()
    assert (frame.index.name, frame.columns.tolist()) == ("step", ["training_loss", "learning_rate", "a", HOSTILE])
    assert frame.index.tolist() == list(range(7))
    assert np.array_equal(frame["training_loss"][:6], run.history.loss) and np.isnan(frame["training_loss"][6])
    measured = frame["a"].dropna()
    assert measured.index.tolist() == run.history.steps.tolist()
    assert np.array_equal(measured, run.history["a"])


@pytest.mark.slow
def test_seeds_as_a_table(runs):
    pytest.importorskip("pandas")
    frame = runs.to_pandas()
    assert frame.index.names == ["seed", "step"] and len(frame) == 3 * 7
    assert frame.loc[(5, 2), "a"] == runs[1].history.at(2, "a")


@pytest.mark.slow
def test_what_was_never_measured_as_a_table():
    pytest.importorskip("pandas")
    assert nlicl.train(PROBLEM, measure=None).history.to_pandas().columns.tolist() == ["training_loss", "learning_rate"]
