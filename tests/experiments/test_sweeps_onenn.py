"""Sweeps of Athreya and Wang: well formed, theory's exponents are those of the laws, and what rough versions find."""

import numpy as np
import pytest

from nlicl.experiments.registry import sweeps
from nlicl.experiments.sweeps.cell import run_cells
from nlicl.experiments.sweeps.laws import fit_power
from nlicl.experiments.sweeps.run import planned
from nlicl.experiments.sweeps.table import Table
from nlicl.papers import onenn2024
from nlicl.papers.onenn2024 import population, theory

SWEEPS = sweeps("onenn2024")
FOUND = {  # the exponent of a rough version
    "scaling-eps": (-2.4, -2.1), "scaling-eta": (-1.01, -0.97), "scaling-N": (0.65, 1.0), "scaling-d": (1.3, 1.8),
    "scaling-K": (0.08, 0.2),
}  # fmt: skip


def slope(function, x):
    return np.polyfit(np.log(x), np.log([function(each) for each in x]), 1)[0]


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_well_formed(name):
    sweep = SWEEPS[name]
    assert "[" in sweep.claim and sweep.notes and sweep.title[0].islower()
    full, quick = (planned(**sweep.arguments(rough)) for rough in (False, True))
    assert full.grid.names == quick.grid.names == tuple(sweep.theory)
    for plan, least, factor in ((full, 6, 4), (quick, 3, 2)):
        (values,) = plan.grid._axes.values()
        values = np.sort(np.array(values, float))
        assert len(values) >= least and values[-1] >= factor * values[0] * (1 - 1e-12)
        steps = np.diff(np.log(values))
        assert steps.max() < 2.1 * steps.min(), f"{name}: the values are not about geometric"
    assert name not in onenn2024.problems


def test_exponents_are_those_of_the_laws():
    """t = d kappa^2 A^2/(3 eta eps^3)."""
    A, axes = theory.loss_constant, {name: next(iter(sweep.over.values())) for name, sweep in SWEEPS.items()}
    found = {
        "scaling-eps": slope(lambda eps: eps**-3, axes["scaling-eps"]),
        "scaling-eta": slope(lambda eta: 1 / eta, axes["scaling-eta"]),
        "scaling-N": slope(lambda N: A(N, 8) ** 2, axes["scaling-N"]),
        "scaling-d": slope(lambda d: d * A(16, d) ** 2, axes["scaling-d"]),
        "scaling-K": slope(lambda K: (1 - 1 / K) ** 2, [10**5, 10**6]),
    }
    for name, exponent in found.items():
        (law,) = SWEEPS[name].theory.values()
        assert law.exponent == pytest.approx(exponent, abs=0.005), name


def test_so_large_a_step_changes_little():
    """Steps of the sweeps against the flow: the time at which the loss comes to 0.05."""
    problem = SWEEPS["scaling-N"].problem
    law = problem.population(seed=0)
    eta, kappa = problem.learning_rate, problem.kappa
    run = population.descend(law.source, problem.sigma, eta=eta, kappa=kappa, steps=260)
    tau = run.tau[np.argmax(kappa * run.loss < 0.05)]
    flow = population.flow(law.source, problem.sigma, [tau - eta * kappa, 1.02 * tau], tolerance=1e-6)
    assert kappa * flow.loss[0] > 0.05 * 0.98 and kappa * flow.loss[1] < 0.05 * 1.01


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND)
def test_what_a_rough_version_finds(name):
    sweep = SWEEPS[name]
    plan = planned(**sweep.arguments(True))
    cells = run_cells(plan.work, list(plan.grid), threads=2)
    table = Table(plan.grid.names, [each.name for each in plan.work.measures], cells)
    law = fit_power(
        {axis: table[axis] for axis in table.names}, table[table.measures[0]], table["seed"], 20_000, draws=100
    )
    low, high = FOUND[name]
    assert low < law.exponents[plan.grid.names[0]].value < high
