"""Training: each step is the SGD step of the paper, and a run is settled by its settings, however it was interrupted."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
from child import ROOT, python
from hypothesis import given, settings
from hypothesis import strategies as st

import nlicl
from nlicl import CodedPrompts, Params
from nlicl.models.transformer import reference
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.training import SGD, Adam, AdamW, History, InverseTime, Run, load_run
from nlicl.training.checkpoint import CHECKPOINT, pack

SMALL = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=12, learning_rate=0.7)
BLOCKS = ("W_Q", "W_K", "W_V", "W_O")


def train(problem=SMALL, **options):
    return nlicl.train(problem, **{"measure": 5, **options})


def assert_same_run(got, want):
    assert got.step == want.step
    for name, array in want.params._asdict().items():
        np.testing.assert_array_equal(getattr(got.params, name), array, err_msg=name)
    for name in ("loss", "learning_rate", "steps"):
        np.testing.assert_array_equal(getattr(got.history, name), getattr(want.history, name), err_msg=name)
    assert got.optimizer.updates == want.optimizer.updates
    assert list(got.optimizer.moments) == list(want.optimizer.moments)
    for kind, blocks in want.optimizer.moments.items():
        for name, array in blocks.items():
            np.testing.assert_array_equal(got.optimizer.moments[kind][name], array, err_msg=f"{kind} of {name}")
    assert list(got.history.measured) == list(want.history.measured)
    for name, values in want.history.measured.items():
        np.testing.assert_array_equal(got.history[name], values, err_msg=name)


# ---------------------------------------------------------------- one step is the paper's


def literal_gradient(params, prompts, loss, step=1e-30):
    """The mean loss's gradient by complex steps of the definition, entry by entry."""
    grads = {}
    for name, array in params._asdict().items():
        grads[name] = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[index] += 1j * step
            grads[name][index] = np.mean(
                [reference.loss(params._replace(**{name: moved}), prompt, loss).imag / step for prompt in prompts]
            )
    return Params(**grads)


@pytest.mark.parametrize(("loss", "decay", "trained"), [("hinge", 0.0, BLOCKS), ("logistic", 0.1, ("W_O", "W_K", "a"))])
def test_a_run_is_the_literal_iteration(loss, decay, trained):
    """W <- W - eta_t (mean gradient + lambda W) on fresh prompts of (seed, t), for trained blocks; the others stay."""
    run = train(
        seed=5, steps=3, loss=loss, weight_decay=decay, trained=trained, schedule=InverseTime(4.0), measure=None
    )
    params = SMALL.initialize(seed=5)
    for t in range(3):
        prompts = SMALL.sample(SMALL.batch, seed=(5, t))
        value = np.mean([reference.loss(params, prompt, loss) for prompt in prompts.dense()])
        assert run.history.loss[t] == pytest.approx(value, rel=1e-13)
        eta = 0.7 * 4 / (4 + t)
        assert run.history.learning_rate[t] == pytest.approx(eta, rel=1e-15)
        grads = literal_gradient(params, prompts.dense(), loss)
        params = params._replace(
            **{k: getattr(params, k) - eta * (getattr(grads, k) + decay * getattr(params, k)) for k in trained}
        )
    for name in Params._fields:
        np.testing.assert_allclose(getattr(run.params, name), getattr(params, name), rtol=0, atol=1e-14, err_msg=name)
    start = SMALL.initialize(seed=5)
    for name in set(Params._fields) - set(trained):
        np.testing.assert_array_equal(getattr(run.params, name), getattr(start, name), err_msg=name)


@pytest.mark.parametrize("trained", [t for n in (1, 2) for t in itertools.combinations(Params._fields, n)])
def test_only_trained_blocks_move(trained):
    start = SMALL.initialize(seed=1)
    run = train(seed=1, steps=4, trained=trained, weight_decay=0.01, measure=None)
    moved = {name for name in Params._fields if not np.array_equal(getattr(run.params, name), getattr(start, name))}
    assert moved == set(trained)


def test_what_is_not_said_is_the_problems():
    run = train()
    assert (run.step, run.settings["batch"], run.settings["loss"]) == (12, 6, "hinge")
    assert run.settings["trained"] == list(BLOCKS)
    np.testing.assert_array_equal(run.params.a, SMALL.initialize().a)  # fixed, as the paper's theory has it


