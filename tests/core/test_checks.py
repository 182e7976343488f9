"""Checks of arguments: what passes and as what; what is refused, with the type and the words of the refusal."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nlicl
from nlicl.core import arrays, checks
from nlicl.core.describe import short
from nlicl.core.errors import InvalidInput, InvalidType, InvalidValue, NotFinite
from nlicl.papers import huang2023, li2024

LI = li2024.Problem()
HUGE = 16**5000  # Python refuses to write its digits
NESTED = ((0, HUGE),)
ODD = [None, "abc", b"x", 1j, [], {}, set(), ..., NESTED, [[1], [2, 3]], object(), int, "\udcff", np.array("x")]


def refused(kind, message, call):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert isinstance(caught.value, InvalidInput) and len(str(caught.value)) < 300


# ---- integer


@pytest.mark.parametrize("value", [1, 7, np.int8(7), np.uint64(7), 2**63 - 1])
def test_integers_pass_as_int(value):
    found = checks.integer("n", value, 1)
    assert type(found) is int and found == value


@pytest.mark.parametrize("value", [*ODD, True, np.True_, 2.0, math.nan, np.float64(3)], ids=short)
def test_no_integers(value):
    refused(InvalidType, "^n is .*; expected an integer, at least 1", lambda: checks.integer("n", value, 1))


def test_integers_out_of_range():
    refused(InvalidValue, "^n is 0; expected at least 1", lambda: checks.integer("n", 0, 1))
    refused(InvalidValue, "^n is -1; expected at least 0", lambda: checks.integer("n", np.int64(-1), 0))
    refused(InvalidValue, "^n is 4; expected at most 3", lambda: checks.integer("n", 4, 1, 3))
    refused(InvalidValue, f"^n is {2**63}; expected at most {2**63 - 1}", lambda: checks.integer("n", 2**63, 1))
    refused(InvalidValue, r"^n is 10\*\*6021 or so; expected at most", lambda: checks.integer("n", HUGE, 1))
    refused(InvalidValue, r"^n is -10\*\*6021 or so; expected at least 1", lambda: checks.integer("n", -HUGE, 1))
    assert checks.integer("n", HUGE, 1, most=None) == HUGE


# ---- real


def positive(value):
    return checks.real("x", value, "greater than 0", lambda x: x > 0)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int16(3), 5e-324, 1e308, 10**300])
def test_reals_pass_as_float(value):
    found = positive(value)
    assert type(found) is float and found == float(value)


@pytest.mark.parametrize("value", [*ODD, True, np.False_, np.complex128(1)], ids=short)
def test_no_reals(value):
    refused(InvalidType, "^x is .*; expected a number greater than 0", lambda: positive(value))


@pytest.mark.parametrize(
    "value",
    [0, -1.0, math.nan, math.inf, -math.inf, 10**400, HUGE, np.float32("inf"), np.longdouble("1e4000")],
    ids=short,
)
def test_reals_out_of_range(value):
    refused(InvalidValue, "^x is .*; expected a finite number greater than 0", lambda: positive(value))


@given(st.floats(), st.integers())
def test_real_says_what_holds_says(x, n):
    for value in (x, n):
        wanted = math.isfinite(value) and value > 0 if isinstance(value, float) else 0 < value < 10**308
        try:
            assert positive(value) == float(value) and wanted  # an integer beyond 2^53 is rounded, as float() does
        except InvalidValue:
            assert not wanted


def test_numpy_s_numbers_are_written_as_numbers():
    refused(InvalidValue, "^x is -0.5; ", lambda: positive(np.float64(-0.5)))


@pytest.mark.parametrize("value", [0, -3, math.nan, math.inf, 1e300, 2e9, "1", None])
def test_time_limits(value):
    with pytest.raises(InvalidInput, match=r"^timeout is .*; expected a (finite )?number of seconds greater than 0"):
        checks.seconds("timeout", value, ", or None for no limit")
    assert checks.seconds("timeout", 60) == 60.0


# ---- boolean, choice, path


def test_booleans():
    assert checks.boolean("b", True) is True and checks.boolean("b", np.False_) is False
    for value in [*ODD, 0, 1, "True"]:
        refused(InvalidType, "^b is .*; expected True or False", lambda v=value: checks.boolean("b", v))


def test_choices():
    assert checks.choice("how", "b", ["a", "b"]) == "b"
    for value in [*ODD, 1, "c", "", ("a",), np.array(["a", "b"])]:
        refused(InvalidValue, "^how is .*; expected one of 'a', 'b'", lambda v=value: checks.choice("how", v, "ab"))


def test_long_texts_are_cut():
    with pytest.raises(InvalidValue, match=re.escape(f"how is {'x' * 60!r}... (100000 characters); expected")):
        checks.choice("how", "x" * 100_000, ["a"])


def test_paths():
    assert checks.path("out", "a/b", "a folder") == Path("a/b") == checks.path("out", Path("a/b"), "a folder")
    for value in [None, 3, "", b"", b"a", ["a"], True]:
        refused(InvalidType, "^out is .*; expected a folder", lambda v=value: checks.path("out", v, "a folder"))


def test_paths_that_no_file_has():
    for value in ("a\0b", "\ud800"):
        refused(
            InvalidValue,
            "^out is .*; expected a folder, without null bytes",
            lambda v=value: checks.path("out", v, "a folder"),
        )


class Refusing:
    """Whatever is asked of it raises."""

    def _refuse(self, *arguments):
        raise RuntimeError("refused")

    __array__ = __float__ = __index__ = __fspath__ = __len__ = __iter__ = __repr__ = __bool__ = __eq__ = _refuse
    __hash__ = None


@pytest.mark.parametrize("value", [np.timedelta64(1, "s"), np.timedelta64("NaT"), Refusing(), np.ma.masked])
def test_numbers_that_are_none(value):
    refused(InvalidType, "^n is .*; expected an integer", lambda: checks.integer("n", value, 0))
    refused(InvalidType, "^x is .*; expected a number", lambda: positive(value))
    refused(InvalidType, "^x is .*; expected", lambda: checks.numbers("x", value))
    refused(InvalidType, "^x is .*; expected", lambda: arrays.real_array(value, "x", "(n,)"))
    refused(InvalidType, "^out is .*; expected a folder", lambda: checks.path("out", value, "a folder"))
    refused(InvalidType, "^t is .*; expected a text", lambda: checks.text("t", value))
    refused(InvalidType, "^d is .*; expected a floating dtype", lambda: checks.inexact("d", value))


def test_instances_and_functions():
    assert checks.instance("p", LI, li2024.Problem) is LI and checks.function("f", len) is len
    refused(
        InvalidType,
        "^p is a int; expected a nlicl.papers.li2024.Problem, made so",
        lambda: checks.instance("p", 3, type(LI), "made so"),
    )
    refused(InvalidType, "^p is the class .*Problem; expected a", lambda: checks.instance("p", type(LI), type(LI)))
    refused(InvalidType, "^f is 3; expected a function of x", lambda: checks.function("f", 3, "x"))


def test_floating_dtypes_in_native_order():
    for value in (np.float64, "f4", np.dtype(">f8"), np.longdouble):
        found = checks.inexact("d", value)
        assert found.isnative and found.kind == "f" and found.itemsize == np.dtype(value).itemsize


def test_results_that_overflow_are_refused():
    product = checks.sound(lambda x, y: (x * y, None))
    assert product(2.0, 3.0) == (6.0, None)
    with pytest.raises(NotFinite, match="not finite although its arguments are"):
        product(np.float64(1e200), np.float64(1e200))


def test_arrays_whose_shapes_go_together():
    shapes = {"W": "(m, d)", "x": "(d,)"}
    W, x = arrays.fitting({"W": [[1.0, 2.0]], "x": np.ones(2, ">f8")}, shapes)
    assert W.shape == (1, 2) and x.dtype.isnative
    wrong = {"x": np.ones(3)}, {"x": np.ones(0)}, {"x": [np.nan, 1]}
    for change, message in zip(wrong, ["with d = 2, as W has", "with d = 2", r"x\[0\] is nan"], strict=True):
        refused(InvalidValue, message, lambda c=change: arrays.fitting({"W": np.ones((1, 2))} | c, shapes))
    refused(
        InvalidValue,
        "d = 4, as the prompt has",
        lambda: arrays.fitting({"W": W, "x": x}, shapes, {"d": (4, "the prompt")}),
    )


# ---- numbers, integers


def test_numbers_pass_as_float64():
    for value in (3, 2.5, [1, 2], ((1.0, 2.0), (3.0, 4.0)), np.float32(2), np.arange(3), []):
        found = checks.numbers("x", value)
        assert found.dtype == np.float64 and found.shape == np.shape(value)
        np.testing.assert_array_equal(found, np.asarray(value, float))
    given = np.array([1.0, 2.0])
    assert checks.numbers("x", given) is not given


@pytest.mark.parametrize(
    "value",
    [None, "abc", ["a"], [1, "a"], 1j, [1j], True, [True, False], {}, {1, 2}, HUGE, [HUGE, 1], [10**400], [None], ...],
    ids=short,
)
def test_no_numbers(value):
    refused(InvalidType, "^x (is|has dtype) .*; expected finite numbers", lambda: checks.numbers("x", value))


def test_numbers_that_are_refused():
    refused(InvalidValue, r"^x is nan; expected a finite number\.", lambda: checks.numbers("x", math.nan))
    refused(
        InvalidValue,
        r"^x\[1, 0\] is inf; expected a finite number\.",
        lambda: checks.numbers("x", [[1, 2], [math.inf, 0]]),
    )
    refused(
        InvalidValue, r"^x\[2\] is -1; expected a finite number above 0\.",
        lambda: checks.numbers("x", [1, 2, -1, -2], "above 0", lambda x: x > 0),
    )  # fmt: skip
    refused(InvalidValue, "^x is a list of rows of unequal lengths", lambda: checks.numbers("x", [[1], [2, 3]]))
    deep = []
    for _ in range(90):
        deep = [deep]
    refused(InvalidValue, "^x is a list", lambda: checks.numbers("x", deep))


def test_numbers_of_a_form():
    assert checks.numbers("S", [[1, 2]], shape="(K, K)").shape == (1, 2)  # the number of axes is looked at, no more
    refused(
        InvalidValue, r"^S has shape \(2,\); expected \(K, K\)\.", lambda: checks.numbers("S", [1, 2], shape="(K, K)")
    )
    refused(
        InvalidType, r"^S is \['a'\]; expected an array \(M,\) of numbers\.",
        lambda: checks.numbers("S", ["a"], shape="(M,)"),
    )  # fmt: skip


def test_lists_of_integers():
    np.testing.assert_array_equal(checks.integers("neurons", [2, 0, 2], 0, 2), [2, 0, 2])
    assert checks.integers("neurons", [], 0, 2).dtype == np.intp
    for value in (1, [1.0], [[1]], [True], "ab", [None], [HUGE], {1}):
        refused(
            InvalidValue, r"^neurons has shape .* expected a list of integers from 0 to m - 1 = 2",
            lambda v=value: checks.integers("neurons", v, 0, 2, "m - 1"),
        )  # fmt: skip
    refused(
        InvalidValue, "^neurons holds integers from -1 to 3; expected them from 0 to 2",
        lambda: checks.integers("neurons", [3, -1], 0, 2),
    )  # fmt: skip


def test_magnitudes():
    for value in (1, 1e-150, 1e300, np.float32(2)):
        assert checks.magnitude("beta", value) == value
    assert checks.magnitude("xi", 0, zero=True) == 0.0
    for value in (0, -1, 1e-151, 1e301, math.nan, math.inf, 10**400):
        refused(
            InvalidValue, "^beta is .*; expected a finite number greater than 0, from 1e-150 to 1e300",
            lambda v=value: checks.magnitude("beta", v),
        )  # fmt: skip
    refused(
        InvalidValue, "^xi is -1; expected a finite number at least 0", lambda: checks.magnitude("xi", -1, zero=True)
    )
    refused(InvalidType, "^beta is True", lambda: checks.magnitude("beta", True))


def test_floating_dtypes():
    for value in (float, np.float64, "float64", "<f8", np.dtype("float32"), "f4", np.float32):
        assert checks.floating("dtype", value) == np.dtype(value)
    for value in [
        *ODD,
        int,
        "int8",
        np.float16,
        "float16",
        "f8,f8",
        "a",
        ",",
        "é",
        complex,
        64,
        ("f8", 2),
        [("a", "f8")],
    ]:
        refused(
            InvalidType,
            "^dtype is .*; expected numpy.float64 or numpy.float32",
            lambda v=value: checks.floating("dtype", v),
        )


# ---- masked arrays


def masked():
    return np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])


@pytest.mark.parametrize("value", [masked(), [masked()], [[1.0, 2.0], [3.0, np.ma.masked]], (masked(), masked())])
@pytest.mark.filterwarnings("ignore:Warning. converting a masked element")
def test_masked_arrays_are_refused(value):
    """NumPy would compute on with the numbers below the mask."""
    words = r"^x is a masked array, or holds one; .* Give x.filled\(value\)"
    refused(InvalidType, words, lambda: arrays.as_array(value, "x"))
    refused(InvalidType, words, lambda: arrays.real_array(value, "x", "(n,)"))
    refused(InvalidType, words, lambda: checks.numbers("x", value))
    refused(InvalidType, words, lambda: checks.integers("x", value, 0, 3))


def test_masked_arrays_are_refused_at_the_doors():
    problem = li2024.Problem()
    params, prompts = problem.initialize(m=8, seed=0), problem.sample(4, seed=0).dense()
    a, labels = np.ma.array(params.a, mask=True), np.ma.array(prompts.labels, mask=True)
    masked_params = params._replace(a=a)
    refused(InvalidType, "^params.a is a masked array", lambda: nlicl.loss_and_grad(masked_params, prompts))
    refused(InvalidType, "^params.a is a masked array", lambda: nlicl.train(problem, steps=1, params=masked_params))
    refused(InvalidType, "^labels is a masked array", lambda: nlicl.Prompts(prompts.tokens, labels))
    regression = huang2023.Problem().sample(3, seed=0)
    features = np.ma.array(regression.features, mask=True)
    CodedPrompts = type(regression)
    refused(
        InvalidType,
        "^features is a masked array",
        lambda: CodedPrompts(regression.V, features, regression.omega),
    )
    x = np.ma.array([1.0, 2.0], mask=[True, False])
    refused(InvalidType, "^x is a masked array", lambda: nlicl.audit_gradient(np.sum, np.ones_like, x))
    assert nlicl.loss_and_grad(params._replace(a=a.filled(0.5)), prompts)[0] > 0


def test_labels_and_features_of_unequal_lengths():
    prompts = li2024.Problem().sample(2, seed=0).dense()
    regression = huang2023.Problem().sample(2, seed=0)
    dense, ragged = regression.dense(), [[1], [1, 2]]
    for name, call in (
        ("labels", lambda: nlicl.Prompts(prompts.tokens, ragged)),
        ("labels", lambda: type(dense)(dense.tokens, ragged)),
        ("features", lambda: type(regression)(regression.V, ragged, regression.omega)),
    ):
        refused(InvalidValue, f"^{name} is a list of rows of unequal lengths", call)
