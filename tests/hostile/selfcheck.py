"""Cases that fail, each in one way: the suite must see them all. It is no part of a run."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from .outcome import ACCEPTED, REFUSED, Outcome, failed

__all__ = ["Part"]

_CASES = ("accepted", "refused", "silent", "crash", "hang", "a temporary file", "an exception", "an end", "crash", "accepted",
          "a process")  # fmt: skip


class Part:
    """One case for each way to fail, and some that do not."""

    limit = -18.0  # two seconds, with what a runner adds

    def __init__(self, seed: int, folder: Path) -> None:
        """Nothing to prepare."""

    def describe(self, case: int) -> str:
        return _CASES[case]

    def judge(self, case: int) -> Outcome:
        what = _CASES[case]
        print("what a case prints is no outcome")
        if what == "crash":
            os.abort()
        if what == "hang":
            time.sleep(100)
        if what == "a temporary file":
            tempfile.mkstemp()
        if what == "a process":
            subprocess.Popen(["sleep", "100"], start_new_session=True, env={})
        if what == "an exception":
            raise KeyError("of the judge")
        if what == "an end":
            os._exit(0)
        if what == "silent":
            return failed("silent", "3 is no 4")
        return Outcome(REFUSED if what == "refused" else ACCEPTED)
