"""The course of one run, from its plan to its end: steps, measurements, checkpoints, and who is told of them."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import frozen
from ..core.describe import short
from ..core.errors import InvalidType, NotFinite
from ..core.interruption import is_interruption
from .checkpoint import restore
from .descent import OnCpu, OnGpu
from .folder import RunFolder
from .plan import Plan
from .problem import Observer
from .runs import Diverged, Run, State, diverged

__all__ = ["Interruptions", "Progress", "Stopped", "Told", "Until", "follow"]

Until = Callable[[Any], bool]
Progress = Callable[[int, int, float], object]


class Interruptions(Protocol):
    """When a run may be interrupted: `nlicl.core.interruption.Held` in the main thread."""

    shut: bool

    def look(self) -> None:
        """Raise KeyboardInterrupt if it is to end here."""
        ...


class Stopped(KeyboardInterrupt):
    """A run is to end because another one did, beside it."""


class Told(NamedTuple):
    """Who is told of a run under way.

    Attributes
    ----------
    observe, until, progress : callable or None
        As in `nlicl.train`.
    each_step : bool
        Whether `progress` is told of each step, or of those that were made in one call together.
    """

    observe: Observer | None
    until: Until | None
    progress: Progress | None
    each_step: bool = True


def follow(plan: Plan, folder: Path | None, resume: bool, told: Told, signals: Interruptions) -> Run:
    """The run of a plan, from its beginning or from the checkpoint in its folder.

    Raises
    ------
    Diverged, FileExistsError, ValueError, TypeError, KeyboardInterrupt
        As `nlicl.train`. What was reached is kept in the folder before the first and the last.
    """
    if folder is not None:
        plan.check_stores()
    if plan.times and told.observe is None:
        told = told._replace(observe=plan.observer())
    signals.look()
    kept = None if folder is None else RunFolder(folder)
    try:
        if kept is not None:
            with _unbroken(signals):
                kept.enter()
        state = plan.begin() if folder is None else restore(folder, plan, resume)
        began = state.t
        descent = OnGpu(plan, state) if plan.device == "cuda" else OnCpu(plan, state)

        def save() -> None:
            """Keep what was reached, if it is to be kept. Ctrl-C waits until it is written."""
            if kept is not None:
                with _unbroken(signals):
                    kept.save(state.run())

        try:
            _descend(plan, state, descent, told, signals, None if kept is None else save)
        except NotFinite as error:  # a loss, a gradient, or a score of the tests
            save()
            raise diverged(state, error) from None
        except (KeyboardInterrupt, SystemError) as error:
            if not is_interruption(error):
                raise
            with suppress(Diverged):  # then that is where it stopped
                descent.catch_up()
            if state.t > began or not isinstance(error, Stopped):
                save()
            raise
        except Diverged:
            save()
            raise
        save()
        return state.run()
    finally:
        signals.shut = True  # from here on: see `Held`
        if kept is not None:
            kept.leave()
        signals.shut = False


@contextmanager
def _unbroken(signals: Interruptions) -> Iterator[None]:
    """No Ctrl-C breaks off what is done inside."""
    signals.shut = True
    try:
        yield
    finally:
        signals.shut = False


def _says_stop(until: Until, losses: NDArray[np.floating]) -> bool:
    """What `until` answers; TypeError for an array, which is neither True nor False."""
    stop = until(frozen(losses))
    if not isinstance(stop, (bool, np.bool_, int)):
        raise InvalidType(f"until returns {short(stop)} at step {len(losses)}; expected True or False.")
    return bool(stop)


def _read_only(params: Any) -> Any:
    """The parameters as an observer sees them: it does not change the run."""
    return params._replace(**{name: frozen(array) for name, array in params._asdict().items()})


def _descend(
    plan: Plan,
    state: State,
    descent: OnCpu | OnGpu,
    told: Told,
    signals: Interruptions,
    save: Callable[[], None] | None,
) -> None:
    """Every step from where the state is, with measurements, checkpoints and what is told on the way."""
    observe, until, progress, each_step = told
    steps, times, t = plan.steps, plan.times, state.t
    marks = sorted(times) if observe is not None else []  # where a call of several steps ends
    stopped = until is not None and t > 0 and _says_stop(until, state.loss[:t])  # before, and is resumed
    while t < steps and not stopped:
        signals.look()
        if observe is not None and t in times:
            descent.catch_up()
            state.record(t, observe(_read_only(state.params)))
        end = min(steps, t + descent.at_once, *marks[bisect_right(marks, t) :][:1])
        if save is not None:
            end = min(end, t + plan.checkpoint - t % plan.checkpoint)
        for each in range(t, end):
            state.eta[each] = plan.eta(each)
        lost: Diverged | None = None
        try:
            descent.steps(t, end)
        except Diverged as error:  # of a step that nobody is told of; of those before in the same call they are
            lost = error
        made, t = range(t + 1, descent.sound + 1), descent.sound
        saving = save is not None and t % plan.checkpoint == 0 and t < steps
        telling = progress is not None and (t % descent.every == 0 or t in times or t == steps)
        if lost is None and (saving or telling or until is not None):
            descent.catch_up()
        for each in made:
            try:
                if progress is not None and state.t >= each and (each_step or each == t):
                    progress(each, steps, state.loss[each - 1])
                stopped = until is not None and _says_stop(until, state.loss[:each])
                if each < t and not stopped:
                    signals.look()
            except BaseException:
                descent.rewind(each)
                raise
            if stopped:
                descent.rewind(each)
                break
        if lost is not None and not stopped:
            raise lost
        if saving and save is not None and not stopped:
            save()
    descent.catch_up()
    if observe is not None and times and (state.t in times or state.t < steps):
        state.record(state.t, observe(_read_only(state.params)))