@given(lam=st.floats(1e-3, 0.3), gamma=st.floats(4, 500), steps=st.integers(1, 12))
def test_pure_decay_telescopes(lam, gamma, steps):
    """prod_t (1 - lambda eta_t) = (gamma-1)(gamma-2) / ((gamma+T-1)(gamma+T-2)) at eta_t = 2 / (lambda (gamma+t)): with
    a = 0 there is no other gradient."""
    start = SMALL.initialize(seed=0)
    start = start._replace(a=np.zeros_like(start.a))
    run = train(
        params=start,
        steps=steps,
        weight_decay=lam,
        learning_rate=2 / (lam * gamma),
        schedule=InverseTime(gamma),
        measure=None,
    )
    factor = (gamma - 1) * (gamma - 2) / ((gamma + steps - 1) * (gamma + steps - 2))
    np.testing.assert_allclose(run.params.W_O, factor * start.W_O, rtol=1e-10, atol=1e-16)


def test_a_finite_training_set():
    """Batches are drawn from it without repetition, afresh each step; where all fit in, it is gradient descent."""
    prompts = SMALL.sample(10, seed=77)
    given_set = train(prompts=prompts, batch=10, measure=None, steps=3)
    params = SMALL.initialize(seed=0)
    for _ in range(3):
        _, grads = nlicl.loss_and_grad(params, prompts)
        params = params._replace(**{k: getattr(params, k) - 0.7 * getattr(grads, k) for k in BLOCKS})
    for name in BLOCKS:
        np.testing.assert_array_equal(getattr(given_set.params, name), getattr(params, name))
    assert_same_run(
        train(prompts=prompts, batch=99, measure=None, steps=3), train(prompts=prompts, batch=10, measure=None, steps=3)
    )

    all_taken = []

    class Recorded(CodedPrompts):
        def __getitem__(self, index):
            all_taken.append(np.array(index))
            return super().__getitem__(index)

    fields = {name: getattr(prompts, name) for name in CodedPrompts.__dataclass_fields__}
    train(prompts=Recorded(**fields), batch=4, measure=None, steps=8)
    assert len(all_taken) == 8
    assert all(len(set(taken.tolist())) == 4 for taken in all_taken)
    assert len({tuple(taken) for taken in all_taken}) > 1
    assert_same_run(train(prompts=30, measure=None), train(prompts=30, measure=None))
    drawn = train(prompts=30, batch=30, measure=None, steps=1)
    assert (
        drawn.history.loss[0]
        == train(prompts=SMALL.sample(30, seed=(0, 1, 0)), batch=30, measure=None, steps=1).history.loss[0]
    )


def test_a_run_turns_with_its_prompts():
    """SGD from this start is equivariant under rotations of the X block and of the Y block (section 6, derived)."""
    problem = SMALL
    rng = np.random.default_rng(0)
    R = np.zeros((problem.d, problem.d))
    for lo, hi in ((0, problem.d_X), (problem.d_X, problem.d)):
        R[lo:hi, lo:hi] = np.linalg.qr(rng.standard_normal((hi - lo, hi - lo)))[0]
    dense = problem.sample(40, seed=3).dense()
    turned = nlicl.Prompts(dense.tokens @ R.T, dense.labels)
    start = problem.initialize(seed=2)
    options = {"steps": 40, "learning_rate": 3.0, "batch": 40, "measure": None}
    one = train(problem, prompts=dense, params=start, **options).params
    two = train(problem, prompts=turned, params=start._replace(W_O=start.W_O @ R.T), **options).params
    assert np.abs(one.W_Q - start.W_Q).max() > 1e-3  # something was learnt
    for name in ("W_Q", "W_K", "W_V"):
        np.testing.assert_allclose(getattr(two, name), R @ getattr(one, name) @ R.T, atol=1e-12)
    np.testing.assert_allclose(two.W_O, one.W_O @ R.T, atol=1e-12)


def test_what_training_conserves():
    """W_K [mu-bar; 0] never changes in domain (7.5(1)); columns of W_Q and rows of W_Q, W_K on labels stay 0 (7.5(2))."""
    problem = li2024.Problem(steps=150)
    start, end = problem.initialize(seed=0), train(problem, measure=None).params
    mu_bar = np.concatenate([problem.mu_bar, np.zeros(problem.d_Y)])
    assert np.abs((end.W_K - start.W_K) @ mu_bar).max() < 1e-13 < 1e-2 < np.abs(end.W_K - start.W_K).max()
    for block in (end.W_Q[:, problem.d_X :], end.W_Q[problem.d_X :], end.W_K[problem.d_X :]):
        assert not block.any()
    assert end.W_K[:, problem.d_X :].any()


