"""Optimizers: their algorithms to the letter, what holds for every one of them, and runs that stop and go on."""

import functools
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nlicl
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.training import SGD, Adam, AdamW, InverseTime, load_run
from nlicl.training.checkpoint import CHECKPOINT, pack
from nlicl.training.optimizers import OptimizerState, divided_by_zero, named

SMALL = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=12, learning_rate=0.01)
BLOCKS = ("W_Q", "W_K", "W_V", "W_O")
SHAPES = {"A": (3, 4), "b": (5,)}


@dataclass(frozen=True)
class Momentum:
    """An optimizer that a reader may write: heavy-ball momentum. Nothing of the library knows it."""

    rate: float = 0.9
    name: ClassVar[str] = "Momentum"

    def settings(self):
        return {"rate": self.rate}

    def init(self, params):
        return OptimizerState(0, {"velocity": {name: np.zeros_like(W) for name, W in params.items()}})

    def update(self, params, grads, state, eta, weight_decay):
        old = state.moments["velocity"]
        new = {name: self.rate * old[name] + grads[name] + weight_decay * W for name, W in params.items()}
        moved = {name: W - eta * new[name] for name, W in params.items()}
        return moved, OptimizerState(state.updates + 1, {"velocity": new})


ALL = [SGD(), Adam(), AdamW(), Momentum()]
REMEMBERING = [Adam(beta_1=0.8), AdamW(epsilon=1e-6), Momentum()]


def ids(optimizer):
    return optimizer.name


def draws(seed, dtype=float, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: (scale * rng.standard_normal(shape)).astype(dtype) for name, shape in SHAPES.items()}


def train(problem=SMALL, **options):
    return nlicl.train(problem, **{"measure": 5, **options})


