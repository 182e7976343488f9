"""Grids, keys and records: what tells one cell from another, and that a record depends on nothing else."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlicl.experiments.sweeps.cell import Cell, Stop, Work, lost, run_cells
from nlicl.experiments.sweeps.grid import Grid, checked_training, grid_of
from nlicl.experiments.sweeps.measures import measures_of
from nlicl.papers import huang2023, li2024
from nlicl.training import SGD, Adam, InverseTime
from nlicl.training.course import Stopped

SMALL = li2024.Problem(m=8, batch=16, steps=20, length=8)
MEASURES = measures_of("hinge_unseen")
WORK = Work(SMALL, {}, MEASURES)


def key(changes, seed=0, problem=SMALL, training=None, measure="hinge_unseen"):
    return Work(problem, training or {}, measures_of(measure)).key(Cell(tuple(changes.items()), seed))


def test_a_grid_is_the_product_seeds_first():
    grid = grid_of(SMALL, {"alpha": [0.5, 1.0], "beta": (1, 2, 3)}, 2)
    wanted = [
        Cell((("alpha", alpha), ("beta", beta)), seed)
        for alpha, beta, seed in itertools.product([0.5, 1.0], [1, 2, 3], [0, 1])
    ]
    assert list(grid) == wanted and len(grid) == 12 and grid.settings == 6 and grid[3:5] == wanted[3:5]
    assert grid[-1] == wanted[-1]
    with pytest.raises(IndexError):
        grid[12]


def test_settings_one_by_one_and_seeds_of_any_kind():
    grid = grid_of(SMALL, [{"alpha": 0.5, "beta": 1}, {"beta": 2, "alpha": 0.5}], [7, 3])
    assert list(grid) == [Cell((("alpha", 0.5), ("beta", beta)), seed) for beta in (1, 2) for seed in (7, 3)]
    assert grid_of(SMALL, {"alpha": np.array([0.5])}, range(3)).seeds == range(3)
    assert grid_of(SMALL, {"alpha": np.linspace(0.5, 1, 3)}, 1)[1].changes == (("alpha", 0.75),)
    assert type(grid_of(SMALL, {"m": np.array([4])}, 1)[0].changes[0][1]) is int


def test_a_large_grid_costs_nothing():
    grid = grid_of(SMALL, {"m": range(1, 10**6 + 1), "alpha": [0.1, 0.2]}, range(10**9))
    assert len(grid) == 2 * 10**15 and grid[10**15 + 1].seed == 1
    assert len(set(itertools.islice(grid.numbers(3), 1000))) == 1000


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 300))
def test_every_turn_goes_through_all_cells_once(settings, seeds, turn):
    grid = Grid({"m": range(settings)}, range(seeds))
    order = list(grid.numbers(turn))
    assert sorted(order) == list(range(settings * seeds))
    assert turn or order == sorted(order)


@pytest.mark.parametrize(
    ("over", "seeds", "said"),
    [
        ({}, 1, "over is empty"),
        ([], 1, "over is empty"),
        ([{}], 1, "over is empty"),
        ({"alpha": []}, 1, r"over\['alpha'\] is empty"),
        ({"alfa": [1]}, 1, r"which is no setting \(did you mean alpha\?\)"),
        ({"seed": [1]}, 1, "give seeds"),
        ({"seeds": [1]}, 1, "give seeds"),
        ({3: [1]}, 1, "over names 3"),
        ({"alpha": 0.5}, 1, "expected a list of values"),
        ({"alpha": "0.5"}, 1, "expected a list of values"),
        ({"alpha": [0.5, 0.5]}, 1, "twice"),
        ({"alpha": [1, 1.0]}, 1, "twice"),
        ({"alpha": [np.ones(3)]}, 1, "expected numbers, text"),
        ({"alpha": [lambda t: t]}, 1, "expected numbers, text"),
        ([{"alpha": 1}, {"beta": 1}], 1, r"over\[1\]"),
        ([{"alpha": 1}, {"alpha": 1}], 1, "twice"),
        ([3], 1, "over is"),
        (3, 1, "over is 3"),
        ({"alpha": [1]}, 0, "seeds is 0"),
        ({"alpha": [1]}, [], "seed is empty"),
        ({"alpha": [1]}, [1, 1], "1 twice"),
        ({"alpha": [1]}, range(0), "at least one seed"),
        ({"alpha": [1]}, range(-1, 3), "at least 0"),
        ({"alpha": [1]}, "3", "seed is"),
        ({"alpha": [1]}, True, "seed is True"),
        ({"optimizer": ["adamm"]}, 1, "optimizer is 'adamm'"),
        ({"dtype": ["float16"]}, 1, "float64"),
    ],
)
def test_a_grid_that_is_none_is_refused(over, seeds, said):
    with pytest.raises((ValueError, TypeError), match=said):
        grid_of(SMALL, over, seeds)


@pytest.mark.parametrize(
    ("training", "said"),
    [(3, "expected a dict"), ({"out": "x"}, "training has no 'out'"), ({"steps": [lambda: 0]}, "expected numbers")],
)
def test_training_that_a_sweep_does_not_take_is_refused(training, said):
    with pytest.raises((ValueError, TypeError), match=said):
        checked_training(SMALL, training)


def test_what_is_no_problem_is_refused():
    for problem in (3, li2024.Problem, None):
        with pytest.raises(TypeError, match="problem is"):
            grid_of(problem, {"alpha": [1]}, 1)


def test_the_key_tells_settings_apart_and_nothing_else():
    there = key({"alpha": 0.5})
    assert there == key({"alpha": 0.5}) and len(there) == 32
    others = [
        key({"alpha": 0.6}),
        key({"alpha": 0.5}, seed=1),
        key({"alpha": 0.5, "beta": 1.0}),
        key({"alpha": 0.5}, measure="hinge_unseen at 20"),
        key({"alpha": 0.5}, measure="hinge_ood"),
        key({"alpha": 0.5}, training={"steps": 10}),
        key({"alpha": 0.5}, training={"optimizer": Adam()}),
        key({"alpha": 0.5}, training={"optimizer": Adam(beta_1=0.5)}),
        key({"alpha": 0.5}, training={"optimizer": SGD()}),
        key({"alpha": 0.5}, training={"schedule": InverseTime(3.0)}),
        key({"alpha": 0.5}, training={"schedule": InverseTime(4.0)}),
        key({"alpha": 0.5}, problem=replace(SMALL, length=9)),
        key({"alpha": 0.5, "query_attends": True}),
        key({"m": 4}, problem=huang2023.Problem()),
    ]
    assert len({there, *others}) == 1 + len(others)
    # the same cell
    assert there == key({"alpha": 0.5}, problem=replace(SMALL, alpha=0.3))  # which is swept over
    assert there == key({}, problem=replace(SMALL, alpha=0.5))
    assert there == key({"alpha": 0.5, "beta": 2.0}) == key({"beta": 2, "alpha": 0.5})  # 2.0 is what beta is
    assert key({"alpha": 1}) == key({"alpha": 1.0})
    assert key({"query_attends": False}) == key({}) != key({"query_attends": True})


def test_the_key_is_that_of_the_version(monkeypatch):
    before = key({"alpha": 0.5})
    monkeypatch.setattr("nlicl.experiments.sweeps.cell.__version__", "99")
    assert key({"alpha": 0.5}) != before


def test_a_record_depends_on_its_cell_alone():
    cells = [Cell((("alpha", alpha),), seed) for alpha in (0.5, 1.0) for seed in (0, 1, 2)]
    together = run_cells(WORK, cells)
    assert [each.state for each in together] == ["done"] * 6 and len({each.key for each in together}) == 6
    assert run_cells(WORK, cells, threads=3) == together
    assert [run_cells(WORK, [cell], threads=2)[0] for cell in reversed(cells)] == together[::-1]


def boom(run):
    raise ZeroDivisionError("no such number")


def test_whatever_goes_wrong_is_a_record():
    cells = [Cell((("learning_rate", 1e9),), 0), Cell((("alpha", 2.0),), 0), Cell((("alpha", 0.5),), 0)]
    diverged, refused, done = run_cells(WORK, cells)
    assert (diverged.state, refused.state, done.state) == ("diverged", "refused", "done")
    assert "training diverged" in diverged.reason and 0 < diverged.steps < 20 and "alpha is 2.0" in refused.reason
    assert math.isnan(diverged.values["hinge_unseen"]) and math.isfinite(done.values["hinge_unseen"])
    (failed,) = run_cells(Work(SMALL, {}, measures_of(boom)), cells[2:])
    assert failed.state == "failed" and failed.reason == "ZeroDivisionError: no such number"
    record = lost(WORK, cells[2], "its worker was ended")
    assert record.state == "lost" and record.key == done.key and record.over == {"alpha": 0.5}


def test_settings_of_training_are_swept_over_too():
    cells = [Cell((("optimizer", each), ("learning_rate", 0.01), ("dtype", "float32")), 0) for each in (Adam(), SGD())]
    adam, sgd = run_cells(WORK, cells)
    assert adam.state == sgd.state == "done" and adam.values["hinge_unseen"] < sgd.values["hinge_unseen"]
    assert sgd.over == {"optimizer": "SGD()", "learning_rate": 0.01, "dtype": "float32"}


def test_a_stop_ends_runs_between_steps():
    stop = Stop()
    stop.asked = True
    for threads in (1, 2):
        with pytest.raises(Stopped):
            run_cells(WORK, [Cell((), 0), Cell((), 1)], threads=threads, stop=stop)
