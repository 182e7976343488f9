"""Commands that are ended at some moment, by SIGKILL, SIGTERM or Ctrl-C.

Nothing stays behind, nothing is half written, and the work goes on, or runs again, to the same bits.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import nlicl
from nlicl.cli import main
from nlicl.core.errors import InvalidInput

from .machine import Ended, listing, run
from .outcome import ACCEPTED, Outcome, failed
from .part import generator

__all__ = ["Part"]

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_TRAIN = {
    "li2024": ("li2024 --set M1=4 --set M2=3 --set d_X=8 --set d_Y=3 --set m=7 --set length=5 --set batch=6 --steps 600"
               " --set checkpoint=20 --set measure=50"),
    "li2024, Adam": ("li2024 --set M1=4 --set M2=3 --set d_X=8 --set d_Y=3 --set m=7 --set length=5 --set batch=6 --steps 400"
                     " --set optimizer=adam --set checkpoint=1 --set measure=100"),
    "huang2023": "huang2023 --set K=4 --set d=5 --set length=6 --steps 500 --set checkpoint=10 --set measure=50",
}  # fmt: skip
_SEEDS = {
    "theorem": "theorem li2024:identities --quick --seeds 2 --jobs 2 --json report.json",
    "reproduce": "reproduce huang2023:phases --quick --seeds 2 --jobs 2 --out figures",
    "reproduce, one process": "reproduce bu2024:floor --quick --seeds 1 --jobs 1 --out figures",
}
_MANY = 5  # a command of several seeds takes its time: one in so many cases
_AGAIN = 3  # of them, so many are run again to the end


class _Whole(NamedTuple):
    """A command that was not ended: its seconds, and what it wrote."""

    seconds: float
    wrote: Any


class Part:
    """Case by case: a command, a signal, a moment."""

    limit = 600.0

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        self.whole: dict[str, _Whole] = {}

    def _case(self, case: int) -> tuple[str, signal.Signals, float, str]:
        rng = generator(self.seed, case)
        names = list(_SEEDS) if case % _MANY == _MANY - 1 else list(_TRAIN)
        name = names[rng.integers(len(names))]
        number = _SIGNALS[rng.integers(len(_SIGNALS))]
        whom = "its group" if number != signal.SIGKILL and rng.random() < 0.5 else "it"
        return name, number, float(rng.random()), whom

    def describe(self, case: int) -> str:
        name, number, moment, whom = self._case(case)
        return (
            f"{name}: {number.name} to {whom} after {moment:.3f} of its time\nnlicl {_TRAIN.get(name) or _SEEDS[name]}"
        )

    def judge(self, case: int) -> Outcome:
        name, number, moment, whom = self._case(case)
        train = name in _TRAIN
        if name not in self.whole:
            self.whole[name] = self._run_whole(name)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            after = (
                0.3 + 1.05 * self.whole[name].seconds * moment
                if not train
                else 0.2 + 1.1 * self.whole[name].seconds * moment
            )
            ended = _started(_words(name), folder, number, after, whom)
            said = f"status {ended.status} after {ended.seconds:.2f} s\n{ended.out[-300:]}\n{ended.err[-1200:]}"
            if ended.left:
                return failed("processes", f"{ended.left}\n{said}")
            if not ended.in_time:
                return failed("hang", said)
            if "Traceback" in ended.err:
                return failed("bug", said)
            if ended.status not in (0, 1, 130, -number, 128 + number):
                return failed("crash", said)
            if number == signal.SIGINT and ended.status == 130 and ended.err.count("\n") > 1:
                return failed("within", said)
            outcome = self._trained(name, folder, number) if train else self._many(name, folder, case)
            return outcome or Outcome(ACCEPTED)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run_whole(self, name: str) -> _Whole:
        folder = self.folder / name.replace(", ", "-").replace(" ", "-")
        folder.mkdir()
        _started(_words(name), folder / "first", None, 0, "it")  # compiles, if need be
        ended = _started(_words(name), folder / "second", None, 0, "it")
        assert ended.status in (0, 1), ended.err
        return _Whole(ended.seconds, _contents(name, folder / "second"))

    def _trained(self, name: str, folder: Path, number: signal.Signals) -> Outcome | None:
        """None if what there is can be read, goes on, and ends at the same bits.

        SIGKILL may leave a file that was on its way. The run that goes on removes it.
        """
        run_folder = folder / "run"
        if number != signal.SIGKILL and (left := _left(run_folder)):
            return failed("files", f"left in the run's folder: {left}")
        words = _TRAIN[name].split()
        if (run_folder / "checkpoint.npz").exists():
            try:
                nlicl.load_run(run_folder)
            except InvalidInput as error:
                return failed("files", f"what is kept cannot be read: {error}")
            words = [words[0], "--resume", "run"]
        else:
            words += ["--out", "run"]
        said = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = main(["train", *words])
        if status:
            return failed("bug", f"it does not go on: status {status}\n{said.getvalue()[-1500:]}")
        if left := _left(run_folder):
            return failed("files", f"left in the run's folder by a run that went on: {left}")
        if not _same(_contents(name, folder), self.whole[name].wrote):
            return failed("silent", "it goes on to other bits")
        return None

    def _many(self, name: str, folder: Path, case: int) -> Outcome | None:
        """None if nothing is half written, and the command runs again."""
        for path, contents in listing(folder).items():
            known = Path(path).suffix in (".json", ".csv", ".png", ".md", "")
            if contents is not None and (not known or "tmp" in path):
                return failed("files", f"left: {path}")
            if path.endswith(".json"):
                try:
                    json.loads(contents or b"")
                except ValueError as error:
                    return failed("files", f"{path} is half written: {error}")
            if path.endswith(".png") and not (contents or b"").endswith(b"IEND\xaeB`\x82"):
                return failed("files", f"{path} is half written")
        if (case // _MANY) % _AGAIN == 0:
            ended = _started(_words(name), folder, None, 0, "it")
            if ended.status not in (0, 1):
                return failed("bug", f"it does not run again: status {ended.status}\n{ended.err[-1500:]}")
            if not _same(_contents(name, folder), self.whole[name].wrote):
                return failed("silent", "it runs again to another result")
        return None


def _left(folder: Path) -> set[str]:
    """What is in a run's folder besides its files and its lock."""
    there = set(listing(folder)) if folder.exists() else set()
    return {path for path in there - {"checkpoint.npz", "history.csv"} if "lock" not in path}


