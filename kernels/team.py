"""Threads that share the tasks of one kernel out among themselves, in compiled code.

The kernel's work comes in phases, each of so many tasks. A thread has a seat. It takes a task that nobody has taken, until
none is left, and begins the next phase when all are done. What a task computes does not depend on who does it. Nobody waits
for others to come, and for those at work only so long: who calls asks them to end, and takes a seat again.

    task = first(state, 0)
    while task < tasks:
        ...
        task = following(state, 0)
    if complete(state, 0, tasks):
        task = first(state, 1)
        ...
"""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from time import perf_counter
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import atomics, compile
from .address import entry
from .compile import kernel, threads

__all__ = ["DONE", "PHASES", "complete", "entered", "first", "following", "in_phases", "new_state", "together"]

_MOMENT = 1e-4  # seconds between two calls, of somebody who calls back to back
PHASES = 3  # that there may be, at most
DONE = PHASES  # state[i] counts the tasks of phase i that are taken, and state[DONE + i] those that are done


def new_state() -> NDArray[np.int64]:
    """The counters of a kernel's tasks before it begins."""
    return np.zeros(2 * PHASES, np.int64)


@kernel
def first(state, phase):
    """The number of a task of this phase that nobody has taken; if there is none left, one that is too large."""
    return atomics.add(state, phase, 1)


@kernel
def following(state, phase):
    """The same when the task that was taken last is done."""
    atomics.add(state, DONE + phase, 1)
    return atomics.add(state, phase, 1)


@kernel
def complete(state, phase, tasks):
    """Whether all tasks of this phase are done before long."""
    return atomics.wait(state, DONE + phase, tasks)


_entered: dict[Any, Callable[..., Any]] = {}


def entered(function: Callable[..., Any], arrays: Sequence[NDArray], *arguments: Any) -> Callable[..., Any]:
    """`address.entry` of a kernel for such arguments, where all of their `arrays` are packed; else the kernel.

    It is found again by the dtypes of the arrays. So whatever else the arguments have must always be of one type.
    """
    if isinstance(function, FunctionType):
        return function
    if not all(array.flags.c_contiguous for array in arrays):
        return function
    kinds = (function, *[array.dtype for array in arrays])
    found = _entered.get(kinds)
    if found is None:
        found = _entered[kinds] = entry(function, *arguments)
    return found


def together(
    function: Callable[..., object],
    most: int,
    state: NDArray[np.int64],
    i: int,
    n: int,
    *arguments: Any,
    small: bool = False,
) -> None:
    """Call `function(seat, calls, state, *arguments)` from up to `most` threads at once, until state[i] is n.

    For a kernel that shares its tasks out itself, by counters in `state`. The caller has seat 0, and the kernel says at once
    that it is there, by `atomics.enter(calls)`. Others have seat 1.
    Nobody waits for others to come. Seat -1 does nothing: it is for compiling.

    A call from seat 0 may return when others take long over their tasks. It is called again once one of them has ended. A call
    from seat 1 that finds no more to do looks out for the next one by `atomics.await_call(calls, ...)` before it returns:
    threads that return to Python at one time would wait for one another.

    With `small`, threads that sleep are left asleep unless the last such call was a moment ago: to wake them takes as long as
    they would help.

    Raises
    ------
    Exception
        What a call raised first, once no other is at work any more.
    """
    helpers, at_work = compile._helpers, min(threads(), most)
    alone = small and helpers.asleep == helpers.count and perf_counter() - helpers.last > _MOMENT
    if alone or at_work == 1 or isinstance(function, FunctionType):
        function(0, helpers.calls, state, *arguments)
        helpers.last = perf_counter()
        return
    if compile._is_new(function, arguments):
        function(-1, helpers.calls, state, *arguments)
    begun: list[None] = []
    ended: SimpleQueue[BaseException | None] = SimpleQueue()  # None, or what was raised
    over = False

    def work() -> None:
        if over:
            return
        begun.append(None)
        error = None
        try:
            function(1, helpers.calls, state, *arguments)
        except BaseException as raised:
            error = raised
        ended.put(error)

    error: BaseException | None = None
    helpers.call(work, at_work - 1, enters=True)
    try:
        while error is None and state[i] < n:
            function(0, helpers.calls, state, *arguments)
            if state[i] < n and begun:
                begun.pop()
                error = ended.get()
    except BaseException as raised:
        error = raised
    over, helpers.last = True, perf_counter()
    if error is not None:
        while begun:
            begun.pop()
            ended.get()
        raise error


def in_phases(
    function: Callable[..., object],
    most: int,
    arrays: Sequence[NDArray],
    *given: Any,
    phases: int = PHASES,
    tasks: int = 2,
    small: bool = False,
) -> None:
    """Run a kernel of so many phases, whose last one has so many tasks, on up to `most` threads; `arrays` as in `entered`.

    `function(seat, calls, state, *given)` and `small` are as in `together`.
    """
    state = new_state()
    seat = entered(function, arrays, 0, state, state, *given)
    together(seat, most, state, DONE + phases - 1, tasks, *given, small=small)
