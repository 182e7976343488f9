"""Figures of Huang et al. 2023: claims hold on what is measured and fail on what is wrong; every seed gives the same."""

import numpy as np
import pytest

from nlicl.experiments.experiment import execute
from nlicl.experiments.huang2023.figures import common, finite, loss, phases, times
from nlicl.experiments.page import page
from nlicl.experiments.registry import figures as load
from nlicl.papers.huang2023 import reduced, theory
from nlicl.papers.huang2023.phases import NEVER

FIGURES = load("huang2023")
OURS = ("phases", "loss", "times", "finite")  # about the theory; those of the experiment have tests of their own
FULL = {"quick": False}


def finite_found(**wrong):
    """What is known, for the lengths of the table: `wrong` replaces (name, N) in the exact or the sampled steps."""
    exact, sampled = {}, {}
    for N, steps in finite.TABLE.items():
        floors = [reduced.floor(finite.query(kind, N)) for kind in finite.KINDS]
        exact[N] = {"steps": np.array(steps, float), "floors": np.array(floors) * wrong.get("floors", 1)}
        sampled[N] = np.array(steps, float)
    for where, table in (("exact", exact), ("sampled", sampled)):
        for (name, N), value in wrong.get(where, {}).items():
            row = table[N]["steps"] if where == "exact" else table[N]
            row[finite.NAMES.index(name)] = value
    return {"exact": exact, "sampled": sampled}


def found(name):
    return finite_found() if name == "finite" else FIGURES[name].measure(FULL, 0, {})


def changed(one, name, **moments):
    """`one` with times of one of its runs replaced: factors on tau and step, or a Moment."""
    times = dict(one[name]["times"])
    for key, change in moments.items():
        old = times[key]
        times[key] = old._replace(tau=old.tau * change, step=old.step * change) if isinstance(change, float) else change
    return {**one, name: {**one[name], "times": times}}


def bent(one, name, field, i, value):
    """`one` with one number of a curve replaced."""
    values = getattr(one[name]["points"], field).copy()
    values[i] = value
    return {**one, name: {**one[name], "points": one[name]["points"]._replace(**{field: values})}}


def pointed(one, name, key, **fields):
    """`one` with what was found at a time replaced."""
    moment = one[name]["times"][key]
    return changed(one, name, **{key: moment._replace(point=moment.point._replace(**fields))})


def failing(name, one, options=FULL):
    figure = FIGURES[name].result(options, [0, 1], [one, one])
    return [claim.claim for claim in figure.claims if not claim.holds]


# ---------------------------------------------------------------- claims


@pytest.mark.parametrize("name", OURS)
def test_claims_hold_on_what_is_known(name):
    one = found(name)
    figure = FIGURES[name].result(FULL, [0, 1], [one, one])
    assert figure.ok, [claim for claim in figure.claims if not claim.holds]
    assert figure.name == f"huang2023-{name}" and not figure.reference and not figure.comparisons
    assert len({series.name for series in figure.series}) == len(figure.series)
    assert common.NO_CURVE in figure.notes and common.MARKS in figure.notes
    marks = ("our reference run", "derived", "recalled bound", "our range")
    assert all(any(f"({mark}" in claim.claim for mark in marks) or "derived" in claim.claim for claim in figure.claims)
    assert FIGURES[name].runs(FULL) == {} and FIGURES[name].options == {}
    assert all(mark in ("set here", "derived") for _, mark in figure.settings.values())