def bits(run):
    """Everything that a run is made of."""
    moments = {f"{kind}/{name}": a for kind, blocks in run.optimizer.moments.items() for name, a in blocks.items()}
    arrays = {**run.params._asdict(), **moments, **run.history.measured}
    arrays |= {name: getattr(run.history, name) for name in ("loss", "learning_rate", "steps")}
    return run.step, run.optimizer.updates, {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


# ---------------------------------------------------------------- the algorithms


class Literal:
    """One number under Adam or AdamW, line by line as the papers' algorithms have it."""

    def __init__(self, theta, beta_1=0.9, beta_2=0.999, epsilon=1e-8, decoupled=False):
        self.theta, self.m, self.v, self.t = theta, 0.0, 0.0, 0
        self.beta_1, self.beta_2, self.epsilon, self.decoupled = beta_1, beta_2, epsilon, decoupled

    def step(self, g, eta, decay):
        self.t = self.t + 1
        if not self.decoupled:
            g = g + decay * self.theta
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g**2
        m_hat = self.m / (1 - self.beta_1**self.t)
        v_hat = self.v / (1 - self.beta_2**self.t)
        before = self.theta
        self.theta = before - eta * m_hat / (math.sqrt(v_hat) + self.epsilon)
        if self.decoupled:
            self.theta = self.theta - eta * decay * before


SOME = [{}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}, {"beta_1": 0.0, "beta_2": 0.0, "epsilon": 0.0}]


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("constants", SOME, ids=str)
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_an_update_is_the_algorithm_s(kind, constants, decay):
    optimizer, params = kind(**constants), draws(0)
    twins = {
        name: [Literal(x, **constants, decoupled=kind is AdamW) for x in W.ravel().tolist()]
        for name, W in params.items()
    }
    state = optimizer.init(params)
    for t in range(7):
        grads, eta = draws((1, t), scale=10.0 ** (t % 3)), 0.1 / (1 + t)
        params, state = optimizer.update(params, grads, state, eta, decay)
        for name, each in twins.items():
            for twin, g in zip(each, grads[name].ravel().tolist(), strict=True):
                twin.step(g, eta, decay)
            np.testing.assert_allclose(params[name].ravel(), [twin.theta for twin in each], rtol=1e-13, atol=1e-15)
            np.testing.assert_allclose(
                state.moments["m"][name].ravel(), [twin.m for twin in each], rtol=1e-12, atol=1e-14
            )
            np.testing.assert_allclose(state.moments["v"][name].ravel(), [twin.v for twin in each], rtol=1e-12)
        assert state.updates == t + 1


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_an_update_is_torch_s(kind, decay):
    torch = pytest.importorskip("torch")
    optimizer, params = kind(beta_1=0.8, beta_2=0.95, epsilon=1e-6), draws(0)
    theirs = [torch.nn.Parameter(torch.tensor(W)) for W in params.values()]
    other = getattr(torch.optim, kind.name)(theirs, lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=decay)
    state = optimizer.init(params)
    for t in range(20):
        grads = draws((1, t))
        params, state = optimizer.update(params, grads, state, 0.02, decay)
        for parameter, g in zip(theirs, grads.values(), strict=True):
            parameter.grad = torch.tensor(g)
        other.step()
    for W, parameter in zip(params.values(), theirs, strict=True):
        np.testing.assert_allclose(W, parameter.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", [Adam(), AdamW(beta_1=0.7)], ids=ids)
def test_a_run_is_the_literal_iteration(optimizer):
    """On fresh prompts of (seed, t), for the trained blocks, with the run's eta_t and lambda; the others stay."""
    options = {"seed": 5, "steps": 3, "weight_decay": 0.1, "trained": ("W_O", "W_K"), "schedule": InverseTime(4.0)}
    run = train(optimizer=optimizer, measure=None, **options)
    params = SMALL.initialize(seed=5)
    constants = {**optimizer.settings(), "decoupled": optimizer.name == "AdamW"}
    twins = {name: [Literal(x, **constants) for x in getattr(params, name).ravel().tolist()] for name in ("W_K", "W_O")}
    for t in range(3):
        loss, grads = nlicl.loss_and_grad(params, SMALL.sample(SMALL.batch, seed=(5, t)))
        assert run.history.loss[t] == pytest.approx(loss, rel=1e-12)
        for name, each in twins.items():
            for twin, g in zip(each, getattr(grads, name).ravel().tolist(), strict=True):
                twin.step(g, 0.01 * 4 / (4 + t), 0.1)
            shape = getattr(params, name).shape
            params = params._replace(**{name: np.reshape([twin.theta for twin in each], shape)})
    for name, array in params._asdict().items():
        np.testing.assert_allclose(getattr(run.params, name), array, rtol=0, atol=1e-12, err_msg=name)
        assert (getattr(run.params, name) != getattr(SMALL.initialize(seed=5), name)).any() == (name in twins)


def test_sgd_is_what_there_was():
    assert bits(train()) == bits(train(optimizer=SGD()))
    assert train().optimizer == OptimizerState(0, {})


def test_adam_learns_what_sgd_learns():
    """The published plateau, with a step size of its own."""
    run = nlicl.train(li2024.Problem(), steps=150, optimizer=Adam(), learning_rate=0.01, measure=150)
    assert run.history["hinge_unseen"][0] > 0.99 and run.history["hinge_unseen"][-1] < 0.05


# ---------------------------------------------------------------- what holds for all prompts and parameters

NUMBERS = st.floats(1e-6, 1e6)
SIGNED = st.builds(lambda x, minus: -x if minus else x, NUMBERS, st.booleans())
LISTS = st.lists(st.tuples(SIGNED, SIGNED), min_size=1, max_size=4)


def blocks(*columns):
    return [{"W": np.array(column)} for column in columns]


@given(LISTS, st.floats(0, 0.99), st.floats(0, 0.9999), st.floats(1e-4, 1.0), st.sampled_from([Adam, AdamW]))
def test_the_first_step_is_eta_sign_g(pairs, beta_1, beta_2, eta, kind):
    params, grads = blocks(*zip(*pairs, strict=True))
    optimizer = kind(beta_1, beta_2, epsilon=0)
    new, _ = optimizer.update(params, grads, optimizer.init(params), eta, 0.0)
    want = params["W"] - eta * np.sign(grads["W"])
    np.testing.assert_allclose(new["W"], want, rtol=0, atol=1e-9 * eta + 1e-15 * abs(params["W"]).max())


@given(st.integers(0, 2**32 - 1), st.integers(-20, 20), st.floats(1e-3, 1e3), st.integers(1, 5))
def test_the_direction_does_not_depend_on_the_gradient_s_scale(seed, exponent, factor, steps):
    """With epsilon = 0: exactly for powers of 2, which scale without rounding."""
    start, optimizer = draws(0), Adam(epsilon=0)
    runs = []
    for c in (1.0, 2.0**exponent, factor):
        params, state = start, optimizer.init(start)
        for t in range(steps):
            grads = {name: c * g for name, g in draws((seed, t)).items()}
            params, state = optimizer.update(params, grads, state, 0.1, 0.0)
        runs.append(params)
    for name in SHAPES:
        np.testing.assert_array_equal(runs[1][name], runs[0][name])
        np.testing.assert_allclose(runs[2][name], runs[0][name], rtol=0, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.floats(0, 0.99), st.sampled_from([float, np.float32]))
def test_adamw_without_decay_is_adam(seed, steps, beta_1, dtype):
    ours = []
    for kind in (Adam, AdamW):
        params, optimizer = draws(0, dtype), kind(beta_1)
        state = optimizer.init(params)
        for t in range(steps):
            params, state = optimizer.update(params, draws((seed, t), dtype), state, 0.1, 0.0)
        ours.append((params, state))
    (adam, one), (adamw, other) = ours
    for name in SHAPES:
        np.testing.assert_array_equal(adam[name], adamw[name])
        for kind in ("m", "v"):
            np.testing.assert_array_equal(one.moments[kind][name], other.moments[kind][name])


@given(st.floats(1e-3, 0.5), st.floats(1e-3, 1.0), st.integers(1, 20), st.sampled_from([SGD(), AdamW()]))
def test_decay_alone_shrinks(eta, decay, steps, optimizer):
    """By 1 - eta lambda a step, whatever the block's size."""
    start = draws(3)
    params, state, zero = start, optimizer.init(start), {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for _ in range(steps):
        params, state = optimizer.update(params, zero, state, eta, decay)
    for name in SHAPES:
        np.testing.assert_allclose(params[name], (1 - eta * decay) ** steps * start[name], rtol=1e-12)


def test_coupled_decay_goes_through_the_moments():
    """Adam with decay is Adam without it on the gradient of the loss and (lambda/2) |theta|^2. It is not AdamW."""
    params, grads, adam = draws(0), draws(1), Adam()
    coupled, _ = adam.update(params, grads, adam.init(params), 0.1, 0.3)
    summed = {name: grads[name] + 0.3 * params[name] for name in SHAPES}
    want, _ = adam.update(params, summed, adam.init(params), 0.1, 0.0)
    decoupled, _ = AdamW().update(params, grads, AdamW().init(params), 0.1, 0.3)
    for name in SHAPES:
        np.testing.assert_allclose(coupled[name], want[name], rtol=0, atol=1e-15)  # the sum is rounded once, not twice
        assert abs(coupled[name] - decoupled[name]).max() > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", ALL, ids=ids)
def test_an_update_keeps_the_dtype_and_what_it_is_given(optimizer, dtype):
    params, grads = draws(0, dtype), draws(1, dtype)
    state = optimizer.init(params)
    kept = [array.copy() for array in (*params.values(), *grads.values())]
    for _ in range(2):
        before = {kind: {n: a.copy() for n, a in each.items()} for kind, each in state.moments.items()}
        new, after = optimizer.update(params, grads, state, 0.1, 0.01)
        for kind, each in before.items():
            for name, array in each.items():
                np.testing.assert_array_equal(state.moments[kind][name], array)
        state = after
    for one, other in zip(kept, (*params.values(), *grads.values()), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {array.dtype for array in new.values()} == {np.dtype(dtype)}
    for each in state.moments.values():
        assert {array.dtype for array in each.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("optimizer", ALL, ids=ids)
def test_a_run_in_float32_stays_there(optimizer, tmp_path):
    run = train(dtype=np.float32, optimizer=optimizer, weight_decay=0.01, out=tmp_path)
    stored = load_run(tmp_path)
    for each in (run, stored):
        assert {array.dtype for array in each.params} == {np.dtype(np.float32)}
        for moments in each.optimizer.moments.values():
            assert {array.dtype for array in moments.values()} == {np.dtype(np.float32)}


# ---------------------------------------------------------------- masks


@settings(max_examples=10)
@given(seed=st.integers(0, 100), optimizer=st.sampled_from(ALL), dtype=st.sampled_from([np.float32, np.float64]))
def test_what_a_mask_keeps_stays_as_it_is(seed, optimizer, dtype):
    """Its bits, -0.0 too, and the moments of it, whatever the optimizer; of the rest every entry moves."""
    rng = np.random.default_rng(seed)
    mask = {"W_Q": rng.random((11, 11)) < 0.5, "W_O": rng.random(11) < 0.5, "a": rng.random(7) < 0.5}
    start = nlicl.Params(*(rng.normal(size=array.shape) for array in SMALL.initialize()))
    start.W_Q[0], start.W_Q[1] = -0.0, 0.0
    run = train(
        params=start, mask=mask, optimizer=optimizer, dtype=dtype, weight_decay=0.1, measure=None, loss="logistic",
        trained=("W_Q", "W_K", "W_O"),
    )  # fmt: skip
    for name in ("W_Q", "W_O"):
        before, after = getattr(start, name).astype(dtype), getattr(run.params, name)
        kept = ~np.broadcast_to(mask[name], before.shape)
        assert after[kept].tobytes() == before[kept].tobytes()
        assert np.mean(after[~kept] != before[~kept]) > 0.7  # W_Q may have entries without gradient and decay
        for moments in run.optimizer.moments.values():
            assert not moments[name][kept].any() and moments[name][~kept].any()
    assert (start.W_K.astype(dtype) != run.params.W_K).any() and "W_V" not in run.optimizer.moments.get("m", {})
    for name in ("W_V", "a"):  # do not train, with a mask or without
        np.testing.assert_array_equal(getattr(run.params, name), getattr(start, name).astype(dtype))


def test_a_problem_s_own_mask_goes_for_every_optimizer():
    run = nlicl.train(bu2024.small, steps=5, optimizer=AdamW(), learning_rate=0.01, measure=None)
    for W in (run.params.W_Q, run.params.W_K, *(m[n] for m in run.optimizer.moments.values() for n in ("W_Q", "W_K"))):
        assert not W[:, bu2024.small.d_x :].any() and W[:, : bu2024.small.d_x].any()


# ---------------------------------------------------------------- stopped and resumed


@pytest.mark.parametrize("optimizer", ALL, ids=ids)
@settings(max_examples=6)
@given(stop=st.integers(0, 9), steps=st.integers(0, 9), every=st.integers(1, 4), dtype=st.sampled_from(["f4", "f8"]))
def test_resumed_is_uninterrupted(tmp_path_factory, optimizer, stop, steps, every, dtype):
    """Bitwise: parameters, moments, their number, losses, measurements."""
    folder = tmp_path_factory.mktemp("run")
    options = {"seed": 9, "measure": 3, "checkpoint": every, "schedule": InverseTime(30.0), "weight_decay": 0.01}
    options |= {"optimizer": optimizer, "mask": {"W_O": np.arange(11) < 6}, "dtype": np.dtype(dtype)}
    train(steps=min(stop, steps), out=folder, **options)
    resumed = train(steps=steps, out=folder, resume=True, **options)
    want = bits(train(steps=steps, **options))
    assert bits(resumed) == bits(load_run(folder)) == want
    if optimizer != SGD():
        assert want[1] == steps


def test_ctrl_c_keeps_what_the_optimizer_remembers(tmp_path):
    def progress(t, total, loss):
        if t == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path, progress=progress, optimizer=Adam())
    assert load_run(tmp_path).optimizer.updates == 7
    assert bits(train(out=tmp_path, resume=True, optimizer=Adam())) == bits(train(optimizer=Adam()))


def test_a_run_that_is_packed_again_goes_on(tmp_path):
    want = train(optimizer=Adam(), out=tmp_path / "whole")
    train(optimizer=Adam(), steps=5, out=tmp_path / "run")
    (tmp_path / "run" / CHECKPOINT).write_bytes(pack(load_run(tmp_path / "run")))
    assert bits(train(optimizer=Adam(), out=tmp_path / "run", resume=True)) == bits(want)


def test_the_population_by_adam(tmp_path):
    """Steps of which the bound for gradient descent says nothing."""
    problem = huang2023.Problem(K=4, length=9, steps=40)
    with pytest.raises(ValueError, match="learning_rate is 100 with max p"):
        nlicl.train(problem, learning_rate=100)
    options = {"optimizer": Adam(), "learning_rate": 100, "measure": None}
    assert nlicl.train(problem, steps=3, **options).step == 3
    options["learning_rate"] = 0.2
    nlicl.train(problem, steps=11, out=tmp_path, **options)
    resumed, whole = nlicl.train(problem, out=tmp_path, resume=True, **options), nlicl.train(problem, **options)
    assert bits(resumed) == bits(whole) and whole.history.loss[-1] < 0.2 * whole.history.loss[0]


@pytest.mark.parametrize(
    ("there", "here", "message"),
    [
        (None, Adam(), "optimizer is 'SGD' there and 'Adam' here"),
        (Adam(), None, "optimizer is 'Adam' there and 'SGD' here"),
        (Adam(), AdamW(), "optimizer is 'Adam' there and 'AdamW' here"),
        (Adam(), Adam(beta_1=0.8), "beta_1 is 0.9 there and 0.8 here"),
        (AdamW(), AdamW(beta_2=0.5), "beta_2 is 0.999 there and 0.5 here"),
        (AdamW(), AdamW(epsilon=0.5), "epsilon is 1e-08 there and 0.5 here"),
    ],
    ids=str,
)
def test_another_optimizer_does_not_go_on(tmp_path, there, here, message):
    train(optimizer=there, steps=3, out=tmp_path)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match=f"is of a run with other settings: {message}"):
        train(optimizer=here, out=tmp_path, resume=True)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept


@pytest.mark.parametrize("change", ["a block is missing", "a moment is missing", "another shape", "another dtype"])
def test_a_checkpoint_without_all_that_is_remembered_is_damaged(tmp_path, change):
    train(optimizer=Adam(), steps=3, out=tmp_path)
    run = load_run(tmp_path)
    m, v = dict(run.optimizer.moments["m"]), run.optimizer.moments["v"]
    if change == "a block is missing":
        del m["W_O"]
    elif change == "another shape":
        m["W_O"] = m["W_O"][1:]
    elif change == "another dtype":
        m["W_O"] = m["W_O"].astype(np.float32)
    moments = {"m": m} if change == "a moment is missing" else {"m": m, "v": v}
    (tmp_path / CHECKPOINT).write_bytes(pack(replace(run, optimizer=OptimizerState(3, moments))))
    with pytest.raises(ValueError, match=r"or is damaged .*(it does not hold what Adam remembers|its optimizer)"):
        train(optimizer=Adam(), out=tmp_path, resume=True)


# ---------------------------------------------------------------- files of before


OLD = Path(__file__).parent / "data" / "format-1.npz"


def old_run(**options):
    """The run of which OLD is the checkpoint after 5 steps, written before there were optimizers:

    train(problem, steps=5, seed=3, measure=4, schedule=InverseTime(30.0), weight_decay=0.01, mask=mask, out=folder)
    """
    problem = li2024.Problem(M1=3, M2=2, d_X=6, d_Y=2, m=3, length=4, batch=4, steps=9, learning_rate=0.7)
    settings = {"seed": 3, "measure": 4, "schedule": InverseTime(30.0), "weight_decay": 0.01}
    return nlicl.train(problem, mask={"W_Q": np.arange(8) < 6}, **settings, **options)


def test_a_checkpoint_of_before_loads_and_goes_on(tmp_path):
    shutil.copy(OLD, tmp_path / CHECKPOINT)
    before = load_run(tmp_path)
    assert before.step == 5 and before.optimizer == OptimizerState(0, {})
    assert before.settings["optimizer"] == {"name": "SGD"} and "model" not in before.settings
    assert before.settings["schedule"]["type"] == "nlicl.training.InverseTime"
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / CHECKPOINT).write_bytes(pack(before))  # the same bits in a file of today
    resumed = old_run(out=tmp_path, resume=True)
    assert bits(resumed) == bits(old_run(out=tmp_path / "again", resume=True)) == bits(load_run(tmp_path))
    whole = old_run()  # perhaps on another processor than the file was written on
    assert resumed.step == 9 and resumed.history.steps.tolist() == whole.history.steps.tolist() == [0, 4, 8, 9]
    for got, want in zip(resumed.params, whole.params, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)
    np.testing.assert_allclose(resumed.history.loss, whole.history.loss, rtol=1e-13)
    shutil.copy(OLD, tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match="optimizer is 'SGD' there and 'AdamW' here"):
        old_run(out=tmp_path, resume=True, optimizer=AdamW())


def format_of(folder):
    with np.load(folder / CHECKPOINT, allow_pickle=False) as file:
        return json.loads(str(file["about"]))["format"], sorted(name for name in file if name.startswith("optimizer/"))


@pytest.mark.parametrize("problem", [SMALL, huang2023.Problem(K=3, length=4, counts="infinite")], ids=["li", "huang"])
def test_an_older_nlicl_reads_what_it_can_go_on_with(tmp_path, problem):
    """It would take whatever says format 1, and go on by SGD."""
    options = {"steps": 2, "measure": None, "learning_rate": 0.1}
    nlicl.train(problem, out=tmp_path / "sgd", **options)
    assert format_of(tmp_path / "sgd") == (1, ["optimizer/updates"])
    nlicl.train(problem, out=tmp_path / "adam", optimizer=Adam(), **options)
    version, names = format_of(tmp_path / "adam")
    assert version == 2 and "optimizer/updates" in names and len(names) == 1 + 2 * len(problem.trained)


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Adam(beta_1=1), ValueError, "beta_1 is 1; expected a finite number at least 0 and below 1"),
        (lambda: Adam(beta_2=-0.1), ValueError, "beta_2 is -0.1; expected"),
        (lambda: AdamW(epsilon=-1e-8), ValueError, "epsilon is -1e-08; expected a finite number at least 0"),
        (lambda: AdamW(beta_1="0.9"), TypeError, "beta_1 is '0.9'; expected a number"),
        (lambda: train(optimizer="adam"), TypeError, r"optimizer is 'adam'; expected an object .*nlicl.training.Adam\(\)"),
        (lambda: train(optimizer=Adam), TypeError,
         r"optimizer is the class nlicl.training.Adam; expected an object: Adam\(\)"),
        (lambda: train(optimizer=3), TypeError, "optimizer is 3; expected an object with init and update"),
        (lambda: train(optimizer=Adam(), backend="cuda"), TypeError,
         r"optimizer is Adam, .* a GPU, where only SGD has kernels. Take backend='cpu', .* or optimizer=nlicl.training.SGD"),
        (lambda: named("adagrad", {}), ValueError, "optimizer is 'adagrad'; expected one of 'sgd', 'adam', 'adamw'"),
        (lambda: named("Adam", {"beta": 1}), ValueError, "Adam has no setting 'beta'; it has beta_1, beta_2, epsilon"),
        (lambda: named("sgd", {"beta": 1}), ValueError, "SGD has no setting 'beta'; it has none"),
    ],
)  # fmt: skip
def test_wrong_optimizers(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_kept_as_numbers(tmp_path):
    train(optimizer=Adam(np.float32(0.5), np.float64(0.25)), steps=1, out=tmp_path)
    assert load_run(tmp_path).settings["optimizer"] == {"name": "Adam", "beta_1": 0.5, "beta_2": 0.25, "epsilon": 1e-8}


def test_a_moment_that_overflows_is_divergence(tmp_path):
    """The square of a finite gradient: parameters would stand still, and nobody would know why."""
    start = SMALL.initialize(seed=0)
    start = start._replace(a=start.a * 1e160)
    for optimizer in (Adam(), AdamW()):
        folder = tmp_path / optimizer.name
        with pytest.raises(
            nlicl.Diverged, match=r"at step 0: the optimizer's v is not finite although .* not the cause"
        ) as caught:
            train(params=start, optimizer=optimizer, out=folder, measure=None)
        for run in (caught.value.run, load_run(folder)):
            assert run.step == 0 and run.optimizer.updates == 0
            assert not any(array.any() for array in run.optimizer.moments["v"].values())


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize(("epsilon", "dtype"), [(0.0, "float64"), (0.0, "float32"), (1e-50, "float32")])
def test_epsilon_0_is_divergence_where_there_is_no_gradient(kind, epsilon, dtype):
    """Label columns of W_Q have none. The learning rate is not to blame."""
    message = (
        f"step 0: .* {kind.name} divided by 0 in W_Q: epsilon is {epsilon:g}, 0 in {dtype}, where the gradients were 0"
    )
    with pytest.raises(nlicl.Diverged, match=message) as caught:
        train(optimizer=kind(epsilon=epsilon), dtype=dtype)
    assert "Raise epsilon" in str(caught.value) and "learning rate" not in str(caught.value)


def test_epsilon_is_blamed_where_it_divided_and_nowhere_else():
    """A masked entry has v = 0 as well, and stays finite."""
    state = OptimizerState(1, {"m": {"b": np.zeros(2)}, "v": {"b": np.array([1.0, 0.0])}})
    for block, optimizer, blamed in (
        ([np.inf, 1.0], Adam(epsilon=0), False),
        ([1.0, np.nan], Adam(epsilon=0), True),
        ([1.0, np.inf], AdamW(epsilon=0), True),
        ([1.0, np.inf], AdamW(), False),
        ([1.0, np.inf], SGD(), False),
    ):
        assert (divided_by_zero(optimizer, {"b": np.array(block)}, state) is not None) is blamed
    assert divided_by_zero(Adam(epsilon=0), {"b": np.array([np.inf])}, OptimizerState()) is None


# ---------------------------------------------------------------- from the command line

TINY = ["--set", "M1=4", "--set", "M2=3", "--set", "d_X=8", "--set", "d_Y=3", "--set", "m=7", "--set", "length=5",
        "--set", "batch=6", "--set", "learning_rate=0.01", "--set", "measure=5"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "optimizer"),
    [("adam", Adam()), ("SGD", SGD()), ("AdamW, beta_1=0.8,epsilon=1e-6", AdamW(beta_1=0.8, epsilon=1e-6))],
)
def test_an_optimizer_by_its_name(run, tmp_path, text, optimizer):
    assert run("train", "li2024", *TINY, "--set", f"optimizer={text}", "--steps", 4, "--out", tmp_path)[0] == 0
    assert run("train", "li2024", "--resume", tmp_path, "--steps", 12)[0] == 0
    assert bits(load_run(tmp_path)) == bits(train(optimizer=optimizer))


