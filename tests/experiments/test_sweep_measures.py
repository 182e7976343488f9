"""Measures of a sweep: what their texts mean, and that a run that ends early measures what the whole run does."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlicl.experiments.sweeps.cell import Cell, Work, run_cells
from nlicl.experiments.sweeps.measures import ByFunction, Named, Quantity, ends_early, measures_of, parse, resolved
from nlicl.papers import li2024
from nlicl.training.runs import History, Run

SMALL = li2024.Problem(m=8, batch=16, steps=60, length=8, learning_rate=3.0, xi=0.1)


def run_of(losses, steps, **measured):
    losses, steps = np.asarray(losses, float), np.asarray(steps)
    history = History(losses, np.ones(len(losses)), steps, {name: np.asarray(of) for name, of in measured.items()})
    return Run(None, history, len(losses), {})


RUN = run_of([5, 4, 3, 2, 1, 2], [0, 3, 6], hinge=[0.9, 0.4, 0.6], many=[[1, 2], [3, 4], [5, 0]])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("hinge", 0.6),
        ("hinge at 3", 0.4),
        ("hinge at 4", math.nan),  # nothing was measured then
        ("lowest hinge", 0.4),
        ("highest hinge", 0.9),
        ("hinge over 2", 0.5),
        ("hinge over 4", math.nan),  # there are three
        ("many[1]", 0.0),
        ("highest many[1]", 4.0),
        ("steps until hinge < 0.5", 3.0),
        ("steps until hinge < 0.4", math.inf),
        ("steps until hinge <= 0.4", 3.0),
        ("steps until hinge >= 0.9", 0.0),
        ("steps until many[ 0 ] > 3", 6.0),
        ("training_loss", 2.0),
        ("training_loss at 4", 2.0),  # of the fourth step's batch
        ("lowest training_loss", 1.0),
        ("steps until training_loss < 3", 4.0),
        ("steps until training_loss over 2 < 3", 4.0),  # (3 + 2) / 2
        ("steps  until training_loss over 2 <= 1.5", 5.0),
        ("steps until training_loss < 1e-3", math.inf),
        ("steps until training_loss over 7 < 9", math.inf),
    ],
)
def test_what_a_text_means(text, value):
    measure = parse(text)
    np.testing.assert_equal(measure.value(RUN), value)
    assert parse(measure.described).described == measure.described


def test_loss_is_what_is_measured_under_that_name_and_otherwise_the_losses_of_the_steps():
    (of_steps,) = resolved(measures_of("loss"), {"hinge": 1.0})
    assert of_steps.value(RUN) == 2.0
    (measured,) = resolved(measures_of("loss"), {"loss": 1.0})
    assert measured.value(run_of([5, 4], [0, 2], loss=[7.0, 8.0])) == 8.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected for example"),
        ("steps until hinge", "expected a condition"),
        ("hinge < 3", "expected steps until before a condition"),
        ("lowest hinge at 3", "expected either lowest or at 3"),
        ("steps until hinge < 1.2.3", "expected a number for 1.2.3"),
        ("hinge over 0", "at least 1 value"),
        ("steps until < 3", "expected for example"),
        ("hinge; import os", "expected for example"),
        ("hinge\nat 3 3", "expected for example"),
    ],
)
def test_a_text_that_means_nothing_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "measure is 3; expected a text, a function"),
        ([], "measure is empty"),
        ({}, "measure is empty"),
        (["hinge", "hinge"], "'hinge' twice"),
        ({"seed": "hinge"}, "no other column"),
        ({"": "hinge at 3", "b\n": "hinge"}, "a measure is called"),
        ({1: "hinge"}, "a name of measure is a int"),
    ],
)
def test_measures_that_are_none_are_refused(given, said):
    with pytest.raises((ValueError, TypeError), match=said):
        measures_of(given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hinge_unsen", r"did you mean hinge_unseen\?"),
        ("many", r"as many\[0\]"),
        ("many[2]", r"entry of its shape \(2,\)"),
        ("hinge_unseen[0]", "which is one number"),
        ("training_loss[0]", "which is one number"),
    ],
)
def test_a_measure_that_does_not_exist_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        resolved(measures_of(text), {"hinge_unseen": 1.0, "many": np.ones(2)})


def test_a_bound_may_be_swept_over():
    measure = parse("steps until hinge < eps")
    assert measure.bound_in({"eps": 0.5}).value(RUN) == 3.0
    with pytest.raises(TypeError, match="eps is 'x'; expected a number"):
        measure.bound_in({"eps": "x"})


def test_functions_are_measures_and_must_return_a_number():
    (measure,) = measures_of({"last": lambda run: run.history.loss[-1]})
    assert isinstance(measure, ByFunction) and measure.value(RUN) == 2.0 and not measure.is_told
    (other,) = measures_of({"last": lambda run: 1 + run.history.loss[-1]})
    assert measure.described != other.described
    with pytest.raises(TypeError, match="the measure f returns"):
        measures_of({"f": lambda run: run.history.loss})[0].value(RUN)


@given(
    st.lists(st.floats(-3, 3), max_size=30),
    st.integers(1, 5),
    st.floats(-3, 3),
    st.sampled_from(["<", "<=", ">", ">="]),
)
def test_the_first_step_is_the_first_by_definition(losses, over, bound, sign):
    measure = Named("T", "", "until", Quantity("training_loss", (), over), sign=sign, bound=bound)
    holds = {"<": lambda a: a < bound, "<=": lambda a: a <= bound, ">": lambda a: a > bound, ">=": lambda a: a >= bound}
    naive = [t for t in range(over, len(losses) + 1) if holds[sign](np.mean(losses[t - over : t]))]
    assert measure.value(run_of(losses, [])) == (naive[0] if naive else math.inf)


@pytest.mark.parametrize(
    "measures",
    [
        ["steps until hinge_unseen < 0.99"],
        ["steps until training_loss over 3 < 0.99"],
        ["steps until training_loss < 0.98", "steps until hinge_unseen over 2 < 0.995"],
        ["steps until hinge_unseen < 2"],  # before the first step
        ["steps until hinge_unseen < -1"],  # never
    ],
)
def test_a_run_that_ends_early_measures_what_the_whole_run_does(measures):
    cells = [Cell((("alpha", alpha),), seed) for alpha in (0.5, 1.0) for seed in (0, 1)]
    early = Work(SMALL, {"measure": 2}, resolved(measures_of(measures), {"hinge_unseen": 1.0}))
    whole = Work(SMALL, {"measure": 2}, (*early.measures, parse("training_loss")))
    assert ends_early(early.measures) and not ends_early(whole.measures)
    for short, long in zip(run_cells(early, cells), run_cells(whole, cells), strict=True):
        assert short.state == long.state == "done" and long.steps == SMALL.steps
        assert short.values == {name: long.values[name] for name in measures}
        last = max(short.values.values())
        assert short.steps == SMALL.steps if last == math.inf else short.steps <= last + 1


def test_a_run_is_measured_only_where_its_measures_look():
    def times(*texts, **training):
        return Work(SMALL, training, measures_of(list(texts))).times(60, training)

    assert times("training_loss") is None
    assert times("hinge_unseen") == (60,)
    assert times("hinge_unseen", "hinge_unseen at 7") == (60, 7)
    assert times("steps until hinge_unseen < 1") == 20
    assert times("steps until hinge_unseen < 1", "hinge_unseen at 7") == (0, 20, 40, 60, 60, 7)
    assert times("hinge_unseen", measure=5) == 5