def test_float32_is_trained_in_float32():
    run = train(dtype=np.float32)
    assert {array.dtype for array in run.params} == {np.dtype(np.float32)}
    np.testing.assert_allclose(run.history.loss, train().history.loss, rtol=1e-5)


def test_any_problem_that_offers_what_is_needed():
    """`train` knows no paper: a user's own problem, with its own measurements, trains as well."""

    class Mine:
        loss, trained, learning_rate, batch, steps = "squared", ("W_O",), 0.1, 4, 5
        initialize = staticmethod(SMALL.initialize)

        def sample(self, n, seed):
            return SMALL.sample(n, seed=seed).dense()

        def observer(self, seed):
            return lambda params: {"size": np.abs(params.W_O).sum(), "rows": params.W_O[:, 0]}

    run = nlicl.train(Mine(), measure=2)
    assert run.history.steps.tolist() == [0, 2, 4, 5]
    assert run.history["rows"].shape == (4, 7) and run.history.at(5, "size") == np.abs(run.params.W_O).sum()


@pytest.mark.parametrize("dtype", [">f8", "<f8", ">f4", "<f4"])
def test_a_dtype_of_another_byte_order_is_the_machine_s(dtype, tmp_path):
    own = np.dtype(dtype).newbyteorder("=")
    train(dtype=dtype, steps=5, out=tmp_path)
    resumed = train(dtype=dtype, steps=10, out=tmp_path, resume=True)
    assert {array.dtype for array in resumed.params} == {own} and resumed.params.a.dtype.isnative
    assert_same_run(resumed, train(dtype=own, steps=10))


# ---------------------------------------------------------------- history


@pytest.mark.parametrize(
    ("measure", "expected"),
    [(5, [0, 5, 10, 12]), (6, [0, 6, 12]), (100, [0, 12]), ([3, 12, 3], [3, 12]), ([], []), (None, []), ([0], [0])],
)
def test_when_measurements_are_made(measure, expected):
    history = train(measure=measure).history
    assert history.steps.tolist() == expected
    assert all(len(values) == len(expected) for values in history.measured.values())
    assert len(history.loss) == len(history.learning_rate) == 12


def test_measurements_are_of_the_parameters_then():
    run = train(measure=[0, 7])
    observe = SMALL.observer(seed=0)
    for i, steps in enumerate((0, 7)):
        for name, value in observe(train(steps=steps, measure=None).params).items():
            np.testing.assert_array_equal(run.history[name][i], value, err_msg=name)
    with pytest.raises(KeyError, match="'nothing' was not measured; expected one of 'hinge_train'"):
        run.history["nothing"]
    with pytest.raises(KeyError, match=r"nothing was measured at step 3; measured was at \[0, 7\]"):
        run.history.at(3, "norm")


def test_history_as_csv(tmp_path):
    history = train().history
    history.to_csv(tmp_path / "history.csv")
    head, *rows = (tmp_path / "history.csv").read_text().splitlines()
    names = head.split(",")
    assert names[0] == "step" and "hinge_unseen" in names and "norm" not in names
    assert [int(row.split(",")[0]) for row in rows] == history.steps.tolist()
    column = names.index("hinge_unseen")
    assert [float(row.split(",")[column]) for row in rows] == history["hinge_unseen"].tolist()


def test_measurements_of_any_kind_of_number_are_read_as_they_were(tmp_path):
    """An observer may use one array for all of its answers."""
    own = np.zeros(2)

    def observe(params):
        own[:] = params.a[0], params.W_O[0, 0]
        return {"own": own, "yes": True, "count": 3, "single": np.float32(0.5), "complex": 1j, "rows": [[1, 2], [3, 4]]}

    run = train(observe=observe, out=tmp_path)
    assert len(set(run.history["own"][:, 1])) == len(run.history.steps) == 4
    assert_same_run(load_run(tmp_path), run)
    kinds = {name: values.dtype.kind for name, values in run.history.measured.items()}
    assert kinds == {"own": "f", "yes": "b", "count": "i", "single": "f", "complex": "c", "rows": "i"}