@pytest.mark.parametrize(
    ("text", "message"),
    [("adagrad", "optimizer is 'adagrad'; expected one of 'sgd', 'adam', 'adamw'"),
     ("adam,0.8", "--set optimizer=adam,0.8: expected a name and settings of it, for example adam,beta_1=0.8"),
     ("adam,beta=0.8", "Adam has no setting 'beta'; it has beta_1, beta_2, epsilon"),
     ("adam,beta_1=2", "beta_1 is 2; expected a finite number at least 0 and below 1"),
     ("adam,beta_1=__import__('os')", "beta_1 is \"__import__('os')\"; expected a number"),
     ("5", "optimizer is '5'; expected one of")],
)  # fmt: skip
def test_wrong_optimizers_on_the_command_line(run, text, message):
    status, out, err = run("train", "li2024", *TINY, "--set", f"optimizer={text}", "--steps", 1)
    assert status == 2 and not out and err.count("\n") == 1 and message in err, err


def test_an_optimizer_of_one_s_own_is_resumed_in_python(run, tmp_path):
    train(optimizer=Momentum(), steps=2, out=tmp_path)
    status, _, err = run("train", "li2024", "--resume", tmp_path)
    assert status == 2 and "was started from Python with an optimizer of its own, Momentum; resume it there" in err


