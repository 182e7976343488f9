"""Ways to lose a derivative. Each must raise; none may return plain numbers."""

import array
import io
import json
import math
import random
import statistics
import struct
from fractions import Fraction

import numba
import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import scipy.sparse
import scipy.spatial.distance
import scipy.special
import scipy.stats
from numpy.testing.overrides import get_overridable_numpy_array_functions

from nlicl.audit.dual import Dual, NotCarried, lift, parts, recording
from nlicl.audit.dual.rules import FUNCTIONS, METHODS, UFUNCS

d = lift(np.array([0.5, 1.5, 0.25]), np.array([1.0, 2, 3]))
D = lift(np.eye(3) * 2 + 0.1, np.ones((3, 3)))
big = lift(np.ones(5000), np.ones(5000))
s, z = d[0], lift(np.array(0.5), np.array(1.0))
rng = np.random.default_rng(0)


def put(buffer, key, item):
    buffer[key] = item
    return buffer


def in_place(statement):
    def run():
        exec(statement, {"np": np, "d": d, "D": D, "s": s, "b": np.zeros(3), "M": np.eye(3)})

    return run


@numba.njit
def compiled(x):
    return x * 2


LOST = {
    # into plain arrays and numbers
    "array": lambda: np.array(d, dtype=float),
    "array positional": lambda: np.array(d, float),
    "asarray": lambda: np.asarray(d, np.float64),
    "asarray of a scalar": lambda: np.asarray(s, float),
    "asanyarray": lambda: np.asanyarray(d, dtype="f4"),
    "ascontiguousarray": lambda: np.ascontiguousarray(d, dtype=int),
    "array of scalars": lambda: np.array([s, 2 * s, 1.0], dtype=float),
    "array of a comprehension": lambda: np.array([x * x for x in d], float),
    "array of rows": lambda: np.array([d, d], float),
    "a large array": lambda: np.array(big),
    "a list of large arrays": lambda: np.sum([big, big]),
    "object array to float": lambda: np.array(d).astype(float),
    "fromiter": lambda: np.fromiter((x for x in d), float),
    "full": lambda: np.full(3, s, float),
    "item": lambda: put(np.zeros(3), 0, s),
    "item of no dimension": lambda: put(np.zeros(3), 0, z),
    "item of a matrix": lambda: put(np.zeros((3, 3)), (0, 1), s),
    "item of an int array": lambda: put(np.zeros(3, int), 0, s),
    "item of a float32 array": lambda: put(np.zeros(3, np.float32), 0, s),
    "item of no dimension of no dimension": lambda: put(np.zeros(()), (), s),
    "slice": lambda: put(np.zeros(3), slice(None), d),
    "mask": lambda: put(np.zeros(3), np.array([True, True, True]), d),
    "row": lambda: put(np.zeros((2, 3)), 0, d),
    "flat": lambda: put(np.zeros(3).flat, slice(None), d),
    "fill": lambda: np.zeros(3).fill(s),
    "array.array": lambda: array.array("d", d),
    "struct": lambda: struct.pack("d", s),
    "int mask of": lambda: np.arange(9)[d],
    "index": lambda: [1, 2, 3][s],
    "its own index": lambda: d[s],
    "range": lambda: range(s),
    "float": lambda: float(s),
    "float of no dimension": lambda: float(z),
    "float of size 1": lambda: float(d[:1]),
    "int": lambda: int(s),
    "complex": lambda: complex(s),
    "np.float64": lambda: np.float64(s),
    "np.float64 of an array": lambda: np.float64(d),
    "np.float32": lambda: np.float32(s),
    "Fraction": lambda: Fraction(s),
    # rounding
    "round": lambda: round(s),
    "round digits": lambda: round(s, 2),
    "np.round": lambda: np.round(d, 2),
    "d.round": lambda: d.round(2),
    "around": lambda: np.around(d),
    "rint": lambda: np.rint(d),
    "floor division": lambda: d // 2,
    "reflected floor division": lambda: 2 // d,
    "floor_divide": lambda: np.floor_divide(d, 2),
    "divmod": lambda: divmod(d, 2),
    "np.divmod": lambda: np.divmod(d, 2),
    "modf": lambda: np.modf(d),
    "frexp": lambda: np.frexp(d),
    "math.floor": lambda: math.floor(s),
    "astype int": lambda: d.astype(int),
    "astype bool": lambda: d.astype(bool),
    "bits": lambda: d.view(np.int64),
    # math and statistics
    "math.exp": lambda: math.exp(s),
    "math.sqrt": lambda: math.sqrt(z),
    "math.log": lambda: math.log(d[:1]),
    "math.hypot": lambda: math.hypot(s, 1),
    "math.fsum": lambda: math.fsum(d),
    "math.dist": lambda: math.dist(d, [1, 2, 3]),
    "math.isclose": lambda: math.isclose(s, 0.5),
    "statistics.mean": lambda: statistics.mean(d),
    "statistics.fmean": lambda: statistics.fmean(d),
    "statistics.stdev": lambda: statistics.stdev(d),
    # output arrays
    "out": lambda: np.exp(d, out=np.zeros(3)),
    "out positional": lambda: np.add(d, 1, np.zeros(3)),
    "out and where": lambda: np.log(d, out=np.zeros(3), where=np.array([True, False, True])),
    "where without out": lambda: np.log(d, where=np.array([True, False, True])),
    "sum out": lambda: np.sum(D, axis=0, out=np.zeros(3)),
    "sum out positional": lambda: np.sum(D, 0, None, np.zeros(3)),
    "d.sum out": lambda: D.sum(0, None, np.zeros(3)),
    "mean out": lambda: D.mean(0, out=np.zeros(3)),
    "max out": lambda: np.max(D, 0, np.zeros(3)),
    "cumsum out": lambda: np.cumsum(d, 0, None, np.zeros(3)),
    "take out": lambda: d.take([0, 1, 2], 0, np.zeros(3)),
    "dot out": lambda: np.dot(D, d, np.zeros(3)),
    "matmul out": lambda: np.matmul(D, d, out=np.zeros(3)),
    "einsum out": lambda: np.einsum("ij,j->i", D, d, out=np.zeros(3)),
    "concatenate out": lambda: np.concatenate([d, d], out=np.zeros(6)),
    "stack out": lambda: np.stack([d, d], out=np.zeros((2, 3))),
    "clip out": lambda: np.clip(d, 0, 1, np.zeros(3)),
    "reduce out": lambda: np.add.reduce(D, 0, out=np.zeros(3)),
    "+=": in_place("b += d"),
    "slice +=": in_place("b[:2] += s"),
    "item -=": in_place("b[0] -= s"),
    "mask *=": in_place("b[b == 0] *= s"),
    "@=": in_place("M @= D"),
    "**=": in_place("b **= d"),
    "add.at": lambda: np.add.at(np.zeros(3), [0], s),
    "maximum.at": lambda: np.maximum.at(np.zeros(3), [0], s),
    "copyto": lambda: np.copyto(np.zeros(3), d),
    "put": lambda: np.put(np.zeros(3), [0], s),
    "place": lambda: np.place(np.zeros(3), [True, False, True], d),
    "putmask": lambda: np.putmask(np.zeros(3), [True, False, True], d),
    "put_along_axis": lambda: np.put_along_axis(np.zeros(3), np.array([0]), s, 0),
    "fill_diagonal": lambda: np.fill_diagonal(np.eye(3), s),
    # functions without a rule, and options that would lose
    "frompyfunc": lambda: np.frompyfunc(lambda x: x * 2, 1, 1)(d),
    "vectorize to float": lambda: np.vectorize(lambda x: x * 2, otypes=[float])(d),
    "vectorize of both": lambda: np.vectorize(lambda x: 0.0 if x > 0.3 else x)(d),
    "apply_along_axis": lambda: np.apply_along_axis(np.sum, 0, D),
    "fft": lambda: np.fft.fft(d),
    "rfft": lambda: np.fft.rfft(d),
    "unique": lambda: np.unique(d),
    "histogram": lambda: np.histogram(d),
    "digitize": lambda: np.digitize(d, [0, 1]),
    "trim_zeros": lambda: np.trim_zeros(d),
    "bincount": lambda: np.bincount(d),
    "arange": lambda: np.arange(s),
    "logspace": lambda: np.logspace(0, s, 3),
    "polyfit": lambda: np.polyfit([0, 1, 2], d, 1),
    "roots": lambda: np.roots(d),
    "dtype": lambda: np.add(d, 1, dtype=np.float32),
    "sum dtype": lambda: d.sum(dtype=int),
    "quantile by q": lambda: np.quantile(np.ones(3), s),
    "quantile method": lambda: np.quantile(d, 0.3, method="nearest"),
    "searchsorted sorter": lambda: np.searchsorted(d, 0.3, sorter=[2, 0, 1]),
    "searchsorted of many": lambda: np.searchsorted(big, np.ones(5000)),
    "fmod at a multiple": lambda: np.fmod(4 * d, 2.0),
    "clip casting": lambda: np.clip(d, 0, 1, casting="unsafe"),
    "linspace retstep": lambda: np.linspace(0, s, 3, retstep=True),
    "linspace dtype": lambda: np.linspace(0, s, 3, dtype=int),
    "argsort order": lambda: np.argsort(d, order="a"),
    "interp period": lambda: np.interp(d, [0.0, 1], [0.0, 1], period=1.0),
    "percentile by q": lambda: np.percentile(d, 30 * s),
    "flat to float": lambda: np.asarray(d.flat, float),
    "pad mode": lambda: np.pad(d, 1, mode="maximum"),
    "pad by a Dual": lambda: np.pad(d, 1, constant_values=s),
    "diff of an option": lambda: np.gradient(np.ones(3), d),
    "take by a Dual": lambda: np.take(np.arange(3), d),
    "times a complex number": lambda: 1j * d,
    "complex array": lambda: d + np.ones(3, complex),
    "complex exponential": lambda: np.exp(1j * d),
    "bitwise": lambda: d & 1,
    "matrix": lambda: np.eye(3).view(np.matrix) * d,
    "nan_to_num in place": lambda: np.nan_to_num(d, copy=False),
    "eigenvectors of equal values": lambda: np.linalg.eigh(lift(np.eye(3), np.ones((3, 3)))),
    "equal eigenvalues": lambda: np.linalg.eigvalsh(lift(np.eye(3), np.ones((3, 3)))),
    "equal singular values": lambda: np.linalg.svd(lift(np.eye(3), np.ones((3, 3)))),
    "singular value of 0": lambda: np.linalg.svd(lift(np.diag([2.0, 1, 0]), np.ones((3, 3))), compute_uv=False),
    "pinv of less rank": lambda: np.linalg.pinv(lift(np.ones((3, 3)), np.ones((3, 3)))),
    "lstsq of less rank": lambda: np.linalg.lstsq(lift(np.ones((3, 3)), np.ones((3, 3))), np.ones(3)),
    "qr of a wide matrix": lambda: np.linalg.qr(D[:2]),
    "qr mode": lambda: np.linalg.qr(D, "complete"),
    "eig": lambda: np.linalg.eig(D),
    "matrix_rank": lambda: np.linalg.matrix_rank(D),
    "svd of full matrices": lambda: np.linalg.svd(D[:, :2]),
    "gammainc by a": lambda: scipy.special.gammainc(s, 1.0),
    "zeta": lambda: scipy.special.zeta(2.0, d),
    "lambertw": lambda: scipy.special.lambertw(d),
    "polygamma": lambda: scipy.special.polygamma(1, d),
    "logsumexp": lambda: scipy.special.logsumexp(d),
    "log_softmax": lambda: scipy.special.log_softmax(d),
    # bytes and files
    "save": lambda: np.save(io.BytesIO(), d),
    "savetxt": lambda: np.savetxt(io.StringIO(), d),
    "memoryview": lambda: memoryview(d),
    "bytes": lambda: bytes(d),
    "tobytes": lambda: d.tobytes(),
    "data": lambda: d.data,
    "frombuffer": lambda: np.frombuffer(d),
    "json": lambda: json.dumps(s),
    "%f": lambda: "%f".__mod__(s),
    "nditer": lambda: list(np.nditer(d)),
    # random numbers
    "normal": lambda: rng.normal(d),
    "normal scale": lambda: rng.normal(0.0, s),
    "choice": lambda: rng.choice(3, p=d / d.sum()),
    "multinomial": lambda: rng.multinomial(3, d / d.sum()),
    "poisson": lambda: rng.poisson(s),
    "random.betavariate": lambda: random.Random(0).betavariate(s, math.exp(s)),
    # others' functions
    "numba": lambda: compiled(d),
    "numba scalar": lambda: compiled(s),
    "scipy inv": lambda: scipy.linalg.inv(D),
    "scipy solve": lambda: scipy.linalg.solve(D, d),
    "scipy cholesky": lambda: scipy.linalg.cholesky(D),
    "scipy cho_solve": lambda: scipy.linalg.cho_solve((D, True), d),
    "scipy solve_triangular": lambda: scipy.linalg.solve_triangular(D, np.ones(3)),
    "scipy det": lambda: scipy.linalg.det(D),
    "scipy expm": lambda: scipy.linalg.expm(D),
    "scipy svd": lambda: scipy.linalg.svd(D),
    "fftconvolve": lambda: scipy.signal.fftconvolve(d, d),
    "cdist": lambda: scipy.spatial.distance.cdist(D, D),
    "cosine": lambda: scipy.spatial.distance.cosine(d, [1, 2, 3]),
    "norm.logpdf": lambda: scipy.stats.norm.logpdf(d),
    "norm.logpdf by place": lambda: scipy.stats.norm.logpdf(1.0, loc=s),
    "multivariate_normal": lambda: scipy.stats.multivariate_normal.logpdf(np.ones(3), d, np.eye(3)),
    "sparse": lambda: scipy.sparse.csr_array(np.eye(3)) @ d,
    "times sparse": lambda: D @ scipy.sparse.csr_array(np.eye(3)),
    "to sparse": lambda: scipy.sparse.csr_array(D),
}  # fmt: skip