RARE, OTHER = phases.rare(0.5), phases.rare(0.8)
WRONG_PHASES = [
    (lambda one: changed(one, "balanced", T_1=1.006), "balanced: T_1 / K^2"),
    (lambda one: changed(one, "balanced", T_2=1.0002), "balanced: T_1, T_2, exactly"),
    (lambda one: changed(one, phases.dominant(0.8), T_dom=1.0002), "T_dom, p_1 = 0.8, exactly"),
    (lambda one: changed(one, phases.dominant(0.5), T_dom=0.99), "T_dom, p_1 = 0.5 (our"),
    (lambda one: changed(one, RARE, cross=1.006), f"{RARE}: T_1, cross, T_2, T_3"),
    (lambda one: changed(one, RARE, T_4=1.006), f"{RARE}: (T_4 - T_3) / K"),
    (lambda one: changed(one, RARE, T_4=NEVER), f"{RARE}: (T_4 - T_3) / K"),
    (lambda one: changed(one, OTHER, T_2=0.2), f"{OTHER}: order of T_1"),
    (lambda one: changed(one, OTHER, cross=0.3), "p_1 = 0.8, where alpha_k = |beta_{k,1}|"),
    (lambda one: pointed(one, "balanced", "T_1", Attn_k=0.52), "balanced: Attn_k"),
    (lambda one: pointed(one, "balanced", "T_2", A=6.76), "balanced: A_k / log K"),
    (lambda one: pointed(one, RARE, "T_2", A=0.47 * np.log(100)), f"{RARE}: A_k / log K"),
    (lambda one: pointed(one, RARE, "T_3", B_1=-0.6 * np.log(100)), f"{RARE}: B_{{k,1}} / log K"),
    (lambda one: pointed(one, OTHER, "T_1", Attn_k=0.0081), f"{OTHER}: Attn_k"),
    (lambda one: pointed(one, OTHER, "T_4", Attn_1=0.0058), f"{OTHER}: Attn_1"),
    (lambda one: bent(one, RARE, "A", 40, 9.0), "A_k never decreases"),
    (lambda one: bent(one, "balanced", "B_o", 40, 1e-6), "A_k + sum of B_{k,n} is 0"),
    (lambda one: bent(one, OTHER, "B_1", 40, 1e-6), "A_k + sum of B_{k,n} is 0"),
]
NAMES = list(loss.QUERIES)
WRONG_LOSS = [
    (lambda one: changed(one, NAMES[0], T_dom=1.2), "T_dom, steps"),
    (lambda one: changed(one, NAMES[1], T_3=1.01), "under-represented: T_1, T_2, T_3"),
    (lambda one: changed(one, NAMES[1], T_4=1.01), "under-represented: T_4"),
    (lambda one: changed(one, NAMES[2], T_2=1.01), "balanced: T_2"),
    (lambda one: bent(one, NAMES[1], "L_k", 0, 0.607), f"{NAMES[1]} at step 0"),
    (lambda one: bent(one, NAMES[2], "L_k", 300, 0.3), f"{NAMES[2]} never increases"),
    (lambda one: pointed(one, NAMES[0], "T_dom", L_k=0.0051), f"{NAMES[0]} at T_dom"),
    (lambda one: pointed(one, NAMES[1], "T_4", L_k=0.0103), f"{NAMES[1]} at T_4"),
    (lambda one: {**one, NAMES[1]: {**one[NAMES[1]], "floor": 1e-5}}, f"{NAMES[1]}: its floor"),
    (lambda one: {**one, NAMES[2]: {**one[NAMES[2]], "floor": 2e-9}}, f"{NAMES[2]}: its floor"),
]


@pytest.mark.parametrize(("name", "wrong", "claim"), [
    *(("phases", *case) for case in WRONG_PHASES), *(("loss", *case) for case in WRONG_LOSS),
])  # fmt: skip
def test_claims_fail_on_what_is_wrong(name, wrong, claim):
    failed = failing(name, wrong(found(name)))
    assert any(text.startswith(claim) for text in failed), failed


@pytest.mark.parametrize("key", times.EXPONENTS)
def test_exponents_that_are_off(key):
    one = found("times")
    tilted = {**one["K"], key: one["K"][key] * np.array(times.SIZES) ** 0.006}
    assert failing("times", {**one, "K": tilted}) == [f"exponent of {key} in K (our reference run)"]
    steep = {**one["K"], key: one["K"][key] * np.array(times.SIZES) ** 0.1}
    assert f"exponent of {key} in K, against theory (derived law)" in failing("times", {**one, "K": steep})


def test_times_above_their_bounds_and_exponents_in_eps():
    one = found("times")
    for key, values in one["K"].items():
        failed = failing("times", {**one, "K": {**one["K"], key: 1e3 * values}})
        source = "derived" if key == "T_3 - T_2" else "recalled"
        assert failed == [f"{key} over its bound with C = 10, any K ({source} bound)"]
    for key, values in one["eps"].items():
        failed = failing("times", {**one, "eps": {**one["eps"], key: values * np.array([1, 1, 1.1])}})
        assert f"exponent of {key} in 1/eps (our reference run)" in failed


