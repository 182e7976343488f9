"""Counters that several threads share: what one has written before it adds to a counter, another that reads the sum sees.

    task = add(state, 0, 1)             # whoever gets a number does that task: each is done once
    ...
    add(state, 1, 1)                    # done
    if wait(state, 1, tasks): ...       # all are

Who spins does so without Python's lock, and not for long: a neighbour may need the processor.
"""

from .compile import kernel
from .vectors import add, read

__all__ = ["add", "await_call", "enter", "pause", "read", "wait"]

# Turns of a loop that looks at a number: three or four of them are a nanosecond.
_LONG = 1_000_000  # for tasks that are at work: a hundred microseconds
_SHORT = 180_000  # for a call, before a thread goes to sleep: at most 20 us, or 30 where a turn takes longer
_LATE = 60_000  # until a caller runs compiled code that says so: at most 15 us
_ENTRY = 10_000  # that a caller takes from its call until it runs compiled code, without Python's lock


@kernel
def wait(state, i, n):
    """Whether state[i] reaches n before long. Who gives up leaves the processor to those who are at work."""
    left = _LONG
    while read(state, i) < n:
        left -= 1
        if left == 0:
            return False
    return True


@kernel
def await_call(calls, seen):
    """Whether calls[0] changes from `seen` soon; after that, when the caller has let go of Python's lock, or a little later.

    A caller that says so has calls[2] = 1 before it calls, and `enter` in its compiled code.
    """
    left, entered = _SHORT, read(calls, 1)
    while read(calls, 0) == seen:
        left -= 1
        if left == 0:
            return False
    if read(calls, 2) == 0:
        pause(calls)
    else:
        left = _LATE
        while read(calls, 1) == entered and left > 0:
            left -= 1
    return True


@kernel
def enter(calls):
    """Say that the caller runs compiled code, without Python's lock: who asks for the lock now does not wait for it."""
    add(calls, 1, 1)


@kernel
def pause(calls):
    """Let a few microseconds pass."""
    left = _ENTRY
    while read(calls, 0) >= 0 and left > 0:
        left -= 1
