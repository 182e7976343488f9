"""A model's own descent: Bu et al.'s on wide matrices, against the usual one; bits, interruptions, what it leaves alone."""

import dataclasses
import functools

import numpy as np
import pytest
from draws import assert_close

import nlicl
from nlicl.core.errors import InvalidValue
from nlicl.kernels.layers.loss import NAMES as KIND
from nlicl.kernels.steps import words
from nlicl.papers import bu2024
from nlicl.training import SGD, Adam, Diverged, descent, load_run

PROBLEM = bu2024.Problem(
    dictionary=8, d_x=24, d_y=9, norm_x=4.0, norm_y=4.0, p_z=0.2, m=7, sigma_xi=0.1, sigma_1=0.1, weight_decay=0.01,
    step_offset=400.0, batch=5, steps=60,
)  # fmt: skip
train = functools.partial(nlicl.train, PROBLEM, seed=3)


@pytest.fixture
def wide(monkeypatch):
    """These matrices count as wide. Returns the descents that runs make from here on."""
    made = []

    class Descent(bu2024.words.WordDescent):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(words, "_WIDE", 2)
    monkeypatch.setattr(descent, "_LOOK", 20)
    monkeypatch.setattr(bu2024.words, "WordDescent", Descent)
    return made


def assert_the_same_bits(one, other):
    for x, y in zip((*one.params, one.history.loss), (*other.params, other.history.loss), strict=True):
        np.testing.assert_array_equal(x, y)


def usual(monkeypatch, **options):
    with monkeypatch.context() as narrow:
        narrow.setattr(words, "_WIDE", 10**6)
        return train(**options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.0}, {"loss": "hinge"}, {"trained": ("W_K", "W_O")}, {"prompts": 12}]
)
def test_it_takes_the_way_of_the_usual_descent(wide, monkeypatch, dtype, options):
    got = train(dtype=dtype, measure=None, **options)
    assert len(wide) == 1
    want = usual(monkeypatch, dtype=dtype, measure=None, **options)
    assert len(wide) == 1
    eps = 3000 * np.finfo(dtype).eps
    for one, other in zip((*got.params, got.history.loss), (*want.params, want.history.loss), strict=True):
        assert one.dtype == other.dtype
        assert_close(one, other, eps)
    assert got.settings == want.settings
    for name in set(got.params._fields) - set(options.get("trained", PROBLEM.trained)):
        np.testing.assert_array_equal(getattr(got.params, name), getattr(want.params, name))


def test_looking_does_not_change_a_run(wide):
    """Measurements, `until`, progress and checkpoints bring what was reached out; the same bits with and without."""
    seen = []

    def observe(params):
        seen.append(params)
        return {"norm": float(np.linalg.norm(params.W_Q))}

    told, losses = [], []
    once = train(measure=None)
    many = train(measure=7, observe=observe, progress=lambda t, T, loss: told.append(t))
    asked = train(measure=None, until=lambda x: losses.append(len(x)) or False)
    assert_the_same_bits(once, many)
    assert_the_same_bits(once, asked)
    assert losses == list(range(1, 61)) and told == sorted({*range(20, 61, 20), *range(7, 61, 7)})
    first, last = seen[0].W_Q, seen[-1].W_Q
    np.testing.assert_array_equal(first, PROBLEM.initialize(seed=3).W_Q)  # what was seen stays what it was
    np.testing.assert_array_equal(last, once.params.W_Q)
    assert len(wide) == 3


def test_resumed_it_takes_the_same_way(wide, tmp_path):
    whole = train()
    train(steps=23, out=tmp_path, checkpoint=9)
    assert load_run(tmp_path).step == 23
    assert_the_same_bits(train(out=tmp_path, checkpoint=9, resume=True), whole)


@pytest.mark.parametrize("at", [1, 19, 31])
def test_ctrl_c_keeps_the_step_that_was_made(wide, tmp_path, at):
    def draw(n, *, seed):
        if seed[1] == at:
            raise KeyboardInterrupt
        return PROBLEM.sample(n, seed=seed)

    problem = dataclasses.replace(PROBLEM)
    object.__setattr__(problem, "sample", draw)
    with pytest.raises(KeyboardInterrupt):
        nlicl.train(problem, seed=3, out=tmp_path)
    assert load_run(tmp_path).step == at
    assert_the_same_bits(train(out=tmp_path, resume=True), train())


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_second_ctrl_c_keeps_no_half_a_step(wide, monkeypatch, tmp_path, call):
    """It comes within step 25, when some matrices have taken the step and others have not: what is kept is from step 20."""
    calls = []

    def descend(*arguments):
        calls.append(arguments)
        if len(calls) == 3 * 25 + call:
            raise KeyboardInterrupt
        original(*arguments)

    with monkeypatch.context() as broken:
        original = words.descend
        broken.setattr(words, "descend", descend)
        with pytest.raises(KeyboardInterrupt):
            train(out=tmp_path)
    assert load_run(tmp_path).step == 20
    assert_the_same_bits(train(out=tmp_path, resume=True), train())


