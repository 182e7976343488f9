"""Who makes the calls of a sweep or an experiment: threads here, worker processes, an executor of the caller's, or Dask.

All of them are a `Crew`: calls are submitted to it, and it says how many make sense at a time. `opened` opens one.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ...core.checks import integer
from ...core.describe import kind_of, short
from ...core.errors import InvalidType, InvalidValue
from ...core.memory import share_memory
from ...core.registry import MODELS, PAPERS
from ...core.text import message
from ...kernels.compile import THREADS, threads_at_most
from ..pool import ExecutorLost, Processes, WorkerLost, processes

__all__ = ["Crew", "Setup", "begin", "modules_of_registers", "opened", "submitter"]

ATTEMPTS = 3
_OF_OTHER_MACHINES = ("mpi4py", "submitit", "executorlib")  # packages whose workers are not this machine's
_JOB_A_CALL = ("submitit",)  # packages that ask a batch system for a job for each call
_SECONDS, _SECONDS_OF_A_JOB = 1.0, 300.0


class Setup(NamedTuple):
    """What a worker of another process is told with each call.

    Attributes
    ----------
    modules : tuple of str
        Modules that register models and papers.
    threads : int or None
        Threads for a call. None: the worker finds out.
    processes : int or None
        How many processes share the worker's memory. None: as the worker has it.
    """

    modules: tuple[str, ...] = ()
    threads: int | None = None
    processes: int | None = None


class Crew:
    """Whoever makes calls: `executor.submit`, and what is known of those who make them.

    Attributes
    ----------
    executor : object with `submit`
    count : int or None
        How many calls are made at a time. None: not known.
    here : bool
        Whether calls are made in threads of this process.
    setup : Setup
    seconds : float
        How much work a call is to be.
    """

    def __init__(self, executor: Any, count: int | None, here: bool, setup: Setup, seconds: float = _SECONDS) -> None:
        self.executor, self.count, self.here, self.setup, self.seconds = executor, count, here, setup, seconds

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The future of a call. Only its `result()` is to be relied on."""
        return self.executor.submit(function, *arguments)

    def there(self) -> bool:
        """Whether it can be asked for something, as far as that is known."""
        return True

    def restart(self, look: Callable[[], object]) -> bool:
        """Make it work again, after `submit` has raised or it is not there; False where that cannot be."""
        return False

    def gone(self, reason: BaseException) -> ExecutorLost:
        """The error that nothing more can be asked of it."""
        return ExecutorLost(
            f"the executor makes no more calls ({kind_of(reason)}: {message(reason) or 'no message'}); expected it to be "
            "there until the end. Run the same again with one that works: what was kept is not made again"
        )


class _OwnProcesses(Crew):
    """Worker processes of this process, which can be made anew."""

    executor: Processes

    def restart(self, look: Callable[[], object]) -> bool:
        self.executor.restart()
        return True


def modules_of_registers() -> tuple[str, ...]:
    """The modules that registered what this process knows of models and papers."""
    known = [*(type(each).__module__ for each in MODELS), *(each.Problem.__module__ for each in PAPERS)]
    return tuple(name for name in dict.fromkeys(known) if name != "__main__")


@contextmanager
def opened(
    executor: Any = None,
    *,
    jobs: int | None = None,
    threads: int | None = None,
    tell: Callable[[str], object] | None = None,
) -> Iterator[Crew]:
    """Open a crew for the work inside. An executor that the caller gives is not shut down.

    Parameters
    ----------
    executor : object, str or Crew, optional
        Something with `submit(f, *args)`, whose futures have `result()`: an executor of `concurrent.futures`, a client of
        Dask, and others. Or Dask in words: "local", the address of a scheduler, or the path of a scheduler file.
    jobs : int, optional
        So many worker processes of one thread each, without an executor. Neither: threads of this process, one a core.
    threads : int, optional
        Threads for each call, at least 1. Otherwise they are chosen so that the cores are busy.
    tell : callable, optional
        (text) -> None, called with what a reader should know: that a scheduler has no workers yet.

    Raises
    ------
    ValueError, TypeError
        An executor that is none, a scheduler that does not answer, or jobs beside an executor.
    ImportError
        Dask is asked for and not installed.
    """
    if threads is not None:
        threads = integer("threads", threads, 1)
    if executor is not None and jobs is not None:
        raise InvalidValue(f"executor and jobs={short(jobs)} are both given; expected one of them.")
    if isinstance(executor, Crew):
        yield executor
    elif isinstance(executor, (str, os.PathLike)):
        from .dask import by_text

        with by_text(os.fspath(executor), threads, tell) as crew:
            yield crew
    elif executor is not None:
        yield given(executor, threads, tell)
    elif jobs is not None:
        jobs = integer("jobs", jobs, 1)
        modules = modules_of_registers()
        with processes(jobs, modules) as made:
            yield _OwnProcesses(made, jobs, False, Setup(threads=threads or 1))
    else:
        with _threads(THREADS, threads or 1) as crew:
            yield crew


