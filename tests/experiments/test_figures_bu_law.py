"""Exponential law, independence of L and B, success map: claims hold on right data and fail on wrong; what is measured."""

from dataclasses import replace

import numpy as np
import pytest

import nlicl
from nlicl.experiments.bu2024.figures import law, success
from nlicl.experiments.experiment import execute
from nlicl.experiments.registry import figures as load
from nlicl.papers import bu2024
from nlicl.papers.bu2024 import recursion, theory

RECIPES = {recipe.name: load("bu2024")[recipe.name] for recipe in law.RECIPES + success.RECIPES}
FULL, QUICK = {"quick": False}, {"quick": True}
T = law.STEPS


def law_found(seeds=10, mean=None, loss=0.55, starts=None):
    """Runs that all have the mean error, up to 10% from run to run, and single starts that wait and then fall."""
    mean = 0.8 * np.exp(-0.01 * T) if mean is None else mean
    starts = [0.5 * np.exp(-np.maximum(T - wait, 0) / 35) for wait in (0, 100, 200)] if starts is None else starts
    several = 1 + 0.1 * np.linspace(-1, 1, 30)[:, None]
    return [
        {
            "error": several * np.minimum(mean, 0.5),
            "loss": np.full((30, len(T)), loss),
            "attention": np.full((30, len(T)), 0.96),
            "starts": np.repeat(np.array(starts)[:, None], 5, axis=1),
        }
        for _ in range(seeds)
    ]


def cases_found(seeds=10, level=0.96, **wrong):
    """Attention at a level in every case, but for what is wrong: quantity -> (case, value)."""
    one = {case: {"error": np.full((3, len(T)), 0.005), "attention": np.full((3, len(T)), level)} for case in law.CASES}
    for quantity, (case, value) in wrong.items():
        one[case][quantity] = np.full((3, len(T)), value)
    return [{law.case_name(case): values for case, values in one.items()}] * seeds


def maps_found(options=FULL, seeds=10):
    """Shares as they are expected; the rule is right of every run."""
    found = {}
    for name, (_, runs) in success.MAPS.items():
        at = success.cells(options, name)
        if name == "scales":
            share = np.array([success.success(*cell[:2]) for cell in at])
        else:
            share = np.interp(at[:, 2], [0.5, 1.5], [1, 0])
        learned = (np.arange(runs * seeds) + 0.5) / (runs * seeds) < share[:, None]
        found[name] = learned, learned.copy()
    return found


def by_seeds(found, seeds=10):
    parts = {name: [np.split(of, seeds, axis=1) for of in pair] for name, pair in found.items()}
    return [{name: tuple(of[i] for of in pair) for name, pair in parts.items()} for i in range(seeds)]


MADE = {
    "exponential": law_found,
    "independence": cases_found,
    "success-map": lambda: by_seeds(maps_found()),
}


def failing(name, found, options=FULL):
    figure = RECIPES[name].result(options, list(range(len(found))), found)
    return [claim.claim for claim in figure.claims if not claim.holds]


# ---------------------------------------------------------------- claims


@pytest.mark.parametrize("name", RECIPES)
def test_claims_hold_on_what_is_expected(name):
    found = MADE[name]()
    figure = RECIPES[name].result(FULL, list(range(len(found))), found)
    assert figure.ok, [claim for claim in figure.claims if not claim.holds]
    assert figure.name == f"bu2024-{name}" and not figure.reference
    assert len({series.name for series in figure.series}) == len(figure.series)
    assert all("(our r" in claim.claim or "three standard errors" in claim.claim for claim in figure.claims)
    assert RECIPES[name].runs(FULL) == {}
    assert {mark for _, mark in figure.settings.values()} <= {"quoted", "derived", "ours", "set here"}


SLOW = [0.5 * np.exp(-T / 80)] * 3
POWER = [0.4 / (1 + (T / 90) ** 4)] * 3  # 0.1 at 118, 0.01 at 225, 0.001 at 402
WRONG_LAW = [
    ({"mean": 0.8 * np.exp(-0.018 * T)}, ["slope"]),
    ({"mean": 0.8 * np.exp(-0.005 * T)}, ["slope"]),
    ({"mean": 0.2 * np.exp(-0.1 * (T - 180)) + 0.02 * np.exp(-0.005 * T)}, ["R^2"]),
    ({"loss": 0.49}, ["loss at t = 600"]),
    ({"starts": SLOW}, ["steps from error 0.1"]),
    ({"starts": POWER}, ["steps from error 0.1", "the second of these"]),
    ({"starts": [0.5 * np.exp(-T / 35) + 0.002] * 3}, ["steps from error 0.1", "the second of these"]),
]


