"""Many seeds side by side: each to the bits of its own run, whatever happens to the others."""

import dataclasses
import functools
import pickle
import signal
import threading
import time

import numpy as np
import pytest

import nlicl
from nlicl.core.interruption import held
from nlicl.kernels import compile
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.training import Adam, Diverged, Run, Runs, load_run, many
from nlicl.training.plan import make_plan

SMALL = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=12, learning_rate=0.7)
SEEDS = (4, 0, 2**70, 7, 1)
train = functools.partial(nlicl.train, SMALL, seed=SEEDS, measure=5)


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    monkeypatch.setattr(many, "THREADS", 3)


def assert_the_same_bits(one, other):
    assert one.step == other.step and one.settings["seed"] == other.settings["seed"]
    for x, y in zip((*one.params, one.history.loss), (*other.params, other.history.loss), strict=True):
        np.testing.assert_array_equal(x, y)
    assert one.history.steps.tolist() == other.history.steps.tolist()
    for name, values in one.history.measured.items():
        np.testing.assert_array_equal(values, other.history[name], err_msg=name)


GPT2 = li2024.GPT2(M1=4, M2=3, d_X=8, d_Y=3, length=5, layers=2, heads=2, width=6, hidden=7, batch=6, steps=3)
BU = bu2024.Problem(
    dictionary=8, d_x=24, d_y=9, norm_x=4.0, norm_y=4.0, p_z=0.2, m=7, sigma_xi=0.1, sigma_1=0.1, weight_decay=0.01,
    step_offset=400.0, batch=5, steps=6,
)  # fmt: skip


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        (SMALL, {}),
        (SMALL, {"optimizer": Adam(), "dtype": np.float32}),
        (SMALL, {"prompts": 20, "mask": {"W_O": np.arange(11) < 4}, "measure": None}),
        (BU, {"measure": 3}),
        (huang2023.Problem(K=3, length=4, steps=5), {"measure": 2}),
        (GPT2, {"measure": None}),
    ],
    ids=["li2024", "Adam", "fixed", "bu2024", "huang2023", "gpt2"],
)
def test_each_is_its_own_run(problem, options):
    runs = nlicl.train(problem, seed=SEEDS[:4], **options)
    assert isinstance(runs, Runs) and runs.seeds == SEEDS[:4] and not runs.diverged
    for seed, run in zip(runs.seeds, runs, strict=True):
        assert_the_same_bits(run, nlicl.train(problem, seed=seed, **options))


@pytest.mark.parametrize("seeds", [[3], range(2, 4), (5,), np.array([1, 0])])
def test_any_sequence_of_integers_gives_runs(seeds):
    runs = nlicl.train(SMALL, seed=seeds, measure=None)
    assert isinstance(runs, Runs) and runs.seeds == tuple(map(int, seeds)) and len(runs) == len(seeds)
    assert [run.settings["seed"] for run in runs] == list(runs.seeds)


def test_runs_are_a_sequence():
    runs = train()
    assert [run.settings["seed"] for run in runs[1:3]] == [0, 2**70] and runs[1:3].seeds == (0, 2**70)
    assert runs[-1] is list(runs)[4] and runs[0] in runs
    found = runs.at(5, "hinge_unseen")
    assert found.shape == (5,) and found[1] == nlicl.train(SMALL, measure=5).history.at(5, "hinge_unseen")
    assert runs.at(12, "norm").shape == (5, 7)
    assert repr(runs) == f"Runs(5 seeds, [4, 0, {2**70}, 7, 1])"
    with pytest.raises(KeyError, match=r"seed 4: nothing was measured at step 3; measured was at \[0, 5, 10, 12\]"):
        runs.at(3, "norm")


# ---------------------------------------------------------------- who is told


def test_progress_is_of_all_together_and_in_the_caller_s_thread():
    told = []
    train(progress=lambda t, T, loss: told.append((t, T, loss, threading.current_thread())))
    assert [t for t, *_ in told] == sorted(t for t, *_ in told) and told[-1][0] == 60
    assert {T for _, T, *_ in told} == {60} and {thread for *_, thread in told} == {threading.current_thread()}
    assert told[-1][2] == pytest.approx(np.mean([run.history.loss[-1] for run in train(measure=None)]))


def test_observers_of_the_user_are_called_one_at_a_time():
    busy, seen = threading.Lock(), set()

    def alone(answer):
        def call(argument):
            assert busy.acquire(blocking=False)
            seen.add(threading.current_thread())
            time.sleep(0.001)  # another thread may come
            busy.release()
            return answer(argument)

        return call

    runs = train(observe=alone(lambda params: {"a": params.a}), until=alone(lambda losses: len(losses) == 9), measure=1)
    assert {run.step for run in runs} == {9} and threading.current_thread() not in seen
    for seed, run in zip(SEEDS, runs, strict=True):
        np.testing.assert_array_equal(run.history["a"][0], SMALL.initialize(seed=seed).a)