@pytest.mark.parametrize("way", LOST)
def test_no_way_to_lose_a_derivative(way):
    with pytest.raises(
        (TypeError, ValueError, AttributeError, IndexError, struct.error, numba.core.errors.TypingError)
    ):
        LOST[way]()


def test_most_ways_say_not_carried():
    """Where NumPy wraps the error, NotCarried is its cause."""
    said = 0
    for way in LOST.values():
        try:
            way()
        except Exception as error:
            causes = [error, error.__cause__, error.__context__]
            said += any(isinstance(cause, NotCarried) for cause in causes)
    assert said > 0.8 * len(LOST)


def test_the_message_names_the_function():
    for f, name in (
        (np.fft.fft, "numpy.fft.fft has no rule"),
        (np.rint, "numpy.rint has no rule"),
        (np.unique, "numpy.unique"),
    ):
        with pytest.raises(NotCarried, match=name):
            f(d)
    with pytest.raises(NotCarried, match=r"numpy.arctan2.reduce has no rule"):
        np.arctan2.reduce(d)


def test_a_loss_may_return_float_if_asked():
    with recording(float_result=True) as record:
        result = float(np.sum(d**2))
    assert type(result) is float and parts(record.returned(result))[1] == 2 * (0.5 + 3 + 0.75)
    with recording(float_result=True) as record:
        result = np.sum(d**2)
    assert record.returned(result) is result