@pytest.mark.parametrize(("wrong", "claims"), WRONG_LAW)
def test_the_law_fails_on_what_is_wrong(wrong, claims):
    failed = failing("exponential", law_found(**wrong))
    assert all(any(text.startswith(claim) for text in failed) for claim in claims), failed
    if "mean" not in wrong:
        assert len(failed) == len(claims), failed


def test_each_set_of_runs_is_held_to_it():
    """The mean over all has a slope in the range, its second half has not."""
    found = law_found(5) + law_found(5, mean=0.8 * np.exp(-0.02 * T))
    assert [text for text in failing("exponential", found) if text.startswith("slope")]
    figure = RECIPES["exponential"].result(FULL, list(range(10)), found)
    assert "2 sets of 150 runs" in figure.claims[0].claim and len(figure.claims[0].values) == 2


def test_fewer_runs_are_held_to_less_and_say_so():
    figure = RECIPES["exponential"].result(FULL, [0, 1], law_found(2, mean=0.8 * np.exp(-0.018 * T)))
    assert figure.ok and "60 runs (our range)" in figure.claims[0].claim
    found = cases_found(9, level=0.93)
    assert not failing("independence", found) and len(failing("independence", found + found)) == 1


def test_lines_and_crossings_are_what_they_say():
    error = np.tile(0.6 * np.exp(-0.012 * T), (4, 1))
    in_t, in_log_t = law.laws(error)
    np.testing.assert_allclose(in_t, [-0.012, np.log(0.6), 1], rtol=1e-9)
    assert in_log_t.R2 < 0.98
    np.testing.assert_allclose(law.crossings(error), np.log([6, 60, 600]) / 0.012, rtol=1e-9)
    assert np.isnan(law.crossings(np.full((2, len(T)), 0.05))).all()  # from the beginning, and never
    in_t, in_log_t = law.laws(np.tile(3 / (T + 1e-9), (4, 1)))
    np.testing.assert_allclose(in_log_t, [-1, np.log(3), 1], rtol=1e-9)
    assert in_t.R2 < 0.98
    np.testing.assert_allclose(law.log_mean(np.zeros((2, 3))), np.log(1 / 1200))
    low, high = law.slope_interval(law_found(1)[0]["error"])
    assert low == pytest.approx(-0.01, rel=0.02) and high == pytest.approx(-0.01, rel=0.02)


@pytest.mark.parametrize(
    ("wrong", "claims"),
    [
        ({"attention": (law.CASES[3], 0.9665)}, ["attn_+, largest less"]),
        ({"attention": (law.CASES[0], 0.944)}, ["attn_+ at t = 600", "attn_+, largest less"]),
        ({"error": (law.CASES[5], 0.021)}, ["0-1 error at t = 600"]),
    ],
)
def test_independence_fails_on_what_is_wrong(wrong, claims):
    failed = failing("independence", cases_found(**wrong))
    assert len(failed) == len(claims) and all(
        text.startswith(claim) for text, claim in zip(failed, claims, strict=True)
    )


def fewer(found, name, which, share):
    """`found` with so large a share of a map's cells learning, the rule still right of every run."""
    for of in found[name]:
        of[which] = np.arange(of.shape[1]) < round(share * of.shape[1])
    return found


def disagreeing(found, name, which, share):
    """`found` with the rule wrong of a share of runs."""
    learned, rule = found[name]
    rule[which] = learned[which] ^ (np.arange(rule.shape[1]) < share * rule.shape[1])
    return found


SCALES, DECAY = (success.cells(FULL, name) for name in ("scales", "decay"))
CELL = np.flatnonzero((SCALES[:, 0] == 0.05) & (SCALES[:, 1] == 0.1))[0]  # Phi = 0.691
SHARP = np.flatnonzero((DECAY[:, 0] == 0.05) & (DECAY[:, 1] == 0.02))
WRONG_MAPS = [
    (fewer, "scales", CELL, 0.80, "lambda = 0: share that learns less Phi"),
    (fewer, "scales", CELL, 0.58, "lambda = 0: share that learns less Phi"),
    (disagreeing, "scales", slice(None), 0.06, "lambda = 0, Phi < 0.99: share of runs of which the rule is right, all"),
    (disagreeing, "scales", CELL, 0.09, "lambda = 0, Phi < 0.99: share of runs of which the rule is right, any cell"),
    (disagreeing, "decay", slice(None), 0.06, "lambda > 0: share of runs of which the rule is right, all"),
    (disagreeing, "decay", 3, 0.14, "lambda > 0: share of runs of which the rule is right, any cell"),
    (fewer, "decay", SHARP[0], 0.94, "lambda = 0.25 lambda*"),
    (fewer, "decay", SHARP[-1], 0.0125, "lambda = 2 lambda*"),
]


@pytest.mark.parametrize(("change", "name", "which", "share", "claim"), WRONG_MAPS)
def test_maps_fail_on_what_is_wrong(change, name, which, share, claim):
    failed = failing("success-map", by_seeds(change(maps_found(), name, which, share)))
    assert len(failed) == 1 and failed[0].startswith(claim), failed


