"""Cells to workers, and their records back: a few tasks at a time, sized by what cells take, done again when lost."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from ...core.describe import kind_of
from ...core.errors import InvalidInput
from ...core.registry import MODELS
from ...core.text import message
from ..pool import check_known, check_sendable
from .cell import Cell, Record, Stop, Work, lost, run_cells
from .executors import Crew, Setup, begin

__all__ = ["records"]

_POLL = 0.05  # seconds after which the caller's thread looks whether a signal came
_A_WORKER = 2  # tasks: while one is done, the next one is there
_UNKNOWN = 16  # workers, where their number is not known
_ATTEMPTS = 3  # of a cell by itself
_RECENT = 8  # tasks by whose times the next ones are sized
_SHORTEST = 0.05  # seconds of work, where tasks get smaller towards the end
_HOPELESS = 2  # cells that are lost before any has come back: the first three times, the next one once
_QUIET = 5.0  # seconds between two lines about lost workers

Heard = tuple["_Task", Any, BaseException | None]  # a task, and what its future returned or raised


class _Task:
    """Cells that a worker makes one after the other."""

    def __init__(self, cells: list[Cell], losses: int = 0, alone: bool = False) -> None:
        self.cells, self.losses, self.alone = cells, losses, alone
        self.future: Any = None


def records(
    work: Work,
    cells: Iterable[Cell],
    crew: Crew,
    look: Callable[[], object],
    *,
    total: int | None = None,
    seconds: float | None = None,
    tell: Callable[[str], object] | None = None,
) -> Iterator[list[Record]]:
    """The records of cells, as soon as they are there.

    The first task is one cell, and alone: what is compiled for it is found by all others. From then on there are two tasks for
    each worker. Their sizes follow the times that cells took.

    A task that does not come back is done again, each of its cells as a task. Where a pool of processes broke, it is not known
    by which cell: one that was a task by itself is then done while nothing else is. A cell that is lost three times by itself
    gets the state "lost".

    Parameters
    ----------
    work : Work
    cells : iterable of Cell
        Taken when workers are free for them.
    crew : Crew
    look : callable
        () -> None, called at least every 0.05 s. What it raises ends the work.
    total : int, optional
        How many cells there are. Towards the end tasks then get smaller, so that all workers end together.
    seconds : float, optional
        How much work a task is to be; as the crew says if not given.
    tell : callable, optional
        (text) -> None, called with what a reader should know: that workers were lost.

    Yields
    ------
    list of Record
        Of a task.

    Raises
    ------
    ValueError, TypeError
        Something cannot be sent to other processes, or a model is not known there.
    nlicl.experiments.pool.ExecutorLost
        The executor is gone, or nothing comes back from it. What was yielded is good.
    """
    dispatch = _Dispatch(work, cells, crew, look, total, seconds or crew.seconds, tell)
    try:
        yield from dispatch.run()
    finally:
        dispatch.leave()


class _Dispatch:
    """What is under way, what is to be done again, and what is known of the cells' times."""

    def __init__(
        self,
        work: Work,
        cells: Iterable[Cell],
        crew: Crew,
        look: Callable[[], object],
        total: int | None,
        seconds: float,
        tell: Callable[[str], object] | None,
    ) -> None:
        self.work, self.cells, self.crew, self.look = work, iter(cells), crew, look
        self.total, self.seconds, self.tell = total, seconds, tell
        self.stop = Stop() if crew.here else None
        self.heard: SimpleQueue[Heard] = SimpleQueue()
        self.under_way: dict[_Task, None] = {}
        self.asked: deque[_Task] = deque()  # under way, of futures that have to be asked whether they are done
        self.again: deque[_Task] = deque()
        self.suspects: deque[_Task] = deque()  # to be done while nothing else is
        self.times: deque[float] = deque(maxlen=_RECENT)  # seconds a cell
        self.largest, self.sent, self.lost, self.begun = 1, 0, 0, False
        self.told = -_QUIET

    def run(self) -> Iterator[list[Record]]:
        """See `records`."""
        if self.stop is None:
            for name in ("problem", "training", "measures"):
                check_sendable(
                    name, getattr(self.work, name), " Or run it in threads of this process: without an executor."
                )
        while True:
            self.look()
            self._send_all()
            if not self.under_way:
                return
            found = self._next()
            if found is None:
                self._check_there(TimeoutError("nobody answers"))
                continue
            task, result, error = found
            if task not in self.under_way:
                continue
            del self.under_way[task]
            if error is None:
                took, made = result
                self._learn(took, len(made))
                yield made
            else:
                yield from self._missed(task, error)

    def leave(self) -> None:
        """Have nothing more done."""
        if self.stop is not None:
            self.stop.asked = True
        if self.crew.there():
            for task in self.under_way:
                cancel = getattr(task.future, "cancel", None)
                if cancel is not None:
                    cancel()

    # ---- Tasks out

    def _send_all(self) -> None:
        """Submit tasks until there are as many as makes sense."""
        while len(self.under_way) < (_A_WORKER * self._workers if self.begun else 1):
            if any(task.alone for task in self.under_way):
                return
            task = self._take()
            if task is None:
                return
            self._send(task)

    def _take(self) -> _Task | None:
        """The next task: what was lost first, then new cells, suspects at the end."""
        if self.again:
            return self.again.popleft()
        found = list(islice(self.cells, self._size()))
        if found:
            self.sent += len(found)
            return _Task(found)
        return self.suspects.popleft() if self.suspects and not self.under_way else None

    @property
    def _workers(self) -> int:
        return _UNKNOWN if self.crew.count is None else max(1, self.crew.count)

    def _size(self) -> int:
        """How many cells the next task has."""
        if not self.times:
            return 1
        each = max(sum(self.times) / len(self.times), 1e-6)
        size = min(self.seconds / each, 2 * self.largest)
        if self.total is not None:
            share = (self.total - self.sent) / (_A_WORKER * self._workers)
            size = min(size, max(share, _SHORTEST / each))
        return max(1, int(size))

    def _send(self, task: _Task) -> None:
        """Have a task done; ExecutorLost if that cannot be asked for."""
        arguments = (_made, self.crew.setup, self._models(task), self.work, task.cells, self.stop)
        try:
            future = self.crew.submit(*arguments)
        except Exception as error:
            self._say(error)
            if not self.crew.restart(self.look):
                raise self.crew.gone(error) from error
            try:
                future = self.crew.submit(*arguments)
            except Exception as another:
                raise self.crew.gone(another) from another
        task.future = future
        self.under_way[task] = None
        if hasattr(future, "add_done_callback"):
            future.add_done_callback(lambda done: self._hear(task, done))
        elif hasattr(future, "done"):
            self.asked.append(task)
        else:
            Thread(target=self._hear, args=(task, future), name="nlicl-result", daemon=True).start()

    def _models(self, task: _Task) -> list[str]:
        """Models that this process knows and that a worker has to know."""
        if self.stop is not None:
            return []
        named = {dict(cell.changes).get("model", self.work.training.get("model")) for cell in task.cells}
        return sorted(name for name in named if isinstance(name, str) and name in MODELS.names())

    # ---- What comes back

    def _hear(self, task: _Task, future: Any) -> None:
        """Wait for what a future comes to, and tell the caller's thread."""
        try:
            self.heard.put((task, future.result(), None))
        except BaseException as error:
            self.heard.put((task, None, error))

    def _next(self) -> Heard | None:
        """What has come back; None if nothing has for a moment."""
        for _ in range(len(self.asked)):
            task = self.asked.popleft()
            if task.future.done():
                self._hear(task, task.future)
            else:
                self.asked.append(task)
        try:
            return self.heard.get(timeout=_POLL)
        except Empty:
            return None

    def _check_there(self, reason: BaseException) -> None:
        """ExecutorLost if the crew is gone and does not come back."""
        if not self.crew.there() and not self.crew.restart(self.look):
            raise self.crew.gone(reason) from reason

    def _learn(self, seconds: float, cells: int) -> None:
        """Size tasks by what one took."""
        if self.begun:  # the first one is no measure: it may have compiled its kernels
            self.times.append(seconds / cells)
        self.begun, self.largest = True, max(self.largest, cells)

    def _missed(self, task: _Task, error: BaseException) -> Iterator[list[Record]]:
        """A task did not come back: its cells again, or the record of one that never does."""
        if isinstance(error, InvalidInput):
            raise error
        self._check_there(error)
        self._say(error)
        if len(task.cells) > 1:
            self.again.extend(_Task([cell]) for cell in task.cells)
            return
        losses = task.losses + 1
        if losses == _ATTEMPTS or (self.lost and not self.begun):
            why = f"{kind_of(error)}: {message(error) or 'no message'}"
            self.lost += 1
            if not self.begun and self.lost == _HOPELESS:
                raise self.crew.gone(error) from error
            reason = f"{_ATTEMPTS} times its worker was lost, as where memory runs out; the last reason: {why}"
            yield [lost(self.work, task.cells[0], reason)]
            return
        broken = isinstance(error, BrokenExecutor)  # and it is not known by which of the tasks
        (self.suspects if broken else self.again).append(_Task(task.cells, losses, broken))

    def _say(self, error: BaseException) -> None:
        """Tell that workers were lost; not for each of many tasks that were lost together."""
        now = time.monotonic()
        if self.tell is not None and now - self.told > _QUIET:
            self.told = now
            self.tell(
                f"a worker was lost ({kind_of(error)}: {message(error) or 'no message'}); its cells are done again"
            )


def _made(
    setup: Setup, models: list[str], work: Work, cells: list[Cell], stop: Stop | None
) -> tuple[float, list[Record]]:
    """In a worker: the records of cells, and the seconds that they took."""
    threads = begin(setup)
    check_known(models)
    began = time.perf_counter()
    found = run_cells(work, cells, threads, stop)
    return time.perf_counter() - began, found
