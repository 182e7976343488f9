"""What theorems of several papers share: training runs without measurements, seeds together, numbers in words."""

import numpy as np

from .experiment import Training

__all__ = ["greatest", "least", "mean", "number", "plain", "settings", "span", "together"]


def plain(problem, **more):
    """A run of which only the end and the losses matter."""
    return Training(problem, measure=None, **more)


def together(found):
    """What `measure` returned for each seed, as name -> array (seeds, ...)."""
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def mean(values):
    """The mean; nan of nothing: a claim about it then fails."""
    return float(np.mean(values)) if np.size(values) else np.nan


def least(values):
    """The smallest; nan of nothing."""
    return float(np.min(values)) if np.size(values) else np.nan


def greatest(values):
    """The largest; nan of nothing."""
    return float(np.max(values)) if np.size(values) else np.nan


def span(values):
    """Lowest to highest, in a few digits; "none" where there is no number."""
    values = np.ravel(values)[np.isfinite(np.ravel(values))]
    if not len(values):
        return "none"
    low, high = (f"{value:.3g}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def settings(problem, options):
    """Settings of the problem with their marks, and the options that are none of its fields."""
    found = problem.settings()
    more = {name: value for name, value in options.items() if name not in found and (name != "quick" or value)}
    return found | {name: [value, "set here"] for name, value in more.items()}


def number(options, many, few):
    """How many test prompts: few in a quick run."""
    return few if options["quick"] else many
