"""The suite of hostile inputs: it sees every kind of failure, and a run of a minute finds none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {"calls", "commands", "formulas", "checkpoints", "cache", "kills"}

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")


def hostile(*arguments):
    """(exit status, counts by part and column, all that was printed)"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.hostile", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    text = done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.split("\n\n")[0].splitlines()]
    assert lines and lines[0][:2] == ["part", "inputs"], text
    return (
        done.returncode,
        {name: dict(zip(lines[0][1:], map(int, counts), strict=True)) for name, *counts in lines[2:]},
        text,
    )


def test_every_kind_of_failure_is_seen(tmp_path):
    status, table, text = hostile("--only", "selfcheck", "--cases", 11, "--minutes", 1, "--out", tmp_path)
    counts = table["selfcheck"]
    del counts["seconds"]
    assert counts == {"inputs": 11, "refused": 1, "accepted": 4, "silent": 1, "bug": 1, "within": 0, "crash": 3, "hang": 1,
                      "processes": 1, "files": 1}, text  # fmt: skip
    assert status == 1
    for case, word in ((2, "3 is no 4"), (3, "so does it alone"), (6, "of the judge")):
        assert f"--only selfcheck --seed 0 --case {case}" in text and word in text
    assert (tmp_path / "failures.txt").read_text().strip() in text


def test_a_run_without_failures_ends_with_0():
    status, table, text = hostile("--only", "selfcheck", "--cases", 2, "--minutes", 1)
    assert (status, table["all"]["inputs"]) == (0, 2), text


@pytest.mark.slow
@pytest.mark.compiled
def test_a_minute(tmp_path):
    """With what is prepared. The same cases in every run, as far as the time lets them come.

    Hours of others: python -m tests.hostile --minutes N --seed S.
    """
    status, table, text = hostile("--minutes", 0.75, "--out", tmp_path)
    assert {name for name, counts in table.items() if counts["inputs"]} == PARTS | {"all"}, text
    assert status == 0, text
