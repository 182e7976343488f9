"""Hostile formula files, each with a right gradient and with a wrong one, judged by `nlicl audit` in a process of its own.

A wrong gradient is never called right. A right one is called right, or the file is refused in one line. The audit ends within
the time that was given to it and to its search for a mend, two seconds more, and the start of Python. It leaves no process and
no temporary file behind.

Left out, because no audit of the same user can be safe from it: a formula that stops or kills the process that judges. It
may end without a verdict, as a killed process does; `corpus.processes` allows that, and a wrong verdict never. A formula
that asks nlicl for the gradient, or takes differences itself, is right where they are.
"""

import json
import os
import py_compile
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from .corpus.all import ENTRIES
from .corpus.entry import Entry, function_source, paper_source
from .machine import Ended, run
from .outcome import ACCEPTED, REFUSED, Outcome, of_command
from .part import generator

__all__ = ["Part"]

_FORMS = {"paper": paper_source, "function": function_source}
_WRONG = (1.5, -1.0, 1.0001)
_KINDS = [(entry, form, right) for entry in ENTRIES for form in _FORMS for right in (True, False)]
_MEND = 1.0  # seconds of the search for a mend, where the gradient is found wrong
_SLACK = 2.0  # seconds beyond both time limits
_HANGS = 40.0  # beyond which it is ended


class Part:
    """The corpus in an order of the seed's; from its end on anew, with other wrong factors."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        self.order = np.random.default_rng(seed).permutation(len(_KINDS))
        self.limit = max(entry.timeout for entry in ENTRIES) + _MEND + _HANGS + 30
        self.script = folder / "nlicl"
        self.script.write_text("import sys\nfrom nlicl.cli import main\nsys.exit(main())\n")
        ordinary = Entry("ordinary")
        self._audit(ordinary, "paper", 1.0)  # compiles, if need be
        self.started = max(self._audit(ordinary, form, 1.0)[0].seconds for form in _FORMS)

    def _case(self, case: int) -> tuple[Entry, str, bool, float]:
        entry, form, right = _KINDS[self.order[case % len(_KINDS)]]
        factor = 1.0 if right else 1.5 if entry.stale else float(generator(self.seed, case).choice(_WRONG))
        return entry, form, right, factor

    def describe(self, case: int) -> str:
        entry, form, _, factor = self._case(case)
        return f"{entry.name}; {form}, gradient times {factor}\n{_FORMS[form](entry, factor)[:1500]}"

    def judge(self, case: int) -> Outcome:
        entry, form, right, factor = self._case(case)
        ended, verdict, harmed = self._audit(entry, form, factor)
        return self._judged(entry, right, ended, verdict, harmed)

    def _audit(self, entry: Entry, form: str, factor: float) -> tuple[Ended, str, list[str]]:
        """(how the process ended, the verdict or what there is instead, files that were harmed)."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        source = _FORMS[form](entry, factor)
        path = folder / "formula.py"
        if entry.stale:
            path.write_text(_FORMS[form](entry, 1.5 if factor == 1.0 else 1.0))
            py_compile.compile(str(path), doraise=True)
        for name, text in entry.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        before = path.stat() if entry.stale else None
        path.write_bytes(source.encode() if entry.raw is None else entry.raw(source))
        if before is not None:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        (folder / "precious.txt").write_text("precious")
        report = folder / "report.json"
        words = ["audit", "--timeout", str(entry.timeout), "--mend", str(_MEND), "--json", str(report)]
        if form == "paper":
            words += ["--formula", "formula.py:f", "--wrt", "W_V", "--draws", "4"]
        else:
            words += ["formula.py:loss", "--gradient", "f", "--at", "x0"]
        temporary = folder / "temporary"
        temporary.mkdir()
        environment = {"TMPDIR": str(temporary), "NLICL_HOSTILE": "1"}
        command = [sys.executable, self.script, *words]
        ended = run(
            command, entry.timeout + _MEND + _HANGS, cwd=folder, environment=environment, memory=4, guarded=True
        )
        verdict, harmed = "nothing", []
        if report.exists():
            try:
                verdict = json.loads(report.read_text(encoding="utf-8"))["formulas"][0]["verdict"] or "error"
            except (ValueError, KeyError, IndexError, TypeError) as error:
                harmed.append(f"report.json cannot be read: {error}")
        if not (folder / "precious.txt").exists() or (folder / "precious.txt").read_text() != "precious":
            harmed.append("precious.txt was changed")
        ours = {path.name for path in temporary.iterdir()}
        # what the file itself makes there, and cannot take away when it is ended, is not the audit's
        harmed += [f"{name} is left in the temporary folder" for name in ours if "tempfile" not in source]
        shutil.rmtree(folder, ignore_errors=True)
        return ended, verdict, harmed

    def _judged(self, entry: Entry, right: bool, ended: Ended, verdict: str, harmed: list[str]) -> Outcome:
        said = f"status {ended.status} after {ended.seconds:.1f} s, {verdict}\n{ended.out[-400:]}\n{ended.err[-1500:]}"
        failures = [("files", f"{what}\n{said}") for what in harmed]
        if ended.left:
            failures.append(("processes", f"{ended.left}\n{said}"))
        if not ended.in_time or ended.seconds > entry.timeout + _MEND + _SLACK + 2 * self.started:
            failures.append(
                ("hang", f"{entry.timeout + _MEND:g} s were given, Python starts in {self.started:.1f} s\n{said}")
            )
        if not ended.in_time or ended.status in entry.statuses:
            return Outcome(REFUSED if not failures else "", tuple(failures))
        # What the file itself writes to standard error is its own.
        outcome = of_command(ended.status, "", ended.err, theirs=True)
        failures += outcome.failures
        found = {0: "agree", 1: verdict, 2: "error"}.get(ended.status, "nothing")
        if ended.status == 0 and verdict != "agree":
            failures.append(("silent", f"status 0, and the report says {verdict}\n{said}"))
        allowed = entry.right if right else entry.wrong
        if found not in allowed and ended.status in (0, 1, 2):
            failures.append(("silent", f"a {'right' if right else 'wrong'} gradient: {found}\n{said}"))
        good = "" if failures else REFUSED if found == "error" else ACCEPTED
        return Outcome(good, tuple(failures))
