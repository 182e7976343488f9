"""`nlicl audit FILE.py:LOSS`: any function from the command line, and one line for everything that cannot run."""

import json
import os
import sys

import pytest

LOSSES = """
import time
from dataclasses import dataclass

import numpy as np

import beside  # a neighbour

times = 0
x0 = np.array([0.3, -1.2, 2.0])
pair = (np.arange(12.0).reshape(3, 4) / 7 + 0.1, np.ones(3))
table = {"W": pair[0], "b": pair[1]}
more = [x0 + 1, x0 - 1]
words = "three"

@dataclass
class Settings:
    scale: "float" = 1.0  # which dataclass looks up in the module

def loss(x):
    return np.log(np.sum(np.exp(x)))

def grad(x):
    return np.exp(x) / np.sum(np.exp(x))

def doubled(x):
    return 2 * grad(x)

def both(x):
    return loss(x), grad(x)

def start():
    import late  # found when it is called, too
    return x0

def of_n(n):
    return x0

def stuck():
    while True:
        pass

def flat(x):
    return 0.0 * np.sum(x)

def zeros(x):
    return np.zeros(3)

def chatty(x):
    print("called")
    return loss(x)

def raises(x):
    raise KeyError("W_X")

def leaves(x):
    raise SystemExit("done")

def leaves_later(x):
    if x[0] != x0[0]:
        raise SystemExit("done")
    return loss(x)

def endless(x):
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            pass

def per_sample(x):
    return x ** 2

def net(W, b):
    return np.sum(np.tanh(W @ np.ones(4) + b) ** 2)

def net_grad(W, b):
    t = np.tanh(W @ np.ones(4) + b)
    d = 2 * t * (1 - t * t)
    return np.outer(d, np.ones(4)), d

def net_wrong(W, b):
    return net_grad(W, b)[0], -net_grad(W, b)[1]

def product(x, v):
    p = grad(x)
    return p * v - p * (p @ v)

def matrix(x):
    p = grad(x)
    return np.diag(p) - np.outer(p, p)

def mistaken(x):
    return np.diag(grad(x))
"""


@pytest.fixture
def losses(tmp_path, monkeypatch):
    (tmp_path / "losses.py").write_text(LOSSES)
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "late.py").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in ("beside", "late"):  # of another test's folder
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


RIGHT = ["losses.py:loss", "--gradient", "grad", "--at", "x0"]


@pytest.mark.parametrize(
    "arguments",
    [
        RIGHT,
        ["losses.py:loss", "--gradient", "losses.py:grad", "--at", "losses.py:x0"],
        ["losses.py:both", "--at", "x0"],
        ["losses.py:loss", "--gradient", "grad", "--at", "start"],
        [*RIGHT, "--points", "more", "--hessian-vector", "product"],
        [*RIGHT, "--hessian", "matrix", "--seed", "3", "--entries", "2"],
        ["losses.py:net", "--gradient", "net_grad", "--at", "pair", "--names", "V,c"],
        ["losses.py:net", "--gradient", "net_wrong", "--at", "pair", "--wrt", "W"],
        ["losses.py:net", "--gradient", "net_wrong", "--at", "pair", "--wrt", "0"],
    ],
)
def test_right_gradients(run, losses, arguments):
    path = list(sys.path)
    status, out, err = run("audit", *arguments)
    assert (status, err) == (0, "")
    assert out.startswith("gradient: agree. ")
    assert "\n" in out.strip() and "DISAGREE" not in out
    assert sys.path == path


def test_options_reach_the_audit(run, losses, monkeypatch):
    monkeypatch.delitem(sys.modules, "losses", raising=False)
    out = run("audit", *RIGHT, "--points", "more", "--seed", "5")[1]
    assert "at x, points[0], points[1]; seed 5" in out
    out = run("audit", "losses.py:net", "--gradient", "net_grad", "--at", "pair", "--names", "V,c", "--wrt", "c")[1]
    assert "\nc  " in out and "\nV  " not in out
    slightly = "import losses\ndef grad(x):\n    return (1 + 1e-6) * losses.grad(x)\n"
    (losses / "other.py").write_text(slightly)
    arguments = ("audit", "losses.py:loss", "--gradient", "other.py:grad", "--at", "x0")
    assert run(*arguments)[0] == 1
    assert run(*arguments, "--tolerance", "1e-4")[0] == 0
    sys.modules.pop("losses", None)