def test_until_stops_early_and_measures_there():
    seen = []

    def after_four(losses):
        seen.append(len(losses))
        return len(losses) == 4

    run = train(until=after_four, measure=3)
    assert run.step == 4 and seen == [1, 2, 3, 4] and run.history.steps.tolist() == [0, 3, 4]
    short = train(steps=4, measure=3)
    for name in BLOCKS:
        np.testing.assert_array_equal(getattr(run.params, name), getattr(short.params, name))


def test_progress_is_told():
    told = []
    train(progress=lambda t, total, loss: told.append((t, total, loss)), measure=None)
    assert [t for t, _, _ in told] == list(range(1, 13)) and {total for _, total, _ in told} == {12}


def test_no_steps_is_the_start():
    run = train(steps=0)
    for name, array in SMALL.initialize()._asdict().items():
        np.testing.assert_array_equal(getattr(run.params, name), array)
    assert run.history.steps.tolist() == [0] and "Run(step=0" in repr(run)


# ---------------------------------------------------------------- resumption


@settings(max_examples=15)
@given(
    stop=st.integers(0, 14),
    steps=st.integers(0, 14),
    measure=st.sampled_from([1, 3, 5, None, [2, 9]]),
    every=st.integers(1, 6),
)
def test_resumed_is_uninterrupted(tmp_path_factory, stop, steps, measure, every):
    """Bitwise, wherever it stopped: parameters, losses, measurements. Longer than planned is another plan, the same way."""
    stop = min(stop, steps)
    folder = tmp_path_factory.mktemp("run")
    options = {"seed": 9, "measure": measure, "checkpoint": every, "schedule": InverseTime(30.0), "weight_decay": 0.01}
    train(steps=stop, out=folder, **options)
    resumed = train(steps=steps, out=folder, resume=True, **options)
    want = train(steps=steps, **options)
    assert_same_run(resumed, want)
    assert_same_run(load_run(folder), want)


def test_resume_on_an_empty_folder_starts(tmp_path):
    assert_same_run(train(out=tmp_path / "new" / "run", resume=True), train())


def interrupt_at(step):
    def progress(t, total, loss):
        if t == step:
            raise KeyboardInterrupt

    return progress


def test_ctrl_c_keeps_every_step(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path, progress=interrupt_at(7))
    assert load_run(tmp_path).step == 7
    assert_same_run(train(out=tmp_path, resume=True), train())


KILLED = """
import sys
from nlicl.papers import li2024
from nlicl.training import SGD, Adam, AdamW, train
problem = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, learning_rate=0.01)
optimizer = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}[sys.argv[2]]()
train(problem, steps=100_000, measure=40, checkpoint=10, weight_decay=0.01, optimizer=optimizer, out=sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize(
    ("optimizer", "waits"),
    [(SGD(), (0.0, 0.113, 0.271)), (Adam(), (0.0, 0.171)), (AdamW(), (0.087,))],
    ids=["SGD", "Adam", "AdamW"],
)
def test_killed_at_any_instant_it_goes_on(tmp_path, optimizer, waits):
    """SIGKILL at arbitrary instants: the checkpoint is whole, at most 10 steps old, and resuming it is bitwise the run that
    nobody killed, what the optimizer remembers included."""
    folder = tmp_path / "run"
    path = folder / CHECKPOINT
    problem = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, learning_rate=0.01)
    options = {"measure": 40, "checkpoint": 10, "weight_decay": 0.01, "optimizer": optimizer}
    for wait in waits:
        shutil.rmtree(folder, ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder), optimizer.name], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        deadline = time.monotonic() + 120
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(wait)
        process.kill()
        process.wait()
        step = load_run(folder).step
        assert step > 0 and step % 10 == 0
        to = step + 23
        resumed = nlicl.train(problem, steps=to, out=folder, resume=True, **options)
        assert_same_run(resumed, nlicl.train(problem, steps=to, **options))
        assert resumed.optimizer.updates == (0 if optimizer == SGD() else to)
    assert [name.name for name in folder.iterdir() if name.suffix == ".npz"] == [CHECKPOINT]


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    train(steps=4, out=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        train(out=tmp_path, resume=True)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, "history.csv"]


BITS = """
import hashlib
from nlicl import train
from nlicl.papers import li2024
run = train(li2024.Problem(), steps=6, seed=3, measure=3)
arrays = [*run.params, run.history.loss, *run.history.measured.values()]
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""


