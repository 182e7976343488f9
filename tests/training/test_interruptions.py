"""Ctrl-C during `nlicl.train` comes between two steps: what was done is kept, whatever it hits."""

import random
import signal
import sys
import threading

import numpy as np
import pytest

import nlicl
from nlicl.core import lock
from nlicl.papers import li2024
from nlicl.training import Adam, descent, folder, load_run

SMALL = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=12, learning_rate=0.01)
OPTIONS = {"optimizer": Adam(), "measure": 5}


@pytest.fixture(autouse=True)
def usual_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def ctrl_c(times=1):
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)


def goes_on(folder, step):
    """It is at this step, and goes on to the same bits."""
    assert load_run(folder).step == step
    got, want = nlicl.train(SMALL, out=folder, resume=True, **OPTIONS), nlicl.train(SMALL, **OPTIONS)
    for one, other in zip((*got.params, got.history.loss), (*want.params, want.history.loss), strict=True):
        np.testing.assert_array_equal(one, other)
    assert got.history.steps.tolist() == want.history.steps.tolist() == [0, 5, 10, 12]


class Own(li2024.Problem):
    """Ctrl-C while the prompts of step 3 are drawn."""

    def sample(self, n, **options):
        if options.get("seed") == (0, 3):
            ctrl_c(self.times)
        return super().sample(n, **options)


def own(times):
    problem = Own(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=12, learning_rate=0.01)
    object.__setattr__(problem, "times", times)
    return problem


@pytest.mark.parametrize(("times", "step"), [(1, 4), (2, 3)])
def test_the_first_waits_for_the_step_and_the_second_does_not(times, step, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        nlicl.train(own(times), out=tmp_path, **OPTIONS)
    assert load_run(tmp_path).step == step
    assert nlicl.train(own(0), out=tmp_path, resume=True, **OPTIONS).step == 12


@pytest.mark.parametrize(("times", "step"), [(1, 5), (2, 5), (3, 5)])
def test_while_told_of_progress(times, step, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        nlicl.train(SMALL, out=tmp_path, progress=lambda t, *_: t == 5 and ctrl_c(times), **OPTIONS)
    goes_on(tmp_path, step)


@pytest.mark.parametrize(("times", "step"), [(1, 6), (2, 5)])
def test_while_measuring(times, step, tmp_path):
    usual, seen = SMALL.observer(seed=0), []

    def observe(params):
        seen.append(1)
        if len(seen) == 2:
            ctrl_c(times)
        return usual(params)

    with pytest.raises(KeyboardInterrupt):
        nlicl.train(SMALL, out=tmp_path, observe=observe, **OPTIONS)
    goes_on(tmp_path, step)


@pytest.mark.parametrize("times", [1, 4])
def test_while_a_checkpoint_is_written(times, tmp_path, monkeypatch):
    """It is written to its end, however often."""
    usual = folder.write_whole

    def write_whole(*arguments):
        ctrl_c(times)
        usual(*arguments)

    monkeypatch.setattr(folder, "write_whole", write_whole)
    with pytest.raises(KeyboardInterrupt):
        nlicl.train(SMALL, out=tmp_path, checkpoint=5, **OPTIONS)
    monkeypatch.undo()
    goes_on(tmp_path, 5)


def test_at_the_very_end_all_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        nlicl.train(SMALL, out=tmp_path, progress=lambda t, *_: t == 12 and ctrl_c(), **OPTIONS)
    goes_on(tmp_path, 12)


def test_before_the_first_step_nothing_is_made(tmp_path):
    class Slow(Own):
        def initialize(self, **options):
            ctrl_c()
            return super().initialize(**options)

    with pytest.raises(KeyboardInterrupt):
        nlicl.train(Slow(), out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_what_compiled_code_makes_of_it(tmp_path, monkeypatch):
    """numba's SystemError, where a handler of the user's own raises within compiled code."""
    usual, calls = descent.step_of, []

    def step_of(*arguments):
        calls.append(1)
        if len(calls) == 8:
            raise SystemError("returned a result with an exception set") from KeyboardInterrupt()
        return usual(*arguments)

    monkeypatch.setattr(descent, "step_of", step_of)
    with pytest.raises(KeyboardInterrupt):
        nlicl.train(SMALL, out=tmp_path, **OPTIONS)
    monkeypatch.undo()
    goes_on(tmp_path, 7)


def test_a_handler_of_the_user_s_is_asked_instead(tmp_path):
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    assert nlicl.train(SMALL, out=tmp_path, progress=lambda *_: ctrl_c(), **OPTIONS).step == 12
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert len(seen) == 12


@pytest.mark.parametrize("times", [1, 2, 3])
def test_while_the_folder_is_entered_and_left(times, tmp_path):
    """At each line of what makes, locks and leaves it: the lock is never left there, and nothing else that is not whole."""

    def lines(at, out):
        """Train; with Ctrl-C at the line of this number, of those two modules. How many lines there were."""
        count = 0

        def trace(frame, event, _):
            nonlocal count
            if frame.f_code.co_filename not in {folder.__file__, lock.__file__}:
                return None
            count += 1
            if count == at:
                ctrl_c(times)
            return trace

        sys.settrace(trace)
        try:
            nlicl.train(SMALL, out=out, **OPTIONS)
        finally:
            sys.settrace(None)
        return count

    of_all = lines(0, tmp_path / "whole")
    assert of_all > 50
    for at in range(1, of_all + 1):
        out = tmp_path / str(at)
        with pytest.raises(KeyboardInterrupt):
            lines(at, out)
        if out.exists():
            assert sorted(path.name for path in out.iterdir()) == ["checkpoint.npz", "history.csv"]
            assert nlicl.train(SMALL, out=out, resume=True, **OPTIONS).step == 12


@pytest.mark.slow
def test_at_any_moment(tmp_path):
    """60 times at random: always KeyboardInterrupt, and what was done is kept. A warm process; times from a fixed seed."""
    rng = random.Random(0)
    nlicl.train(SMALL, **OPTIONS)
    for i in range(60):
        out = tmp_path / str(i)
        timer = threading.Timer(rng.uniform(0, 0.05), ctrl_c, (1 + i % 2,))
        with pytest.raises(KeyboardInterrupt):  # the second may come when the run has ended by the first
            try:
                timer.start()
                nlicl.train(SMALL, steps=10**6, out=out, checkpoint=5, **OPTIONS)
            finally:
                timer.join()
        timer.join()
        if out.exists():
            assert sorted(path.name for path in out.iterdir()) == ["checkpoint.npz", "history.csv"]
            step = load_run(out).step
            assert nlicl.train(SMALL, steps=step + 1, out=out, resume=True, checkpoint=5, **OPTIONS).step == step + 1
