"""What the theorems of Zhang et al. 2025 share: marks, claims, conditions, checks of options."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ....core.checks import integer, real
from ....core.errors import InvalidValue
from ....core.seeds import uncounted
from ....papers.zhang2025.seeds import Statement
from ...claims import Claim, every
from ...experiment import Options
from ...settings import Settings, set_here
from ...theorem import Condition

__all__ = ["DATA", "MARKS", "NUMBERS", "SMALL", "check_sizes", "falling", "positive", "rotated", "settings", "small"]

MARKS = (
    "Marks: [paper] is seen in public text of or about the paper; [summary] is from a third party's summary, "
    "checked by us; [source] is read in the authors' code; [derived] is ours, checked numerically; [set here] is a "
    "setting of this run."
)
NUMBERS = "The paper's text was not read: names and wording of statements are ours."
DATA = Condition(
    "E w = 0, E w w^T = I, x ~ N(0, Lambda), y_n = w^T x_n without noise [source]", "the exact population", True
)
SMALL = 1e-12
MOST_D = 12


def falling(D: int) -> NDArray[np.float64]:
    """The authors' spectrum: D, .., 1 over their sum [source]."""
    return np.arange(D, 0.0, -1) / (D * (D + 1) / 2)


def rotated(eigenvalues: ArrayLike, seed: int) -> NDArray[np.float64]:
    """A covariance with these eigenvalues and random axes."""
    values = np.asarray(eigenvalues, float)
    Q, _ = np.linalg.qr(uncounted(Statement.AXES, seed).standard_normal((len(values), len(values))))
    Lambda = (Q * values) @ Q.T
    return np.asarray((Lambda + Lambda.T) / 2)


def small(claim: str, values: ArrayLike, high: float = SMALL) -> Claim:
    """A claim: every value, which is 0 but for rounding, is at most `high`."""
    return every(claim, np.abs(np.asarray(values, float)), high=high)


def check_sizes(options: Options) -> None:
    """ValueError or TypeError for sizes of which no experiment can be made."""
    for name, least, most in (("D", 1, MOST_D), ("N", 1, 10**9), ("heads", 1, 1000)):
        if name in options:
            integer(name, options[name], least, most)


def positive(options: Options, *names: str, most: float = 1e6) -> None:
    """ValueError or TypeError unless these options are numbers greater than 0."""
    for name in names:
        if real(name, options[name], "greater than 0", lambda x: x > 0) > most:
            raise InvalidValue(f"{name} is {options[name]:g}; expected at most {most:g}.")


def settings(options: Options) -> Settings:
    """The options as a theorem lists them."""
    return set_here({name: value for name, value in options.items() if name != "quick" or value})