WRONG_FINITE = [
    ({"exact": {("T_1", 400): 167}}, "T_1 at N = 400, exact"),
    ({"exact": {("T_4", 400): 771}}, "T_4 at N = 400, exact"),
    ({"exact": {("T_4", 100): 2900}}, "T_4 at N = 100, exact"),
    ({"exact": {("balanced T_2", 100): np.nan}}, "balanced T_2 at N = 100, exact"),
    ({"floors": 0.9}, "floor, balanced"),
    ({"floors": 2.0}, "floor, under-represented"),
    ({"sampled": {("T_4", 2000): 760}}, "T_4 at N = 2000, 2000 sampled"),
    ({"sampled": {("T_4", 400): np.nan}}, "T_4 at N = 400, 2000 sampled"),
]


@pytest.mark.parametrize(("wrong", "claim"), WRONG_FINITE)
def test_finite_claims_fail_on_what_is_wrong(wrong, claim):
    failed = failing("finite", finite_found(**wrong))
    assert any(text.startswith(claim) for text in failed), failed
    assert not failing("finite", finite_found(exact={("T_4", 400): 779, ("balanced T_2", 100): 763}))  # within .5%


# ---------------------------------------------------------------- measuring


def test_deterministic_figures_are_computed_once():
    for name in ("phases", "loss", "times"):
        assert FIGURES[name].measure(FULL, 0, {}) is FIGURES[name].measure({"quick": True}, 5, {})


def test_what_is_drawn_is_what_was_run():
    figure = FIGURES["phases"].result(FULL, [0], [found("phases")])
    run = reduced.flow(reduced.under_represented(100, 0.8))
    A = figure[f"A_k / log K, {OTHER}"]
    np.testing.assert_allclose(A.y[100] * np.log(100), run.at(A.x[100] * 100**2).A, rtol=1e-12)
    assert figure["T_dom, dominant, p_1 = 0.5"].x[0] * 100**2 == pytest.approx(theory.dominant_time(100, 0.5, 0.01))
    assert next(series.name for series in figure.series if "cross" in series.name).startswith(
        "cross, T_1, T_2, T_3, T_4"
    )
    figure = FIGURES["loss"].result(FULL, [0], [found("loss")])
    assert figure["L, balanced"].y[10] == reduced.descend(reduced.balanced(20, 400), eta=5, steps=10).L_k[-1]


def test_sampled_runs_follow_the_exact_ones():
    """Few short runs: each kind of query gets its own frequencies, feature and seed."""
    found = finite.sampled((1000,), 3, 60)[1000]
    again, other = finite.sampled((1000,), 3, 60)[1000], finite.sampled((1000,), 4, 60)[1000]
    np.testing.assert_array_equal(found, again)
    assert np.any(found != other)
    np.testing.assert_allclose(found, (25, 117, 370, 164, 175, 254, 750), rtol=0.06)


def test_a_quick_run_holds_and_not_reached_is_no_error(monkeypatch):
    monkeypatch.setattr(finite, "sampled_lengths", lambda options: (400,))
    [(recipe, figure)] = execute([FIGURES["finite"]], [0, 1], quick=True)
    assert recipe.name == "finite" and figure.ok and figure.seeds == [0, 1]
    assert np.isnan(figure["T_4, exact"].y[0]) and figure["T_4, exact"].x.tolist() == [100, 200, 400]
    assert figure["T_1, sampled"].low[0] <= 165 <= figure["T_1, sampled"].high[0] + 5
    assert not any("sampled" in claim.claim for claim in figure.claims)


@pytest.mark.parametrize("name", OURS)
def test_figures_are_drawn_and_written(name, tmp_path):
    pytest.importorskip("matplotlib")
    one = found(name)
    figure = FIGURES[name].result(FULL, [0, 1], [one, one])
    files = figure.write(tmp_path, FIGURES[name].draw)
    assert [path.suffix for path in files] == [".json", ".csv", ".png"]
    assert files[2].read_bytes().startswith(b"\x89PNG") and files[2].stat().st_size > 10_000
    text = page("huang2023", "A title", [figure])
    assert "No curve of the paper is known." in text and "thin and grey" not in text