def test_prompts_of_another_kind_go_the_usual_way(wide):
    """A sampler of one's own may give codes at one step and tokens at the next."""
    problem = dataclasses.replace(PROBLEM)

    def draw(n, *, seed):
        prompts = PROBLEM.sample(n, seed=seed)
        return prompts.dense() if seed[1] == 7 else prompts

    object.__setattr__(problem, "sample", draw)
    got, want = nlicl.train(problem, seed=3, measure=None), train(measure=None)
    for one, other in zip((*got.params, got.history.loss), (*want.params, want.history.loss), strict=True):
        assert_close(one, other, 3000 * np.finfo(float).eps)
    assert len(wide) == 2


LABELS = np.arange(33) >= 24


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": Adam()},
        {"trained": ("W_Q", "W_V")},
        {"mask": {}},
        {"mask": {"W_Q": np.arange(33) < 23, "W_K": np.arange(33) < 24}},
        {"mask": PROBLEM.mask | {"W_O": np.arange(9) < 4}},
        {"params": PROBLEM.initialize()._replace(W_V=0.5 * PROBLEM.initialize().W_V)},
        {"params": PROBLEM.initialize()._replace(W_K=PROBLEM.initialize().W_K + LABELS)},
        {"params": PROBLEM.initialize(m_b=4)},
        {"params": PROBLEM.initialize(m_a=30)},
        {"prompts": dataclasses.replace(PROBLEM, sigma_xi=0.0).sample(12), "batch": 12},  # by codes
        {"batch": 25},  # more than d_x
    ],
)
def test_anything_else_goes_the_usual_way(wide, options):
    train(steps=2, measure=None, **options)
    assert not wide


def test_prompts_without_noise_take_it_where_they_are_few(wide, monkeypatch):
    quiet = dataclasses.replace(PROBLEM, sigma_xi=0.0).sample(12)
    got = train(measure=None, prompts=quiet, batch=7)
    assert len(wide) == 1
    want = usual(monkeypatch, measure=None, prompts=quiet, batch=7)
    for one, other in zip((*got.params, got.history.loss), (*want.params, want.history.loss), strict=True):
        assert_close(one, other, 3000 * np.finfo(float).eps)


def test_prompts_without_noise_are_not_made_into_tokens(monkeypatch):
    """They are many where they stand for a population: codes are small, tokens are not."""
    problem = bu2024.Problem(sigma_xi=0.0, p_z=0.0, match="iid", length=5)
    monkeypatch.setattr(bu2024.CodedPrompts, "dense", None)
    nlicl.train(problem, prompts="population", steps=1, measure=None)
    nlicl.forward(problem.initialize(), problem.population())


def test_an_optimizer_of_ones_own_is_asked(wide):
    class Mine(SGD):
        """Not SGD itself: its update may be another."""

    train(steps=1, measure=None, optimizer=Mine())
    assert not wide
    train(steps=1, measure=None, optimizer=SGD())
    assert len(wide) == 1


def test_prompts_of_other_sizes_are_refused(wide):
    other = dataclasses.replace(PROBLEM, d_x=25)
    problem = dataclasses.replace(PROBLEM)
    object.__setattr__(problem, "sample", lambda n, *, seed: (other if seed[1] == 4 else PROBLEM).sample(n, seed=seed))
    with pytest.raises(InvalidValue, match="d_x = 25 and d = 34; expected 24 and 33, as those of the first step"):
        nlicl.train(problem, measure=None)


@pytest.mark.parametrize("scale", [1e160, 1e30])
def test_a_run_that_diverges_is_stopped(wide, scale):
    start = PROBLEM.initialize(seed=3)
    with pytest.raises(Diverged, match=r"not finite|the loss is .*e\+") as caught:
        train(measure=None, params=start._replace(W_O=scale * start.W_O), learning_rate=150.0)
    run = caught.value.run
    assert all(np.isfinite(array).all() for array in run.params)
    assert run.step == len(run.history.loss) <= 60


def test_what_a_measurement_of_a_lost_run_says(wide, monkeypatch):
    """Parameters that overflow in the update itself are found when the state catches up."""
    monkeypatch.setattr(descent, "_EXPLODED", np.inf)
    monkeypatch.setattr(words, "descend", lambda W, *_: W.fill(np.inf))
    with pytest.raises(Diverged, match="not finite"):
        train(measure=None)
    assert len(wide) == 1


@pytest.mark.slow
def test_formulas_and_definition_at_the_paper_s_own_size():
    """At a trained point of `bu2024:paper`: the factors against every formula, and against the definition's complex step."""
    problem = bu2024.paper
    blocks = bu2024.words.apart(nlicl.train(problem, steps=60, measure=None).params, problem.d_x)
    prompts = problem.sample(3, seed=(7, 7))
    _, factors = words.factors(prompts.dense().tokens, prompts.labels, problem.d_x, *blocks, KIND["logistic"])
    rng = np.random.default_rng(0)
    for name, (A, B) in zip(("W_Qx", "W_Kx", "W_Oy"), factors, strict=True):
        by_formula = np.mean([bu2024.formulas[name].function(blocks, prompt) for prompt in prompts], axis=0)
        assert_close(A @ B, by_formula, 1e-12 * abs(by_formula).max())
        direction = rng.normal(size=by_formula.shape)
        moved = blocks._replace(**{name: getattr(blocks, name) + 1e-30j * direction})
        slope = np.mean([bu2024.reference.evaluate(moved, prompt)[0].imag / 1e-30 for prompt in prompts])
        assert slope == pytest.approx(np.sum(by_formula * direction), rel=1e-11)
