"""Wrong forms of a gradient. Its author names the factors once; the wrong forms and their descriptions follow.

A marked formula is a function f(params, prompt, mark). It computes the gradient and passes its factors through `mark`, whose
methods return them unchanged:

    def dQ(params, prompt, mark=PLAIN):
        error = params.Q @ prompt.x - mark.term("the label z", prompt.z)
        return np.outer(error, mark.factor("x", prompt.x))

`edits(dQ, places)` lists the wrong forms: z is missing, has the wrong sign, is counted twice; x is absent or stands twice.
`dQ(params, prompt, Mark([edit]))` is one of them. The diagnosis compares a wrong formula with each, alone and combined.

Names and alternatives
----------------------
A *slot* is what an edit changes: two edits of one slot exclude each other. It is the name of the factor unless `slot` says
otherwise. An *alternative* is a value, or a function without arguments that is called when the alternative is chosen. It
raises ValueError where it makes no sense, as NumPy does for shapes that do not fit. Of other errors `MISFITS` are taken for
the same in a diagnosis, and `check_marks` names them.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..core.describe import short
from ..core.errors import InvalidType, InvalidValue

__all__ = ["MISFITS", "PLAIN", "Edit", "Mark", "Marked", "edits"]

MISFITS = (ValueError, TypeError, ArithmeticError, LookupError)
"""What an alternative raises where it makes no sense; all but the first are slips of its author."""

_NONE: Mapping[str, Any] = {}


class Edit(NamedTuple):
    """One way in which a derivation goes wrong.

    Attributes
    ----------
    slot : str
        What is changed. Two edits of one slot exclude each other.
    kind : str
        One of the kinds of docs/audit.md: "wrong-factor", "missing-term" ...
    detail : str
        What the audit says when a formula makes this mistake.
    """

    slot: str
    kind: str
    detail: str


class Mark:
    """What a marked formula passes its factors through. Without edits, every method returns what it is given.

    Parameters
    ----------
    edits : iterable of Edit
        The mistakes to make, of different slots.

    Raises
    ------
    TypeError
        Something else than edits.
    ValueError
        Two edits of one slot.
    """

    def __init__(self, edits: Iterable[Edit] = ()) -> None:
        made = tuple(edits) if isinstance(edits, Iterable) else (edits,)
        if not isinstance(edits, Iterable) or not all(isinstance(edit, Edit) for edit in made):
            raise InvalidType(
                f"edits is {short(edits)}; expected a list of Edit(slot, kind, detail), as edits() gives."
            )
        self._chosen = {edit.slot: edit.detail for edit in made}
        if len(self._chosen) < len(made):
            slots = [edit.slot for edit in made]
            raise InvalidValue(
                f"edits are of the slots {slots}; expected different ones: two of one slot exclude each other."
            )

    def touches(self, *slots: str) -> bool:
        """Whether an edit of one of these slots may be made: if not, work that only they need can be left out."""
        return not self._chosen.keys().isdisjoint(slots)

    def choice(self, slot: str, value: Any, kind: str, wrong: Mapping[str, Any]) -> Any:
        """`value`, or an alternative to it. All other methods are made of this one.

        The same slot, kind and detail may stand in several places of a formula: they are one edit, made in all of them.

        Parameters
        ----------
        slot : str
        value : any
            What is right: an array, parameters, a prompt ...
        kind : str
            The kind of the mistakes.
        wrong : mapping of str to alternative
            What stands there instead, by the detail that the audit reports.
        """
        detail = self._chosen.get(slot)
        return value if detail is None or detail not in wrong else _evaluated(wrong[detail])

    def factor(
        self, name: str, value: Any, others: Mapping[str, Any] = _NONE, *,
        absent: bool = True, doubled: bool = True, slot: str | None = None,
    ) -> Any:  # fmt: skip
        """A factor that may be absent, stand twice, or be another one.

        Parameters
        ----------
        name : str
            In the paper's letters: "attn_s".
        value : array_like
        others : mapping of str to alternative
            Other factors that may stand there, by name: {"attn_1": attn[0]}. They are broadcast to the shape of `value`.
        absent, doubled : bool
            Whether these two are mistakes to look for: a factor of value 1 cannot be doubled.
        slot : str, optional
        """
        slot = slot or name
        if not self.touches(slot):
            return value
        wrong: dict[str, Any] = {}
        if absent:
            wrong[f"a factor is absent: {name}"] = lambda: np.ones_like(value)
        if doubled:
            wrong[f"a factor is doubled: {name} stands twice"] = lambda: value * value
        for other, instead in others.items():
            wrong[f"a factor is another one: {other} for {name}"] = _like(value, instead)
        return self.choice(slot, value, "wrong-factor", wrong)

    def other(self, name: str, value: Any, others: Mapping[str, Any], *, slot: str | None = None) -> Any:
        """A factor that may be another one, and neither absent nor doubled: `factor` without these two."""
        return self.factor(name, value, others, absent=False, doubled=False, slot=slot)

    def matrix(
        self, name: str, value: Any, of: str, others: Mapping[str, Any] = _NONE, *, slot: str | None = None
    ) -> Any:
        """A matrix that may be transposed or absent, if it is square, or another matrix.

        Parameters
        ----------
        name, of : str
            The product it stands in, as in W_Q p_query.
        value : ndarray (m, n)
        others : mapping of str to alternative
            Other matrices that may stand there, by name.
        """
        slot = slot or name
        if not self.touches(slot):
            return value
        transposed = f"{name}T" if "^" in name else f"{name}^T"
        agrees = "a factor is another one: it agrees after {} " + f"{of} -> {name} {of}"
        wrong = {f"{agrees.format(transposed)}; invisible where {name} is symmetric": lambda: _transposed(value)}
        wrong |= {agrees.format(other): instead for other, instead in others.items()}
        wrong[f"a factor is absent: {of} for {name} {of}"] = lambda: np.eye(*_transposed(value).shape)
        return self.choice(slot, value, "wrong-factor", wrong)

    def gate(self, kind: str, of: str, name: str, value: Any, others: Mapping[str, Any] = _NONE) -> Any:
        """An indicator that may be missing, reversed, or another one.

        Parameters
        ----------
        kind : str
            Of the mistake, and the slot: "relu-gate", "hinge-gate".
        of : str
            What it is the indicator of: "active neurons".
        name : str
            "1[u_i > 0]", with one > or <.
        value : ndarray of bool
        others : mapping of str to alternative
            Other indicators that may stand there, by name.
        """
        if not self.touches(kind):
            return value
        turned = name.translate(str.maketrans("<>", "><")).replace("<", "<=").replace(">", ">=")
        wrong: dict[str, Any] = {
            f"the indicator is another one: {other}": _like(value, instead) for other, instead in others.items()
        }
        wrong[f"the indicator of {of} {name} is missing"] = lambda: np.ones_like(value)
        wrong[f"the indicator of {of} is reversed: {turned}"] = lambda: np.logical_not(value)
        return self.choice(kind, value, kind, wrong)

    def term(self, name: str, value: Any, where: str = "", *, slot: str | None = None) -> Any:
        """A summand that may be missing, have the wrong sign, or be counted twice.

        Parameters
        ----------
        name : str
        value : array_like
        where : str
            Where it stands: " in alpha_k".
        slot : str, optional
        """
        slot = slot or name
        if not self.touches(slot):
            return value
        wrong = (f"{name} is missing{where}", f"{name} has the wrong sign{where}", f"{name} is counted twice{where}")
        return self._summand(slot, value, wrong, ("missing-term", "wrong-factor"))

    def minus(self, name: str, letter: str, value: Any, of: str, *, slot: str | None = None) -> Any:
        """What is subtracted, with the same three mistakes: the label z of Q x - z.

        Parameters
        ----------
        name, letter : str
            "the label" and "z".
        value : array_like
        of : str
            What it is subtracted from: "Q x".
        """
        slot, right = slot or letter, f"{of} - {letter}"
        if not self.touches(slot):
            return value
        wrong = (
            f"{name} is missing: {of} for {right}",
            f"{name} has the wrong sign: {of} + {letter} for {right}",
            f"{name} is counted twice: {of} - 2 {letter} for {right}",
        )
        return self._summand(slot, value, wrong, ("missing-term", "wrong-factor"))

    def mean_term(self, name: str, value: Any, of: str = "", diagonal: Mapping[str, Any] = _NONE) -> Any:
        """The mean that a softmax's derivative subtracts, with the same three mistakes, in the slot "centring".

        Parameters
        ----------
        name : str
            The mean: "sum_r attn_r p_r".
        value : array_like
        of : str
            What it is subtracted from, to show what is left.
        diagonal : mapping of str to alternative
            What to subtract so that only the diagonal of the softmax's Jacobian is left, by what the formula then has.
        """
        if not self.touches("centring"):
            return value
        term, kind = "the softmax's mean term", "softmax-centering"
        left, added = (f": {of} for {of} - {name}", f"{of} + {name}") if of else ("", f"+ {name}")
        wrong = (
            f"{term}, - {name}, is missing{left}",
            f"{term} has the wrong sign: {added}",
            f"{term}, - {name}, is counted twice",
        )
        value = self._summand("centring", value, wrong, (kind, kind))
        forms = {f"only the diagonal of the softmax's Jacobian is there: {form}": diagonal[form] for form in diagonal}
        return self.choice("centring", value, kind, forms)

    def _summand(self, slot: str, value: Any, wrong: tuple[str, str, str], kinds: tuple[str, str]) -> Any:
        """A summand that may be missing, have the wrong sign, or be counted twice, by details and the first two kinds."""
        missing, sign, twice = wrong
        value = self.choice(slot, value, kinds[0], {missing: lambda: np.zeros_like(value)})
        value = self.choice(slot, value, kinds[1], {sign: lambda: np.multiply(-1, value)})  # of a bool, too
        return self.choice(slot, value, "extra-term", {twice: lambda: np.multiply(2, value)})

    def terms(self, term: str, index: str, value: Any) -> Any:
        """The summands of a sum, along the last axis: only the first counts, the first or last is left out or counted twice.

        Parameters
        ----------
        term : str
            What a summand belongs to, and the slot: "token".
        index : str
            The letter it is summed over.
        value : ndarray (..., n)
        """
        if not self.touches(term):
            return value
        total, extra = f"the sum over {index}", {}
        missing = {f"{total} is missing: only the first {term} counts": partial(_weighted, value, slice(1, None), 0)}
        for place, which in ((0, "first"), (-1, "last")):
            missing[f"the {which} {term} is left out of {total}"] = partial(_weighted, value, place, 0)
            extra[f"the {which} {term} is counted twice in {total}"] = partial(_weighted, value, place, 2)
        value = self.choice(term, value, "missing-term", missing)
        return self.choice(term, value, "extra-term", extra)

    def attends(self, value: bool, length: str = "l") -> bool:
        """Whether the query is among the tokens that are summed over; `length` is the letter for the number of contexts."""
        if not self.touches("query"):
            return value
        out = f"the query was left out of the sums, which run to {length}, not {length}+1"
        into = f"the query was summed over as if it were a context: {length}+1 terms"
        return self.choice("query", value, "query-in-context", {out if value else into: not value})

    def keys(self, tokens: np.ndarray, query_attends: bool, length: str = "l") -> np.ndarray:
        """The tokens (n, d) that are summed over, as rows: the contexts, and the query if it attends to itself.

        Mistakes are those of `attends`; the first or the last context left out everywhere.

        Parameters
        ----------
        tokens : ndarray (l+1, d)
            The query last.
        query_attends : bool
        length : str
            The letter for the number of contexts.
        """
        if self.touches("contexts"):
            left_out = {
                f"the {which} context is left out everywhere, of the softmax too": partial(_without, tokens, at)
                for at, which in ((0, "first"), (-2, "last"))
            }
            tokens = self.choice("contexts", tokens, "missing-term", left_out)
        return tokens if self.attends(query_attends, length) else tokens[:-1]


PLAIN = Mark()
"""The mark of a right formula: every method returns what it is given."""

Marked = Callable[[Any, Any, Mark], np.ndarray]
"""A marked formula f(params, prompt, mark) -> array."""


class _Recorder(Mark):
    """Returns what it is given, and keeps what could stand there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Edit, None] = {}

    def touches(self, *slots: str) -> bool:
        return True

    def choice(self, slot: str, value: Any, kind: str, wrong: Mapping[str, Any]) -> Any:
        self.found |= {Edit(slot, kind, detail): None for detail in wrong}
        return value


