"""The rules of scipy.special's ufuncs, read when one of them is first met.

Legend as in `ufuncs`. A parameter without a known derivative (the order of a Bessel function, say) has the entry None.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .array import dual, split
from .rules import NotCarried
from .structure import tangent_of
from .ufuncs import UFUNCS, smooth

__all__ = ["special_rules"]

ROOT_PI = float(np.sqrt(np.pi))
ROOT_2 = float(np.sqrt(2))
ROOT_2PI = float(np.sqrt(2 * np.pi))


# Where f'(a) is the difference of two numbers that are nearly equal, its series in powers of 1/a.
FAR = 30.0


def slope_of_erfcx(a: Any) -> Any:
    """-1 / (sqrt(pi) a^2) (1 - 3 / (2 a^2) + 15 / (2 a^2)^2 - ..), for large a."""
    return -_odd_factorials(-2 * a * a) / (ROOT_PI * a * a)


def slope_of_dawsn(a: Any) -> Any:
    """-1 / (2 a^2) (1 + 3 / (2 a^2) + 15 / (2 a^2)^2 + ..), for large |a|."""
    return -_odd_factorials(2 * a * a) / (2 * a * a)


def _odd_factorials(z: Any) -> Any:
    """1 + 3 / z + 3 5 / z^2 + .."""
    total: Any = 1.0
    for k in range(10, 0, -1):
        total = 1 + (2 * k + 1) / z * total
    return total


def slope_of_ive(nu: int, a: Any) -> Any:
    """The derivative of exp(-x) I_nu(x) at x = |a|, for large |a|: that of 1 / sqrt(2 pi x) (1 - c_1 / x + c_2 / x^2 - ..)."""
    x = np.abs(a)
    total, term = 0.0, 1.0
    for k in range(16):
        total = total - (k + 0.5) * term
        term = term * ((2 * k + 1) ** 2 - 4 * nu * nu) / (8 * (k + 1)) / x
    return total / (ROOT_2PI * x * np.sqrt(x))


@cache
def special_rules() -> dict[Any, Callable[..., Any]]:
    """The rule of each of scipy.special's ufuncs that has one."""
    import scipy.special as s

    # f'(a), given a and y = f(a)
    unary: dict[str, Callable[[Any, Any], Any]] = {
        "gammaln": lambda a, y: s.psi(a),
        "loggamma": lambda a, y: s.psi(a),
        "gamma": lambda a, y: y * s.psi(a),
        "rgamma": lambda a, y: -y * s.psi(a),
        "psi": lambda a, y: s.polygamma(1, a),
        "erf": lambda a, y: 2 / ROOT_PI * np.exp(-a * a),
        "erfc": lambda a, y: -2 / ROOT_PI * np.exp(-a * a),
        "erfcx": lambda a, y: np.where(a > FAR, slope_of_erfcx(a), 2 * a * y - 2 / ROOT_PI),
        "erfi": lambda a, y: 2 / ROOT_PI * np.exp(a * a),
        "dawsn": lambda a, y: np.where(np.abs(a) > FAR, slope_of_dawsn(a), 1 - 2 * a * y),
        "erfinv": lambda a, y: ROOT_PI / 2 * np.exp(y * y),
        "erfcinv": lambda a, y: -ROOT_PI / 2 * np.exp(y * y),
        "ndtr": lambda a, y: np.exp(-a * a / 2) / ROOT_2PI,
        "log_ndtr": lambda a, y: 2 / ROOT_2PI / np.where(a < 0, s.erfcx(-a / ROOT_2), 2 * np.exp(a * a / 2 + y)),
        "ndtri": lambda a, y: ROOT_2PI * np.exp(y * y / 2),
        "ndtri_exp": lambda a, y: ROOT_2PI * np.exp(y * y / 2 + a),
        "expit": lambda a, y: y * s.expit(-a),
        "logit": lambda a, y: 1 / (a * (1 - a)),
        "log_expit": lambda a, y: s.expit(-a),
        "entr": lambda a, y: -np.log(a) - 1,
        "i0": lambda a, y: s.i1(a),
        "i1": lambda a, y: (s.i0(a) + s.iv(2, a)) / 2,
        "i0e": lambda a, y: np.where(np.abs(a) > FAR, np.sign(a) * slope_of_ive(0, a), s.i1e(a) - np.sign(a) * y),
        "i1e": lambda a, y: np.where(
            np.abs(a) > FAR, slope_of_ive(1, a), (s.i0e(a) + s.ive(2, a)) / 2 - np.sign(a) * y
        ),
        "j0": lambda a, y: -s.j1(a),
        "j1": lambda a, y: (s.j0(a) - s.jv(2, a)) / 2,
        "k0": lambda a, y: -s.k1(a),
        "k1": lambda a, y: -(s.k0(a) + s.kn(2, a)) / 2,
        "exprel": lambda a, y: 0.5 * s.hyp1f1(2, 3, a),
        "exp1": lambda a, y: -np.exp(-a) / a,
        "expi": lambda a, y: np.exp(a) / a,
        "exp10": lambda a, y: float(np.log(10)) * y,
        "cosm1": lambda a, y: -np.sin(a),
        "spence": lambda a, y: np.where(a == 1, -1, np.log(a) / (1 - a)),
    }
    # the partial derivatives, given a, b, ... and y = f(a, b, ...)
    several: dict[str, tuple[Callable[..., Any] | None, ...]] = {
        "xlogy": (lambda a, b, y: np.log(b), lambda a, b, y: a / b),
        "xlog1py": (lambda a, b, y: np.log1p(b), lambda a, b, y: a / (1 + b)),
        "rel_entr": (lambda a, b, y: np.log(a / b) + 1, lambda a, b, y: -a / b),
        "kl_div": (lambda a, b, y: np.log(a / b), lambda a, b, y: 1 - a / b),
        "pseudo_huber": (
            lambda a, b, y: 2 * y / a - b * b / np.hypot(a, b),
            lambda a, b, y: a * b / np.hypot(a, b),
        ),
        "betaln": (lambda a, b, y: s.psi(a) - s.psi(a + b), lambda a, b, y: s.psi(b) - s.psi(a + b)),
        "beta": (lambda a, b, y: y * (s.psi(a) - s.psi(a + b)), lambda a, b, y: y * (s.psi(b) - s.psi(a + b))),
        "poch": (lambda a, b, y: y * (s.psi(a + b) - s.psi(a)), lambda a, b, y: y * s.psi(a + b)),
        "binom": (
            lambda a, b, y: y * (s.psi(a + 1) - s.psi(a - b + 1)),
            lambda a, b, y: y * (s.psi(a - b + 1) - s.psi(b + 1)),
        ),
        "boxcox": (lambda a, b, y: a ** (b - 1.0), lambda a, b, y: np.log(a) ** 2 / 2 * s.hyp1f1(2, 3, b * np.log(a))),
        "boxcox1p": (
            lambda a, b, y: (1 + a) ** (b - 1.0),
            lambda a, b, y: np.log1p(a) ** 2 / 2 * s.hyp1f1(2, 3, b * np.log1p(a)),
        ),
        "gammainc": (None, lambda a, b, y: np.exp((a - 1) * np.log(b) - b - s.gammaln(a))),
        "gammaincc": (None, lambda a, b, y: -np.exp((a - 1) * np.log(b) - b - s.gammaln(a))),
        "jv": (None, lambda a, b, y: (s.jv(a - 1, b) - s.jv(a + 1, b)) / 2),
        "iv": (None, lambda a, b, y: (s.iv(a - 1, b) + s.iv(a + 1, b)) / 2),
        "kv": (None, lambda a, b, y: -(s.kv(a - 1, b) + s.kv(a + 1, b)) / 2),
        "betainc": (
            None,
            None,
            lambda a, b, x, y: np.exp((a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - s.betaln(a, b)),
        ),
    }
    rules = {getattr(s, name): smooth(getattr(s, name), (f,)) for name, f in unary.items() if hasattr(s, name)}
    for name, derivatives in several.items():
        function = getattr(s, name)
        partial = tuple(_refused(name, n) if f is None else f for n, f in enumerate(derivatives))
        rules[function] = smooth(function, partial)
    for name in ("log1p", "expm1", "exp2", "cbrt"):  # scipy's own, with NumPy's derivatives
        rules[getattr(s, name)] = _same(getattr(s, name), getattr(np, name))
    rules[s.huber] = _huber
    for name in ("xlogy", "xlog1py", "rel_entr", "kl_div", "entr"):
        rules[getattr(s, name)] = _at_zero(rules[getattr(s, name)], name == "kl_div")
    return rules


def _refused(name: str, n: int) -> Callable[..., Any]:
    def refuse(*args: Any) -> Any:
        raise NotCarried(f"scipy.special.{name} has no rule by its argument number {n + 1}")

    return refuse


def _same(function: Any, like: Any) -> Callable[..., Any]:
    """The rule of scipy's own version of one of NumPy's ufuncs."""

    def apply(a: Any) -> Any:
        return dual(function(split(a)[0]), UFUNCS[like](a)._tangent)

    return apply


def _at_zero(found: Callable[..., Any], leaves_second: bool) -> Callable[..., Any]:
    """a log b and its kin where a = 0 stays 0: the value is 0 whatever b is, or b itself."""

    def apply(a: Any, *b: Any) -> Any:
        y = found(a, *b)
        stays = (np.asarray(split(a)[0]) == 0) & (np.asarray(tangent_of(a)) == 0)
        return dual(y._value, np.where(stays, tangent_of(b[0]) if leaves_second else 0, y._tangent))

    return apply


def _huber(delta: Any, r: Any) -> Any:
    """r^2/2 for |r| <= delta, delta (|r| - delta/2) beyond."""
    size = np.abs(r)
    return np.where(np.less(delta, 0), np.inf, np.where(size <= delta, 0.5 * size * size, delta * (size - 0.5 * delta)))