def test_the_same_bits_on_any_number_of_threads():
    """Of our kernels, and of the BLAS that measurements use."""
    runs = [python(BITS, NUMBA_NUM_THREADS=n, OPENBLAS_NUM_THREADS=m) for n, m in (("1", "1"), ("2", "2"), ("3", "1"))]
    assert len(set(runs)) == 1 and len(runs[0]) == 64


# ---------------------------------------------------------------- what goes wrong


def test_divergence_stops_and_keeps_the_history(tmp_path):
    with pytest.raises(
        nlicl.Diverged, match=r"diverged at step \d+: .* learning rate was 10000; try a tenth"
    ) as caught:
        train(learning_rate=1e4, steps=80, out=tmp_path)
    run = caught.value.run
    assert 0 < run.step < 80 and len(run.history.loss) == run.step and np.isfinite(run.history.loss).all()
    assert all(np.isfinite(array).all() for array in run.params)
    assert run.history.steps[0] == 0
    assert_same_run(load_run(tmp_path), run)


def test_an_overflow_is_divergence():
    """Not an error about the user's arrays, which were finite."""
    start = SMALL.initialize(seed=0)
    with pytest.raises(nlicl.Diverged, match="is not finite"):
        train(params=start._replace(W_O=start.W_O * 1e200, W_V=start.W_V * 1e200))
    with pytest.raises(nlicl.Diverged, match="a parameter is not finite after the update"):
        train(learning_rate=1e308, weight_decay=1e10)


BU = bu2024.small


@pytest.mark.parametrize(
    ("problem", "what"),
    [
        (replace(BU, norm_x=1e200), "a score"),
        (replace(BU, sigma_0=1e160), "a score"),
        (replace(BU, norm_y=1e300), "W_Q"),
    ],
    ids=["prompts", "parameters", "gradient"],
)
def test_the_learning_rate_is_not_blamed_before_the_first_step(problem, what):
    with pytest.raises(
        nlicl.Diverged, match=rf"at step 0: .*{what} is not finite.* Scale parameters or prompts down"
    ) as caught:
        nlicl.train(problem, steps=1)
    assert "the learning rate is not the cause" in str(caught.value) and "try a tenth" not in str(caught.value)


def test_the_learning_rate_is_blamed_after_it():
    for options in ({"problem": replace(BU, sigma_1=1e200)}, {"learning_rate": 1e308, "weight_decay": 1e10}):
        with pytest.raises(nlicl.Diverged, match=r"try a tenth of it"):
            train(**{"steps": 3, **options})


class WholeMask(li2024.Problem):
    """Its mask is of the whole block."""

    mask: ClassVar = {"W_O": np.ones((7, 11), bool)}


def test_parameters_of_another_size_are_named_and_not_the_mask():
    """The problem's own mask, which nobody gave."""
    whole = WholeMask(**{field.name: getattr(SMALL, field.name) for field in fields(SMALL)})
    for problem, params, message in (
        (
            BU,
            bu2024.Problem().initialize(),
            r"params.W_Q has shape \(200, 260\); expected a last axis of 16, the problem's",
        ),
        (whole, SMALL.initialize(m=5), r"params.W_O has shape \(5, 11\); expected shape \(7, 11\), the problem's"),
    ):
        with pytest.raises(ValueError, match=message):
            nlicl.train(problem, params=params)
    with pytest.raises(ValueError, match="mask holds 'W_Q'"):
        nlicl.train(BU, params=BU.initialize(), mask={"W_Q": np.ones(3, bool)})
    assert nlicl.train(BU, params=BU.initialize(m=3), steps=1).step == 1


