"""A run's folder: one run at a time trains in it, a kill leaves it whole, and what is refused leaves nothing."""

import errno
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from child import ROOT, python

import nlicl
from nlicl.core import lock
from nlicl.core.errors import InvalidValue
from nlicl.papers import huang2023, li2024
from nlicl.training import Adam, load_run
from nlicl.training.checkpoint import CHECKPOINT

SMALL = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=12, learning_rate=0.01)
WHOLE = [CHECKPOINT, "history.csv"]


def names(folder):
    return sorted(os.listdir(folder))


def train(folder, **options):
    return nlicl.train(SMALL, out=folder, **{"measure": None, **options})


def test_a_finished_run_leaves_its_files_alone(tmp_path):
    train(tmp_path / "new" / "run")
    assert names(tmp_path / "new" / "run") == WHOLE


# ---------------------------------------------------------------- two runs, one folder


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_in_the_folder_is_refused_and_the_first_goes_on(tmp_path, resume):
    """In one process, from another thread: `progress` waits until the second is refused."""
    told = []

    def second():
        for _ in range(2):
            try:
                train(tmp_path, resume=resume)
            except InvalidValue as error:
                told.append(str(error))

    def progress(t, steps, loss):
        if t == 5:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    assert train(tmp_path, progress=progress, checkpoint=3).step == 12
    expected = "expected a folder of this run's own. Wait until it ends, or choose another folder."
    assert told == [f"out is {tmp_path}, where this process trains; {expected}"] * 2
    assert names(tmp_path) == WHOLE and load_run(tmp_path).step == 12
    assert train(tmp_path, resume=True, steps=13).step == 13  # it is free again


SECOND = """
import sys
from nlicl.cli import main
sys.exit(main(["train", "li2024", "--out", sys.argv[1]]))
"""


