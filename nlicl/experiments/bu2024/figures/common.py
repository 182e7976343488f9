"""What the figures of Bu et al. 2024 share: claims with where their numbers come from, and notes.

A claim here is about the mean over seeds unless it says otherwise: single seeds differ.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ... import style
from ...claims import Claim, fact
from ...figure import Original
from ...series import Series

__all__ = [
    "DERIVED",
    "FIGURE_2",
    "FIGURE_3",
    "MARKS",
    "NO_CURVE",
    "OURS",
    "PAPER_CURVE",
    "QUICK",
    "SMALL",
    "label_ends",
    "mean_from",
    "mean_near",
]

OURS = "our reference run"
DERIVED = "derived"
SMALL = "our range, small setting"

_KNOWN = "settings, 100 epochs and 5000 test prompts [quoted]"
_UNKNOWN = (
    "every number in it; steps in an epoch, training set, p_z, match rule, the test distribution D*, what each product is "
    "exactly, seeds"
)
FIGURE_2 = Original(
    "Figure 2",
    "four panels against epochs: losses; correct attention weight; largest concept-specific, complement and noise "
    f"products of attention; the same of the MLP [paper]; {_KNOWN}",
    _UNKNOWN,
)
FIGURE_3 = Original(
    "Figure 3",
    "panels for two other test lengths, skewed concepts and switched semantic features, each with loss, attention weight and "
    f"product curves [paper]; {_KNOWN}",
    f"which lengths, how skewed, what is switched; {_UNKNOWN}",
)
NO_CURVE = (
    "No number and no curve of the paper's figures is known. Its settings are, as a third party quotes them; here those that "
    "are not marked [quoted] are ours, and quicker. The figures of the paper's own problem are paper-dynamics, paper-epochs "
    "and paper-ood."
)
PAPER_CURVE = (
    "The settings are the paper's as a third party quotes them [quoted]: L, K1, K, d_X, d_Y, m, norms, cosines, sigma_0, "
    "sigma_1, sigma_xi, lambda, gamma, B. Ours are p_z = 1/K, the match rule and the seeds. No number and no curve of the "
    "paper's figures is known."
)
MARKS = (
    "A claim names the source of its number: 'our reference run', which we computed before this code and independently of it; "
    "'derived', ours and checked numerically; 'our range, small setting' in a quick run. None of them is a quotation. "
    "Means are over seeds."
)
QUICK = "A quick run: the small setting, fewer seeds, wider tolerances. Its claims are not those of the figure itself."


def mean_near(claim: str, values: ArrayLike, expected: float, slack: float, source: str) -> Claim:
    """A claim: the mean over seeds is the expected value, up to `slack`. Its text names the source of that value."""
    mean = np.mean(np.asarray(values, float))
    holds = abs(mean - expected) <= slack
    return fact(f"{claim} ({source})", holds, _seeds(values), f"mean {expected:g} +-{slack:.4g}", values)


def mean_from(claim: str, values: ArrayLike, source: str, low: float = -np.inf, high: float = np.inf) -> Claim:
    """A claim: the mean over seeds lies from `low` to `high`. Its text names the source of these bounds."""
    bounds = [f"at least {low:g}"] * (low > -np.inf) + [f"at most {high:g}"] * (high < np.inf)
    expected = f"mean {', '.join(bounds)}"
    return fact(
        f"{claim} ({source})", low <= np.mean(np.asarray(values, float)) <= high, _seeds(values), expected, values
    )


def _seeds(values: ArrayLike) -> str:
    values = np.asarray(values, float)
    return f"{values.mean():.4g}, seeds {values.min():.4g} to {values.max():.4g}"


def label_ends(axes: style.Axes, curves: Sequence[tuple[Series, str]], gap: float = 0.085) -> None:
    """Write each curve's label at the right of its end, in its colour. Labels that would overlap are moved apart.

    Parameters
    ----------
    axes : matplotlib axes
        They have their final limits and scale.
    curves : list of (Series, str)
        In the order they were drawn by `style.curve`, from 0.
    gap : float
        The least distance between labels, as a share of the axes' height.
    """
    ends = [_height(axes, series.y[-1]) for series, _ in curves]
    order = np.argsort(ends, kind="stable")
    places = np.array(ends)[order]
    for _ in range(100):  # neighbours push each other until none overlap
        overlap = np.maximum(0, gap - np.diff(places))
        places[:-1] -= overlap / 2
        places[1:] += overlap / 2
    for i, place in zip(order.tolist(), places.tolist(), strict=True):
        axes.annotate(
            curves[i][1], (1.02, place), xycoords="axes fraction", color=style.COLOURS[i % len(style.COLOURS)],
            fontsize=6.5, va="center", annotation_clip=False,
        )  # fmt: skip


def _height(axes: style.Axes, y: float) -> float:
    """Where y is, as a share of the axes' height: 0 if below them, 1 if above."""
    low, high = axes.get_ylim()
    transform = axes.transScale + axes.transLimits
    return float(transform.transform((axes.get_xlim()[1], np.clip(y, low, high)))[1])
