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


# ---------------------------------------------------------------- claims


def found_3a():
    """What good runs measure: as many errors as prompts without a match."""
    error = np.broadcast_to(0.5 ** np.array(gpt2.lengths_3a(USUAL), float), (len(gpt2.S_1), 9))
    return {"gpt2": error.copy(), "one layer": error.copy()}


def found_3b():
    length = np.array(gpt2.lengths_3b(USUAL), float)
    error = np.stack([[0.5 * (1 - alpha / 2) ** length for alpha in gpt2.ALPHAS]] * 2)
    return {"gpt2": error, "one layer": np.where(length > 0, error, np.nan)}


def found_6():
    steps = np.arange(5)
    same = np.linspace([0.38] * 3, [0.2, 0.5, 0.6], 5).T
    end = np.stack([[same[:, -1], 0.95 - same[:, -1]]] * 2)
    return {"steps": steps, "end": end, "same": same, "other": 0.95 - same, "query": np.full((3, 5), 0.05)}


def found_7():
    growth = np.linspace(1, 20, 5)[:, None, None] * np.linspace(1, 2, 40)
    size = np.broadcast_to(growth, (5, 3, 40)).copy()
    turned = np.broadcast_to(np.linspace(1.5, 0.4, 5)[:, None, None], (5, 3, 40)).copy()
    turned[:, :, ::2] = np.pi - turned[:, :, ::2]
    return {"steps": np.arange(5), "feature": size, "label": size.copy(), "feature_angle": np.full((5, 3, 40), 1.5),
            "label_angle": turned}  # fmt: skip


ASSEMBLED = {
    "fig3a": (found_3a, gpt2.assemble_3a), "fig3b": (found_3b, gpt2.assemble_3b),
    "fig6": (found_6, gpt2_layers.assemble_6), "fig7": (found_7, gpt2_layers.assemble_7),
}  # fmt: skip


def assembled(name, change=None, options=USUAL):
    """The figure of three seeds, all of them changed."""
    make, assemble = ASSEMBLED[name]
    found = [make() for _ in SEEDS]
    for one in found:
        if change is not None:
            change(one)
    return assemble(options, SEEDS, found)


@pytest.mark.parametrize("name", NAMES)
def test_claims_hold_on_what_is_known_and_with_one_seed(name):
    figure = assembled(name)
    assert figure.ok, failing(figure)
    make, assemble = ASSEMBLED[name]
    assert assemble(USUAL, [0], [make()]).ok


def set_to(name, value, *index):
    def change(one):
        one[name][index] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "claim"),
    [
        ("fig3a", set_to("gpt2", 0.2, 2, 1), "error less 1.1 times"),
        ("fig3a", set_to("gpt2", 0.015, 0, slice(2, 9)), "S_1 >= 1 is not needed"),
        ("fig3b", set_to("gpt2", 0.6, 1, 0, 0), "without contexts"),
        ("fig3b", lambda one: one.update(gpt2=one["gpt2"][:, ::-1]), "error falls as alpha' grows"),
        ("fig3b", set_to("gpt2", 0.4, 0, 2, -1), "error at l = 20 over"),
        ("fig6", set_to("same", 0.6, 1, 0), "share of the attention on contexts"),
        ("fig6", set_to("end", 0.3, 0, 0), "largest, in-domain"),
        ("fig7", set_to("feature", 1.0, -1, 2), "neurons whose feature part"),
        ("fig7", set_to("label", 1.0, -1, 2), "neurons whose label part"),
        ("fig7", set_to("feature_angle", 0.5, -1, 1), "largest feature parts"),
        ("fig7", set_to("label_angle", 1.4, -1), "largest label parts"),
    ],
)
def test_claims_fail_on_what_is_wrong(name, change, claim):
    [failed] = failing(assembled(name, change))
    assert claim in failed


def test_attention_that_selects_nothing_fails():
    failed = failing(assembled("fig6", set_to("end", 0.1, 1, 0)))
    assert len(failed) == 2 and all("out-of-domain" in claim for claim in failed)


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
