"""What the figures of Bu et al. 2024 share: claims with where their numbers come from, and notes.

A claim here is about the mean over seeds unless it says otherwise: single seeds differ.
"""

import numpy as np

from ...experiment import fact

OURS = "our reference run"
DERIVED = "derived"
SMALL = "our range, small setting"

NO_CURVE = (
    "No number and no curve of the paper's experiments is known: the settings are ours, and there is nothing of the paper's "
    "to compare with."
)
MARKS = (
    "A claim says where its number comes from: 'our reference run', computed by us before this code and apart from it; "
    "'derived', ours and checked numerically; 'our range, small setting' in a quick run. None of them is a quotation. It is "
    "about the mean over seeds unless it says each seed."
)
QUICK = "A quick run: the small setting, fewer seeds, wider tolerances. Its claims are not those of the figure itself."


def mean_near(claim, values, expected, slack, source):
    """A claim that the mean over seeds is the expected value up to `slack`; the text names its source."""
    mean = np.mean(values)
    holds = abs(mean - expected) <= slack
    return fact(f"{claim} ({source})", holds, _seeds(values), f"mean {expected:g} +-{slack:.4g}", values)


def mean_from(claim, values, source, low=-np.inf, high=np.inf):
    """A claim that the mean over seeds lies from `low` to `high`; the text names its source."""
    bounds = [f"at least {low:g}"] * (low > -np.inf) + [f"at most {high:g}"] * (high < np.inf)
    expected = f"mean {', '.join(bounds)}"
    return fact(f"{claim} ({source})", low <= np.mean(values) <= high, _seeds(values), expected, values)


def _seeds(values):
    values = np.asarray(values, float)
    return f"{values.mean():.4g}, seeds {values.min():.4g} to {values.max():.4g}"
