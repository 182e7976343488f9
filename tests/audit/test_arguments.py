"""The forms of a point and of returned values: what people hand over is taken, or refused in one sentence that helps."""

import array as standard
import collections
import dataclasses
import decimal
import fractions
import math
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse
from child import python
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlicl.audit.forms import Arguments
from nlicl.core.errors import InvalidInput

rng = np.random.default_rng(16)
X = rng.standard_normal(5)
W, B = rng.standard_normal((2, 3)), rng.standard_normal(2)
LABELS = np.array([0, 1])


class Pair(NamedTuple):
    W: np.ndarray
    b: np.ndarray


@dataclasses.dataclass(frozen=True)
class Frozen:
    W: np.ndarray
    b: np.ndarray


@dataclasses.dataclass
class Thawed:
    W: np.ndarray
    b: np.ndarray
    steps: int = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    W: np.ndarray
    b: np.ndarray


def one(x):
    return 0.0


def two(W, b):
    return 0.0


def many(*x):
    return 0.0


def seen(arguments, function=None, leaves=None, **options):
    """What the function is called with."""
    got = []
    arguments.call(lambda *a: got.extend(a), arguments.arrays if leaves is None else leaves, **options)
    return got


# ---- forms of x: (x, loss, names, several)
FORMS = {
    "array": (X, one, ["x"], False),
    "float": (1.5, one, ["x"], False),
    "int": (2, one, ["x"], False),
    "list of numbers": ([1.0, 2.0], one, ["x"], False),
    "list of integers": ([1, 2], one, ["x"], False),
    "tuple of numbers": ((1.0, 2), one, ["x"], False),
    "list of NumPy's numbers": ([np.float64(1), np.float32(2)], one, ["x"], False),
    "rectangle": ([[1.0, 2.0], [3.0, 4.0]], one, ["x"], False),
    "rectangle, for any number": ([[1.0, 2.0], [3.0, 4.0]], many, ["x"], False),
    "array of integers": (np.array([1, 2]), one, ["x"], False),
    "range": (range(3), one, ["x"], False),
    "buffer": (standard.array("d", [1.0, 2.0]), one, ["x"], False),
    "numbers, of two arguments": ((1.0, 2.0), two, ["x[0]", "x[1]"], True),
    "rows, of two arguments": ([[1.0], [3.0, 4.0]], two, ["x[0]", "x[1]"], True),
    "tuple": ((W, B), two, ["x[0]", "x[1]"], True),
    "tuple, any number": ((W, B), many, ["x[0]", "x[1]"], True),
    "tuple, unknown": ((W, B), None, ["x[0]", "x[1]"], True),
    "list of one": ([X], one, ["x[0]"], True),
    "one list": ([W, B], one, ["x[0]", "x[1]"], False),
    "float mixed in": ((W, 0.5), two, ["x[0]", "x[1]"], True),
    "labels": ((B, LABELS), two, ["x[0]"], True),
    "text": ((B, "mean"), two, ["x[0]"], True),
    "texts": ((B, np.array(["a", "b"])), two, ["x[0]"], True),
    "dates": ((B, np.array(["2020-01-01"], "M8[D]")), two, ["x[0]"], True),
    "None": ((None, B), two, ["x[1]"], True),
    "a list of labels": ((B, [0, 1]), two, ["x[0]"], True),
    "a function": ((B, np.tanh), two, ["x[0]"], True),
    "an integer": ((B, 3), two, ["x[0]"], True),
    "named tuple": (Pair(W, B), one, ["W", "b"], False),
    "dict": ({"W": W, "b": B}, one, ["W", "b"], False),
    "state dict": ({"fc.weight": W, "fc.bias": B}, one, ["fc.weight", "fc.bias"], False),
    "dict of integers": ({0: W, (1, 2): B}, one, ["x[0]", "x[(1, 2)]"], False),
    "ordered dict": (collections.OrderedDict(W=W, b=B), one, ["W", "b"], False),
    "default dict": (collections.defaultdict(list, W=W, b=B), one, ["W", "b"], False),
    "dataclass": (Thawed(W, B), one, ["W", "b"], False),
    "frozen dataclass": (Frozen(W, B), one, ["W", "b"], False),
    "dataclass with slots": (Slots(W, B), one, ["W", "b"], False),
    "layers": ({"layers": [{"W": W, "b": B}, {"W": W, "b": B}], "out": Pair(W, B)}, one,
        ["layers[0].W", "layers[0].b", "layers[1].W", "layers[1].b", "out.W", "out.b"], False),
    "pairs": ([(W, B), (W, B)], two, ["x[0][0]", "x[0][1]", "x[1][0]", "x[1][1]"], True),
    "pairs, one list": ([(W, B), (W, B)], one, ["x[0][0]", "x[0][1]", "x[1][0]", "x[1][1]"], False),
    "the same name twice": ({"a": {"b": W}, "a.b": B}, one, ["a.b", "a.b (2)"], False),
    "float32": (X.astype(np.float32), one, ["x"], False),
    "float16": (X.astype(np.float16), one, ["x"], False),
    "longdouble": (X.astype(np.longdouble), one, ["x"], False),
    "big-endian": (X.astype(">f8"), one, ["x"], False),
    "0-d": (np.array(1.5), one, ["x"], False),
    "matrix": (W.view(np.matrix), one, ["x"], False),
    "shared": ((W, W), two, ["x[0]", "x[1]"], True),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_forms(name):
    x, loss, names, several = FORMS[name]
    arguments = Arguments(x, loss=loss)
    assert (arguments.names, arguments.several) == (names, several)
    for array in arguments.arrays:
        assert type(array) is np.ndarray and array.dtype in (np.float64, np.float32) and array.dtype.isnative
    got = seen(arguments)
    assert len(got) == (len(x) if several else 1)
    # what the function is given reads like x itself, as long as it is made of its own parts
    again = Arguments(tuple(got) if several else got[0], loss=loss)
    assert again.names == names
    for array, other in zip(arguments.arrays, again.arrays, strict=True):
        np.testing.assert_array_equal(array, other)
    if not several and type(x) not in (int, float, list, tuple, range, standard.array):
        assert type(got[0]) is type(x)


def test_dtypes():
    kinds = {
        "float32": np.float32,
        "float16": np.float64,
        "longdouble": np.float64,
        "big-endian": np.float64,
        "int": np.float64,
    }
    for name, dtype in kinds.items():
        assert Arguments(FORMS[name][0]).arrays[0].dtype == dtype


def test_a_list_is_handed_over_as_one_array():
    got = seen(Arguments([1, 2], loss=one))
    assert type(got[0]) is np.ndarray and got[0].dtype == np.float64 and got[0].tolist() == [1, 2]


def test_numbers_are_handed_over_as_numbers():
    arguments = Arguments({"W": W, "scale": 2.0})
    assert type(seen(arguments)[0]["scale"]) is np.float64
    got = seen(arguments, leaves=[W, np.array(2 + 1j)])
    assert type(got[0]["scale"]) is np.complex128
    assert type(seen(arguments, leaves=[W, np.float64(3)])[0]["scale"]) is np.float64
    zero_d = Arguments((np.array(2.0), W))
    assert isinstance(seen(zero_d, leaves=[np.float64(3), W])[0], np.ndarray)


def test_complex_leaves_and_objects_take_the_form():
    class Dual:
        shape = (2,)

        def copy(self):
            twin = Dual()
            twin.of = self
            return twin

    dual = Dual()
    got = seen(Arguments(Frozen(W, B)), leaves=[W + 1j, dual])[0]
    assert isinstance(got, Frozen) and got.W.dtype == np.complex128 and got.b is not dual and got.b.of is dual


def test_a_direction():
    arguments = Arguments((W, B), loss=two)
    assert [a.shape for a in seen(arguments, along=[W, B])] == [(2, 3), (2,), (2, 3), (2,)]
    with_labels = Arguments((B, LABELS), loss=two)
    got = []
    with_labels.call(lambda w, y, v: got.extend((w, y, v)), [B], along=[2 * B])
    assert got[1].tolist() == [0, 1] and got[2].tolist() == (2 * B).tolist()
    with_labels.call(lambda w, y, v, nothing: got.append(nothing), [B], along=[2 * B])
    assert got[3].tolist() == [0, 1]
    assert [type(a) for a in seen(Arguments(Pair(W, B)), along=[W, B])] == [Pair, Pair]


# ---- copies, and what is altered in place
@pytest.mark.parametrize("x", [Pair(W, B), {"W": W, "b": B}, Frozen(W, B), (W, B), [W, B], {"p": [W, B]}])
def test_functions_get_copies(x):
    before = W.copy(), B.copy()
    arguments = Arguments(x)

    def destroy(*parts):
        stack = list(parts)
        while stack:
            part = stack.pop()
            if isinstance(part, np.ndarray):
                part[...] = 7
            else:
                stack += (
                    list(part.values())
                    if isinstance(part, dict)
                    else list(getattr(part, "__dict__", {}).values() or part)
                )

    _, altered = arguments.call(destroy, arguments.arrays)
    assert altered == arguments.names
    np.testing.assert_array_equal(W, before[0])
    np.testing.assert_array_equal(B, before[1])
    np.testing.assert_array_equal(arguments.arrays[0], before[0])
    with pytest.raises(ValueError, match="read-only"):
        arguments.arrays[0][0] = 1


def test_what_is_altered_is_named():
    def loss(p):
        p["b"] -= 1
        return p["b"].sum()

    arguments = Arguments({"W": W, "b": B})
    assert arguments.call(loss, arguments.arrays)[1] == ["b"]
    assert arguments.call(lambda p: p.update(W=W), arguments.arrays)[1] == ["W"]
    assert arguments.call(lambda p: p.pop("W"), arguments.arrays)[1] == ["W"]
    assert arguments.call(lambda p: None, [W + 1j, B])[1] == []
    assert arguments.call(lambda p: p["W"].__imul__(1j), [W + 1j, B])[1] == ["W"]
    data = Arguments((B, LABELS, np.array([np.nan])), wrt=0)
    assert data.call(lambda w, y, z: y.sort(), [B])[1] == []
    assert data.call(lambda w, y, z: y.fill(3), [B])[1] == ["x[1]"]
    assert data.call(lambda w, y, z: z.fill(3), [B])[1] == ["x[2]"]
    layers = Arguments([[W, B], [W, B]], loss=one)
    assert layers.call(lambda x: x[1].pop(), layers.arrays)[1] == ["x[1][1]"]
    assert LABELS.tolist() == [0, 1]


def test_arrays_of_the_caller_do_not_matter_afterwards():
    mine = X.copy()
    arguments = Arguments(mine)
    mine[:] = 0
    np.testing.assert_array_equal(arguments.arrays[0], X)


@pytest.mark.parametrize("x", [{"W": W, "b": B}, Thawed(W, B), {"deep": {"W": W, "b": B}}])
def test_containers_of_the_caller_stay_as_they_are(x):
    def parts(container):
        return list(container.values()) if isinstance(container, dict) else [container.W, container.b]

    before = parts(x.get("deep", x) if isinstance(x, dict) else x)
    arguments = Arguments(x)
    arguments.call(lambda p: p.clear() if isinstance(p, dict) else setattr(p, "W", 0), [W + 1j, B + 1j])
    after = parts(x.get("deep", x) if isinstance(x, dict) else x)
    assert len(after) == 2 and all(one is other for one, other in zip(before, after, strict=True))


# ---- wrt and names
def test_wrt():
    assert Arguments((W, B), wrt="b", loss=two).names == ["x[1]"]
    assert Arguments((W, B), wrt="b", names=["W", "b"]).names == ["b"]
    assert Arguments((W, B), wrt=1).names == ["x[1]"]
    assert Arguments((W, B), wrt=-1).names == ["x[1]"]
    assert Arguments((W, B), wrt=[0, "x[1]"]).names == ["x[0]", "x[1]"]
    assert Arguments({"W": W, "b": B, "lr": 0.1}, wrt=("W", "b")).names == ["W", "b"]
    layers = {"layers": [{"W": W, "b": B}, {"W": W, "b": B, "n": 3}], "out": W}
    assert Arguments(layers, wrt="layers[1]").names == ["layers[1].W", "layers[1].b"]
    assert Arguments(layers, wrt=["layers[0].b", "out"]).names == ["layers[0].b", "out"]
    assert Arguments((B, LABELS), wrt=1).arrays[0].dtype == np.float64
    sparse = scipy.sparse.csr_array(np.eye(2))
    assert Arguments((B, sparse, np.array([np.nan, 1j])), wrt=0).names == ["x[0]"]
    assert seen(Arguments((B, sparse), wrt=0))[1] is sparse


@pytest.mark.parametrize(
    ("wrt", "says"),
    [
        ("alpha", r"wrt is 'alpha'; expected one of W, b\.$"),
        ("w", r"wrt is 'w'; expected one of W, b\. Did you mean 'W'\?"),
        (2, r"wrt is 2; expected an index from 0 to 1, or a name"),
        (True, r"wrt is True; expected the name"),
        (1.0, r"wrt is 1\.0; expected the name"),
        ((), "wrt is empty"),
    ],
)
def test_wrong_wrt(wrt, says):
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        Arguments({"W": W, "b": B}, wrt=wrt)
    assert isinstance(caught.value, InvalidInput)


def test_names():
    assert Arguments((W, B), names=["weights", "bias"]).names == ["weights", "bias"]
    assert Arguments((W, B), names="Wb").names == ["W", "b"]
    assert Arguments((B, LABELS), names=["w", "y"]).names == ["w"]
    assert Arguments([(W, B), (W, B)], names=["one", "two"]).names == ["one[0]", "one[1]", "two[0]", "two[1]"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("weights", r"names is a text; expected a list of names, one for each array of x, such as \['weights'\]"),
        (["a", "b", "c"], r"names has 3 entries; expected 2, one for each array of x: x\[0\], x\[1\]"),
        (["a", "a"], "names holds 'a' twice"),
        (["a", 1], "names holds 1; expected a list of names"),
        (["a", ""], "names holds ''"),
        ({"a", "b"}, "names is a set; expected a list"),
        (3, "names is 3; expected a list"),
    ],
)
def test_wrong_names(names, says):
    with pytest.raises(InvalidInput, match=says):
        Arguments((W, B), names=names)