# ---------------------------------------------------------------- an optimizer of one's own that goes wrong


class Own:
    """Gradient descent, except for what is given."""

    name = "Own"

    def __init__(self, **members):
        vars(self).update(members)

    def settings(self):
        return {}

    def init(self, params):
        return OptimizerState()

    def update(self, params, grads, state, eta, weight_decay):
        return {name: W - eta * grads[name] for name, W in params.items()}, state


def remembering(make):
    """It keeps moments m, made of each block."""
    return lambda params: OptimizerState(0, {"m": {name: make(W) for name, W in params.items()}})


def returning(make):
    return lambda params, grads, state, eta, weight_decay: make(params, state)


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"settings": 5}, TypeError, "optimizer.settings is 5; expected a method"),
        ({"init": 5}, TypeError, "optimizer.init is 5; expected a method"),
        ({"update": 5}, TypeError, "optimizer.update is 5; expected a method"),
        ({"name": 5}, TypeError, "optimizer.name is 5; expected a str"),
        ({"settings": lambda: None}, TypeError, r"optimizer.settings\(\) returns None; expected a dict"),
        ({"settings": lambda: {"name": "x"}}, ValueError, "a setting 'name', which is the optimizer's own"),
        ({"init": lambda params: None}, TypeError, "init of the optimizer Own returns None as its state; expected an nlicl"),
        ({"init": lambda params: OptimizerState(-1)}, ValueError, "a state with updates -1; expected an integer, at least 0"),
        ({"init": remembering(lambda W: np.zeros(()))}, ValueError,
         r"init of .* moments 'm' with W_Q as an array of shape \(\) and .*; expected an array of shape \(11, 11\)"),
        ({"init": remembering(lambda W: 1.0)}, TypeError, "moments 'm' with W_Q as 1.0; expected an array of shape"),
        ({"init": remembering(lambda W: W.astype("f4"))}, TypeError, "dtype float32; expected .* dtype float64"),
        ({"init": lambda params: OptimizerState(0, {"m": {}})}, ValueError, "moments 'm' none; expected those that train"),
        ({"update": returning(lambda params, state: None)}, TypeError, "update of the optimizer Own returns None; expected"),
        ({"update": returning(lambda params, state: ([], state))}, TypeError, r"blocks as \[\]; expected a dict"),
        ({"update": returning(lambda params, state: ({}, state))}, ValueError, "blocks none; expected those that train, W_Q"),
        ({"update": returning(lambda params, state: ({**params, "a": np.zeros(7)}, state))}, ValueError,
         "blocks W_Q, W_K, W_V, W_O, a; expected those that train, W_Q, W_K, W_V, W_O, and no others"),
        ({"update": returning(lambda params, state: ({k: W[0] for k, W in params.items()}, state))}, ValueError,
         r"blocks with W_Q as an array of shape \(11,\) .*; expected an array of shape \(11, 11\)"),
        ({"update": returning(lambda params, state: ({k: W.astype("f4") for k, W in params.items()}, state))}, TypeError,
         "blocks with W_Q as an array of .* dtype float32; expected .* dtype float64"),
        ({"update": returning(lambda params, state: ({k: W.tolist() for k, W in params.items()}, state))}, TypeError,
         "blocks with W_Q as a list; expected an array"),
        ({"update": returning(lambda params, state: (params, None))}, TypeError, "update .* returns None as its state"),
        ({"update": returning(lambda params, state: (params, OptimizerState(1, {"m": params})))}, ValueError,
         "update of the optimizer Own returns moments m; expected none, as init does"),
    ],
)  # fmt: skip
def test_what_an_optimizer_returns_is_checked(members, error, message, tmp_path):
    with pytest.raises(error, match=message):
        train(optimizer=Own(**members), measure=None, out=tmp_path / "new")
    assert not list(tmp_path.glob("new/*"))