def changing_shape():
    """An observer whose x is longer each time."""
    lengths = itertools.count(1)
    return lambda params: {"x": np.zeros(next(lengths))}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": -1}, ValueError, "steps is -1; expected at least 0"),
        ({"steps": 2.0}, TypeError, "steps is 2.0; expected an integer"),
        ({"batch": 0}, ValueError, "batch is 0; expected at least 1"),
        ({"learning_rate": 0}, ValueError, "learning_rate is 0; expected a finite number greater than 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate is nan"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate is 'fast'; expected a number"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay is -0.1; expected a finite number at least 0"),
        ({"trained": ("W_X",)}, ValueError, r"trained is \('W_X',\); expected at least one of W_Q, W_K, W_V, W_O, a"),
        ({"trained": ()}, ValueError, "trained is"),
        ({"dtype": np.int32}, TypeError, "dtype is int32; expected numpy.float64 or numpy.float32"),
        ({"measure": 0}, ValueError, "measure is 0; expected at least 1"),
        ({"measure": [-3]}, ValueError, "measure is -3"),
        ({"prompts": 0}, ValueError, "prompts is 0; expected at least 1"),
        ({"prompts": "new"}, ValueError, "prompts is 'new'; expected 'fresh', 'population', a number, or prompts"),
        ({"prompts": "population"}, ValueError, r"'population': nlicl.*li2024.*Problem has none to compute with"),
        ({"checkpoint": 0}, ValueError, "checkpoint is 0; expected at least 1"),
        ({"resume": True}, ValueError, "resume is set but out is None"),
        ({"loss": "cubic"}, ValueError, "loss is 'cubic'; expected one of 'hinge', 'logistic', 'squared'"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"schedule": lambda t: -1.0}, ValueError, r"schedule\(0\) is -1.0; expected a finite number at least 0"),
        ({"params": (1, 2)}, TypeError, r"params is a tuple; expected a nlicl.Params\(W_Q, W_K, W_V, W_O, a\), as problem"),
        ({"params": huang2023.Problem().initialize()}, TypeError, r"params is a nlicl.papers.huang2023.Params; expected a nl"),
        ({"params": SMALL.initialize()._replace(a=["x"])}, TypeError, r"params.a is \['x'\]; expected an array of numbers"),
        ({"params": SMALL.initialize()._replace(a=np.ones(7) * 1j)}, TypeError, "params.a has dtype complex128; expected an"),
        ({"params": SMALL.initialize()._replace(a=None)}, TypeError, "params.a is None; expected an array of numbers, real"),
        ({"params": SMALL.initialize()._replace(a=np.array([None]))}, TypeError, "params.a has dtype object; expected an"),
        ({"params": SMALL.initialize()._replace(a=np.ma.ones(7))}, TypeError, "params.a is a masked array, or holds one"),
        ({"params": SMALL.initialize()._replace(a=[[1], [1, 2]])}, ValueError, "params.a is a list of rows of unequal"),
        ({"prompts": SMALL.sample(3)[0]}, TypeError, "prompts is a nlicl.Prompt; expected nlicl.Prompts.* single one"),
        ({"prompts": SMALL}, TypeError, "prompts is a nlicl.papers.li2024.Problem; expected"),
        ({"prompts": 0.5}, TypeError, "prompts is a float; expected"),
        ({"prompts": huang2023.Problem(K=3).sample(4)}, TypeError,
         "prompts is a nlicl.papers.huang2023.CodedPrompts; expected prompts of the model transformer: nlicl.Prompts, nl"),
        ({"schedule": 0.5}, TypeError, "schedule is 0.5; expected a function"),
        ({"observe": "A"}, TypeError, "observe is 'A'; expected a function"),
        ({"observe": lambda params: 3.0}, TypeError, "observe returns 3.0; expected a dict"),
        ({"until": 10}, TypeError, "until is 10; expected a function"),
        ({"until": lambda losses: losses < 1}, TypeError, r"until returns array\(\[.*\]\) at step 1; expected True or False"),
        ({"until": lambda losses: []}, TypeError, r"until returns \[\] at step 1; expected True or False"),
        ({"measure": "all"}, TypeError, "measure is 'all'; expected an integer"),
        ({"measure": 2.5}, TypeError, "measure is 2.5; expected an integer"),
        ({"trained": 5}, ValueError, r"trained is \(5,\); expected at least one of"),
        ({"dtype": "real"}, TypeError, "dtype is 'real'; expected numpy.float64 or numpy.float32"),
        ({"problem": np.ones((40, 40))}, TypeError, "problem is a ndarray .it has no initialize.; expected a paper's"),
        ({"problem": "li2024"}, TypeError, "problem is 'li2024'.* expected a paper's Problem"),
        ({"problem": li2024.Problem}, TypeError, "expected a paper's Problem, for example"),
        ({"seed": (1, 2.5)}, TypeError, r"seed\[1\] is 2.5; expected an integer, at least 0"),
        ({"seed": (1, -2)}, ValueError, r"seed\[1\] is -2; expected at least 0"),
        ({"seed": ()}, ValueError, "seed is empty; expected an integer, or at least one of them"),
        ({"seed": [3, 1, 3]}, ValueError, "seed holds 3 twice; expected each seed once: the same seed gives the same run"),
        ({"seed": "12"}, TypeError, "seed is '12'; expected an integer, at least 0"),
        ({"seed": np.ones((2, 2), int)}, TypeError, "seed is .*; expected an integer, at least 0"),
        ({"out": ""}, TypeError, "out is ''; expected the path of a folder, or None"),
        ({"out": 5}, TypeError, "out is 5; expected the path of a folder"),
        ({"out": "a\0b"}, ValueError, r"out is 'a\\x00b'; expected the path of a folder, .* without null bytes"),
        ({"out": "\udcff\ud800"}, ValueError, "out is .*; expected the path of a folder"),
        ({"out": __file__}, ValueError, "out is .*test_training.py, which is a file; expected the path of a folder"),
        ({"out": f"{__file__}/a/b"}, ValueError, "out is .*/a/b, and .*test_training.py is a file; expected the path of a f"),
        ({"observe": changing_shape(), "measure": 1}, ValueError, r"'x' of shape \(2,\) at step 1 and \(1,\) before"),
        ({"observe": lambda params: {"x": None}}, TypeError, "observe returns 'x' as None, of dtype object; expected a num"),
        ({"observe": lambda params: {"x": "good"}}, TypeError, "observe returns 'x' as 'good', of dtype <U4; expected a num"),
        ({"observe": lambda params: {"x": [[1], [1, 2]]}}, ValueError, "observe's 'x' is a list of rows of unequal lengths"),
        ({"observe": lambda params: {5: 1.0}}, TypeError, "observe returns a dict with the name 5; expected names of type"),
        ({"mask": 5}, TypeError, "mask is 5; expected a dict of names to arrays of bool"),
        ({"mask": {"W_X": np.ones(2, bool)}}, ValueError, "mask holds 'W_X'.* one of W_Q, W_K, W_V, W_O, a"),
        ({"mask": {"W_Q": np.ones(2, bool)}}, ValueError, r"mask holds 'W_Q', of shape \(2,\) and dtype bool; expected"),
        ({"mask": {"W_Q": np.ones(SMALL.d)}}, ValueError, "mask holds 'W_Q', .* dtype float64; expected"),
    ],
)  # fmt: skip
def test_wrong_settings(options, error, message):
    with pytest.raises(error, match=message):
        train(**{"problem": SMALL, **options})


