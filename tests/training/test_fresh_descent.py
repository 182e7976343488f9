"""A problem's own descent on fresh prompts: Li et al.'s in compiled code, against the plain loop, to the bit."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl.kernels import descent as kernels
from nlicl.models.transformer import reference
from nlicl.papers import li2024
from nlicl.papers.li2024.descent import FreshDescent
from nlicl.training import SGD, Adam, Diverged, InverseTime, descent, load_run
from nlicl.training.problem import own_fresh_descent

SMALL = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=40, learning_rate=2.0)
train = functools.partial(nlicl.train, SMALL, seed=3)


@pytest.fixture
def calls(monkeypatch):
    """How many steps each call was asked for."""
    asked = []
    usual = FreshDescent.steps

    def steps(self, params, t, losses, *rest):
        asked.append(len(losses))
        return usual(self, params, t, losses, *rest)

    monkeypatch.setattr(FreshDescent, "steps", steps)
    monkeypatch.setattr(
        "nlicl.training.descent._SECONDS", 1e9
    )  # how many steps a call has does not depend on the clock
    return asked


def usual(monkeypatch, *arguments, **options):
    """The same run, by draw, `loss_and_grad` and update."""
    with monkeypatch.context() as patch:
        patch.setattr(li2024.Problem, "fresh_descent", None)
        return nlicl.train(*arguments, **options)


def assert_the_same_bits(one, other):
    assert one.step == other.step
    for x, y in zip((*one.params, one.history.loss), (*other.params, other.history.loss), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    assert list(one.history.measured) == list(other.history.measured)
    for name, values in one.history.measured.items():
        np.testing.assert_array_equal(values, other.history[name], err_msg=name)


def plain(problem, seed, steps, dtype=np.float64, loss="hinge", trained=SMALL.trained, decay=0.0, factor=lambda t: 1.0):
    """The loop as anyone would write it."""
    params = problem.initialize(seed=seed)
    params = params._replace(**{name: array.astype(dtype) for name, array in params._asdict().items()})
    losses = []
    for t in range(steps):
        value, grads = nlicl.loss_and_grad(params, problem.sample(problem.batch, seed=(seed, t)), loss=loss)
        losses.append(value)
        blocks, grads = ({name: getattr(of, name) for name in trained} for of in (params, grads))
        eta = problem.learning_rate * factor(t)
        params = params._replace(**SGD().update(blocks, grads, SGD().init(blocks), eta, decay)[0])
    return params, losses


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "logistic", "weight_decay": 0.03},
        {"loss": "squared", "trained": ("W_K", "a"), "schedule": InverseTime(20.0)},
        {"trained": ("W_V",), "weight_decay": 0.1, "schedule": InverseTime(3.0)},
    ],
)
def test_it_is_the_plain_loop(dtype, options, calls):
    run = train(measure=None, dtype=dtype, **options)
    assert sum(calls) == 40 > len(calls)
    names = {"loss": "loss", "trained": "trained", "weight_decay": "decay", "schedule": "factor"}
    params, losses = plain(SMALL, 3, 40, dtype, **{names[name]: value for name, value in options.items()})
    np.testing.assert_array_equal(run.history.loss, losses)
    for name, array in params._asdict().items():
        assert getattr(run.params, name).dtype == dtype
        np.testing.assert_array_equal(getattr(run.params, name), array, err_msg=name)


@pytest.mark.parametrize(
    "problem",
    [
        dataclasses.replace(SMALL, query_attends=True),
        dataclasses.replace(SMALL, training_tasks=((2, 1),), batch=7),
        dataclasses.replace(SMALL, alpha=1.0, m_a=5, m_b=9, batch=1),
        SMALL.out_of_domain(M1=2),
        li2024.Problem(steps=5),
    ],
)
def test_on_other_problems(problem, calls, monkeypatch):
    run = nlicl.train(problem, seed=2**70, measure=None)
    assert calls
    assert_the_same_bits(run, usual(monkeypatch, problem, seed=2**70, measure=None))


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([None, 1, 7, (3, 29)]), st.integers(1, 50))
def test_however_the_steps_are_spread_over_calls(tmp_path_factory, stop, steps, measure, checkpoint):
    """Resumed, measured, kept, told of each step, asked whether to stop: the same bits."""
    folder, told, stop = tmp_path_factory.mktemp("run"), [], min(stop, steps)
    options = {"measure": measure, "checkpoint": checkpoint, "observe": lambda params: {"W_O": params.W_O}}
    whole = train(steps=steps, measure=measure, observe=options["observe"])
    train(steps=stop, out=folder, **options)
    assert_the_same_bits(train(steps=steps, out=folder, resume=True, **options), whole)
    assert_the_same_bits(load_run(folder), whole)
    one = train(steps=steps, progress=lambda t, *_: told.append(t), until=lambda losses: False, **options)
    assert_the_same_bits(one, whole)
    assert told == list(range(1, steps + 1))


def test_steps_of_one_call_end_where_somebody_looks(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(descent, "_SECONDS", 1e9)  # no call is cut short because the machine is slow
    train(measure=None)
    assert calls == [1, 39]  # the first says how long a step takes
    calls.clear()
    train(measure=None, steps=250)
    assert calls == [1, 100, 100, 49]
    calls.clear()
    train(measure=15)
    assert calls == [1, 14, 15, 10]
    calls.clear()
    train(measure=15, out=tmp_path, checkpoint=12)
    assert calls == [1, 11, 3, 9, 6, 6, 4]
    calls.clear()
    assert train(measure=None, until=lambda losses: len(losses) == 4).step == 4
    assert calls == [1, 39, 3]  # what was made beyond step 4 does not count
    calls.clear()
    monkeypatch.setattr(descent, "_SECONDS", 0)  # nor does a slow one make none
    train(measure=None, steps=3)
    assert calls == [1, 1, 1]


def test_a_run_that_was_stopped_does_not_go_on_when_it_is_resumed(tmp_path):
    """`until` says so of the losses that are there."""
    options = {"until": lambda losses: len(losses) >= 4, "out": tmp_path}
    assert_the_same_bits(train(**options), train(resume=True, **options))


@pytest.mark.parametrize("at", [1, 5, 23, 40])
@pytest.mark.parametrize("who", ["progress", "until"])
def test_it_ends_at_the_step_that_somebody_says(tmp_path, monkeypatch, at, who):
    """Whoever is told of a step and raises, or says stop, finds the run there, and it goes on from there."""
    monkeypatch.setattr(descent, "_SECONDS", 1e9)
    told = []

    def interrupts(t, *_):
        told.append(t)
        if t == at:
            raise KeyboardInterrupt

    if who == "progress":
        with pytest.raises(KeyboardInterrupt):
            train(measure=None, out=tmp_path, progress=interrupts)
        assert told == list(range(1, at + 1))
    else:
        train(measure=None, out=tmp_path, until=lambda losses: len(losses) == at)
    assert_the_same_bits(load_run(tmp_path), train(steps=at, measure=None))
    assert_the_same_bits(train(measure=None, out=tmp_path, resume=True), train(measure=None))


def test_what_a_step_is_told_before_the_run_diverges(monkeypatch):
    """As in the usual way: of each step before, and whoever says stop before that has a run that did not diverge."""
    monkeypatch.setattr(descent, "_SECONDS", 1e9)
    for options in ({"learning_rate": 1e4}, {"learning_rate": 1e30, "loss": "squared", "dtype": np.float32}):
        told, usually = [], []
        with pytest.raises(Diverged) as got:
            train(measure=None, progress=lambda *step: told.append(step), **options)  # noqa: B023
        with pytest.raises(Diverged) as want:
            usual(monkeypatch, SMALL, seed=3, measure=None, progress=lambda *step: usually.append(step), **options)  # noqa: B023
        assert told == usually and len(told) >= 1 and str(got.value) == str(want.value)
        assert train(measure=None, until=lambda losses: len(losses) == len(told), **options).step == len(told)  # noqa: B023


class Halved(li2024.Problem):
    """Draws otherwise, and so has no descent of its own but the one it inherits."""

    def sample(self, n, **options):
        return super().sample(n, **options)[: n // 2]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": Adam()},
        {"optimizer": type("Mine", (SGD,), {})()},
        {"mask": {"W_O": np.arange(11) < 4}},
        {"prompts": 20},
        {"problem": Halved(**dataclasses.asdict(SMALL))},
        {"batch": 40_000, "steps": 1},  # wide: threads within a step
    ],
)
def test_anything_else_goes_the_usual_way(calls, options):
    options = {"problem": SMALL, "steps": 2, "measure": None} | options
    nlicl.train(options.pop("problem"), **options)
    assert not calls


def test_a_model_of_ones_own_goes_the_usual_way(calls):
    class Step:
        @staticmethod
        def loss_and_grad(params, batch, loss):
            return nlicl.loss_and_grad(params, batch, loss=loss)

        forward = None

    class Model:
        name, Params, losses, definition = "mine", nlicl.Params, ("hinge",), staticmethod(reference.evaluate)
        steps = {(nlicl.CodedPrompts, "cpu"): Step()}  # noqa: RUF012

    run = train(model=Model(), measure=None)
    assert not calls
    assert_the_same_bits(run, train(measure=None))


def test_who_is_asked():
    class Instead(Halved):
        fresh_descent = SMALL.fresh_descent

    halved = Halved(**dataclasses.asdict(SMALL))
    mine = dataclasses.replace(SMALL)
    object.__setattr__(mine, "sample", SMALL.sample)
    assert own_fresh_descent(SMALL) == SMALL.fresh_descent
    assert own_fresh_descent(halved) is None and own_fresh_descent(mine) is None
    assert own_fresh_descent(Instead(**dataclasses.asdict(SMALL))) is not None
    assert own_fresh_descent(object()) is None


# ---------------------------------------------------------------- what goes wrong


def start(**scales):
    params = SMALL.initialize(seed=3)
    return params._replace(**{name: scale * getattr(params, name) for name, scale in scales.items()})


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 1e4}, "the loss is .*, and was"),
        ({"learning_rate": 1e30, "loss": "squared"}, "the loss is .*, and was"),
        ({"learning_rate": 1e30, "loss": "squared", "dtype": np.float32}, "not finite"),
        ({"learning_rate": 1e300, "weight_decay": 1e10}, "a parameter is not finite after the update"),
        ({"params": start(W_O=1e160, W_V=1e160)}, "the loss is not finite although"),
        (
            {"params": start(W_O=1e80, a=1e120, W_Q=1e120)},
            "the gradient of .* is not finite although|the loss is not fin",
        ),
    ],
)
def test_a_run_that_diverges_is_the_usual_one(tmp_path, monkeypatch, options, message, at):
    """The same message, at the same step, with the same history and the same last finite parameters; kept as well."""
    options = {"seed": 3, "steps": 40, "measure": at, "observe": lambda params: {"a": params.a}} | options
    with pytest.raises(Diverged, match=message) as got:
        nlicl.train(SMALL, out=tmp_path, **options)
    with pytest.raises(Diverged) as want:
        usual(monkeypatch, SMALL, **options)
    assert str(got.value) == str(want.value)
    assert_the_same_bits(got.value.run, want.value.run)
    assert all(np.isfinite(array).all() for array in got.value.run.params)
    kept = load_run(tmp_path)
    assert kept.step == got.value.run.step and len(kept.history.loss) == kept.step


def test_every_end_is_told_apart():
    """`End` has the numbers that the kernel returns."""
    assert [kernels.End(number).name for number in range(5)] == ["NONE", "EXPLODED", "PARAMETER", "LOSS", "GRADIENT"]


def test_parameters_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match=r"params.W_K\[0, 0\] is nan; expected finite"):
        train(params=start(W_K=np.nan), measure=None)


def test_what_an_observer_keeps_stays_what_it_was():
    seen = []
    train(measure=10, observe=lambda params: seen.append(params) or {"x": 0})
    for step, params in zip((0, 10, 20, 30, 40), seen, strict=True):
        np.testing.assert_array_equal(params.W_O, train(steps=step, measure=None).params.W_O)
    np.testing.assert_array_equal(seen[0].W_O, SMALL.initialize(seed=3).W_O)
