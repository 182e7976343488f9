"""What holds on a draw, in words, and which of it tells the draws on which a formula is wrong from the others.

A condition is a topic with the words that are true on a draw: "hinge" -> "the hinge is inactive". A paper's subject names
its own. The label's sign, what is active, equal sizes, symmetric matrices and random places are found here.

A condition separates two sets of draws if its words on the one never hold on the other. By chance that happens soon where
draws are few: FEWEST on each side and ENOUGH in all are asked for. Of a condition that is the same on all prompts of a
point, two points on each side and five in all are asked for besides.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from .subject import Subject
from .witnesses import Case

__all__ = ["ENOUGH", "FEWEST", "Separator", "conditions", "enough", "notable", "separators"]

FEWEST, ENOUGH = 3, 10  # draws on each side, and in all
_POINTS, _POINTS_IN_ALL = 2, 5
_PARAMETERS = 8  # whose symmetry is looked at


def conditions(case: Case, subject: Subject) -> dict[str, str]:
    """What holds on a case, by topic; of a batch, what holds for each of its prompts."""
    first, *rest = (_of_prompt(case, prompt, subject) for prompt in case.each)
    return {topic: words for topic, words in first.items() if all(other.get(topic) == words for other in rest)}


def notable(case: Case, subject: Subject) -> list[str]:
    """What a reader of one draw wants to know of it: of sizes and matrices only what is special."""
    found = [words for prompt in case.each for words in _of_paper(case, prompt, subject).values()]
    rest = _equal(subject.sizes(case.params, case.each[0])) | _matrices(case.params)
    special = [words for words in rest.values() if not words.endswith(("differ", " > 1", "not square", "not zero"))]
    every = [words for words in found if found.count(words) == len(case.each)]
    return list(dict.fromkeys(every + [words for words in special if " and not " not in words]))


def _of_paper(case: Case, prompt: Any, subject: Subject) -> dict[str, str]:
    named = {topic: str(words) for topic, words in subject.conditions(case.params, prompt).items()}
    return named | _label(prompt) | _active(subject.activity(case.params, prompt))


def _of_prompt(case: Case, prompt: Any, subject: Subject) -> dict[str, str]:
    return (
        _of_paper(case, prompt, subject)
        | _equal(subject.sizes(case.params, prompt))
        | _matrices(case.params)
        | {"place": f"the parameters are {'' if case.label.startswith('random') else 'not '}random"}
    )


def _label(prompt: Any) -> dict[str, str]:
    z = getattr(prompt, "z", None)
    if not isinstance(z, (int, float, np.number)) or isinstance(z, complex) or not np.isfinite(z):
        return {}
    return {"label": f"z = {z:g}" if abs(z) == 1 else "z > 0" if z > 0 else "z < 0" if z < 0 else "z = 0"}


def _active(shares: Mapping[str, float]) -> dict[str, str]:
    """Of the hinge, and of neurons."""
    found = {}
    for name, share in shares.items():
        if name == "hinge_active":
            states = {0.0: "the hinge is inactive", 1.0: "the hinge is active"}
            found["hinge"] = states.get(share, "the hinge is active at some tokens only")
        elif name == "relu_active":
            states = {0.0: "no neuron is active", 1.0: "all neurons are active"}
            found["neurons"] = states.get(share, "some neurons are inactive")
    return found


def _equal(sizes: Mapping[str, float]) -> dict[str, str]:
    """Which sizes are equal, and which are 1."""
    plain = {name: n for name, n in sizes.items() if name.isidentifier() and isinstance(n, (int, np.integer))}
    found = {}
    for one, other in combinations(plain, 2):
        words = f"{one} = {other}" if plain[one] == plain[other] else f"{one} and {other} differ"
        found[f"{one} = {other}"] = words
    return found | {f"{name} = 1": f"{name} = 1" if value == 1 else f"{name} > 1" for name, value in plain.items()}


def _matrices(params: Any) -> dict[str, str]:
    """Which parameters are symmetric, and which are zero."""
    found = {}
    for name, array in list(params._asdict().items())[:_PARAMETERS]:
        if array.ndim > 1:
            square = array.shape[-1] == array.shape[-2]
            tiny = 1e-12 * abs(array).max()
            symmetric = square and np.allclose(array, array.swapaxes(-1, -2), rtol=1e-9, atol=tiny)
            words = "symmetric" if symmetric else "square and not symmetric" if square else "not square"
            found[f"{name} symmetric"] = f"{name} is {words}"
        found[f"{name} zero"] = f"{name} is {'not ' if array.any() else ''}zero"
    return found


class Separator(NamedTuple):
    """A condition that tells the draws of one set from those of another.

    Attributes
    ----------
    one, other : str
        What holds on the first set, and what on the second.
    in_one, in_other : int
        On how many draws of all these words hold, those of neither set with them.
    """

    one: str
    other: str
    in_one: int
    in_other: int


def enough(first: Collection[int], second: Collection[int]) -> bool:
    """Whether there are draws enough in two sets for a condition that separates them to be no chance."""
    return min(len(first), len(second)) >= FEWEST and len(first) + len(second) >= ENOUGH


def separators(
    known: Sequence[Mapping[str, str]],
    points: Sequence[int],
    first: Collection[int],
    second: Collection[int],
    more: Collection[int] = (),
) -> list[Separator]:
    """The conditions that separate two sets of draws, the most telling first.

    Parameters
    ----------
    known : sequence of mapping
        The conditions of every draw.
    points : sequence of int
        Which draws have the same parameters: equal numbers.
    first, second : collection of int
        The numbers of the draws of each set.
    more : collection of int
        Draws that may be on either side, and are counted.
    """
    if not enough(first, second):
        return []
    told = [*first, *second]
    found = []
    for topic in known[told[0]]:
        if not all(topic in known[n] for n in told):
            continue
        one, other = ({known[n][topic] for n in side} for side in (first, second))
        if one & other or not _points_do(topic, known, points, first, second):
            continue
        if len(one) > 2 or len(other) > 2:
            continue
        counts = [sum(known[n].get(topic) in words for n in (*told, *more)) for words in (one, other)]
        found.append(Separator(_either(one), _either(other), *counts))
    return found


def _points_do(
    topic: str,
    known: Sequence[Mapping[str, str]],
    points: Sequence[int],
    first: Collection[int],
    second: Collection[int],
) -> bool:
    """Whether a condition that is the same on all draws of a point is told from enough points."""
    words: dict[int, set[str]] = {}
    for n in (*first, *second):
        words.setdefault(points[n], set()).add(known[n][topic])
    if any(len(several) > 1 for several in words.values()):
        return True
    one, other = ({points[n] for n in side} for side in (first, second))
    return min(len(one), len(other)) >= _POINTS and len(one | other) >= _POINTS_IN_ALL


def _either(words: set[str]) -> str:
    return " or ".join(sorted(words))