def test_each_run_has_its_share_of_the_threads(monkeypatch):
    shares = []
    monkeypatch.setattr(many, "THREADS", 7)
    train(seed=(1, 2), measure=(0,), observe=lambda params: shares.append(compile.threads()) or {"x": 0})
    assert shares == [min(compile.THREADS, 3)] * 2


# ---------------------------------------------------------------- folders


def test_each_has_a_folder_and_goes_on_where_it_stopped(tmp_path):
    folder = tmp_path / "a" / "runs"
    whole = train(steps=20)
    nlicl.train(SMALL, seed=0, measure=5, steps=20, out=folder / "seed-0")  # done
    nlicl.train(SMALL, seed=7, measure=5, steps=3, out=folder / "seed-7")  # stopped
    with pytest.raises(FileExistsError, match="seed-0 holds the checkpoint of a run; resume it"):
        train(steps=20, out=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["seed-0", "seed-7"]
    for one, other in zip(train(steps=20, out=folder, resume=True), whole, strict=True):
        assert_the_same_bits(one, other)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"seed-{seed}" for seed in SEEDS)
    for seed, run in zip(SEEDS, whole, strict=True):
        kept = load_run(folder / f"seed-{seed}")
        assert_the_same_bits(kept, run)


def test_what_is_refused_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="observe returns 5; expected a dict"):
        train(out=tmp_path / "a" / "b", observe=lambda params: 5)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- what goes wrong


class Sick(li2024.Problem):
    """Some seeds start where the loss overflows, and some where something is wrong with the code."""

    def initialize(self, *, seed):
        if seed == 9:
            raise RuntimeError("a bug")
        params = super().initialize(seed=seed)
        return params._replace(W_O=1e300 * params.W_O, W_V=1e300 * params.W_V) if seed in (2, 5) else params


SICK = Sick(**dataclasses.asdict(SMALL))


def test_a_seed_that_diverges_does_not_lose_the_others(tmp_path):
    seeds = (3, 5, 1, 2)
    with pytest.raises(
        Diverged, match=r"2 of 4 seeds diverged: \[5, 2\]. Of seed 5: training diverged at step 0: "
    ) as error:
        nlicl.train(SICK, seed=seeds, measure=None, out=tmp_path)
    again = pickle.loads(pickle.dumps(error.value))
    for found in (error.value, again):
        assert found.run.settings["seed"] == 5 and found.runs.seeds == seeds and set(found.runs.diverged) == {5, 2}
        for seed, run in zip(seeds, found.runs, strict=True):
            assert run.step == (0 if seed in (5, 2) else 12)
        assert str(found.runs.diverged[2]).startswith("training diverged at step 0: ")
    assert set(error.value.runs[:2].diverged) == {5}
    assert "2 of them diverged" in repr(error.value.runs)
    assert_the_same_bits(error.value.runs[2], nlicl.train(SICK, seed=1, measure=None))
    assert load_run(tmp_path / "seed-1").step == 12


def test_a_bug_looks_like_a_bug():
    """It ends the other runs, comes as it is, and says in which run it came."""
    with pytest.raises(RuntimeError, match="a bug") as error:
        nlicl.train(SICK, seed=(0, 1, 2, 9, 3), steps=10**6, measure=None)
    assert error.value.__notes__ == ["in the run of seed 9"]


def test_ctrl_c_keeps_what_was_done(tmp_path):
    def progress(t, T, loss):
        if t > 100:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(steps=10**6, measure=None, out=tmp_path, progress=progress)
    finally:
        assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    steps = {path.name: load_run(path).step for path in tmp_path.iterdir()}
    assert sum(steps.values()) > 100
    to = max(steps.values()) + 5
    for seed, run in zip(SEEDS, train(steps=to, measure=None, out=tmp_path, resume=True), strict=True):
        assert_the_same_bits(run, nlicl.train(SMALL, seed=seed, steps=to, measure=None))


def test_what_progress_raises_ends_all_runs():
    with pytest.raises(ZeroDivisionError):
        train(steps=10**6, measure=None, progress=lambda t, T, loss: 1 / 0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nlicl-run")]


# ---------------------------------------------------------------- runs of different problems


@pytest.mark.parametrize("threads", [1, 3])
def test_short_runs_of_different_problems(threads):
    problems = [dataclasses.replace(SMALL, length=length) for length in (2, 3, 4, 5)]
    jobs = [many.Job(f"{p.length}", functools.partial(make_plan, p, seed=1, measure=None)) for p in problems]
    done, told = [], []
    with held() as signals:
        found = many.side_by_side(jobs, signals, lambda i, t, loss: told.append((i, t)), done.append, threads)
    assert sorted(done) == [0, 1, 2, 3] and {(i, 12) for i in range(4)} <= set(told)
    for problem, run in zip(problems, found, strict=True):
        assert isinstance(run, Run)
        assert_the_same_bits(run, nlicl.train(problem, seed=1, measure=None))
