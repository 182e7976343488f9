"""Figure 5: claims hold on numbers as they are known and fail on wrong ones; what is measured is what is said."""

import dataclasses

import numpy as np
import pytest

from nlicl import forward
from nlicl.experiments.experiment import Training
from nlicl.experiments.li2024.figures import pruning
from nlicl.experiments.li2024.figures.pruning import COUNTS, MEASURES, ORDERS, REMOVED, TABLES
from nlicl.experiments.li2024.figures.published import published
from nlicl.experiments.registry import figures as load
from nlicl.papers import li2024
from nlicl.papers.li2024 import pruning as library

QUICK = {"quick": True, "start": "calibrated"}
RECIPES = {recipe.name: load("li2024")[recipe.name] for recipe in pruning.RECIPES}
SHARES = COUNTS / 64


def known(name="smallest first", alpha=0.8):
    """Hinge loss, error by the sign of F and at the cut 1/2, as they are on average; a little more for smaller alpha'."""
    hinge = np.interp(COUNTS, [*REMOVED, 64], [*TABLES["calibrated"][name], 1.0]) + (1 - alpha) / 10 - 0.02
    if name == "smallest first":
        hinge[:10] = hinge[0]  # the nine small neurons add nothing
    error = np.full(65, 0.005 * (1 - alpha))
    error[-1] = 1
    return np.array([hinge, error, error + 0.1 * SHARES])


def found_5a():
    norms = np.concatenate([np.linspace(0.14, 0.18, 9), np.linspace(0.35, 0.55, 55)])
    one = {"norms": norms, "small": 9, "small active": 0.0, "large active": 0.5}
    return one | {f"{name}, {alpha}": known(name, alpha) for name in ORDERS for alpha in (0.6, 0.8)}


def found_5b():
    return {f"{alpha}": known("smallest first", alpha) for alpha in (0.6, 0.8, 1.0)}


FOUND = {"fig5a": found_5a, "fig5b": found_5b}


def assemble(name, *each):
    each = each or [FOUND[name](), FOUND[name]()]
    return RECIPES[name].result({"quick": False, "start": "calibrated"}, list(range(len(each))), list(each))


@pytest.mark.parametrize("name", RECIPES)
def test_claims_hold_on_what_is_known(name):
    figure = assemble(name)
    assert figure.ok, [claim for claim in figure.claims if not claim.holds]
    assert figure.name == f"li2024-{name}" and figure.notes and bool(figure.reference) == (name == "fig5a")
    names = [series.name for series in figure.series]
    assert len(set(names)) == len(names) == (2 * 3 * 3 + 2 if name == "fig5a" else 9)
    assert figure.settings["test prompts per seed"][0] == 4000


def shifted(key, row, change, counts=slice(None)):
    def wrong(one):
        one[key] = one[key].copy()
        one[key][row, counts] += change

    return wrong


def replaced(**values):
    return lambda one: one.update({key.replace("_", " "): value for key, value in values.items()})