@contextmanager
def _threads(count: int, threads: int) -> Iterator[Crew]:
    """Threads of this process. After an error nobody waits for them: they look between steps whether they are to end."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="nlicl-cell")
    try:
        yield Crew(pool, count, True, Setup(threads=threads))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=True, cancel_futures=True)


def given(executor: Any, threads: int | None = None, tell: Callable[[str], object] | None = None) -> Crew:
    """The crew of an executor that the caller has made; TypeError if it is none."""
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise InvalidType(
            f"executor is {short(executor)}; expected an object with submit(f, *args), such as a ProcessPoolExecutor or a "
            "client of Dask, or a text: 'local', the address of a Dask scheduler, or the path of its file."
        )
    packages = {each.__module__.partition(".")[0] for each in type(executor).__mro__}
    if "distributed" in packages:
        from .dask import of_client

        return of_client(executor, threads, tell)
    count = next(
        (n for name in ("_max_workers", "max_workers") if type(n := getattr(executor, name, None)) is int), None
    )
    here = isinstance(executor, ThreadPoolExecutor)
    if threads is None and count and packages.isdisjoint(_OF_OTHER_MACHINES):
        threads = max(1, THREADS // count)
    seconds = _SECONDS if packages.isdisjoint(_JOB_A_CALL) else _SECONDS_OF_A_JOB
    setup = Setup(() if here else modules_of_registers(), threads)
    return Crew(executor, count, here, setup, seconds)


# ---- In a worker


def begin(setup: Setup) -> int:
    """In a worker: know what the caller's modules register. Returns how many threads a call may take."""
    for module in setup.modules:
        with suppress(Exception):  # what is missing is named where it is asked for
            importlib.import_module(module)
    if setup.processes is not None:
        share_memory(setup.processes)
    return setup.threads or _own_threads()


def _own_threads() -> int:
    """The cores that this process may use, and no more than its environment says."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    named = (os.environ.get(name, "") for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"))
    return max(1, min([cores, *(int(text) for text in named if text.isdecimal() and int(text))]))


# ---- Calls by name, as experiments make them


def submitter(crew: Crew, tell: Callable[[str], object]) -> Callable[..., Callable[[], Any]]:
    """(name, f, *arguments) -> a function without arguments, which returns f(*arguments) as a worker of the crew found it.

    What f raises is raised there. A call that does not come back is made again, up to two times.

    Raises
    ------
    WorkerLost
        Of that function: the call never came back.
    ExecutorLost
        Of both: the crew is gone.
    """

    def send(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        try:
            return crew.submit(_called, crew.setup, function, arguments)
        except Exception as error:
            if crew.restart(_nobody_looks):
                return crew.submit(_called, crew.setup, function, arguments)
            raise crew.gone(error) from error

    def submit(name: str, function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        first = send(function, arguments)

        def result() -> Any:
            future = first
            for attempt in range(ATTEMPTS):
                try:
                    found, error = future.result()
                except Exception as lost:
                    if not crew.there() and not crew.restart(_nobody_looks):
                        raise crew.gone(lost) from lost
                    if attempt == ATTEMPTS - 1:
                        raise WorkerLost(
                            f"{name} is lost: {ATTEMPTS} times it did not come back from its worker ({kind_of(lost)}: "
                            f"{message(lost) or 'no message'}); expected it to finish. Lower the sizes"
                        ) from lost
                    tell(f"a worker was lost ({kind_of(lost)}); done again: {name}")
                    future = send(function, arguments)
                else:
                    if error is not None:
                        raise error
                    return found

        return result

    return submit


def _nobody_looks() -> None:
    pass


def _called(setup: Setup, function: Callable[..., Any], arguments: Iterable[Any]) -> tuple[Any, Exception | None]:
    """In a worker: what a call returns, or what it raises, so that the latter is told from the loss of a worker."""
    with threads_at_most(begin(setup)):
        try:
            return function(*arguments), None
        except Exception as error:
            return None, error
