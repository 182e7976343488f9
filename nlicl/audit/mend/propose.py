"""From the edits that do the task to the mends that are shown: tried on fresh places, one for each statement."""

import difflib
import io
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from .child import Tell
from .found import Mending
from .ground import Candidate
from .program import Program, Unread
from .search import Search
from .spelling import changes
from .task import Stopped, Task

__all__ = ["propose", "with_functions"]

SHOWN = 3
_ROUNDS = 4  # searches, each with the places at which what the last one found was wrong
_OTHERWISE = "; not where numbers or sizes of the data are others"
_PATIENCE = 0.7  # seconds in which one is looked for that does hold, after one was found that does not
_LOOKED_AT = 60  # edits of which it is asked whether they hold with other data
_SPELLINGS = 5  # edits of one statement that are tried on fresh places, one after the other
_SHARE = 0.87  # of the budget for the search itself, the rest for trying what it finds on fresh places


def propose(
    function: Callable[..., Any],
    fixed: tuple[Callable[..., Any], ...],
    task: Task,
    verify: Callable[[Callable[..., Any], float], str],
    seconds: float,
    tell: Tell,
    steady: Callable[[Program], bool] | None = None,
) -> dict[str, Any]:
    """Search, verify, and hand over what is found.

    Parameters
    ----------
    function : callable
        The reader's.
    fixed : tuple of callable
        What no edit may change: the loss.
    task : Task
    verify : callable
        verify(function, deadline) -> where a mended function agrees, in words; empty if it does not.
    seconds : float
        The budget.
    tell : callable
        Takes {"tried": n} and {"repair": ...}.
    steady : callable or None
        steady(edited) -> whether a mend holds with other data. If one does, those that do not are not shown.

    Returns
    -------
    dict
        others, note; late where the time was over before all was tried.
    """
    end = time.monotonic() + seconds
    try:
        program = Program(function, fixed)
    except Unread as error:
        return {"note": str(error)}
    except RecursionError:
        return {"note": "its source is nested too deeply"}
    name = getattr(program.units[0].original, "__name__", "the function")
    kept = _protected(program)
    if not _gives_the_same(program, task):
        for array in kept:  # a buffer may be among them
            array.flags.writeable = True
        if not _gives_the_same(program, task):  # the file was edited since, or the function is random
            return {"note": f"the source of {name} does not give what {name} gave"}
    shown, refused, tried, others = 0, 0, 0, 0
    deadline = time.monotonic() + _SHARE * (end - time.monotonic())
    for _ in range(_ROUNDS):
        before, places = tried, len(task.expected)
        known: dict[str, bool] = {}

        def holds(text: str, known: dict[str, bool] = known) -> bool:
            if steady is None or len(known) >= _LOOKED_AT:
                return known.get(text, steady is None or any(known.values()))
            if text not in known:
                known[text] = False
                with suppress(Unread, Stopped):
                    known[text] = steady(program.edited(text))
            return known[text]

        first: list[float] = []  # when a mend was found that does not hold with other data

        def enough(text: str, first: list[float] = first, holds: Callable[[str], bool] = holds) -> bool:
            if holds(text):
                return True
            first.append(time.monotonic())
            return first[-1] > first[0] + _PATIENCE

        search = Search(program, task, deadline, lambda n, t=before: tell({"tried": t + n}), enough)  # type: ignore[misc]
        found, otherwise = _steady(search.run(), holds)
        left = _by_statement(found)
        tried += search.tried
        tell({"tried": tried})
        while left and shown < SHOWN:
            where, one = next((where, ones[0]) for where, ones in left.items())
            try:
                edited = program.edited(one.text)
                agrees = verify(edited.root, end)
                if agrees and not _holds_everywhere(edited, task):
                    agrees = ""
            except Unread:
                agrees = ""
            except Stopped:
                break
            if agrees:
                tell({"repair": _described(one, program, agrees + otherwise)})
                shown += 1
                del left[where]
                continue
            refused += 1
            left[where] = [other for other in left[where][1:] if _still_right(other, program, task)]
            if not left[where]:
                del left[where]
        others = len(left)
        if shown or len(task.expected) == places or time.monotonic() > deadline:
            break  # else a place was learnt at which what was found is wrong: search again
    if shown:
        return {"others": others}
    if refused:
        return {"note": f"{refused} of {tried} edits agree where it was judged, and not on fresh points"}
    if time.monotonic() > deadline:
        return {"late": True}
    return {"note": f"none of {tried} edits makes it agree"}