NO_GAP = np.concatenate([np.linspace(0.1, 0.21, 9), np.linspace(0.22, 0.55, 55)])
WRONG = [
    ("fig5a", replaced(small=0), "neurons below half the median"),
    ("fig5a", replaced(small=22), "neurons below half the median"),
    ("fig5a", replaced(norms=NO_GAP), "across the gap"),
    ("fig5a", replaced(small_active=0.2), "share of prompts on which a small neuron is active"),
    ("fig5a", replaced(large_active=0.1), "share of prompts on which another neuron is active"),
    ("fig5a", shifted("smallest first, 0.8", 0, 0.01, 9), "hinge loss without the small neurons"),
    ("fig5a", shifted("smallest first, 0.8", 0, -0.01, 9), "hinge loss without the small neurons"),
    ("fig5a", shifted("random, 0.8", 0, -0.12, 13), "hinge loss with 13 removed at random, minus the 13 smallest"),
    ("fig5a", shifted("random, 0.8", 0, 0.2, 26), "hinge loss with the 26 largest removed, minus 26 at random"),
    ("fig5a", shifted("largest first, 0.8", 0, -0.15, 26), "hinge loss with the k largest removed, minus k/64"),
    ("fig5a", shifted("smallest first, 0.8", 0, 0.06, 40), "hinge loss, smallest first, mean over seeds"),
    ("fig5a", shifted("random, 0.8", 0, -0.06, 16), "hinge loss, random, mean over seeds"),
    ("fig5a", shifted("largest first, 0.8", 0, 0.11, 19), "hinge loss, largest first, mean over seeds"),
    ("fig5a", shifted("smallest first, 0.8", 1, 0.01, 20), "0-1 error, smallest first or random"),
    ("fig5a", shifted("random, 0.8", 1, 0.01, 26), "0-1 error, smallest first or random"),
    ("fig5b", shifted("0.6", 0, -0.03, 7), "hinge loss at alpha' = 0.6 minus that at 0.8"),
    ("fig5b", shifted("1.0", 0, 0.03, 26), "hinge loss at alpha' = 0.8 minus that at 1.0"),
    ("fig5b", shifted("0.8", 1, 0.01), "0-1 error at alpha' = 0.6 minus that at 0.8"),
    ("fig5b", shifted("1.0", 1, 0.01), "0-1 error at alpha' = 0.8 minus that at 1.0"),
    ("fig5b", shifted("0.8", 0, 0.3, 26), "hinge loss with 26 removed minus hinge loss with none, alpha' = 0.8"),
    ("fig5b", shifted("1.0", 0, 0.5, 0), "hinge loss with 26 removed minus hinge loss with none, alpha' = 1.0"),
]


@pytest.mark.parametrize(("name", "change", "claim"), WRONG)
def test_claims_fail_on_what_is_wrong(name, change, claim):
    broken = FOUND[name]()
    change(broken)
    failing = [one.claim for one in assemble(name, broken, broken).claims if not one.holds]
    assert any(text.startswith(claim) for text in failing), failing


@pytest.mark.parametrize(
    "change", [shifted("largest first, 0.8", 1, 0.5, slice(20, 65)), shifted("random, 0.6", 0, 1.0), replaced(small=9)]
)
def test_what_is_not_claimed_may_be_otherwise(change):
    """Largest first the error may be 1/2, and nothing is claimed at the published alpha'."""
    other = found_5a()
    change(other)
    assert assemble("fig5a", other, other).ok


def test_comparisons_are_with_the_published_curves():
    figure = assemble("fig5a")
    by_name = {one.series: one for one in figure.comparisons}
    assert len(by_name) == 7
    assert {one.reference.partition(" ")[0] for one in figure.comparisons} == {"magnitude", "random", "neuron"}
    one = by_name["0-1 error, random, alpha' = 0.6"]
    assert (one.at, one.theirs, one.ours) == (26, 0.045, pytest.approx(0.002))
    assert one.factor == pytest.approx(22.5) and "22.5" in figure.notes[1]
    assert not any("paper" in claim.claim or "0.6" in claim.claim for claim in figure.claims)


def test_the_published_curves_are_read():
    curves = {series.name: series for series in published("fig5a")}
    removed = [library.number_removed(percent / 100, 64) for percent in range(0, 41, 5)]
    for name in ("magnitude", "random"):
        assert curves[f"{name} pruning (neurons removed of 64)"].x.tolist() == removed
    bars = curves["neuron magnitude, ascending rank"]
    assert bars.x.tolist() == list(range(13)) and np.all(np.diff(bars.y) >= 0)
    assert np.sum(bars.y < 0.2) == 11


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_it_is_drawn(name):
    pytest.importorskip("matplotlib")
    from nlicl.experiments.style import render

    picture = render(RECIPES[name].draw, assemble(name), "png")
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000
    assert picture == render(RECIPES[name].draw, assemble(name), "png")


# ---- Measuring


@pytest.fixture(scope="module")
def runs():
    return {"6 tasks": Training(li2024.Problem(steps=2, batch=8), measure=None).run(0)}


def test_the_run_is_that_of_figure_2():
    for recipe in RECIPES.values():
        assert recipe.runs(QUICK) == {"6 tasks": Training(li2024.Problem())}


