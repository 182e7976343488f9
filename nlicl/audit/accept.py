"""Whether what a reader hands over as a Subject is one: the first thing that is none is named, before anything is judged."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.describe import short
from ..core.errors import InvalidType, InvalidValue
from .subject import Formula, Point, Statement, Subject

__all__ = ["accept"]


def accept(subject: Subject, draws: int = 2, seed: int = 0) -> None:
    """Look at a subject's parts, and at what its functions return at the first place.

    Parameters
    ----------
    subject : Subject
    draws, seed : int
        What `points` is called with.

    Raises
    ------
    TypeError, ValueError
        Something is not what `Subject` says. What the functions raise is passed on.
    """
    for part in subject.every:
        _parts(part)
        points = part.points(draws, seed, False)
        if not isinstance(points, (list, tuple)) or not points:
            raise InvalidType(f"points of {part.name} returns {short(points)}; expected a list of nlicl.audit.Point.")
        for point in points:
            _point(point, part)
        _functions(part, points[0])


def _parts(subject: Subject) -> None:
    """The formulas and the statement."""
    whose = f"of {subject.name}"
    _is(isinstance(subject.formulas, Mapping), f"formulas {whose}", subject.formulas, "a dict of name: Formula")
    if not subject.formulas and not subject.parts:
        raise InvalidValue(f"formulas {whose} is empty; expected one Formula or more.")
    for name, formula in subject.formulas.items():
        _is(isinstance(formula, Formula), f"formulas[{name!r}] {whose}", formula, "an nlicl.audit.Formula")
        for what in ("name", "wrt", "equation", "source"):
            _is(isinstance(getattr(formula, what), str), f"{what} of formula {name}", getattr(formula, what), "a text")
        if formula.expected not in ("agree", "disagree"):
            raise InvalidValue(
                f"expected of formula {name} is {short(formula.expected)}; expected 'agree' or 'disagree'."
            )
    if (statement := subject.statement) is not None:
        _is(isinstance(statement, Statement), f"statement {whose}", statement, "an nlicl.audit.Statement")
        texts = [
            *statement.model,
            statement.loss,
            statement.about,
            *(text for pair in statement.symbols for text in pair),
        ]
        pairs = all(len(pair) == 2 for pair in statement.symbols)
        fits = pairs and not isinstance(statement.model, str) and all(isinstance(text, str) for text in texts)
        _is(fits, f"statement {whose}", statement, "texts: model a tuple of them, symbols a tuple of pairs")


def _point(point: Any, subject: Subject) -> None:
    """A place: a Point with parameters that are named arrays, and with prompts."""
    _is(isinstance(point, Point), f"a place of {subject.name}", point, "an nlicl.audit.Point(label, params, prompts)")
    params = point.params
    _is(hasattr(params, "_asdict"), f"params of {subject.name}", params, "a NamedTuple of arrays")
    for name, array in params._asdict().items():
        real = isinstance(array, (np.ndarray, np.floating)) and array.dtype.kind == "f"
        _is(real, f"parameter {name} of {subject.name}", array, "an array of floating numbers")
    for formula in subject.formulas.values():
        if formula.wrt not in params._fields:
            raise InvalidValue(
                f"wrt of formula {formula.name} is {short(formula.wrt)}; expected one of {', '.join(params._fields)}."
            )
    sequence = hasattr(point.prompts, "__len__") and hasattr(point.prompts, "__getitem__")
    _is(
        sequence, f"prompts of {subject.name}", point.prompts, "a batch, with a length, that an index gives a prompt of"
    )


def _functions(subject: Subject, point: Point) -> None:
    """What they return at a place."""
    params, prompts, whose = point.params, point.prompts, f"of {subject.name}"
    prompt = prompts[0]
    found = subject.definition(params, prompt)
    pair = isinstance(found, tuple) and len(found) == 2 and _is_number(found[0])
    _is(pair, f"definition {whose}", found, "a pair (loss, margins) of a number and an array")
    for name in ("kernel", "source"):
        value = getattr(subject, name)(params, prompts)
        _is(_is_number(value), f"{name} {whose}", value, "the loss, a number")
    for name in ("sizes", "activity"):
        value = getattr(subject, name)(params, prompt)
        numbers = isinstance(value, Mapping) and all(isinstance(k, str) and _is_number(v) for k, v in value.items())
        _is(numbers, f"{name} {whose}", value, "a dict of names and finite numbers")
    value = subject.conditions(params, prompt)
    _is(isinstance(value, Mapping), f"conditions {whose}", value, "a dict of topics and words")


def _is_number(value: Any) -> bool:
    """Whether something is one number, and finite."""
    array = np.asarray(value)
    return array.size == 1 and array.dtype.kind in "biufc" and bool(np.isfinite(array).all())


def _is(right: bool, what: str, given: Any, expected: str) -> None:
    if not right:
        raise InvalidType(f"{what} is {short(given)}; expected {expected}.")
