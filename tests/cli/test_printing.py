"""What the reader's code prints, reads and closes: the JSON stands alone on standard output, and nothing is lost."""

import json
import os
import subprocess
import sys

import pytest

from nlicl.audit import answer
from nlicl.audit.functions import general, mends, remote
from nlicl.cli import main

LOUD = """\
import ctypes, os, subprocess, sys
import numpy as np

print("at import")
os.write(1, b"to the descriptor\\n")
subprocess.run(["echo", "of a child"])
ctypes.CDLL(None).puts(b"of C")
x0 = np.array([1.0, 2.0])

def formula(params, prompt):
    print("in the formula")
    return 0 * params.W_V

def loss(x):
    print("in the loss")
    return np.sum(x**2)

def gradient(x):
    print("in the gradient")
    return 3 * x

def closes(params, prompt):
    os.close(1)
    sys.stdout = None
    return 0 * params.W_V

def reads(params, prompt):
    sys.stdin.read()
    return 0 * params.W_V
"""
PAPER = ("audit", "li2024", "--wrt", "W_V", "--draws", "2", "--mend", "0", "--json", "-")
FUNCTION = ("audit", "loud.py:loss", "--gradient", "gradient", "--at", "x0", "--mend", "0", "--json", "-")
PLAIN = ["at import", "in the formula"], ["at import", "in the loss", "in the gradient"]


@pytest.fixture
def there(tmp_path, monkeypatch):
    (tmp_path / "loud.py").write_text(LOUD)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not answer.available(), reason="no processes of their own")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*PAPER, "--formula", "loud.py:formula"], PLAIN[0]),
        (FUNCTION, PLAIN[1]),
        ([*PAPER, "--formula", "loud.py:closes"], []),
        ([*PAPER, "--formula", "loud.py:reads"], []),
    ],
    ids=["formula", "function", "closes", "reads"],
)
def test_the_json_stands_alone(arguments, words, there):
    command = [sys.executable, "-m", "nlicl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ))
    assert json.loads(done.stdout)["formulas"], done.stderr
    assert all(word in done.stderr for word in [*words, "to the descriptor", "of a child", "of C"])


@pytest.mark.parametrize(
    ("arguments", "words"), [([*PAPER, "--formula", "loud.py:formula"], PLAIN[0]), (FUNCTION, PLAIN[1])]
)
def test_the_json_stands_alone_where_there_is_no_fork(arguments, words, there, monkeypatch, capsys):
    for module in (answer, general, remote, mends):
        if hasattr(module, "available"):
            monkeypatch.setattr(module, "available", lambda: False)
    assert main([*arguments]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["formulas"][0]["verdict"] == "disagree"
    assert all(word in printed.err for word in words)