def test_a_loss_that_ends_the_process_off_x_is_not_defined_there(run, losses):
    status, out, err = run("audit", "losses.py:leaves_later", "--gradient", "grad", "--at", "x0")
    assert (status, err) == (1, "") and "undetermined" in out


def test_a_wrong_gradient(run, losses):
    status, out, err = run("audit", "losses.py:loss", "--gradient", "doubled", "--at", "x0", "--only-wrong")
    assert (status, err) == (1, "")
    assert out.startswith("gradient: disagree. ") and "scale: " in out and "worst entry x[" in out
    assert out.count("relative error 1.0e+00") == 3
    status, out, _ = run("audit", "losses.py:net", "--gradient", "net_wrong", "--at", "pair", "--only-wrong")
    assert status == 1 and "sign: " in out and "\nW " not in out
    status, out, _ = run("audit", *RIGHT, "--hessian", "mistaken")
    assert status == 1 and "Hessian: disagree" in out


def test_an_undetermined_verdict(run, losses):
    status, out, err = run("audit", "losses.py:flat", "--gradient", "zeros", "--at", "x0")
    assert (status, err) == (1, "")
    assert out.startswith("gradient: undetermined. ") and "UNDETERMINED" in out


def test_json_and_pages(run, losses):
    status, out, err = run("audit", "losses.py:chatty", "--gradient", "doubled", "--at", "x0", "--json", "-")
    data = json.loads(out)  # what the loss prints goes elsewhere
    assert status == 1 and set(err.split()) == {"called"}
    assert data["function"] == "chatty" and data["formulas"][0]["diagnosis"][0]["kind"] == "scale"
    status, out, _ = run("audit", *RIGHT, "--json", "a.json", "--html", "a.html")
    assert status == 0 and out.startswith("gradient: agree")
    assert json.loads((losses / "a.json").read_text())["verdict"] == "agree"
    assert "<title>Gradient audit: loss</title>" in (losses / "a.html").read_text()
    status, out, _ = run("audit", *RIGHT, "--html", "-")
    assert status == 0 and out.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["losses.py", "--at", "x0"], "losses.py: expected FILE.py:LOSS"),
        (["losse.py:loss", "--at", "x0"], "there is no file losse.py"),
        (["losses.py:los", "--at", "x0"], "losses.py has no function los; it has "),
        (["losses.py:x0", "--at", "x0"], "losses.py has no function x0"),
        (["losses.py:loss", "--gradient", "grad"], "needs --at POINT"),
        (["losses.py:loss", "--gradient", "gard", "--at", "x0"], "--gradient gard: losses.py has no function gard"),
        (["losses.py:loss", "--gradient", "o.py:grad", "--at", "x0"], "--gradient o.py:grad: there is no file o.py"),
        (["losses.py:loss", "--gradient", "losses.py", "--at", "x0"], "--gradient losses.py: expected FILE.py:NAME"),
        (["losses.py:loss", "--gradient", "grad", "--at", "x1"], "--at x1: losses.py has no x1; it has "),
        (["losses.py:loss", "--gradient", "grad", "--at", ""], "--at"),
        (["losses.py:loss", "--gradient", "grad", "--at", "of_n"], "of_n() raises TypeError: "),
        (["losses.py:loss", "--gradient", "grad", "--at", "words"], "x is "),
        (["losses.py:loss", "--gradient", "grad", "--at", "pair"], "loss raises "),
        ([*RIGHT, "--points", "x0"], "points"),
        ([*RIGHT, "--points", "words"], "points is a str"),
        ([*RIGHT, "--hessian", "hess"], "--hessian hess: losses.py has no function hess"),
        ([*RIGHT, "--wrt", "W"], "wrt is 'W'"),
        ([*RIGHT, "--names", "a,b"], "names"),
        ([*RIGHT, "--entries", "0"], "entries"),
        ([*RIGHT, "--tolerance", "1"], "tolerance is 1.0; expected"),
        ([*RIGHT, "--seed", "-1"], "seed"),
        ([*RIGHT, "--timeout", "0"], "--timeout"),
        (["losses.py:loss", "--at", "x0"], "expected a pair (loss, gradient), since --gradient is left out"),
        (["losses.py:both", "--gradient", "grad", "--at", "x0"], "leave --gradient out if it returns (loss, gradient)"),
        (["losses.py:raises", "--gradient", "grad", "--at", "x0"], "loss raises KeyError: 'W_X'"),
        (["losses.py:leaves", "--gradient", "grad", "--at", "x0"], "SystemExit: done"),
        (["losses.py:per_sample", "--gradient", "grad", "--at", "x0"], "one a sample?"),
        ([*RIGHT, "--draws", "3"], "--draws belongs to a paper's formulas"),
        ([*RIGHT, "--formula", "losses.py:grad"], "--formula belongs to a paper's formulas"),
        ([*RIGHT, "--backend", "cpu"], "--backend belongs to a paper's formulas"),
        ([*RIGHT, "--no-query-attends"], "--query-attends belongs to a paper's formulas"),
        (["li2024", "--at", "x0"], "--at belongs to the audit of a function, and li2024 is a paper"),
        (["--gradient", "losses.py:grad"], "--gradient belongs to the audit of a function"),
        (["li2024", "--hessian-vector", "h"], "--hessian-vector belongs to the audit of a function"),
    ],
)
def test_what_cannot_run(run, losses, arguments, words):
    status, out, err = run("audit", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("nlicl: ") and err.count("\n") == 1 and len(err) < 600
    assert words in err, err


@pytest.mark.parametrize("text, words", [("def f(:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError")])
def test_files_that_do_not_import(run, losses, text, words):
    (losses / "broken.py").write_text(text)
    status, out, err = run("audit", "broken.py:f", "--at", "x0")
    assert (status, out) == (2, "") and f"broken.py does not import: {words}" in err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="time limits need fork")