# ---- what is refused, and how to mend it
SELF = [W]
SELF.append(SELF)
DEEP = W
for _ in range(5000):
    DEEP = [DEEP]
WIDE = [W]
for _ in range(15):
    WIDE = [WIDE, WIDE, WIDE]


class Evil:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")

    def __len__(self):
        raise RuntimeError("no")

    def __bool__(self):
        raise RuntimeError("no")

    def __float__(self):
        raise RuntimeError("no")

    __hash__ = None


class Shy:
    @property
    def shape(self):
        raise RuntimeError("no")


class Liar(Shy):
    @property
    def __class__(self):
        raise RuntimeError("no")


class Quantity(np.ndarray):
    pass


MASKED = np.ma.array([1.0, 2.0], mask=[True, False])
STRUCTURED = np.zeros(2, [("a", float)])
REFUSED = {
    "complex": (np.array([1 + 2j]), r"x is complex.*x = \(z\.real, z\.imag\), loss = lambda a, b: f\(a \+ 1j \* b\)"),
    "a complex number": (1j, "x is complex"),
    "complex numbers": ([1j, 2.0], "x is complex"),
    "sparse": (
        scipy.sparse.csr_array(np.eye(3)),
        r"x is a sparse matrix; expected an array\. Audit x\.data, or x\.toarray\(\)",
    ),
    "empty": (np.zeros((0, 3)), r"x is empty, of shape \(0, 3\)"),
    "empty list": ([], "x is an empty list"),
    "empty dict": ({}, "x is an empty dict"),
    "lists of nothing": ([[], [[]]], "holds nothing"),
    "None": (None, "x is None; expected an array of floating numbers"),
    "text": ("weights", "x is 'weights'; expected an array"),
    "texts": (np.array(["a"]), "x has dtype <U1"),
    "set": ({1.0}, "x is a set"),
    "generator": ((v for v in X), "x is a generator"),
    "generator within": ((W, iter([1.0])), r"x\[1\] is a list_iterator, which can be read once only.*list\(x\[1\]\)"),
    "function": (one, "x is a function"),
    "class": (float, "x is a type"),
    "module": (np, "x is a module"),
    "bool": (True, "x has dtype bool"),
    "bools": (X > 0, r"x has dtype bool; expected floating numbers\. Convert it by \.astype\(float\)"),
    "NaN": (np.array([1.0, np.nan]), r"x\[1\] is nan; expected finite numbers \(1 of 2"),
    "infinity": ({"W": np.array([[1.0], [-np.inf]])}, r"W\[1, 0\] is -inf; expected finite"),
    "NaN alone": (math.nan, "x is nan; expected finite numbers"),
    "huge": (10**400, "x holds an integer beyond the range of float64"),
    "huge in a list": ([1, 10**400], "x holds an integer beyond"),
    "ragged": ([[1.0, 2.0], [3.0]], "x is a list of rows of unequal lengths"),
    "masked": (MASKED, r"x is a masked array.*x\.filled\(value\)"),
    "masked within": ((W, MASKED), r"x\[1\] is a masked array.*by wrt="),
    "masked number": ([1.0, np.ma.masked], r"x\[1\] is a masked array"),
    "objects": (np.array([1.0, None]), "x is an array of dtype object"),
    "structured": (STRUCTURED, "x is an array of dtype structured.*as a dict"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), "x has dtype datetime64"),
    "duration": (np.timedelta64(3, "s"), "x has dtype timedelta64"),
    "subclass": (
        np.ones(2).view(Quantity),
        r"x is a Quantity; expected an array of NumPy's own\. Give numpy\.asarray\(x\)",
    ),
    "itself": (SELF, "x contains itself"),
    "deep": (DEEP, "nested deeper than 16 levels"),
    "many times over": (WIDE, "x holds more than 10000 arrays"),
    "all integers": ((LABELS, 3), r"nothing to differentiate: x\[0\] is of dtype int64, x\[1\] is 3"),
    "evil": (Evil(), r"x is an Evil that NumPy cannot read \(RuntimeError\)"),
    "decimal": (decimal.Decimal(1), "x is a Decimal"),
    "liar": (Liar(), "x is a Liar"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    x, says = REFUSED[name]
    with pytest.raises(InvalidInput, match=says) as caught:
        Arguments(x)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_a_loss_that_cannot_be_called_with_x():
    with pytest.raises(
        InvalidInput, match=r"x is a dict with the keys 'W', 'b', for loss\(x\); loss takes \(W, b\).*f\(\*\*p\)"
    ):
        Arguments({"W": W, "b": B}, loss=two)
    with pytest.raises(
        InvalidInput, match=r"x is a tuple of 3, for a loss of 3 arguments or of one list; loss takes \(W, b\)"
    ):
        Arguments((W, B, B), loss=two)
    with pytest.raises(InvalidInput, match=r"x is an array of shape \(5,\), for loss\(x\); loss takes \(W, b\)"):
        Arguments(X, loss=two)


def test_pandas_is_told_the_way():
    Frame = type("DataFrame", (), {"__module__": "pandas.core.frame"})
    with pytest.raises(InvalidInput, match=r"x is a DataFrame; expected an array\. Give x\.to_numpy\(\)"):
        Arguments(Frame())


# ---- the value of a loss
NUMBERS = {
    "float": (0.5, np.float64),
    "int": (0, np.float64),
    "bool": (True, np.float64),
    "fraction": (fractions.Fraction(1, 2), np.float64),
    "float32": (np.float32(0.5), np.float32),
    "longdouble": (np.longdouble(0.5), np.longdouble),
    "int64": (np.int64(2), np.float64),
    "0-d": (np.array(0.5), np.float64),
    "size 1": (np.array([[0.5]], np.float32), np.float32),
    "matrix": (np.array([[0.5]]).view(np.matrix), np.float64),
    "list of 1": ([0.5], np.float64),
    "object": (np.array(0.5, object), np.float64),
    "complex": (0.5 + 1j, np.complex128),
    "complex64": (np.array([0.5 + 1j], np.complex64), np.complex64),
    "NaN": (math.nan, np.float64),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name):
    value, dtype = NUMBERS[name]
    number = Arguments(X).number(value)
    assert type(number) is dtype
    np.testing.assert_array_equal(number, np.ravel(np.asarray(value, dtype))[0])


NO_NUMBERS = {
    "vector": (np.ones(6), r"loss returns 6 numbers, one a sample\? expected one: give lambda x: loss\(x\)\.sum\(\)"),
    "list": ([1.0, 2.0, 3.0], r"loss returns 3 numbers.*sum\(loss\(x\)\)"),
    "empty": (np.ones(0), "loss returns an empty array"),
    "pair": ((1.0, X), r"loss returns a pair \(number, array\); expected one real number: give gradient=True if it returns"),
    "pair with a dict": ((1.0, {"x": X}), r"a pair \(number, a dict with the key 'x'\)"),
    "pair of numbers": ((1.0, 2.0), r"a pair \(number, number\)"),
    "triple": ((1.0, X, X), "loss returns a tuple of 3"),
    "None": (None, "loss returns None; is a return missing"),
    "text": ("1.0", "loss returns '1.0'"),
    "dict": ({"loss": 1.0}, "loss returns a dict with the key 'loss'"),
    "sparse": (scipy.sparse.eye_array(1), r"loss returns a sparse matrix.*\.sum\(\)"),
    "masked": (MASKED, "loss returns a masked array"),
    "huge": (10**400, "beyond the range of float64"),
    "dates": (np.array("2020-01-01", "M8[D]"), r"dtype datetime64\[D\]"),
    "duration": (np.timedelta64(1, "s"), r"dtype timedelta64\[s\]"),
    "generator": ((v for v in X), "loss returns a generator"),
    "evil": (Evil(), r"loss returns an Evil that NumPy cannot read"),
    "liar": (Liar(), r"loss returns a Liar"),
    "objects": (np.array([None]), "NoneType|None"),
    "function": (one, "loss returns a function"),
    "decimal": (decimal.Decimal(1), "loss returns a Decimal"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_no_numbers(name):
    value, says = NO_NUMBERS[name]
    with pytest.raises(InvalidInput, match=says):
        Arguments(X).number(value)


def test_an_array_of_the_audits_own_passes():
    Own = type("Dual", (), {"__module__": "nlicl.audit.dual", "shape": ()})
    own = Own()
    assert Arguments(X).number(own) is own
    Own.shape = (6,)
    with pytest.raises(InvalidInput, match="loss returns 6 numbers"):
        Arguments(X).number(own)


def test_finite():
    arguments = Arguments(X)
    assert arguments.finite(np.float64(1)) == 1
    for value, text in ((np.nan, "nan"), (np.float64(-np.inf), "-inf")):
        with pytest.raises(InvalidInput, match=f"loss is {text} at x; expected a finite number"):
            arguments.finite(value)


def test_pairs():
    arguments = Arguments(X)
    assert arguments.split_pair((1.0, X))[1] is X
    assert arguments.split_pair([1.0, {"x": X}])[0] == 1.0
    for value, says in {
        1.0: "loss returns 1.0; expected a pair",
        (X.tobytes(), 2, 3): "Put the gradients in a tuple of their own",
        None: "loss returns None; expected a pair",
    }.items():
        with pytest.raises(InvalidInput, match=says):
            arguments.split_pair(value)
    with pytest.raises(InvalidInput, match=r"a pair \(array, number\); expected \(loss, gradient\), in this order"):
        arguments.split_pair((X, 1.0))


# ---- what a gradient returns: (x, value, the arrays it is read as)
G, H = 2 * W, 3 * B
TAKEN = {
    "array": (X, 2 * X, [2 * X]),
    "1-tuple": (X, (2 * X,), [2 * X]),
    "1-list": (X, [2 * X], [2 * X]),
    "list of numbers": (X, list(2 * X), [2 * X]),
    "list of 0-d": (X, [np.array(v) for v in X], [X]),
    "objects": (X, np.array(list(X), object), [X]),
    "fractions": ([1.0, 2.0], [fractions.Fraction(1, 2), 1], [np.array([0.5, 1])]),
    "bools": (X, X > 0, [(X > 0) * 1.0]),
    "integers": (X, np.arange(5), [np.arange(5.0)]),
    "float32": (X, X.astype(np.float32), [X.astype(np.float32)]),
    "big-endian": (X, X.astype(">f8"), [X]),
    "matrix": (W, G.view(np.matrix), [G]),
    "NaN": (X, X * np.nan, [X * np.nan]),
    "number": (1.5, 3, [np.array(3.0)]),
    "(1,) for ()": (1.5, np.array([3.0]), [np.array(3.0)]),
    "() for (1,)": ([1.5], 3.0, [np.array([3.0])]),
    "bare for [x]": ([X], 2 * X, [2 * X]),
    "bare for {x}": ({"x": X}, 2 * X, [2 * X]),
    "tuple": ((W, B), (G, H), [G, H]),
    "list": ((W, B), [G, H], [G, H]),
    "named": ((W, B), Pair(G, H), [G, H]),
    "array of arrays": ((W, B), np.array([G, H, None], object)[:2], [G, H]),
    "array of two numbers": ((1.0, np.array(2.0)), np.array([3.0, 4.0]), [np.array(3.0), np.array(4.0)]),
    "dict by the loss's names": ((W, B), {"b": H, "W": G}, [G, H]),
    "dict by x[k]": ((W, B), {"x[0]": G, "x[1]": H}, [G, H]),
    "dict": ({"W": W, "b": B}, {"b": H, "W": G}, [G, H]),
    "named tuple": (Pair(W, B), Pair(G, H), [G, H]),
    "named tuple, as a tuple": (Pair(W, B), (G, H), [G, H]),
    "named tuple, as a dict": (Pair(W, B), {"W": G, "b": H}, [G, H]),
    "dataclass": (Thawed(W, B), Thawed(G, H), [G, H]),
    "dataclass, as a tuple": (Thawed(W, B), (G, H), [G, H]),
    "dataclass, as a dict": (Thawed(W, B), {"W": G, "b": H}, [G, H]),
    "nested": ({"l": [(W, B)], "o": B}, {"o": H, "l": [(G, H)]}, [G, H, H]),
    "labels left out": ((B, LABELS), H, [H]),
    "labels left out of a tuple": ((B, LABELS), (H,), [H]),
    "labels None": ((B, LABELS), (H, None), [H]),
    "labels zero": ((B, LABELS), (H, np.zeros(2)), [H]),
    "labels among several": ((W, LABELS, B), (G, H), [G, H]),
    "labels among several, all": ((W, LABELS, B), (G, None, H), [G, H]),
    "labels in a dict": ({"W": W, "y": LABELS}, {"W": G}, [G]),
    "labels in a dict, too": ({"W": W, "y": LABELS}, {"W": G, "y": None}, [G]),
    "one list of pairs": ([(W, B)], [(G, H)], [G, H]),
    "one pair in a list, bare": ([(W, B)], (G, H), [G, H]),
}


@pytest.mark.parametrize("name", TAKEN)
def test_gradients(name):
    x, value, expected = TAKEN[name]
    arguments = Arguments(x, loss=two if name == "dict by the loss's names" else None)
    found = arguments.gradient(value)
    assert len(found) == len(expected)
    for array, wanted in zip(found, expected, strict=True):
        assert type(array) is np.ndarray and array.dtype == wanted.dtype and array.shape == wanted.shape
        np.testing.assert_array_equal(array, wanted)
        assert not np.shares_memory(array, value) if isinstance(value, np.ndarray) else True


def test_gradients_are_copies():
    buffer = np.zeros(5)
    found = Arguments(X).gradient(buffer)
    buffer += 1
    assert not found[0].any()


NOT_TAKEN = {
    "None": (X, None, r"gradient returns None; is a return missing\? Expected an array of shape \(5,\)"),
    "dict": (X, {"x": X}, r"gradient returns a dict with the key 'x' for x; expected an array of shape \(5,\)"),
    "sparse": (X, scipy.sparse.csr_array(X[None]), r"a sparse matrix for x; .*give \.toarray\(\)"),
    "column": (X, X[:, None], r"gradient returns shape \(5, 1\) for x; expected \(5,\): give \.ravel\(\)"),
    "row matrix": (X, X.view(np.matrix), r"shape \(1, 5\) for x; expected \(5,\): give \.ravel\(\)"),
    "vector for a column": (X[:, None], X, r"shape \(5,\) for x; expected \(5, 1\): give \.reshape\(5, 1\)"),
    "row for a column": (X[:, None], X[None], r"shape \(1, 5\) for x; expected \(5, 1\): give \.reshape\(5, 1\)"),
    "transposed": ((W, B), (W.T, B), r"shape \(3, 2\) for x\[0\]; expected \(2, 3\): transposed\? Give \.T"),
    "samples": (X, np.ones((7, 5)), r"shape \(7, 5\) for x; expected \(5,\): one a sample\? Give \.sum\(axis=0\)"),
    "number": (X, 1.0, r"gradient returns one number for x; expected \(5,\)"),
    "pair": (X, (1.0, X), r"a tuple of 2, a number and an array of shape \(5,\): the gradient alone.*give gradient=T"),
    "pair for several": ((W, B), (1.0, (W, B)), "a tuple of 2, a number and a tuple of 2: the gradient alone"),
    "pair for a dict": ({"W": W}, (np.array(1.0), {"W": W}), "a number and a dict with the key 'W': the gradient alone"),
    "pair of numbers": (1.5, (2.0, 3.0), "a number and 3.0: the gradient alone"),
    "two arrays": (X, (X, X), r"gradient returns a tuple of 2 arrays; expected an array of shape \(5,\)"),
    "three for two": ((W, B), (W, B, B), r"gradient returns 3 arrays; expected 2, one for each of x\[0\], x\[1\]"),
    "one for two": ((W, B), (W,), "gradient returns 1 array; expected 2"),
    "bare for two": ((B, B), X, r"gradient returns an array of shape \(5,\); expected 2, one for each of x\[0\], x\[1\]"),
    "None for one": ({"W": W, "b": B}, {"W": W, "b": None}, "gradient returns None for b; .*by wrt="),
    "missing key": ({"W": W, "b": B}, {"W": W}, "gradient returns a dict with the key 'W'; expected the keys 'W', 'b'"),
    "another key": ({"W": W}, {"W": W, "b": B}, "expected the keys 'W' and no others"),
    "tuple for a dict": ({"W": W, "b": B}, (W, B), "a tuple of 2; expected a dict with the keys 'W', 'b'"),
    "complex": (X, X + 0j, "gradient returns complex128 for x; expected real numbers"),
    "complex objects": (X, np.array([1j] * 5, object), "gradient returns complex128 for x"),
    "complex list": (X, [1j] * 5, "gradient returns complex128 for x"),
    "masked": (X, np.ma.array(X), "a masked array for x"),
    "masked within": ((W, B), (W, [np.ma.masked, 1.0]), r"a masked array for x\[1\]"),
    "text": (X, "none", "gradient returns 'none' for x"),
    "texts": (X, np.array(["1"] * 5), "dtype <U1 for x"),
    "ragged": (X, [[1.0], [2.0, 3.0]], "a list of 2 of unequal lengths for x"),
    "generator": (X, (v for v in X), "a generator for x"),
    "set": (X, set(), "a set for x"),
    "evil": (X, Evil(), "an Evil that NumPy cannot read"),
    "liar": (X, Liar(), "a Liar"),
    "function": (X, one, "a function|dtype object"),
    "itself": ((W, B), SELF, "unequal|nested|read|None"),
    "deep": (X, DEEP, "unequal|nested"),
    "None in a list": (X, [1.0, None, 1.0, 1.0, 1.0], "holds None"),
    "huge": (X, [10**400] * 5, "beyond the range of float64"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_gradients_that_are_none(name):
    x, value, says = NOT_TAKEN[name]
    with pytest.raises(InvalidInput, match=says) as caught:
        Arguments(x).gradient(value)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


# ---- anything at all
EXAMPLES = [
    None, "", "abc", b"x", set(), {1}, one, np, float, 10**400, -(10**400), 0, 1.5, math.nan, math.inf, 1j, True, [],
    (), {}, [[]], Evil(), [Evil()], Shy(), SELF, DEEP, MASKED, np.ma.masked, STRUCTURED, STRUCTURED[0],
    memoryview(b"abc"), memoryview(X), np.datetime64("2020-01-01"), np.timedelta64(1, "s"),
    np.array(["2020"], "M8[Y]"), np.array(None), np.array([[1, None]]), np.array([X, W, B], object),
    X.view(np.matrix), np.array(2.0), np.array(2), np.zeros(0), np.zeros((0, 3)), np.ones(5, np.float16), W, X, B,
    X > 0, LABELS, np.array(["a"]), decimal.Decimal(1), fractions.Fraction(1, 3), scipy.sparse.csr_array(np.eye(2)),
    scipy.sparse.csr_array(X[None]), Pair(W, B), Frozen(W, B), Thawed(W, None), Pair, Frozen, np.float64(1),
    np.str_("a"), np.bool_(True), object(), type, range(0), range(3), collections.deque([1.0]), slice(1), ...,
    NotImplemented, np.ones(2).view(Quantity), np.array([1.0, 2.0], np.longdouble), np.ones((1,) * 64),
    standard.array("d", [1.0]), W + 1j, Exception("no"), {Pair: W}, np.dtype(float),
]  # fmt: skip
HOSTILE = st.integers(0, len(EXAMPLES) - 1).map(lambda k: EXAMPLES[k])  # Hypothesis would write them out
ANYTHING = st.recursive(
    HOSTILE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["W", "b", "", "x[0]", 0, (1, "a"), None]), inner, max_size=3)
        | st.tuples(inner, inner).map(lambda parts: Pair(*parts))
        | st.tuples(inner, inner).map(lambda parts: Thawed(*parts))
    ),
    max_leaves=6,
)
GOOD = st.sampled_from([x for name, (x, _, _, _) in FORMS.items()])
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def fuzzed(x, value, loss, names, wrt):
    try:
        arguments = Arguments(x, names, wrt, loss=loss)
    except InvalidInput as error:
        assert "\n" not in str(error) and len(str(error)) < 700
        return
    assert arguments.names and all(np.isfinite(array).all() and array.size for array in arguments.arrays)
    assert arguments.call(lambda *a: None, arguments.arrays)[1] == []
    for read in (arguments.number, arguments.split_pair, arguments.gradient):
        try:
            found = read(value)
        except InvalidInput as error:
            assert "\n" not in str(error) and len(str(error)) < 700
            continue
        if read == arguments.gradient:
            assert [g.shape for g in found] == [a.shape for a in arguments.arrays]
            assert all(type(g) is np.ndarray and g.dtype.kind == "f" for g in found)
    # x's own numbers are a gradient in every form
    got = []
    arguments.call(lambda *a: got.extend(a), arguments.arrays)
    again = arguments.gradient(tuple(got) if arguments.several else got[0])
    for one_, other in zip(again, arguments.arrays, strict=True):
        np.testing.assert_array_equal(one_, other)


@FUZZ
@given(ANYTHING, HOSTILE, st.sampled_from([None, one, two, many, max]))
def test_fuzzed_points(x, value, loss):
    fuzzed(x, value, loss, None, None)


@FUZZ
@given(GOOD, ANYTHING)
def test_fuzzed_returns(x, value):
    fuzzed(x, value, None, None, None)


@FUZZ
@given(GOOD, ANYTHING, ANYTHING)
def test_fuzzed_names_and_wrt(x, names, wrt):
    fuzzed(x, None, None, names, None)
    fuzzed(x, None, None, None, wrt)


@pytest.mark.slow
@settings(FUZZ, max_examples=5000)
@given(ANYTHING | GOOD, ANYTHING, st.sampled_from([None, one, two, many, max]))
def test_fuzzed_at_length(x, value, loss):
    fuzzed(x, value, loss, None, None)


# ---- torch and JAX
def test_torch():
    torch = pytest.importorskip("torch")
    w, b = torch.nn.Parameter(torch.tensor(W, dtype=torch.float32)), torch.tensor(B)
    y = torch.tensor([0, 1])
    arguments = Arguments({"w": w, "b": b, "y": y})
    assert arguments.names == ["w", "b"] and [a.dtype for a in arguments.arrays] == [np.float32, np.float64]

    def both(p):
        loss = (p["w"] ** 2).sum() + (p["b"] * p["y"]).sum()
        loss.backward()
        return loss, {"w": p["w"].grad, "b": 1.0 * p["y"]}

    (loss, gradient), altered = arguments.call(both, arguments.arrays)
    assert altered == [] and w.grad is None
    assert type(arguments.number(loss)) is np.float64
    np.testing.assert_allclose(arguments.gradient(gradient)[0], 2 * W, rtol=1e-6)
    got = seen(arguments)[0]
    assert (
        got["w"].dtype == torch.float32 and got["w"].requires_grad and got["w"].is_leaf and not got["b"].requires_grad
    )
    wide = seen(arguments, leaves=[W, B], original_dtype=False)[0]
    assert wide["w"].dtype == torch.float64
    imaginary = seen(arguments, leaves=[W + 1j, B + 1j])[0]
    assert (imaginary["w"].dtype, imaginary["b"].dtype) == (torch.complex64, torch.complex128)
    assert arguments.call(lambda p: p["b"].mul_(2), arguments.arrays)[1] == ["b"]
    assert arguments.call(lambda p: p["b"].data.mul_(2), arguments.arrays)[1] == ["b"]
    assert arguments.call(lambda p: p["y"].mul_(2), arguments.arrays)[1] == ["y"]
    assert y.tolist() == [0, 1]
    half = Arguments(torch.ones(3, dtype=torch.bfloat16))
    assert half.arrays[0].dtype == np.float64 and seen(half)[0].dtype == torch.bfloat16
    assert half.gradient([torch.tensor(1.0)] * 3)[0].tolist() == [1, 1, 1]
    for bad, says in (
        (torch.ones(2, dtype=torch.complex64), "x is complex"),
        (torch.eye(2).to_sparse(), r"x is a sparse tensor.*to_dense\(\)"),
        (torch.nn.Linear(2, 2), "torch module.*functional_call"),
        (torch.ones(2, device="meta"), "NumPy cannot read"),
        (torch.tensor([1.0, math.nan]), r"x\[1\] is nan"),
    ):
        with pytest.raises(InvalidInput, match=says):
            Arguments(bad)
    with pytest.raises(InvalidInput, match="gradient returns complex64 for b"):
        arguments.gradient({"w": w, "b": torch.ones(2, dtype=torch.complex64)})
    with pytest.raises(InvalidInput, match=r"a sparse matrix for b.*to_dense"):
        arguments.gradient({"w": w, "b": torch.ones(2).to_sparse()})
    with pytest.raises(InvalidInput, match="loss returns 6 numbers"):
        arguments.number(w)


def test_jax():
    jax = pytest.importorskip("jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        w = jax.numpy.array(W)
    arguments = Arguments((w, jax.numpy.array([0, 1])), loss=lambda w, y: 0.0)
    assert arguments.names == ["x[0]"] and arguments.arrays[0].dtype == np.float32
    f = lambda w, y: (w[y] ** 2).sum()  # noqa: E731
    loss, altered = arguments.call(f, arguments.arrays)
    assert altered == [] and type(arguments.number(loss)) is np.float32
    np.testing.assert_allclose(
        arguments.gradient(arguments.call(jax.grad(f), arguments.arrays)[0])[0], 2 * W, rtol=1e-6
    )
    assert seen(arguments, leaves=[W])[0].dtype == np.float32
    assert seen(arguments, leaves=[W + 1j])[0].dtype == np.complex64
    half = Arguments(jax.numpy.ones(3, jax.numpy.bfloat16))
    assert half.arrays[0].dtype == np.float64 and seen(half)[0].dtype == jax.numpy.bfloat16
    with pytest.raises(InvalidInput, match="x is complex"):
        Arguments(w + 1j)
    assert isinstance(Arguments({"w": w}, loss=jax.jit(lambda p: 0.0)).names, list)
    assert not Arguments([w, w], loss=jax.jit(lambda p: 0.0)).several


def test_neither_is_imported():
    code = (
        "import sys, numpy as np, nlicl.audit.forms as a; a.Arguments((np.ones(2), [1.0])); "
        "print({'torch', 'jax'} & set(sys.modules))"
    )
    assert python(code) == "set()"
