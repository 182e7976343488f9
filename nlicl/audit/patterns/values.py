"""Which entries are wrong, told by the values that stand there."""

import numpy as np

from .fit import Points

__all__ = ["conditions"]

_FEWEST = 8  # entries that must be told apart
_FEW = 3  # of them on either side


def conditions(p: Points, name: str) -> str:
    """A condition on the values that holds in the wrong entries and in no other: "16 of 40 entries: those with x > 0"."""
    alive = np.concatenate([(known & ~dead).ravel() for known, dead in zip(p.known, p.dead, strict=True)])
    x, g, e, t, wrong = (
        np.concatenate([array.ravel() for array in arrays])[alive]
        for arrays in (p.x, p.given, p.expected, p.error, p.wrong)
    )
    bad = int(wrong.sum())
    if wrong.size < _FEWEST or min(bad, wrong.size - bad) < _FEW:
        return ""
    found = []
    for text, mask in (
        (f"{name} > 0", x > 0),
        (f"{name} < 0", x < 0),
        (f"{name} = 0", x == 0),
        (f"{name} not zero", x != 0),
        ("expected > 0", e > t),
        ("expected < 0", e < -t),
        ("expected = 0", abs(e) <= t),
        ("expected not zero", abs(e) > t),
        ("given > 0", g > t),
        ("given < 0", g < -t),
        ("given = 0", abs(g) <= t),
    ):
        if (mask == wrong).all():
            found.append(text)
    if not found and ((g * e < 0) == wrong).all():
        found.append("given and expected of opposite signs")
    if not found and wrong.size >= 2 * _FEWEST:
        for text, values in ((name, x), (f"|{name}|", abs(x)), ("|expected|", abs(e))):
            found += _beyond(text, values, wrong)
    return f"{bad} of {wrong.size} entries: those with {' and also '.join(found)}" if found else ""


def _beyond(text: str, values: np.ndarray, wrong: np.ndarray) -> list[str]:
    """Whether the wrong entries are those above or below some value."""
    inside, outside = values[wrong], values[~wrong]
    for sign, low, high in ((">", outside.max(), inside.min()), ("<", inside.max(), outside.min())):
        if low < high:
            bound = 1.0 if low <= 1.0 <= high else (low + high) / 2
            return [f"{text} {sign} {bound:.3g}"]
    return []