def test_moments_may_have_any_name(tmp_path):
    def update(params, grads, state, eta, weight_decay):
        return {k: W - eta * grads[k] for k, W in params.items()}, OptimizerState(
            state.updates + 1, {"m/x": dict(grads)}
        )

    own = Own(init=lambda params: OptimizerState(0, {"m/x": {k: 0 * W for k, W in params.items()}}), update=update)
    train(optimizer=own, steps=4, out=tmp_path)
    assert bits(train(optimizer=own, steps=8, out=tmp_path, resume=True)) == bits(train(optimizer=own, steps=8))


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (np.ones(2), "optimizer.rate"),
        (len, "optimizer.rate"),
        ({"a": [1, np.ones(2)]}, r"optimizer.rate.a\[1\]"),
        ({(1, 2): 3}, "optimizer.rate"),
        (1j, "optimizer.rate"),
    ],
)
def test_what_a_checkpoint_does_not_hold_is_refused_before_the_first_step(value, place, tmp_path):
    own = Own(settings=lambda: {"rate": value})
    assert train(optimizer=own, measure=None).step == 12  # nothing is kept
    with pytest.raises(TypeError, match=f"^{place} is .*, which a checkpoint does not hold; expected numbers"):
        train(optimizer=own, measure=None, out=tmp_path / "new")
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Noted(li2024.Problem):
    note: object = None