def test_wrong_schedule():
    with pytest.raises(ValueError, match="offset is 0; expected a finite number greater than 0"):
        InverseTime(0)
    with pytest.raises(TypeError, match="offset is 'slow'; expected a number greater than 0"):
        InverseTime("slow")


def test_nothing_is_overwritten(tmp_path):
    train(out=tmp_path)
    with pytest.raises(FileExistsError, match=r"holds the checkpoint of a run; resume it .* or choose another folder"):
        train(out=tmp_path)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"batch": 5}, "batch is 6 there and 5 here"), ({"seed": 1}, "seed"), ({"learning_rate": 0.1}, "learning_rate"),
     ({"trained": "W_O"}, "trained"), ({"schedule": InverseTime(3)}, "schedule"), ({"loss": "logistic"}, "loss"),
     ({"prompts": 20}, "prompts"), ({"dtype": np.float32}, "dtype"), ({"measure": 4}, "measure"),
     ({"params": SMALL.initialize(seed=4)}, "params"), ({"problem": li2024.Problem()}, "M1 is 4 there and 6 here")],
)  # fmt: skip
def test_another_run_is_not_continued(tmp_path, options, named):
    train(out=tmp_path, steps=3)
    with pytest.raises(ValueError, match=f"is of a run with other settings: {named}"):
        train(**{"problem": SMALL, **options}, out=tmp_path, resume=True)


def test_how_often_it_is_saved_may_change(tmp_path):
    train(out=tmp_path, steps=3, checkpoint=2)
    assert_same_run(train(out=tmp_path, resume=True, checkpoint=5), train())


