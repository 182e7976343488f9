"""Power laws of what a sweep measured, with intervals over seeds, beside a theorem's exponents.

    log y = log c + sum over settings  p_k log x_k + sigma noise

fitted by maximum likelihood. What was not reached within its limit counts by the probability that it lies beyond.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...core.checks import instance, integer, numbers, real, sound, text
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from ..notebook import law_html
from .adequacy import Adequacy, judge
from .law_data import checked
from .law_text import caveats, equation, report
from .likelihood import Fit, fit, refits
from .resampling import interval, resampled

__all__ = ["Exponent", "PowerLaw", "Theory", "fit_power"]


@dataclass(frozen=True)
class Theory:
    """An exponent that a theorem states, and where.

    Attributes
    ----------
    exponent : float
    source : str
        With its mark: "Theorem 3.3 [paper]".

    Raises
    ------
    TypeError, ValueError
        No finite number, or no text.
    """

    exponent: float
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "exponent", real("exponent", self.exponent, "", lambda _: True))
        object.__setattr__(self, "source", text("source", self.source))


@dataclass(frozen=True)
class Exponent:
    """An exponent, or the log of the law's constant, with two 95% intervals.

    Attributes
    ----------
    value : float
    low, high : float or None
        Over seeds: by the bootstrap. None: there is one seed. Infinite: too many draws did not determine it.
    own_low, own_high : float
        The fit's own: by Student's t from the residuals, or from the observed information where cells are censored. It takes
        cells for independent, which those of one seed are not.
    theory : Theory or None
    theory_inside : bool or None
        Whether the theorem's exponent lies in the interval over seeds, or in the fit's own where there is one seed.
    """

    value: float
    low: float | None
    high: float | None
    own_low: float
    own_high: float
    theory: Theory | None = None
    theory_inside: bool | None = None


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """y = c x_1^p_1 x_2^p_2 ... for what a sweep measured. `print` shows it, `to_dict` has it as plain values.

    Attributes
    ----------
    y_name : str
    exponents : dict of str to Exponent
        By the settings' names.
    log_constant : Exponent
        log c. The constant is what the law says at x = 1, which may be far from what was run.
    sigma : float
        The noise: the standard deviation of log y about the law.
    cells, censored, left_out : int
        Cells that were fitted; those of them that were not reached; those without a value, which were not fitted.
    seeds : tuple of int
    draws, undetermined : int
        Draws of the bootstrap, and how many of them did not determine a law.
    adequacy : Adequacy
        Whether a power law is adequate at all.
    unreached : dict of str to tuple of float
        Values of a setting at which no cell was reached: what the law says there is an extrapolation.
    drawn : ndarray (draws, 1 + k)
        log c and the exponents of each draw; NaN where they were not determined.
    covariance : ndarray (1 + k, 1 + k)
        The fit's own, of log c and the exponents.
    freedom : int
        Degrees of freedom of the fit's own intervals.
    """

    y_name: str
    exponents: dict[str, Exponent]
    log_constant: Exponent
    sigma: float
    cells: int
    censored: int
    left_out: int
    seeds: tuple[int, ...]
    draws: int
    undetermined: int
    adequacy: Adequacy
    unreached: dict[str, tuple[float, ...]]
    drawn: NDArray[np.float64] = field(repr=False)
    covariance: NDArray[np.float64] = field(repr=False)
    freedom: int = field(repr=False)

    @property
    def caveats(self) -> list[str]:
        """What a reader must know before the numbers are quoted."""
        return caveats(self)

    @property
    def constant(self) -> float:
        """c; 0 or infinity where it is beyond float64, as only `log_constant` then tells it."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.log_constant.value))

    def predict(self, x: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """What the law says, which is the median of y.

        Parameters
        ----------
        x : mapping of str to array
            A number greater than 0, or an array of some, for each setting of the law. They are broadcast together.

        Returns
        -------
        ndarray of float64

        Raises
        ------
        TypeError, ValueError
            A setting is lacking, or unknown; no numbers greater than 0; shapes that do not fit.
        nlicl.core.errors.NotFinite
            A prediction is beyond float64.
        """
        return _exp(self.rows(x) @ self._beta)

    def band(self, x: Mapping[str, ArrayLike]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The 95% interval of `predict(x)`, at each x by itself: over seeds, or the fit's own where there is one seed.

        It is one of the law, and no range in which single runs lie.

        Parameters
        ----------
        x : mapping of str to array
            As in `predict`.

        Returns
        -------
        (ndarray, ndarray)
            Its ends. They may be 0 and infinity.

        Raises
        ------
        TypeError, ValueError
            As `predict`.
        """
        from scipy.stats import t

        rows = self.rows(x)
        flat = rows.reshape(-1, rows.shape[-1])
        middle = flat @ self._beta
        if len(self.seeds) > 1:
            ends = [interval(m, self.drawn @ row, len(self.seeds)) for m, row in zip(middle, flat, strict=True)]
            low, high = np.array(ends, float).reshape(-1, 2).T
        else:
            half = t.isf(0.025, self.freedom) * np.sqrt(np.einsum("ij,jk,ik->i", flat, self.covariance, flat).clip(0))
            low, high = middle - half, middle + half
        with np.errstate(over="ignore"):
            return np.exp(low).reshape(rows.shape[:-1]), np.exp(high).reshape(rows.shape[:-1])

    def rows(self, x: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """(..., 1 + k): 1 and log x, for each x. Arguments and errors as of `predict`."""
        if not isinstance(x, Mapping):
            raise InvalidType(f"x is {short(x)}; expected a dict of names to numbers.")
        if set(x) != set(self.exponents):
            raise InvalidValue(f"x has {', '.join(map(str, x)) or 'nothing'}; expected {', '.join(self.exponents)}.")
        columns = [numbers(f"x[{name!r}]", x[name], "greater than 0", lambda v: v > 0) for name in self.exponents]
        try:
            logs = np.broadcast_arrays(*[np.log(column) for column in columns])
        except ValueError:
            shapes = ", ".join(f"{name} {np.shape(c)}" for name, c in zip(self.exponents, columns, strict=True))
            raise InvalidValue(f"x has shapes that do not fit together: {shapes}; expected one shape.") from None
        return np.stack([np.ones_like(logs[0]), *logs], axis=-1)

    @property
    def _beta(self) -> NDArray[np.float64]:
        return np.array([self.log_constant.value, *(each.value for each in self.exponents.values())])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. The draws and the covariance are left out."""
        return {
            "law": equation(self),
            "y": self.y_name,
            "constant": self.constant,
            "log_constant": asdict(self.log_constant),
            "exponents": {name: asdict(each) for name, each in self.exponents.items()},
            "sigma": self.sigma,
            "cells": self.cells,
            "censored": self.censored,
            "left_out": self.left_out,
            "seeds": list(self.seeds),
            "draws": self.draws,
            "undetermined": self.undetermined,
            "adequacy": self.adequacy.to_dict(),
            "unreached": self.unreached,
            "caveats": self.caveats,
        }

    def __str__(self) -> str:
        return report(self)

    def __repr__(self) -> str:
        return f"PowerLaw({equation(self)}; {self.cells} cells of {len(self.seeds)} seeds)"

    def _repr_html_(self) -> str | None:
        return law_html(self)


def fit_power(
    x: Mapping[str, ArrayLike],
    y: ArrayLike,
    seeds: ArrayLike,
    limit: ArrayLike | None = None,
    *,
    theory: Mapping[str, Theory] | None = None,
    y_name: str = "y",
    draws: int = 2000,
    seed: int = 0,
) -> PowerLaw:
    """Fit a power law to what a sweep measured, with intervals over seeds, and judge whether one is adequate.

    Parameters
    ----------
    x : mapping of str to array (n,)
        Settings that vary: a number greater than 0 for each cell.
    y : array (n,)
        What was measured in each cell: a number greater than 0; inf, it was not reached; or nan, there is none, and the cell
        is left out.
    seeds : array (n,) of int
        The seed of each cell. One seed has the same randomness at every setting.
    limit : array (n,) or float, optional
        The largest y that could have been seen in the cell. It is needed where y is inf.
    theory : mapping of str to Theory, optional
        Exponents that a theorem states, by names of x.
    y_name : str
        What y is called where the law is shown: "steps".
    draws : int
        Draws of the bootstrap, from 100 to 100,000.
    seed : int
        Of the bootstrap. The same cells, in any order, and the same seed give the same bits.

    Returns
    -------
    PowerLaw

    Raises
    ------
    TypeError, ValueError
        Numbers that are not greater than 0, or that are not there; shapes that do not fit; a cell that was not reached and has
        no limit; fewer than two values of a setting; settings that vary together; no more cells than the law has constants.
        Where there are censored cells, those that were reached must determine the law. A fit that does not converge.
    """
    draws, seed = integer("draws", draws, 100, 100_000), integer("seed", seed, 0, None)
    y_name = text("y_name", y_name)
    cells = checked(x, y, seeds, limit)
    stated = _stated(theory, cells.names)
    found = fit(cells.X, cells.z, cells.censored)
    if found is None:
        unreached = int(cells.censored.sum())
        raise InvalidValue(
            f"no maximum of the law's likelihood was found: {unreached} of {len(cells.z)} cells were not reached; expected "
            "cells that determine a law. Allow more steps, or leave out settings of which few were reached."
        )
    n_seeds = len(cells.seeds)
    counts = resampled(n_seeds, draws, seed) if n_seeds > 1 else np.empty((0, n_seeds))
    drawn = (
        refits(cells.X, cells.z, cells.censored, cells.seed, counts) if n_seeds > 1 else np.empty((0, cells.X.shape[1]))
    )
    exponents = [
        _estimate(found, drawn, n_seeds, np.eye(cells.X.shape[1])[1 + k], stated.get(name))
        for k, name in enumerate(cells.names)
    ]
    adequacy = judge(cells, [each.value for each in exponents], counts)
    at_one = np.array([1.0, *-cells.centre])  # log c, as the centred coefficients make it up
    to_plain = np.vstack([at_one, np.eye(len(at_one))[1:]])
    return PowerLaw(
        y_name=y_name,
        exponents=dict(zip(cells.names, exponents, strict=True)),
        log_constant=_estimate(found, drawn, n_seeds, at_one, None),
        sigma=found.sigma,
        cells=len(cells.z),
        censored=int(cells.censored.sum()),
        left_out=cells.left_out,
        seeds=cells.seeds,
        draws=len(counts),
        undetermined=int(np.isnan(drawn).any(axis=1).sum()),
        adequacy=adequacy,
        unreached=cells.unreached,
        drawn=drawn @ to_plain.T,
        covariance=to_plain @ found.covariance @ to_plain.T,
        freedom=found.freedom,
    )


@sound
def _exp(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(logs)


def _stated(theory: Any, names: tuple[str, ...]) -> Mapping[str, Theory]:
    """What theorems state, checked."""
    if theory is None:
        return {}
    if not isinstance(theory, Mapping):
        raise InvalidType(f"theory is {short(theory)}; expected a dict of names to Theory.")
    for name, each in theory.items():
        if name not in names:
            raise InvalidValue(f"theory names {short(name)}; expected names of x: {', '.join(names)}.")
        instance(f"theory[{name!r}]", each, Theory)
    return theory


def _estimate(
    found: Fit, drawn: NDArray[np.float64], n_seeds: int, along: NDArray[np.float64], theory: Theory | None
) -> Exponent:
    """A linear combination of the coefficients, with its intervals."""
    from scipy.stats import t

    value = float(along @ found.beta)
    low, high = interval(value, drawn @ along, n_seeds)
    half = float(t.isf(0.025, found.freedom)) * max(float(along @ found.covariance @ along), 0.0) ** 0.5
    inside = None
    if theory is not None:
        rounding = 1e-9 * max(1.0, abs(value))  # without noise an interval is a point
        ends = (value - half, value + half) if low is None or high is None else (low, high)
        inside = bool(ends[0] - rounding <= theory.exponent <= ends[1] + rounding)
    return Exponent(value, low, high, value - half, value + half, theory, inside)
