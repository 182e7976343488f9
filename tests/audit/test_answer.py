"""A formula is the reader's code: whatever it does, the report stands."""

import json
import linecache
import os
import re
import signal
import time
from contextlib import suppress

import numpy as np
import pytest
from scipy import sparse

import nlicl
from nlicl.audit.answer import describe
from nlicl.models.transformer.prompts import Params
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
        (lambda params, prompt: right(params, prompt).astype(complex), "returns complex128 values"),
        (lambda params, prompt: np.zeros(3), "returns shape (3,); expected shape (6, 5), that of W_V"),
        (lambda params, prompt: 0.5, "returns one number; expected shape (6, 5), that of W_V"),
        (lambda params, prompt: right(params, prompt).astype(np.float16), "returns float16, too coarse"),
    ],
)
def test_crashes_exits_and_nonsense_are_reported(formula, words):
    found = report(formula)
    assert words in found.error
    assert found.verdict in ("disagree", "undetermined")


WANTED = "expected a floating array of shape (6, 5)"
OTHER_FORMS = {
    "None": (lambda g: None, "None; is a return missing? Expected a floating array of shape (6, 5)"),
    "dict": (lambda g: {"W_V": g}, f"a dict with the key 'W_V'; {WANTED}"),
    "two keys": (lambda g: {"W_V": g, "a": g}, f"a dict with the keys 'W_V', 'a'; {WANTED}"),
    "pair": (lambda g: (0.1, g), "a tuple of 2, a number and an array of shape (6, 5): the gradient alone is expected"),
    "pair, turned": (lambda g: [g, np.array(0.1)], "a list of 2, an array of shape (6, 5) and a number: the gradient alone"),
    "pair with a list": (lambda g: (0.1, g.tolist()), "a tuple of 2, a number and a list of 6: the gradient alone"),
    "pair with a dict": (lambda g: (0.1, {"W": g}), "a tuple of 2, a number and a dict with the key 'W': the gradient alone"),
    "pair with None": (lambda g: (g, None), "a tuple of 2, an array of shape (6, 5) and None: the gradient alone"),
    "with more": (lambda g: (0.1, g, "x", 1), "a tuple of 4: the gradient alone is expected"),
    "texts": (lambda g: ("x", "y"), f"a tuple of 2, 'x' and 'y'; {WANTED}"),
    "list of one": (lambda g: [g], f"a list of 1 array of shape (6, 5); {WANTED}"),
    "list of arrays": (lambda g: [g, g], f"a list of 2 arrays of shape (6, 5); {WANTED}"),
    "tuple of arrays": (lambda g: (g, g[0]), f"a tuple of 2 arrays of shapes (6, 5), (5,); {WANTED}"),
    "record": (lambda g: Params(g, g, g, g, g[0]), f"a named tuple of 5 arrays of shapes (6, 5), (5,); {WANTED}"),
    "ragged rows": (lambda g: [[1.0, 2.0], [1.0]], f"a list of 2 of unequal lengths; {WANTED}"),
    "sparse": (lambda g: sparse.csr_array(g), f"a sparse matrix; {WANTED}: give .toarray()"),
    "masked": (lambda g: np.ma.masked_equal(g, g[0, 0]), "a masked array; expected one without a mask"),
    "masked within": (lambda g: list(np.ma.masked_equal(g, g[0, 0])), "a masked array; expected one without a mask"),
    "text": (lambda g: "W_V", f"'W_V'; {WANTED}"),
    "texts in an array": (lambda g: np.full(g.shape, "x"), f"an array of dtype <U1; {WANTED}"),
    "function": (lambda g: right, f"a function; {WANTED}"),
    "generator": (lambda g: (row for row in g), f"a generator; {WANTED}"),
    "set": (lambda g: {1.0}, f"a set; {WANTED}"),
    "object": (lambda g: np.array([None] * 3), f"an array of dtype object that holds None; {WANTED}"),
    "unreadable": (lambda g: Unreadable(), f"an Unreadable that NumPy cannot read (ZeroDivisionError); {WANTED}"),
}  # fmt: skip


class Unreadable:
    def __array__(self, *_, **__):
        raise ZeroDivisionError


def returning(form, where=lambda prompt: True):
    return lambda params, prompt: form(right(params, prompt)) if where(prompt) else right(params, prompt)


@pytest.mark.parametrize("timeout", [None, 20.0], ids=["here", "in a child"])
@pytest.mark.parametrize("name", OTHER_FORMS)
def test_other_forms_are_called_what_they_are(name, timeout):
    form, words = OTHER_FORMS[name]
    found = report(returning(form), timeout)
    assert found.verdict == "undetermined" and found.diagnosis == []
    assert found.error.startswith(f"<lambda> returns {words}"), found.error
    assert "inhomogeneous" not in found.error and ".," not in found.error


def test_other_forms_on_some_draws_are_told_in_the_diagnosis():
    found = report(returning(lambda g: {"W_V": g}, lambda prompt: prompt.z > 0))
    assert found.verdict != "agree"
    assert "it returns a dict with the key 'W_V'; expected" in found.diagnosis[0]["detail"]


