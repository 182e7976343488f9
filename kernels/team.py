"""Threads that share the tasks of one kernel out among themselves, in compiled code."""

from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import compile
from .compile import threads

__all__ = ["together"]

_MOMENT = 1e-4  # seconds between two calls, of somebody who calls back to back


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

    For a kernel that shares its tasks out itself, by counters in `state` (`atomics`). The caller has seat 0, others seat 1.
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
    helpers.call(work, at_work - 1)
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