def test_weight_decay_decides_only_where_sigma_1_is_small():
    """sigma_1 = sigma_0 has failures at 0.25 lambda*, and may have successes at 2 lambda*."""
    mild = np.flatnonzero(DECAY[:, 0] == DECAY[:, 1])
    found = fewer(fewer(maps_found(), "decay", mild[0], 0.8), "decay", mild[-1], 0.05)
    assert not failing("success-map", by_seeds(found))


# ---------------------------------------------------------------- measuring


def test_runs_are_those_of_train_and_the_problems_observer():
    problem = replace(law.PROBLEM, steps=60)
    found = law.trained(problem, 2, 2)
    assert {name: of.shape for name, of in found.items()} == dict.fromkeys(("loss", "error", "attention"), (2, 3))
    for row, seed in enumerate((4, 5)):
        end = nlicl.train(problem, seed=seed, measure=None).params
        seen = bu2024.Observer(problem, n=law.TESTED, seed=seed)(end)
        assert all(found[name][row, -1] == seen[name] for name in found)


def test_single_starts_differ_in_batches_alone():
    problem = replace(law.PROBLEM, steps=30)
    found = law.trained(problem, 0, 2, start=7)
    end = nlicl.train(problem, params=problem.initialize(seed=7), seed=1, measure=None).params
    seen = bu2024.Observer(problem, n=law.TESTED, seed=1)(end)
    assert found["loss"][1, -1] == seen["loss"] and found["loss"][0, -1] != seen["loss"]


def test_outcomes_are_those_of_the_recursion_cell_by_cell():
    cells = np.array([(0.1, 0.02, 0.0), (0.05, 0.1, 0.0), (0.1, 0.02, 2.0)])
    seeds = np.arange(12).reshape(3, 4) + 5
    learned, rule = success.outcomes(cells, seeds, 600)
    for i, (sigma_0, sigma_1, ratio) in enumerate(cells):
        state, r = recursion.random_start(success.WIDTH, sigma_0, sigma_1, seeds[i])
        lam = ratio * theory.lambda_star(sigma_0, 1.5, 1.5, 1, 40)
        o = recursion.run(state, r, recursion.Setting(1, 2.0, 1.5, 2.0, 1.5, lam), np.ones(600)).observed
        np.testing.assert_array_equal(learned[i], o.learned[-1])
        np.testing.assert_array_equal(rule[i], theory.succeeds(o.R[0], o.X[0], theory.early_rate(1.5, 1.5, 1), lam))
    assert learned[0].all() and rule[0].all() and not learned[2].any() and not rule[2].any()


def test_the_rules_curve_goes_from_phi_through_a_half_to_none():
    for sigmas in success.DECAYED:
        curve = success.rule_curve(*sigmas)
        assert np.all(np.diff(curve.y) <= 0) and np.interp(1, curve.x, curve.y) == pytest.approx(0.5, abs=0.06)
        assert curve.y[0] == pytest.approx(success.success(*sigmas), abs=0.04)


def test_no_start_is_in_two_cells_and_seeds_do_not_overlap(monkeypatch):
    seen = []
    monkeypatch.setattr(success, "outcomes", lambda cells, seeds, steps: seen.append((len(cells), seeds)))
    for seed in (0, 1):
        success.measure(FULL, seed, {})
    for first, second in (seen[0::2], seen[1::2]):
        both = np.concatenate([first[1], second[1]], axis=1)
        assert len(both) == first[0] and len(np.unique(both)) == both.size


def test_executed_quickly(monkeypatch):
    """Not its claims, for which runs this short are too few."""
    monkeypatch.setattr(success, "MAPS", {"scales": (300, 2), "decay": (200, 1)})
    monkeypatch.setattr(law, "RUNS", {True: (1, 1)})
    monkeypatch.setattr(law, "RUNS_OF_CASE", {True: 1})
    monkeypatch.setattr(law, "STARTS", (3,))
    monkeypatch.setattr(law, "CASES", law.CASES[:3])
    for recipe, figure in execute(RECIPES.values(), [0], quick=True):
        assert figure.claims and recipe.draw(figure) is not None
        assert "fewer" in figure.notes[-1] or "our range" in figure.claims[0].claim


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", RECIPES)
def test_figures_are_drawn_and_written(name, tmp_path):
    pytest.importorskip("matplotlib")
    found = MADE[name]()
    figure = RECIPES[name].result(FULL, list(range(len(found))), found)
    files = figure.write(tmp_path, RECIPES[name].draw)
    assert [path.suffix for path in files] == [".json", ".csv", ".png"]
    assert files[2].read_bytes().startswith(b"\x89PNG") and files[2].stat().st_size > 10_000
