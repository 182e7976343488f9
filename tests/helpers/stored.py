"""A small result of `nlicl reproduce` with everything in it, and the recipes that go with it, without any training."""

from dataclasses import replace

import numpy as np

from nlicl.core.files import to_json
from nlicl.experiments.claims import Claim, published
from nlicl.experiments.experiment import no_runs
from nlicl.experiments.figure import Figure, Original, Recipe
from nlicl.experiments.series import Series, compare

__all__ = ["ORIGINAL", "RECIPES", "figure", "store"]

ORIGINAL = Original("Figure 2 (a)", "its curve [digitised]", "how long an epoch is; a step was taken [ours]")


def _recipe(name, original=None):
    return Recipe(name, f"what {name} shows", no_runs, None, None, draw=None, paper="li2024", original=original)


RECIPES = {
    "a": _recipe("a", ORIGINAL),
    "b": _recipe("b", Original("Figure 3", "its order [paper]", "all numbers")),
    "c": _recipe("c"),
}


def figure(name="li2024-a", **changes):
    """A figure with one curve of the paper's: the factors are 2, 1 and infinite."""
    ours = Series("ours", np.array([0.0, 1.0, 2.0]), np.array([2.0, 3.0, 0.0]), *2 * [np.array([1.0, np.nan, np.inf])])
    theirs = Series("theirs", np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    claims = [
        Claim("it is so", "1", "1 of 1", True, [1.0, np.nan]),
        published(Claim("a above b", "in every seed", "in 9 of 10", False), "order"),
        published(Claim("b above c", "in every seed", "in 10 of 10", True), "order"),
        published(Claim("the end", "0.5", "not measured", None), "value"),
    ]
    settings = {"l": [20, "summary"], "eta": [1.0, "derived: near 1"], "task": [(0, 1), "recalled; derived"]}
    known = Figure("A title", settings, [0, 1, 2], [ours], claims, [theirs], [compare(ours, theirs)], ["a note"], name)
    return replace(known, **{"original": ORIGINAL, **changes})


def store(folder, *figures):
    """Write figures into a folder, as `nlicl reproduce` does."""
    folder.mkdir(exist_ok=True)
    for one in figures:
        (folder / f"{one.name}.json").write_text(to_json(one.to_dict()), encoding="utf-8")
    return folder
