"""Damaged files of compiled kernels: the process runs, gives the same bits, and says at most one line.

The next process runs as well, and says nothing.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from damage import damage_some
from damage import generator as choices

from .machine import Ended, run
from .outcome import ACCEPTED, Outcome, failed

__all__ = ["Part"]

_STEP = """
import hashlib
import numpy as np
import nlicl
from nlicl.papers import huang2023
rng = np.random.default_rng(0)
problem = huang2023.Problem(K=4, length=6, d=5)
prompts = problem.sample(6, seed=0)
loss, grads = nlicl.loss_and_grad(huang2023.Params(rng.normal(size=(5, 5))), prompts)
print(hashlib.sha256(np.asarray(loss).tobytes() + grads.Q.tobytes()).hexdigest())
"""


class Part:
    """Case by case: one to three files are damaged in some way; then two processes, one after the other."""

    limit = 150.0

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder, self.true = seed, folder, folder / "true"
        self.did: dict[int, str] = {}
        ended = self._step(self.true)
        assert ended.status == 0, ended.err
        self.bits = ended.out

    def _step(self, cache: Path) -> Ended:
        environment = {"NUMBA_CACHE_DIR": str(cache)}
        return run([sys.executable, "-c", _STEP], 60, environment=environment)

    def _damaged(self, case: int) -> tuple[Path, str]:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        cache = folder / "cache"
        shutil.copytree(self.true, cache)
        done = damage_some(cache, "*.nb[ic]", choices(self.seed, case), folder / "sign")
        return folder, "; ".join(done)

    def describe(self, case: int) -> str:
        folder, done = self._damaged(case)
        shutil.rmtree(folder)
        return done

    def judge(self, case: int) -> Outcome:
        folder, _ = self._damaged(case)
        try:
            for turn in ("first", "second"):
                ended = self._step(folder / "cache")
                said = f"the {turn} process: status {ended.status}\n{ended.out[-300:]}\n{ended.err[-1500:]}"
                if (folder / "sign").exists():
                    return failed("silent", f"a pickle was loaded; {said}")
                if not ended.in_time:
                    return failed("hang", said)
                if ended.status < 0:
                    return failed("crash", said)
                if "Traceback" in ended.err or ended.status:
                    return failed("bug", said)
                if ended.out != self.bits:
                    return failed("silent", f"other bits; {said}")
                if ended.err.count("\n") > (turn == "first"):
                    return failed("within", said)
                if ended.left:
                    return failed("processes", f"{ended.left}")
            left = [str(path) for path in (folder / "cache").rglob("*tmp*")]
            return failed("files", f"left: {left}") if left else Outcome(ACCEPTED)
        finally:
            for path in folder.rglob("*"):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700, follow_symlinks=False) if not path.is_symlink() else None
            shutil.rmtree(folder, ignore_errors=True)
