"""A formula is the reader's code: whatever it does, the report stands."""

import os
import signal
import time

import numpy as np
import pytest

import nlicl
from nlicl.papers import li2024

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="time limits need fork")

right = li2024.formulas["W_V"].function


def report(formula, timeout=20.0):
    return nlicl.audit_formula(formula, wrt="W_V", draws=6, timeout=timeout).formulas[0]


def test_the_child_gives_the_same_bits():
    there, here = report(right), report(right, timeout=None)
    assert there.verdict == here.verdict == "agree"
    assert there.to_dict() == here.to_dict()


def test_closures_and_lambdas_need_no_pickling():
    factor = 2.0
    found = report(lambda params, prompt: factor * right(params, prompt))
    assert [item["kind"] for item in found.diagnosis] == ["scale"]


def loops(params, prompt):
    while True:
        pass


def loops_where_inactive(params, prompt):
    if not right(params, prompt).any():
        loops(params, prompt)
    return right(params, prompt)


@pytest.mark.parametrize("formula", [loops, loops_where_inactive])
def test_an_endless_loop_ends(formula):
    began = time.monotonic()
    found = report(formula, timeout=1.0)
    assert time.monotonic() - began < 30
    assert "does not finish within 1 s" in found.error
    assert found.verdict != "agree"
    assert not found.ok


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        (lambda params, prompt: os._exit(5), "ends the process with status 5"),
        (lambda params, prompt: os.kill(os.getpid(), signal.SIGTERM), "ends the process by signal 15"),
        (lambda params, prompt: 1 / 0, "raises ZeroDivisionError"),
        (lambda params, prompt: exit(3), "raises SystemExit"),
        (lambda params, prompt: None, "returns None"),
        (lambda params, prompt: "W_V", "returns <U3 values"),
        (lambda params, prompt: right(params, prompt).astype(complex), "returns complex128 values"),
        (lambda params, prompt: np.zeros(3), r"returns shape (3,)"),
        (lambda params, prompt: right(params, prompt).astype(np.float16), "returns float16, too coarse"),
    ],
)
def test_crashes_exits_and_nonsense_are_reported(formula, words):
    found = report(formula)
    assert words in found.error
    assert found.verdict in ("disagree", "undetermined")


def test_no_child_is_left_behind():
    report(right)
    report(loops, timeout=0.5)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_what_the_formula_prints_appears_once(capfd):
    print("before", end="")
    report(lambda params, prompt: right(params, prompt))
    assert capfd.readouterr().out == "before"


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_time_limits_are_positive(timeout):
    with pytest.raises(ValueError, match="timeout"):
        report(right, timeout=timeout)