def test_what_never_ends(run, losses, monkeypatch):
    monkeypatch.setattr("nlicl.audit.functions.remote.GRACE", 0.2)
    (losses / "forever.py").write_text("while True: pass\n")
    for arguments, words in (
        (["losses.py:endless", "--gradient", "grad", "--at", "x0"], "losses.py:endless does not finish within 0.3 s"),
        (
            ["losses.py:loss", "--gradient", "endless", "--at", "x0"],
            "a call of the loss or of the gradient does not end",
        ),
        (["losses.py:loss", "--gradient", "grad", "--at", "stuck"], "stuck() does not finish within 0.3 s"),
        (["forever.py:loss", "--at", "x0"], "forever.py does not import: it does not finish within 0.3 s"),
    ):
        status, out, err = run("audit", *arguments, "--timeout", "0.3")
        assert (status, out) == (2, "") and err.count("\n") == 1
        assert words in err, err


def test_a_file_is_imported_once(run, losses):
    text = LOSSES + "\nwith open('imports.txt', 'a') as file:\n    file.write('x')\n"
    (losses / "losses.py").write_text(text)
    assert run("audit", *RIGHT[:2], "losses.py:grad", "--at", "x0", "--points", "more")[0] == 0
    assert (losses / "imports.txt").read_text() == "x"


def test_a_long_audit_says_its_cost_beforehand(run, losses, monkeypatch):
    slow = LOSSES + "\ndef slow(x):\n    time.sleep(0.003)\n    return loss(x)\n"
    (losses / "losses.py").write_text(slow)
    arguments = ("audit", "losses.py:slow", "--gradient", "grad", "--at", "x0", "--timeout", "30")
    assert run(*arguments)[::2] == (0, "")  # not on a terminal
    monkeypatch.setattr("nlicl.cli.function.LONG", 0.1)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    status, _, err = run(*arguments)
    assert status == 0
    assert "about 203 calls of the loss at " in err and "Limit: 30 s (--timeout)." in err
    assert "x at near x (1)" in err  # the bar