def with_functions(mending: Mending, function: Callable[..., Any], fixed: tuple[Callable[..., Any], ...]) -> Mending:
    """What was found for a function of this process, each repair with the function that it gives."""
    if not mending.repairs:
        return mending
    repairs = []
    for repair in mending.repairs:
        with suppress(Unread):
            program = Program(function, fixed)
            repair = replace(repair, function=program.edited(repair.text).released(program))
        repairs.append(repair)
    return replace(mending, repairs=tuple(repairs))


def _holds_everywhere(edited: Program, task: Task) -> bool:
    """Whether a mend is right where all who call what it changes get it so, and leaves the loss as it is.

    The search puts a changed helper where the gradient finds it. The loss may find it elsewhere: in a list or a dict.
    """
    losses = _losses(edited, task)
    with edited.everywhere():
        right = task.rightness(edited.root)
        same = np.allclose(_losses(edited, task), losses, rtol=1e-7, atol=0.0, equal_nan=True)  # it may round otherwise
        return right is not None and bool(right.all()) and bool(same)


def _losses(program: Program, task: Task) -> list[float]:
    """The loss at all places; NaN where it cannot be had."""
    call = task.call_loss
    found: list[float] = []
    if call is None or not program.fixed:
        return []
    for place in task.places:
        try:
            with task.limited():
                found.append(float(call(program.fixed[0], place)))
        except Stopped:
            raise
        except BaseException:
            found.append(np.nan)
    return found


def _protected(program: Program) -> list[np.ndarray]:
    """Make arrays of the file read-only: an edit such as u += v would change data for all that come after it."""
    values = [*(program.globals[name] for name in program.data_names()), *program.held()]
    arrays = [value for value in values if isinstance(value, np.ndarray) and value.flags.writeable]
    for array in arrays:
        array.flags.writeable = False
    return arrays


def _gives_the_same(program: Program, task: Task) -> bool:
    """Whether the function that is built from the text gives what the reader's gave."""
    for place in task.places:
        value, given = task.value(program.root, place), task.given[place]
        if value is None and all(np.isnan(part).all() for part in given):
            continue  # it raises there, and did
        if value is None or not all(task.same(place, k, part) for k, part in enumerate(value)):
            return False
    return True


def _still_right(one: Candidate, program: Program, task: Task) -> bool:
    """Whether a candidate does the task with the places that were learnt since."""
    try:
        right = task.rightness(program.edited(one.text).root, len(task.expected) - 1)
    except Unread:
        return False
    return right is not None and bool(right.all())


def _steady(found: list[Candidate], holds: Callable[[str], bool]) -> tuple[list[Candidate], str]:
    """Those that hold with other data; all if none does, and what is to be said of them."""
    kept = [one for one in found if holds(one.text)]
    return (kept, "") if kept or not found else (found, _OTHERWISE)


def _by_statement(found: list[Candidate]) -> dict[Any, list[Candidate]]:
    """The candidates by the statements that they change, the cheapest first; of each a few."""
    kept: dict[Any, list[Candidate]] = {}
    for one in found:
        ones = kept.setdefault(one.where, [])
        if len(ones) < _SPELLINGS:
            ones.append(one)
    return kept


def _described(one: Candidate, program: Program, agrees: str) -> dict[str, Any]:
    before, after = (io.StringIO(text, newline="\n").readlines() for text in (program.text, one.text))
    file = program.file or program.path.strip("<>")
    diff = "".join(difflib.unified_diff(before, after, file, file, n=2))
    shown = [list(change) for change in changes(program.text, one.text)]
    return {"changes": shown, "diff": diff, "text": one.text, "agrees": agrees, "file": program.file}
