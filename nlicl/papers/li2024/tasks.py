"""Tasks of Li et al. 2024: (a, b) labels mu_a by +1 and mu_b by -1. Their sets, and Condition 3.2 on the training tasks."""

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from ...core.checks import integer, text
from ...core.describe import short
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import check_memory

__all__ = ["Task", "all_tasks", "checked_tasks", "condition_3_2", "cyclic_tasks"]

Task: TypeAlias = tuple[int, int]
"""(a, b), relevant patterns counted from 0."""

_TASK, _COMPLAINT = 160, 200  # bytes: of a pair of integers, of a sentence about a pattern


def all_tasks(M1: int) -> tuple[Task, ...]:
    """T: the M1 (M1 - 1) pairs (a, b) with a != b."""
    M1 = integer("M1", M1, 1)
    check_memory(f"M1 is {M1}: there are M1 (M1 - 1) tasks", _TASK * M1 * (M1 - 1), "Lower it.")
    return tuple((a, b) for a in range(M1) for b in range(M1) if a != b)


def cyclic_tasks(M1: int = 6, shifts: int = 1) -> tuple[Task, ...]:
    """Training tasks (i, i + s mod M1) for s = 1 .. shifts: `shifts` M1 of them, Condition 3.2 exactly.

    One shift is the M1-task set [recalled]; more are [derived]. ValueError unless 1 <= shifts <= M1 - 1.
    """
    M1, shifts = integer("M1", M1, 2), integer("shifts", shifts, 1)
    if shifts > M1 - 1:
        raise InvalidValue(
            f"shifts is {shifts}; expected at most M1 - 1 = {M1 - 1}: there are M1 (M1 - 1) tasks in all."
        )
    check_memory(f"M1 is {M1} and shifts {shifts}: there are {shifts * M1} tasks", _TASK * shifts * M1, "Lower them.")
    return tuple((i, (i + s) % M1) for s in range(1, shifts + 1) for i in range(M1))


def condition_3_2(tasks: Iterable[Task], M1: int) -> list[str]:
    """What breaks Condition 3.2, in words; an empty list if the tasks satisfy it.

    The training tasks must uniformly cover all IDR patterns and both labels [paper]: precisely, for every pattern and
    each label exactly |T_tr|/M1 >= 1 tasks send the pattern to that label [recalled].

    Parameters
    ----------
    tasks : sequence of (int, int)
    M1 : int

    Returns
    -------
    list of str
    """
    M1 = integer("M1", M1, 1)
    tasks = checked_tasks(tasks, M1, "tasks")
    check_memory(f"M1 is {M1}: so many patterns may break the condition", 2 * _COMPLAINT * M1, "Lower it.")
    complaints = []
    if len(tasks) % M1 or not tasks:
        complaints.append(f"|T_tr| = {len(tasks)} is not a positive multiple of M1 = {M1}")
    for side, label in enumerate(("+1", "-1")):
        counts = Counter(task[side] for task in tasks)
        for j in range(M1):
            count = counts[j]
            if count * M1 != len(tasks):
                share = len(tasks) / M1
                complaints.append(f"pattern {j} is sent to {label} by {count} tasks; expected |T_tr|/M1 = {share:g}")
    return complaints


def checked_tasks(tasks: Iterable[Task], M1: int, name: str) -> tuple[Task, ...]:
    """The tasks as pairs of int; TypeError or ValueError, about `name`, for anything else."""
    M1, name = integer("M1", M1, 1), text("name", name)
    try:
        pairs = tuple(tuple(task) for task in tasks)
    except Exception:  # an iterator of the caller's may raise anything
        raise InvalidType(f"{name} is {short(tasks)}; expected pairs (a, b) of integers.") from None
    for task in pairs:
        if len(task) != 2 or not all(map(_is_integer, task)):
            raise InvalidValue(f"{name} holds {short(task)}; expected pairs (a, b) of integers.")
        if task[0] == task[1] or not all(0 <= j < M1 for j in task):
            raise InvalidValue(f"{name} holds {short(task)}; expected a != b, both from 0 to M1 - 1 = {M1 - 1}.")
    return tuple((int(a), int(b)) for a, b in pairs)


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))