def test_a_field_that_a_checkpoint_does_not_hold_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"^problem\.note is <built-in function len>, which a checkpoint does not hold"):
        nlicl.train(Noted(note=len), steps=1, measure=None, out=tmp_path)
    with pytest.raises(TypeError, match=r"^schedule.args\[0\] is array"):
        train(schedule=functools.partial(pow, np.ones(1)), steps=0, measure=None, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_kept_as_numbers_wherever_they_stand(tmp_path):
    given = {"rate": np.float32(0.5), "more": (np.int64(3), [np.float64(2.0)])}
    for _ in range(2):
        train(optimizer=Own(settings=lambda: given), out=tmp_path, resume=True)
    stored = load_run(tmp_path).settings["optimizer"]
    assert stored == {"name": "Own", "rate": 0.5, "more": [3, [2.0]]}
    problem = Noted(note=(np.float32(0.5),))
    for steps in (1, 2):
        nlicl.train(problem, steps=steps, measure=None, out=tmp_path / "problem", resume=True)


# ---------------------------------------------------------------- a step of one's own


class Wide:
    """The transformer with a step that returns what it is told to."""

    name, losses = "wide", ("hinge",)
    Params = nlicl.Params

    def __init__(self, change):
        self.change = change
        self.steps = {(nlicl.CodedPrompts, "cpu"): self}

    def forward(self, params, batch):
        return nlicl.forward(params, batch)

    def loss_and_grad(self, params, batch, loss):
        value, grads = nlicl.loss_and_grad(params, batch)
        return value, self.change(grads)

    def definition(self, params, prompt, loss):
        raise NotImplementedError


@pytest.mark.parametrize("optimizer", ALL, ids=ids)
def test_a_run_keeps_its_dtype_whatever_a_step_returns(optimizer, tmp_path):
    model = Wide(lambda grads: nlicl.Params(*(grad.astype(float) for grad in grads)))
    options = {"dtype": np.float32, "optimizer": optimizer}
    first = train(steps=5, out=tmp_path, model=model, **options)
    assert {array.dtype for array in first.params} == {np.dtype(np.float32)}
    resumed = train(steps=10, out=tmp_path, model=model, resume=True, **options)
    assert bits(resumed) == bits(train(steps=10, **options))  # a float32 gradient is the same in float64


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda grads: None, TypeError, "returns a gradient that is None; expected a nlicl.Params"),
        (lambda grads: grads._replace(W_Q=grads.W_Q[0]), ValueError, r"gradient of W_Q as an array of shape \(11,\)"),
        (lambda grads: grads._replace(W_K=grads.W_K * 1j), TypeError, "gradient of W_K as .* dtype complex128"),
        (lambda grads: grads._replace(a=None), TypeError, "gradient of a as None; expected an array of shape"),
    ],
)
def test_what_a_step_returns_is_checked(change, error, message):
    with pytest.raises(error, match=message):
        train(model=Wide(change), measure=None)
