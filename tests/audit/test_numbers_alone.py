"""An argument that is one number, an array of no axes, is judged as an array of one entry is."""

import numpy as np
import pytest

import nlicl

A = np.array([0.4, -1.2, 0.7])


def in_precision(dtype):
    """sum_i exp(a_i t), computed in a small precision: a loss with noise."""
    return lambda t: np.float64(np.sum(np.exp(A.astype(dtype) * np.asarray(t, dtype))))


CASES = {
    "smooth": (lambda t: np.sum(np.sin(t) + 0.2 * t**2), lambda t: np.cos(t) + 0.4 * t),
    "float32 within": (in_precision(np.float32), lambda t: np.sum(A * np.exp(A * t)) + 0 * t),
    "float16 within": (in_precision(np.float16), lambda t: np.sum(A * np.exp(A * t)) + 0 * t),
    "rounded": (lambda t: np.round(np.sum(np.sin(t)), 4), np.cos),
    "on a kink, or beside it by rounding": (lambda t: np.sum(abs(t - 0.3) + t**2), lambda t: np.sign(t - 0.3) + 2 * t),
    "an infinite slope": (
        lambda t: np.sum(np.sqrt(abs(t - 0.3))),
        lambda t: 0.5 * np.sign(t - 0.3) / abs(t - 0.3) ** 0.5,
    ),
}
CHANGES = {
    "right": lambda g: g,
    "sign": lambda g: -g,
    "off by a thousandth": lambda g: g + 1e-3,
    "a little": lambda g: g * (1 + 1e-6),
    "zero": lambda g: 0 * g,
    "not a number": lambda g: np.nan * g,
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("case", CASES)
def test_a_number_is_an_array_of_one(case, change, dtype):
    loss, right = CASES[case]
    for value in (0.7, 0.1 + 0.2, 0.3, -3e-20):
        found = []
        for shape in ((), (1,)):
            x = np.full(shape, value, dtype)
            with np.errstate(all="ignore"):
                report = nlicl.audit_gradient(loss, lambda t: np.asarray(CHANGES[change](right(t)), t.dtype), x)
            found.append((report.verdict, report.arguments[0].wrong, report.arguments[0].witness))
        assert found[0] == found[1], value
        assert found[0][0] != "agree" or change in ("right", "a little")