def test_a_second_process_is_told_who_trains(tmp_path):
    def progress(t, steps, loss):
        if t == 2:
            done = subprocess.run(
                [sys.executable, "-c", SECOND, str(tmp_path)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
            )
            told.append((done.returncode, done.stderr))

    told = []
    train(tmp_path, progress=progress)
    ((status, text),) = told
    assert status == 2 and text.startswith(
        f"nlicl: out is {tmp_path}, where process {os.getpid()} trains; expected a fol"
    )
    assert text.count("\n") == 1 and load_run(tmp_path).step == 12


def test_a_lock_that_was_left_behind_does_not_block(tmp_path):
    (tmp_path / ".train.lock").write_text("1 elsewhere\n")
    train(tmp_path)
    assert names(tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("text", "who"),
    [("12 elsewhere\n", "process 12 on elsewhere"), ("", "another process"), ("x\n" * 999, "another process"),
     ("\x1b[31m 5\n", "another process")],
)  # fmt: skip
def test_who_has_a_lock(text, who, tmp_path):
    """Told as the file says it, where it says it in the form of ours."""
    first, second = (lock.Lock(tmp_path / "lock") for _ in range(2))
    assert first.take() is None and second.take() == "this process"
    (tmp_path / "lock").write_text(text)
    assert second.take() == who
    first.release()
    first.release()
    assert names(tmp_path) == [] and second.take() is None
    second.release()


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_on_the_new_one(tmp_path, monkeypatch):
    """Who opens the file of a holder that removes it, and locks that one, has nothing."""
    path = tmp_path / "lock"
    usual, tries = lock._try, []

    def try_late(handle):
        if not tries:
            path.unlink()
        tries.append(handle)
        return usual(handle)

    monkeypatch.setattr(lock, "_try", try_late)
    late = lock.Lock(path)
    assert late.take() is None and len(tries) == 2
    assert lock.Lock(path).take() == "this process"
    late.release()


def test_without_locks_a_run_says_that_it_cannot_see_another(tmp_path, monkeypatch):
    def no_locks(handle):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_try", no_locks)
    (tmp_path / f".{CHECKPOINT}.abcdefgh").write_text("another process may be writing this")
    with pytest.warns(
        RuntimeWarning, match=r"on a file system without locks .No locks available.: .* Start no second one"
    ):
        train(tmp_path)
    assert names(tmp_path) == [f".{CHECKPOINT}.abcdefgh", ".train.lock", *WHOLE]


def test_another_error_of_the_lock_is_the_user_s(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_try", lambda handle: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        train(tmp_path / "run")


# ---------------------------------------------------------------- nothing is left


def test_what_a_killed_process_left_half_written_is_removed(tmp_path, monkeypatch):
    """By the names that `write_whole` gives; files of somebody else stay."""
    train(tmp_path, steps=4)
    with monkeypatch.context() as patched:  # a process that ends here removes nothing
        patched.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        patched.setattr(os, "unlink", lambda *_, **__: None)
        for steps in (6, 8):
            with pytest.raises(OSError, match="killed"):
                train(tmp_path, steps=steps, resume=True)
    (tmp_path / f".{CHECKPOINT}.mine").write_text("")
    assert len(names(tmp_path)) == 6  # two that are half written, and the lock
    train(tmp_path, resume=True)
    assert names(tmp_path) == [f".{CHECKPOINT}.mine", *WHOLE]


LONG = huang2023.Problem(K=3, length=10**12, steps=3)


@pytest.mark.parametrize(
    ("problem", "options"),
    [(LONG, {"prompts": "fresh"}), (LONG, {"prompts": 10**12}), (SMALL, {"observe": lambda params: 5}),
     (SMALL, {"schedule": lambda t: "fast"}), (SMALL, {"params": SMALL.initialize()._replace(W_Q=np.full((11, 11), np.nan))})],
)  # fmt: skip
def test_what_is_refused_leaves_no_folder(problem, options, tmp_path):
    """Prompts that are too long are found when they are drawn: what was made for the run by then is removed."""
    with pytest.raises((ValueError, TypeError)):
        nlicl.train(problem, out=tmp_path / "new" / "run", **options)
    assert names(tmp_path) == []
    (tmp_path / "there").mkdir()
    with pytest.raises((ValueError, TypeError)):
        nlicl.train(problem, out=tmp_path / "there", **options)
    assert names(tmp_path) == ["there"] and names(tmp_path / "there") == []


def test_prompts_that_are_too_long_leave_no_folder_on_the_command_line(run, tmp_path):
    arguments = ("--set", "prompts=fresh", "--set", "length=10000000000000", "--steps", 2)
    status, out, err = run("train", "huang2023", *arguments, "--out", tmp_path / "run")
    assert (status, out, err.count("\n")) == (2, "", 1) and "length" in err and names(tmp_path) == []


def test_a_model_whose_loss_is_not_a_number_diverges(tmp_path, monkeypatch):
    """So that no checkpoint holds one."""
    from nlicl.training import descent

    usual = descent.step_of

    def step_of(*arguments):
        class Step:
            @staticmethod
            def loss_and_grad(params, prompts, loss):
                return np.nan, usual(*arguments).loss_and_grad(params, prompts, loss)[1]

        return Step

    monkeypatch.setattr(descent, "step_of", step_of)
    with pytest.raises(nlicl.Diverged, match="at step 0: the loss is nan"):
        train(tmp_path)
    assert load_run(tmp_path).step == 0


# ---------------------------------------------------------------- killed

KILLED = {"checkpoint": 5, "measure": 20, "optimizer": Adam(), "weight_decay": 0.01}
KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import nlicl
from nlicl.papers import li2024
from nlicl.training import Adam, load_run
folder, rng, step = Path(sys.argv[1]), random.Random(0), 0
problem = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=12, learning_rate=0.01)
options = {"checkpoint": 5, "measure": 20, "optimizer": Adam(), "weight_decay": 0.01}
for kill in range(8):
    process = os.fork()
    if not process:
        nlicl.train(problem, steps=10**6, out=folder, resume=True, **options)
    deadline = time.monotonic() + 60
    while kill % 4 and time.monotonic() < deadline:  # it goes on from where it was
        if (folder / "checkpoint.npz").exists() and load_run(folder).step > step:
            break
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.1))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    if kill:
        assert load_run(folder).step >= step and load_run(folder).step % 5 == 0
        step = load_run(folder).step
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_kills_at_random_cost_no_bit_and_leave_nothing(tmp_path):
    """SIGKILL at 8 random moments of one run that goes on again and again; what it comes to is the run that nobody killed."""
    folder = tmp_path / "run"
    python(KILLS, folder)
    step = load_run(folder).step
    assert step > 0
    got, want = (train(where, steps=step + 7, resume=True, **KILLED) for where in (folder, tmp_path / "whole"))
    assert names(folder) == WHOLE
    for one, other in zip((*got.params, got.history.loss), (*want.params, want.history.loss), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (folder / "history.csv").read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()


def test_the_lock_goes_with_the_process(tmp_path):
    """Its file stays after a kill, and blocks nobody."""
    code = (
        "import os, sys, pathlib; from nlicl.core.lock import Lock; Lock(pathlib.Path(sys.argv[1])).take(); os._exit(0)"
    )
    python(code, tmp_path / "lock")
    assert names(tmp_path) == ["lock"] and lock.Lock(tmp_path / "lock").take() is None
