"""Figures 3, 6 and 7 of Li et al. 2024, GPT-2's: what is trained and measured, claims, files, pictures."""

import csv
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest

from nlicl.experiments.experiment import Training, execute
from nlicl.experiments.li2024.figures import FIGURES, generalization, gpt2, gpt2_layers
from nlicl.experiments.style import render
from nlicl.models.gpt2 import reference
from nlicl.papers import li2024

USUAL = {**gpt2.OPTIONS, "quick": False}
QUICK = USUAL | {"quick": True}
SEEDS = [0, 1, 2]
NAMES = ("fig3a", "fig3b", "fig6", "fig7")


def failing(figure):
    return [claim.claim for claim in figure.claims if not claim.holds]


# ---------------------------------------------------------------- what is trained


def test_all_four_figures_share_a_run():
    runs = {FIGURES[name].runs(USUAL)["gpt2"] for name in NAMES}
    assert len(runs) == 1 and pickle.loads(pickle.dumps(runs)) == runs
    [run] = runs
    assert run.problem == gpt2.USUAL and run.dtype == "float32"
    assert FIGURES["fig3a"].runs(USUAL)["sibling"] == Training(li2024.sibling)


def test_options_change_what_is_trained_and_the_claims_are_then_open():
    changed = USUAL | {"layout": "interleaved", "read": "prefixes", "shortest": None, "shifts": 3, "steps": 7}
    problem = gpt2.problem_of(changed)
    assert (problem.layout, problem.read, problem.shortest, problem.steps) == ("interleaved", "prefixes", None, 7)
    assert len(problem.training_tasks) == 18 and problem.batch == gpt2.USUAL.batch
    assert gpt2.problem_of(QUICK).steps < gpt2.USUAL.steps
    assert gpt2.problem_of(QUICK | {"steps": 7}).steps == 7
    false = gpt2.undetermined([gpt2.fact("a", False, "", ""), gpt2.fact("b", True, "", "")], USUAL)
    assert [claim.holds for claim in false] == [False, True]
    false = gpt2.undetermined([gpt2.fact("a", False, "", ""), gpt2.fact("b", True, "", "")], changed)
    assert [claim.holds for claim in false] == [None, True]


def test_errors_are_counted_prompt_by_prompt():
    problem = li2024.GPT2(width=8, steps=1)
    params, codes = problem.initialize(seed=1), problem.codes(40, 5, seed=2)
    for length in (0, 3, 5):
        prompts = problem.prompts_of(codes, length)
        wrong = [prompts.labels[n, 0] * reference.forward(params, prompts[n]).score[0] <= 0 for n in range(40)]
        assert 0 < sum(wrong) < 40
        assert gpt2.error(params, problem, codes, length) == np.mean(wrong)


# ---------------------------------------------------------------- from training to the picture


@pytest.fixture
def small(monkeypatch):
    """GPT-2 and the one-layer model, small and hardly trained."""
    monkeypatch.setattr(gpt2, "USUAL", replace(gpt2.USUAL, width=4, hidden=20, layers=2, steps=4, batch=6))
    monkeypatch.setattr(gpt2, "QUICK", {})
    monkeypatch.setattr(gpt2, "_size", lambda options: 12)
    monkeypatch.setattr(generalization, "PROBLEM", replace(li2024.sibling, steps=2, batch=4))


def test_figures_are_made_from_runs(small):
    figures = {recipe.name: figure for recipe, figure in execute([FIGURES[name] for name in NAMES], [0, 1], quick=True)}
    again = {recipe.name: figure for recipe, figure in execute([FIGURES["fig3b"]], [1], quick=True)}
    a, b, six, seven = (figures[name] for name in NAMES)
    assert len(a.series) == 2 * len(gpt2.S_1) + 1 and {c.reference for c in a.comparisons} == {
        r.name for r in a.reference
    }
    name = "alpha'=0.8 out-of-domain"
    assert again["fig3b"][name].y[2] in (b[name].low[2], b[name].high[2])  # a seed's numbers depend on that seed alone
    assert b["one layer, alpha'=1.0 in-domain"].x[0] > 0 and b["alpha'=1.0 in-domain"].x[0] == 0
    total = sum(six[f"{kind}, layer 2"].y for kind in gpt2_layers.KINDS)
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert sum("neuron" in series.name for series in seven.series) == 2 * 2 * 5
    for figure in figures.values():
        assert len({series.name for series in figure.series}) == len(figure.series)
        assert {row["series"] for row in csv.DictReader(io.StringIO(figure.to_csv()))} >= {
            s.name for s in figure.series
        }
        assert all(len(value) == 2 and isinstance(value[1], str) for value in figure.settings.values())
        assert all(note for note in figure.notes) and not any("TODO" in note for note in figure.notes)


def test_gpt2_and_the_one_layer_model_see_the_same_prompts():
    """The seeds of their draws are equal, so which contexts match the query is the same."""
    seed = (0, 2, 8)
    ours = gpt2.USUAL.out_of_domain(S_1=0.9).codes(30, 8, 1.0, seed=seed)
    theirs = generalization.PROBLEM.out_of_domain(S_1=0.9).sample(30, 8, 1.0, seed=seed)
    np.testing.assert_array_equal(ours.relevant, theirs.relevant)
    np.testing.assert_array_equal(ours.labels, theirs.labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_drawn(name, small):
    pytest.importorskip("matplotlib")
    [(recipe, figure)] = execute([FIGURES[name]], [0, 1], quick=True)
    picture = render(recipe.draw, figure, "png")
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000
