"""The sweeps of the papers by name: what they claim, where it is from, and what a rough version finds."""

import math
import re

import numpy as np
import pytest
from of_nlicl import SHOWN

from nlicl.experiments.registry import sweeps
from nlicl.experiments.sweeps.cell import run_cells
from nlicl.experiments.sweeps.laws import fit_power
from nlicl.experiments.sweeps.run import planned
from nlicl.experiments.sweeps.table import Table
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.papers.provenance import MEANINGS

NAMED = {f"{paper}:{name}": sweep for paper in SHOWN for name, sweep in sweeps(paper).items()}


def slope(function, x):
    """d log function / d log x, by least squares over x."""
    return np.polyfit(np.log(x), np.log([function(each) for each in x]), 1)[0]


def swept(sweep, quick=True):
    """The table of a sweep, run here, and its law."""
    plan = planned(**sweep.arguments(quick))
    table = Table(
        plan.grid.names, [each.name for each in plan.work.measures], run_cells(plan.work, list(plan.grid), threads=2)
    )
    x = {name: table[name] for name in table.names}
    y = table[table.measures[0]]
    return table, fit_power(x, y, table["seed"], sweep.training["steps"], theory=sweep.theory, draws=100)


# ---- What they say


def marks(text):
    """Words in brackets that are marks."""
    return [
        word for inside in re.findall(r"\[([^]]*)]", text) for word in re.findall(r"\w+", inside) if word in MEANINGS
    ]


@pytest.mark.parametrize("name", NAMED)
def test_a_sweep_is_well_formed(name):
    sweep = NAMED[name]
    assert marks(sweep.claim), f"the claim of {name} has no mark"
    assert sweep.theory and sweep.notes and sweep.title[0].islower()
    full, quick = (planned(**sweep.arguments(rough)) for rough in (False, True))
    assert full.grid.names == quick.grid.names == tuple(sweep.theory)
    for theory in sweep.theory.values():
        assert marks(theory.source), f"{theory.source!r} of {name} has no mark"
    assert len(quick.grid) < len(full.grid) and len(full.grid.seeds) in (1, 3, 20)
    for plan, least, factor in ((full, 6, 4), (quick, 3, 2)):
        (values,) = plan.grid._axes.values()
        values = np.sort(np.array(values, float))
        assert len(values) >= least and values[-1] >= factor * values[0] * (1 - 1e-12)
        steps = np.diff(np.log(values))
        assert steps.max() < 2.1 * steps.min(), f"{name}: the values are not about geometric"


def test_every_sweep_is_run_by_a_test():
    here = {name for name in NAMED if name.partition(":")[0] in ("li2024", "huang2023", "bu2024")}
    assert {*FOUND, *(f"huang2023:{name}" for name in FLOW)} == here  # of the others each paper has a test of its own


def test_a_sweep_is_called_as_no_setting_of_its_paper():
    for paper, module in zip(("li2024", "huang2023", "bu2024"), (li2024, huang2023, bu2024), strict=True):
        assert not set(sweeps(paper)) & set(module.problems)


# ---- Exponents of theory are those of the formulas


def number_of_steps(**changes):
    given = {"alpha": 0.5, "M1": 6, "beta": 2.0, "learning_rate": 0.1} | changes
    return li2024.theory.number_of_steps(given.pop("alpha"), **given)


@pytest.mark.parametrize("axis", ["alpha", "beta", "learning_rate", "M1"])
def test_exponents_of_li2024_are_those_of_the_theorem(axis):
    sweep = sweeps("li2024")[f"scaling-{axis.replace('_', '-')}"]
    found = slope(lambda x: number_of_steps(**{axis: x}), sweep.over[axis])
    assert found == pytest.approx(sweep.theory[axis].exponent, abs=1e-9 if axis != "M1" else 0.005)


@pytest.mark.parametrize(
    ("name", "axis", "function", "x"),
    [
        ("scaling-K", "K", lambda K: huang2023.theory.under_represented_bound(K, 0.1) / math.log(K), (10**7, 10**9)),
        ("scaling-K-imbalanced", "K", lambda K: huang2023.theory.leading_times(K, 0.5, 0.1)["T_3"], (10**7, 10**9)),
        ("scaling-K-dominant", "K", lambda K: huang2023.theory.dominant_time(K, 0.5, 1e-3), (10**4, 10**6)),
        ("scaling-p1", "p_1", lambda p_1: huang2023.theory.dominant_time(10**6, p_1, 1e-8), (0.1, 0.8)),
        (
            "scaling-eps", "eps",
            lambda eps: huang2023.theory.phase_bounds("balanced", 5, eps)["T_2"] / math.log(5 * eps**-0.5), (1e-9, 1e-7),
        ),
        (
            "scaling-eps-dominant", "eps",
            lambda eps: huang2023.theory.dominant_bound(eps) / math.log(eps**-0.5), (1e-9, 1e-7),
        ),
    ],
)  # fmt: skip
def test_exponents_of_huang2023_are_those_of_the_bounds_without_logarithms(name, axis, function, x):
    assert slope(function, x) == pytest.approx(sweeps("huang2023")[name].theory[axis].exponent, abs=1e-3)


