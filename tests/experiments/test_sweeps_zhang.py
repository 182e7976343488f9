"""Sweeps of Zhang et al. 2025: exponents of theory are those of the laws; rough versions find them."""

import numpy as np
import pytest

from nlicl.experiments.registry import sweeps
from nlicl.experiments.sweeps.cell import run_cells
from nlicl.experiments.sweeps.laws import fit_power
from nlicl.experiments.sweeps.run import planned
from nlicl.experiments.sweeps.table import Table
from nlicl.papers import zhang2025
from nlicl.papers.zhang2025 import dynamics, reduced

SWEEPS = sweeps("zhang2025")
FOUND = {
    "scaling-init-merged": (-0.10, 0.02), "scaling-init-separate": (-1.07, 0.05), "scaling-learning-rate": (-0.975, 0.03),
    "scaling-length": (-1.03, 0.02), "scaling-d": (1.51, 0.06),
}  # fmt: skip
"""Exponents of the rough versions, with room for another machine's rounding [measured]."""


def test_every_sweep_is_here():
    assert set(FOUND) == set(SWEEPS) and not set(SWEEPS) & set(zhang2025.problems)


def steps(**changes):
    """The law's steps to the drop of merged heads, with weights of a seed."""
    problem = zhang2025.Problem(P="population", **changes)
    start = reduced.reduced(problem.initialize(seed=0))
    return dynamics.merged_half_steps(
        start, problem.Lambda, problem.length, level=0.82, learning_rate=problem.learning_rate, scale=problem.scale
    )


def slope(function, x):
    return np.polyfit(np.log(x), np.log([function(each) for each in x]), 1)[0]


def test_exponents_of_theory_are_those_of_the_laws():
    assert abs(slope(lambda init: steps(init=init), (1e-90, 1e-80))) < 0.01
    assert slope(lambda N: steps(length=N, init=1e-90), (10**3, 10**4)) == pytest.approx(-1.0, abs=0.01)
    white = (16, 32, 64)
    assert slope(lambda d: 1 / dynamics.early_rate(np.eye(d) / d), white) == pytest.approx(1.5, abs=1e-12)
    times = [float(dynamics.aligned_time(1.0, v_0, 0.4, 2.0)) for v_0 in (1e-5, 1e-6)]
    assert np.log10(times[1] / times[0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND)
def test_a_rough_sweep_finds_an_exponent(name):
    sweep = SWEEPS[name]
    plan = planned(**sweep.arguments(quick=True))
    names = [each.name for each in plan.work.measures]
    table = Table(plan.grid.names, names, run_cells(plan.work, list(plan.grid), threads=2))
    assert table.ok and np.isfinite(table[names[0]]).all()
    x = {axis: table[axis] for axis in table.names}
    law = fit_power(x, table[names[0]], table["seed"], sweep.training["steps"], theory=sweep.theory, draws=100)
    ((axis, found),) = law.exponents.items()
    expected, room = FOUND[name]
    assert abs(found.value - expected) < room, f"exponent in {axis}"
