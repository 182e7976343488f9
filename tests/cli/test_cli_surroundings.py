"""What surrounds a command: its working folder, the environment, files of its own that it must not write over."""

import os
import subprocess
import sys

import pytest
from child import ROOT

from nlicl.cli import main

LOSSES = """\
import numpy as np
x0 = np.array([0.3, -1.2])
def loss(x): return (x * x).sum()
def grad(x): return 2 * x
"""


def refused(capsys, words):
    """The one line of a command that cannot run."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("nlicl: ") and len(err) < 450
    return err


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed")
@pytest.mark.parametrize("words", [["papers"], ["doctor"], ["train", "li2024", "--steps", "0"], ["audit", "li2024"]])
def test_a_working_folder_that_is_gone(tmp_path, monkeypatch, capsys, words):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "working folder" in refused(capsys, words)


@pytest.mark.parametrize("threads", ["0", "-3", "abc", "", "1.5", "9" * 5000])
def test_a_number_of_threads_that_is_none(monkeypatch, capsys, threads):
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    assert "NUMBA_NUM_THREADS" in refused(capsys, ["papers"])


def test_warnings_are_one_line_and_hold_no_traceback(tmp_path):
    code = """
import warnings
from nlicl import cli, doctor
def warns():
    warnings.warn("A variable is odd.\\nSo:\\nTraceback (most recent call last):\\n  File x\\nValueError: \\x1b[2Jit is\\n")
    return [doctor.Finding("ok", "all", "well")]
doctor.examine = warns
raise SystemExit(cli.main(["doctor"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)
    assert done.returncode == 0
    assert done.stderr == "<string>:5: UserWarning: A variable is odd. So: ValueError: \\x1b[2Jit is\n"


@pytest.mark.parametrize("page", ["report", "./report", "link"])
def test_two_reports_in_one_file_are_refused(tmp_path, monkeypatch, capsys, page):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.py").write_text(LOSSES)
    (tmp_path / "link").symlink_to("report")
    words = ["audit", "f.py:loss", "--gradient", "grad", "--at", "x0", "--json", "report", "--html", page]
    assert "the same file" in refused(capsys, words)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_report_is_not_written_over_the_code(tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.py").write_text(LOSSES)
    (tmp_path / "link").symlink_to("f.py")
    for target in ("f.py", "link"):
        words = ["audit", "f.py:loss", "--gradient", "grad", "--at", "x0", option, target]
        assert "the code that is judged" in refused(capsys, words)
        assert (tmp_path / "f.py").read_text() == LOSSES