TAKEN = {
    "rows": lambda g: list(g),
    "lists": lambda g: g.tolist(),
    "lists of arrays": lambda g: [[np.array(x) for x in row] for row in g],
    "objects": lambda g: g.astype(object),
    "nothing masked": lambda g: np.ma.array(g),
    "matrix": lambda g: np.asmatrix(g),
    "float32": lambda g: g.astype(np.float32),
    "long double": lambda g: g.astype(np.longdouble),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("timeout", [None, 20.0], ids=["here", "in a child"])
@pytest.mark.parametrize("name", TAKEN)
def test_other_writings_of_an_array_are_taken(name, timeout):
    found = report(returning(TAKEN[name]), timeout)
    assert (found.verdict, found.error) == ("agree", None)


def test_a_list_of_rows_of_the_transpose_is_judged():
    found = report(returning(lambda g: list(g.T)))
    assert found.verdict == "disagree" and [item["kind"] for item in found.diagnosis] == ["transpose"]


def test_an_array_that_is_used_again_is_copied():
    buffers = {}

    def formula(params, prompt):
        gradient = right(params, prompt)
        buffer = buffers.setdefault(gradient.shape, np.empty(gradient.shape))
        buffer[...] = gradient
        return buffer

    assert report(formula, timeout=None).verdict == "agree"


# ---- The place of an error is a line of the reader's


def line_of(function, offset=1):
    number = function.__code__.co_firstlineno + offset
    return f"(line {number} of test_answer.py: `{linecache.getline(__file__, number).strip()}`)"


def beyond(params, prompt):
    return np.linalg.inv(np.zeros((2, 2)))


def beyond_nlicl(params, prompt):
    return nlicl.loss_and_grad(5, prompt)


def beyond_python(params, prompt):
    return json.loads("{")


def called_back(params, prompt):
    return np.apply_along_axis(inner, 0, params.W_V)


def inner(column):
    raise KeyError("inner")


@pytest.mark.parametrize("function", [beyond, beyond_nlicl, beyond_python])
def test_the_line_of_an_error_in_a_package_is_the_one_that_called_it(function):
    assert line_of(function) in report(function).error


def test_a_package_of_the_readers_comes_before_numpy():
    names = {"np": np, "__name__": "theirs"}
    source = "def formula(params, prompt):\n    return np.linalg.inv(np.zeros((2, 2)))"
    exec(compile(source, "/opt/site-packages/theirs.py", "exec"), names)
    assert "(line 2 of theirs.py)" in report(names["formula"]).error


def test_the_last_line_of_the_reader_counts():
    assert line_of(inner) in report(called_back).error


@pytest.mark.parametrize("timeout", [None, 20.0], ids=["here", "in a child"])
@pytest.mark.parametrize("formula", [lambda params: 0, lambda: 0, lambda params, prompt, factor: 0])
def test_a_function_of_other_arguments_has_no_line(formula, timeout):
    error = report(formula, timeout).error
    assert "positional argument" in error and "; it is called with (params, prompt), on draw 0" in error
    assert "(line" not in error and ".py" not in error


def test_a_line_of_numpy_only_where_the_reader_has_none():
    with pytest.raises(TypeError) as caught:
        np.mean("x")
    error = caught.value
    assert line_of(test_a_line_of_numpy_only_where_the_reader_has_none, 2) in describe(error)
    error.__traceback__ = error.__traceback__.tb_next  # NumPy's frames alone
    assert re.search(r"\(line \d+ of \w+\.py: `.+`\)$", describe(error)) and "test_answer" not in describe(error)
    assert "(line" not in describe(error.with_traceback(None))


@pytest.mark.parametrize(
    ("loss", "gradient", "words"),
    [
        (ord, lambda x: x, "loss raises TypeError: ord"),
        (lambda x: x @ x, lambda x, y: x, "gradient raises TypeError: .*positional argument"),
    ],
)
def test_an_error_of_any_function_has_no_line_of_ours(loss, gradient, words):
    with pytest.raises(ValueError, match=words) as caught:
        nlicl.audit_gradient(loss, gradient, np.ones(3))
    assert "(line" not in str(caught.value) and ".py" not in str(caught.value)


def test_an_error_of_any_function_has_the_line_of_the_reader():
    def gradient(x):
        return np.linalg.inv(x)

    with pytest.raises(ValueError, match="gradient raises LinAlgError") as caught:
        nlicl.audit_gradient(lambda x: x @ x, gradient, np.ones(3))
    assert line_of(gradient) in str(caught.value)


def test_an_error_of_several_lines_is_its_first():
    class Long(Exception):
        pass

    assert describe(Long("\n  \nfirst\nsecond")) == "Long: first"
    assert describe(Long()) == describe(Long("\n")) == "Long: no message"


def children():
    """The processes that this one has started, those that have ended but were not waited for among them."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat") as file:
            if int(file.read().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(name))
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the system does not list processes")
def test_no_child_is_left_behind():
    before = children()
    report(right)
    report(loops, timeout=0.5)
    assert children() <= before


def test_what_the_formula_prints_appears_once(capfd):
    print("before", end="")
    report(lambda params, prompt: right(params, prompt))
    assert capfd.readouterr().out == "before"


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_time_limits_are_positive(timeout):
    with pytest.raises(ValueError, match="timeout"):
        report(right, timeout=timeout)