def escape_step(**changes):
    """Near which step a start with R_0 = 0 and half of its neurons active escapes."""
    p = bu2024.small
    sigma_0, decay = changes.get("sigma_0", p.sigma_0), changes.get("weight_decay", p.weight_decay)
    norms = bu2024.theory.norms(p.norm_x, p.norm_y, p.kappa_x, p.kappa_y)
    X_0 = sigma_0 * (p.m / 2) ** 0.5 / p.m
    T_b = bu2024.theory.escape_time(0.0, X_0, bu2024.theory.early_rate(norms.b, norms.d, p.concepts))
    return float(bu2024.theory.escape_step(T_b, decay, 16000.0))


def test_exponents_of_bu2024_are_those_of_the_early_phase():
    known = sweeps("bu2024")
    assert slope(lambda x: escape_step(weight_decay=x), (1e-6, 1e-5)) == pytest.approx(
        known["scaling-lambda"].theory["weight_decay"].exponent, abs=1e-3
    )
    assert slope(lambda x: escape_step(sigma_0=x, weight_decay=1e-6), (0.05, 0.28)) == pytest.approx(
        known["scaling-sigma0"].theory["sigma_0"].exponent, abs=1e-3
    )


# ---- What a rough version finds


FLOW = {
    "scaling-eps": lambda K, p_1, missed: huang2023.theory.balanced_times(K, missed)[1],
    "scaling-K": lambda K, p_1, missed: huang2023.theory.balanced_times(K, missed)[1],
    "scaling-K-dominant": huang2023.theory.dominant_time,
    "scaling-p1": huang2023.theory.dominant_time,
    "scaling-eps-dominant": huang2023.theory.dominant_time,
}
"""Exact times, of K, p_1 and (1 - Attn_k)^2 at the end."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (i > 0)) for i, name in enumerate(FLOW)]
)
def test_a_rough_sweep_of_huang2023_follows_the_exact_flow(name):
    sweep = sweeps("huang2023")[name]
    table, law = swept(sweep)
    (axis,) = table.names
    level = 0.1 if name == "scaling-K" else 0.001
    flow = []
    for x in table[axis]:
        at = {"K": sweep.problem.K, "p_1": sweep.problem.p_1, "eps": level} | {axis: x}
        missed = 2 * at["eps"] * (1 - 1 / at["K"])  # (1 - Attn_k)^2 where the loss is eps
        flow.append(FLOW[name](int(at["K"]), at["p_1"], missed) / sweep.problem.learning_rate)
    assert table[table.measures[0]] == pytest.approx(flow, rel=0.03, abs=1.5)
    assert law.exponents[axis].value == pytest.approx(np.polyfit(np.log(table[axis]), np.log(flow), 1)[0], abs=0.05)


FOUND = {
    "li2024:scaling-alpha": (-0.86, 0.06),
    "li2024:scaling-beta": (-1.88, 0.08),
    "li2024:scaling-M1": (0.33, 0.06),
    "li2024:scaling-m": (0.02, 0.1),
    "li2024:scaling-batch": (-0.03, 0.1),
    "li2024:scaling-learning-rate": (-0.93, 0.05),
    "huang2023:scaling-K-imbalanced": (1.86, 0.02),
    "bu2024:scaling-L": (-0.01, 0.1),
    "bu2024:scaling-L-at-least-one": (0.08, 0.1),
    "bu2024:scaling-batch": (-0.01, 0.1),
    "bu2024:scaling-lambda": (0.97, 0.15),
    "bu2024:scaling-sigma0": (-1.07, 0.1),
}
"""Exponents of the rough versions, with room for another machine's rounding [measured]; of those that have no exact flow."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND)
def test_a_rough_sweep_finds_an_exponent(name):
    table, law = swept(NAMED[name])
    assert table.ok and np.isfinite(table[table.measures[0]]).all()
    ((found, exponent),) = ((law.exponents[axis], axis) for axis in table.names)
    expected, room = FOUND[name]
    assert abs(found.value - expected) < room, f"exponent in {exponent}"
    assert found.theory is NAMED[name].theory[exponent]