HIDDEN = {
    "another number": lambda: float(s) + 0.0,
    "a factor": lambda: d * float(s),
    "twice": lambda: float(d[1] * float(s)),
    "an equal number": lambda: (float(s), 0.5)[1],
    "math": lambda: math.exp(s),
    "a buffer": lambda: put(np.zeros(3), 0, s),
    "two entries of a buffer": lambda: put(put(np.zeros(3), 0, s), 1, s),
    "np.float64": lambda: np.float64(float(s)),
    "an array": lambda: np.array([float(s)]),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_float_hides_nothing(way):
    with recording(float_result=True) as record, pytest.raises((NotCarried, ValueError)):
        record.returned(HIDDEN[way]())


def test_what_python_does_with_numbers_carries():
    for y in (sum(d), max(d), min(d), sorted(d)[0], abs(s), pow(s, 2), math.prod(d), statistics.NormalDist and s * 1.0):
        assert isinstance(y, Dual) and parts(y)[1] != 0


def holds_dual(y):
    if isinstance(y, np.ndarray) and y.dtype == object:
        return any(isinstance(item, Dual) for item in y.ravel())
    return isinstance(y, Dual) or (isinstance(y, list | tuple) and any(map(holds_dual, y)))


QUESTIONS = {"greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "signbit", "isnan", "isinf", "isfinite",
             "logical_not", "logical_and", "logical_or", "logical_xor"}  # fmt: skip
BY_SOME = {
    np.ldexp,
    *(getattr(scipy.special, name) for name in ["gammainc", "gammaincc", "jv", "iv", "kv", "betainc"]),
}  # arguments


def every_ufunc():
    every = {f for module in (np, scipy.special) for f in vars(module).values() if isinstance(f, np.ufunc)}
    return sorted(every, key=lambda f: f.__name__)


@pytest.mark.parametrize("ufunc", every_ufunc(), ids=lambda f: f.__name__)
def test_every_ufunc_has_a_rule_or_refuses(ufunc):
    inputs = (lift(np.full((2, 2), 0.5), np.ones((2, 2))), *[np.full((2, 2), 0.3)] * (ufunc.nin - 1))
    if ufunc is np.ldexp:
        inputs = inputs[0], 2
    for call in (inputs, inputs[::-1]):
        try:
            with np.errstate(all="ignore"):
                y = ufunc(*call)
        except NotCarried:
            assert ufunc not in UFUNCS or ufunc in BY_SOME
        else:
            assert y.dtype == bool if ufunc.__name__ in QUESTIONS else holds_dual(y)


@pytest.mark.parametrize("method", ["reduce", "accumulate", "outer", "at", "reduceat"])
def test_every_method_of_a_ufunc_has_a_rule_or_refuses(method):
    a = lift(np.full(3, 0.5), np.ones(3))
    for ufunc in every_ufunc():
        args = {"outer": (a, a), "at": (a.copy(), [0], *[a[0]] * (ufunc.nin - 1)), "reduceat": (a, [0, 1])}.get(
            method, (a,)
        )
        try:
            with np.errstate(all="ignore"):
                y = getattr(ufunc, method)(*args)
        except (NotCarried, ValueError):  # ValueError: NumPy has no such method
            assert (ufunc, method) not in METHODS or ufunc.__name__ in {"ldexp", *QUESTIONS} or method == "at"
        except (RuntimeError, TypeError):
            assert ufunc.signature  # NumPy has no such method of it
        else:
            assert (method == "at" and y is None) or y.dtype == bool or holds_dual(y)


PLAIN_ANSWERS = [
    "shape", "ndim", "size", "result_type", "common_type", "iscomplexobj", "isrealobj", "shares_memory",
    "may_share_memory", "array_repr", "array_str", "array2string", "einsum_path", "iscomplex", "isreal",
    "diag_indices_from", "tril_indices_from", "triu_indices_from", "can_cast", "any", "all", "nonzero", "flatnonzero",
    "argwhere", "count_nonzero", "isclose", "allclose", "array_equal", "isneginf", "isposinf", "imag", "argmax",
    "argmin", "argsort", "argpartition", "searchsorted", "copyto", "put", "putmask", "place", "put_along_axis",
    "fill_diagonal",
]  # fmt: skip

NO_INFLUENCE = {"where", "select", "astype", "trapezoid", "trapz"}  # of a condition, a dtype, dx beside x


@pytest.mark.parametrize(
    "function", sorted(get_overridable_numpy_array_functions(), key=lambda f: (f.__name__, f.__module__))
)
def test_every_function_has_a_rule_or_refuses(function):
    square = lift(np.array([[3.0, 0.5], [0.25, 1.0]]), np.ones((2, 2)))
    line = lift(np.array([0.5, 0.25, 0.7]), np.ones(3))
    if function not in FUNCTIONS:
        with pytest.raises(NotCarried, match=function.__name__):
            square.__array_function__(function, (Dual,), (square,), {})
        return
    carried = 0
    ones, yes = np.ones((2, 2)), np.ones((2, 2), bool)
    integers = np.zeros(3, int)
    tries: list = [
        (square,),
        (line,),
        (square, 1),
        (line, 2),
        (square, square),
        (line, line),
        (ones, square),
        (yes, square),
    ]
    tries += [
        ([square, square],),
        (square, 0, 1),
        (yes, ones, square),
        ([yes], [square]),
        (integers, line),
        (3.0,),
        (3,),
    ]
    tries += [
        (0.5, np.arange(3.0), line),
        ("ij->j", square),
        (square, [0], 0),
        (line, 3, line),
        (integers, [line, line]),
    ]
    tries += [(square, [yes], [2.0, 1.0]), (line, [1], 5.0), (square, (2, 2)), (square, np.zeros((2, 2), int), 0)]
    tries += [([square, ones],), (3, line[0]), (0.0, line[0], 3), (line, 0.3), (line, 1, "constant"), (square[None], 2)]
    tries += [(square[..., None] * [1.0, 2.0], 2)]
    for args in tries:
        try:
            y = square.__array_function__(function, (Dual,), args, {})
        except Exception:
            continue
        carried += holds_dual(y)
        if any(holds_dual(a) for a in args) and function.__name__ not in PLAIN_ANSWERS and y is not None:
            assert holds_dual(y) or function.__name__ in NO_INFLUENCE or (isinstance(y, np.ndarray) and not y.size)
    assert carried or function.__name__ in PLAIN_ANSWERS
