"""The starts of the one-layer model's figures of Li et al., and what the recipes say of the paper's figures."""

from dataclasses import replace

import numpy as np
import pytest

from nlicl.core.errors import InvalidInput
from nlicl.experiments.experiment import Training, execute
from nlicl.experiments.li2024.figures import generalization, pruning, training
from nlicl.experiments.li2024.figures.originals import ORIGINALS
from nlicl.experiments.registry import figures as load
from nlicl.papers import li2024
from nlicl.papers.provenance import MEANINGS

FIGURES = load("li2024")
ONE_LAYER = [name for name, recipe in FIGURES.items() if "start" in recipe.options]
STARTS = {"calibrated": li2024.Problem(), "stated": li2024.stated, "sibling": li2024.sibling}


def starts_of(name):
    return [start for start in STARTS if start != "sibling" or "one-layer" in name]


def test_every_figure_of_the_one_layer_model_has_the_option():
    assert set(ONE_LAYER) == set(ORIGINALS) - {"fig3a", "fig3b", "fig6", "fig7"} and len(ONE_LAYER) == 10
    for name in ONE_LAYER:
        assert FIGURES[name].options == {"start": "sibling" if "one-layer" in name else "calibrated"}


@pytest.mark.parametrize("name", ONE_LAYER)
def test_a_start_is_what_is_trained(name):
    recipe = FIGURES[name]
    for start in starts_of(name):
        runs = recipe.needed(recipe.chosen({"start": start}, False))
        assert Training(STARTS[start]) in runs.values()
        assert all(replace(run.problem, training_tasks=None) == STARTS[start] for run in runs.values())
    for wrong in ("gpt2", "Stated", "", 1, None, ["stated"], *({"sibling"} - set(starts_of(name)))):
        with pytest.raises(InvalidInput, match=r"^start is .*; expected one of .*'calibrated', 'stated'"):
            recipe.chosen({"start": wrong}, False)


def test_every_start_has_its_magnitudes():
    assert set(training.EXPECTED) == set(training.BALANCE) == set(pruning.TABLES) == set(pruning.BOUNDS)
    assert set(training.EXPECTED) == {"calibrated", "stated"} and set(generalization.LEVELS) == set(STARTS)
    for table in (training.EXPECTED, pruning.TABLES, pruning.BOUNDS, generalization.LEVELS):
        assert len({tuple(of) for of in table.values()}) == 1


@pytest.mark.parametrize("start", ["calibrated", "stated"])
def test_the_claims_hold_of_a_run(start):
    """Of seed 0, trained as the figure has it. The published magnitudes of neurons are claimed of the start fitted to them."""
    chosen = [FIGURES[name] for name in ("fig2a", "fig2b", "fig2c", "fig2d", "fig5b")]
    for _, figure in execute(chosen, [0], options={"start": start}):
        assert figure.ok, [claim for claim in figure.claims if not claim.holds]
        assert ("from the start that the paper states" in figure.title) == (start == "stated")
        assert figure.settings["start"] == [start, {"calibrated": "derived", "stated": "quoted"}[start]]
        assert figure.settings["a_scale"][0] == STARTS[start].a_scale
        about = {claim.claim: claim.about for claim in figure.claims}
        assert any(about.values()) and figure.original is ORIGINALS[figure.name[7:]]
        for name in ("their feature magnitude at step 0", "mean label magnitude of the large neurons at step 300"):
            assert about.get(name, "value" if start == "calibrated" else "") == (
                "value" if start == "calibrated" else ""
            )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ONE_LAYER if name[3] in "35"])
def test_the_claims_hold_from_every_start(name):
    for start in starts_of(name):
        [(_, figure)] = execute([FIGURES[name]], [0, 1, 2], options={"start": start})
        assert figure.ok, [claim for claim in figure.claims if not claim.holds]


def test_test_prompts_are_of_the_start():
    """The patterns of the stated start are longer."""
    for start, problem in STARTS.items():
        if start != "sibling":
            options = {"quick": True, "start": start}
            expected = problem.out_of_domain(S_1=1.1).sample(1000, alpha=0.8, seed=(3, 4, 8)).dense().tokens
            np.testing.assert_array_equal(pruning.prompts_at(0.8, 3, options).tokens, expected)


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_known_of_the_papers_figure_is_said_with_marks(name):
    original = FIGURES[name].original
    assert (original is None) == (name == "scaling")
    if original is not None:
        assert original.name.startswith(f"Figure {name[3]}") and original.unknown
        marks = {part.partition("]")[0] for part in original.known.split("[")[1:]}
        assert marks and marks <= set(MEANINGS)