def edits(marked: Marked, places: Iterable[tuple[Any, Any]]) -> list[Edit]:
    """The wrong forms of a marked formula, in the order in which it names its factors.

    Parameters
    ----------
    marked : callable
        f(params, prompt, mark) -> array.
    places : iterable of (params, prompt)
        Where to run it: an edit is listed if it can be made at one of them.

    Returns
    -------
    list of Edit

    Raises
    ------
    TypeError
        No formula, or places that are no pairs.
    """
    if not callable(marked):
        raise InvalidType(f"marked is {short(marked)}; expected a function f(params, prompt, mark).")
    pairs = list(places) if isinstance(places, Iterable) else [None]
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise InvalidType(f"places is {short(places)}; expected a list of pairs (params, prompt).")
    recorder = _Recorder()
    for params, prompt in pairs:
        with np.errstate(all="ignore"):
            marked(params, prompt, recorder)
    return list(recorder.found)


def _evaluated(alternative: Any) -> Any:
    return alternative() if callable(alternative) else alternative


def _like(value: Any, alternative: Any) -> Callable[[], Any]:
    """The alternative, broadcast to the shape of the value."""
    return lambda: np.broadcast_to(_evaluated(alternative), np.shape(value))


def _transposed(matrix: np.ndarray) -> np.ndarray:
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a matrix of shape {matrix.shape} has a transpose of another shape")
    return matrix.T


def _weighted(summands: np.ndarray, at: int | slice, times: int) -> np.ndarray:
    """The summands with those at one place, along the last axis, so many times."""
    weights = np.ones(np.shape(summands)[-1])
    weights[at] = times
    return summands * weights


def _without(tokens: np.ndarray, at: int) -> np.ndarray:
    if len(tokens) < 3:
        raise ValueError("no context is left")
    return np.delete(tokens, at, axis=0)