def test_a_longer_run_is_not_shortened(tmp_path):
    train(out=tmp_path)
    with pytest.raises(ValueError, match=r"is at step 12 already; expected steps of at least that, got 5"):
        train(out=tmp_path, steps=5, resume=True)


HUANG = huang2023.Problem(K=3, length=4, counts="infinite", steps=3)


@pytest.mark.parametrize("problem", [SMALL, HUANG], ids=["li2024", "huang2023"])
def test_a_run_is_read_as_its_paper_s(tmp_path, problem):
    """The parameters' type is that of the paper whose problem the run names."""
    want = nlicl.train(problem, steps=3, measure=2, out=tmp_path)
    got = load_run(tmp_path)
    assert type(got.params) is type(want.params)
    assert_same_run(got, want)


def test_a_run_of_another_paper_is_not_continued(tmp_path):
    nlicl.train(HUANG, out=tmp_path)
    with pytest.raises(
        ValueError, match=r"problem is 'nlicl.papers.huang2023.*Problem' there and 'nlicl.papers.li2024"
    ):
        train(out=tmp_path, resume=True)


def test_a_run_of_a_problem_of_one_s_own(tmp_path):
    """Its parameters' type is nobody's but the reader's; a module that a file names is not imported."""

    class Mine(NamedTuple):
        R: np.ndarray

    own = {"trained": ["R"], "problem": {"type": "mine.Problem"}, "model": "nobody's"}
    settings = {**train(steps=1, measure=None).settings, **own}
    history = History(np.ones(1), np.ones(1), np.zeros(0, int), {})
    (tmp_path / CHECKPOINT).write_bytes(pack(Run(Mine(np.eye(2)), history, 1, settings)))
    assert isinstance(load_run(tmp_path, params=Mine).params, Mine)
    for wrong, expected in (({}, "a NamedTuple of them"), ({"params": Params}, r"nlicl.Params\(W_Q, ")):
        with pytest.raises(ValueError, match=f"parameters R, of a run of mine.Problem; expected {expected}.*params=TY"):
            load_run(tmp_path, **wrong)
    settings["problem"]["type"] = "nlicl.papers.future.Problem"
    (tmp_path / CHECKPOINT).write_bytes(pack(Run(Mine(np.eye(2)), history, 1, settings)))
    with pytest.raises(ValueError, match=r"of a run of nlicl.papers.future.Problem; expected"):
        load_run(tmp_path)


@pytest.mark.parametrize("problem", [SMALL, HUANG], ids=["li2024", "huang2023"])
def test_a_run_of_an_unknown_problem_and_model_is_read_by_its_parameters_names(tmp_path, problem):
    want = nlicl.train(problem, steps=3, measure=None)
    settings = {**want.settings, "problem": {"type": "mine.Problem"}, "model": "nobody's"}
    (tmp_path / CHECKPOINT).write_bytes(pack(replace(want, settings=settings)))
    got = load_run(tmp_path)
    assert type(got.params) is type(want.params)
    assert_same_run(got, want)


def test_checkpoints_hold_data_only(tmp_path):
    train(out=tmp_path)
    with np.load(tmp_path / CHECKPOINT, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        assert {"params/W_Q", "loss", "learning_rate", "steps", "measured/hinge_unseen"} <= set(file)
    assert (
        about["settings"]["problem"]["fields"]["M1"] == 4
        and about["step"] == 12
        and about["nlicl"] == nlicl.__version__
    )


@pytest.mark.parametrize("problem", [SMALL, HUANG], ids=["li2024", "huang2023"])
def test_numbers_of_numpy_in_a_problem_are_kept_as_numbers(problem, tmp_path):
    numbers = {"length": np.int64(problem.length), "learning_rate": np.float32(0.5)}
    nlicl.train(replace(problem, **numbers), steps=1, out=tmp_path)
    assert nlicl.load_run(tmp_path).settings["problem"]["fields"]["length"] == problem.length


def test_what_decides_of_the_batch_is_named(tmp_path):
    nlicl.train(HUANG, steps=2, out=tmp_path)
    with pytest.raises(ValueError, match="prompts is 'population' there and 'fresh' here"):
        nlicl.train(HUANG, steps=3, out=tmp_path, resume=True, prompts="fresh")


def test_a_run_is_at_a_path():
    with pytest.raises(TypeError, match="path is 3; expected a run's folder, or its checkpoint file"):
        load_run(3)