@pytest.mark.parametrize("name", RECIPES)
def test_measuring_twice_gives_the_same(name, runs):
    one, two, other = (RECIPES[name].measure(QUICK, seed, runs) for seed in (3, 3, 4))
    assert one.keys() == two.keys() and all(np.array_equal(one[key], two[key]) for key in one)
    assert not all(np.array_equal(one[key], other[key]) for key in one)
    figure = RECIPES[name].result(QUICK, [3, 4], [one, other])
    assert len(figure.claims) == (14 if name == "fig5a" else 7)
    assert figure.settings["test prompts per seed"][0] == 1000


def test_both_figures_measure_the_same_prompts(runs):
    a, b = (RECIPES[name].measure(QUICK, 1, runs) for name in RECIPES)
    for alpha in (0.6, 0.8):
        assert np.array_equal(a[f"smallest first, {alpha}"], b[f"{alpha}"])


def test_prompts_are_out_of_domain_at_their_alpha():
    problem = li2024.Problem().out_of_domain(S_1=1.1)
    for alpha, which in ((0.6, 6), (0.8, 8), (1.0, 10)):
        expected = problem.sample(1000, length=20, alpha=alpha, seed=(7, 4, which)).dense()
        assert np.array_equal(pruning.prompts_at(alpha, 7, QUICK).tokens, expected.tokens)
    assert len(pruning.prompts_at(1.0, 0, QUICK | {"quick": False})) == 4000


def test_activity_is_a_share_of_prompts(runs):
    """Five neurons made small by scaling, which leaves them as active as they were: the least active ones."""
    params, prompts = runs["6 tasks"].params, pruning.prompts_at(0.8, 1, QUICK)
    on = (forward(params, prompts).preactivation > 0).mean(axis=0)
    small = np.argsort(on)[:5]
    W_O = params.W_O.copy()
    W_O[small] *= 0.3
    run = dataclasses.replace(runs["6 tasks"], params=params._replace(W_O=W_O))
    found = RECIPES["fig5a"].measure(QUICK, 1, {"6 tasks": run})
    rest = np.delete(on, small)
    assert (found["small"], found["small active"], found["large active"]) == (5, on[small].max(), rest.min())
    assert on[small].max() < rest.max()


def test_what_is_measured_is_the_error_of_pruned_parameters(runs):
    """At three numbers of removals, through the library's forward pass, by the definition of each error."""
    params = runs["6 tasks"].params
    prompts = pruning.prompts_at(0.6, 5, QUICK)
    assert len(prompts) == 1000
    order = library.order(params, "random", seed=(5, 0))
    got = pruning.errors(params, prompts, order)
    assert got.shape == (len(MEASURES), 65)
    for k in (0, 26, 64):
        F = forward(library.prune(params, order[:k]), prompts).score
        wrong = {
            cut: [not (F[n] > cut if z > 0 else F[n] < cut) for n, z in enumerate(prompts.labels)] for cut in (0, 0.5)
        }
        hinge = np.maximum(0, 1 - prompts.labels * F).mean()
        np.testing.assert_allclose(got[:, k], [hinge, np.mean(wrong[0]), np.mean(wrong[0.5])], rtol=0, atol=1e-12)
    assert got[:, 64].tolist() == [1, 1, np.mean(prompts.labels > 0)]  # F = 0: below the cut 1/2


def test_random_curves_are_means_over_orders(runs):
    found = RECIPES["fig5a"].measure(QUICK, 2, runs)
    params, prompts = runs["6 tasks"].params, pruning.prompts_at(0.8, 2, QUICK)
    each = [pruning.errors(params, prompts, library.order(params, "random", seed=(2, j))) for j in range(2)]
    np.testing.assert_allclose(found["random, 0.8"], np.mean(each, axis=0), rtol=1e-14)
    assert not np.array_equal(each[0], each[1])
    assert len(pruning.orders(params, 2, "random", quick=False)) == 5
    largest = library.order(params, "largest")
    assert np.array_equal(found["largest first, 0.8"], pruning.errors(params, prompts, largest))
    assert np.array_equal(found["norms"], np.linalg.norm(params.W_O, axis=1)[largest[::-1]])