def _words(name: str) -> list[str]:
    return ["train", *_TRAIN[name].split(), "--out", "run"] if name in _TRAIN else _SEEDS[name].split()


def _started(words: list[str], folder: Path, number: signal.Signals | None, after: float, whom: str) -> Ended:
    """Run a command in a folder, and send it a signal after some seconds."""
    folder.mkdir(exist_ok=True)
    done = threading.Event()

    def send(process: "subprocess.Popen[bytes]") -> None:
        if number is None:
            return

        def later() -> None:
            if done.wait(after):
                return
            with contextlib.suppress(OSError):
                os.kill(process.pid if whom == "it" else -process.pid, number)

        threading.Thread(target=later, daemon=True).start()

    try:
        return run(
            [sys.executable, "-m", "nlicl", *words],
            240,
            cwd=folder,
            during=send,
            environment={"NUMBA_NUM_THREADS": "2"},
        )
    finally:
        done.set()


def _contents(name: str, folder: Path) -> Any:
    """What a command wrote, to be compared."""
    if name in _TRAIN:
        kept = nlicl.load_run(folder / "run")
        history = kept.history
        arrays = {**kept.params._asdict(), "loss": history.loss, "eta": history.learning_rate, "steps": history.steps}
        return {name: np.asarray(array).tobytes() for name, array in {**arrays, **history.measured}.items()}
    return {
        path: json.loads(contents) for path, contents in listing(folder).items() if path.endswith(".json") and contents
    }


def _same(found: Any, true: Any) -> bool:
    return json.dumps(found, default=repr) == json.dumps(true, default=repr)
