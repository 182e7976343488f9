"""Dask as the executor: a cluster on this machine, a scheduler by its address or its file, a client of the caller's."""

import asyncio
import json
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...core.describe import short
from ...core.errors import InvalidValue
from ...core.interruption import unheard
from ...core.text import message
from ...kernels.compile import THREADS
from ..pool import ExecutorLost
from .executors import Crew, Setup, modules_of_registers

Tell = Callable[[str], object] | None

__all__ = ["by_text", "of_client"]

_ANSWERS = 10.0  # seconds in which a scheduler is to answer
_BACK = 3.0  # seconds in which one that was lost may come back
_REFRESH = 2.0  # seconds after which workers are counted again
_SOON = 0.5  # seconds in which a worker process that is no longer needed may end by itself
_POLL = 0.05


class _Dask(Crew):
    """A client of Dask. The scheduler itself gives a worker's calls to others when it is lost."""

    def __init__(self, client: Any, executor: Any, setup: Setup, tell: Tell) -> None:
        super().__init__(executor, None, False, setup)
        self.client, self.tell = client, tell
        self._counted, self._threads = 0.0, -1

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """See `Crew`. No call is taken for another one that looks like it."""
        return self.executor.submit(function, *arguments, pure=False)

    def there(self) -> bool:
        """Whether the scheduler is connected."""
        self._count()
        return bool(self.client.status == "running")

    def restart(self, look: Callable[[], object]) -> bool:
        """Wait a few seconds for the connection to come back."""
        until = time.monotonic() + _BACK
        while not self.there():
            look()
            if self.client.status == "closed" or time.monotonic() > until:
                return False
            time.sleep(_POLL)
        return True

    def gone(self, reason: BaseException) -> ExecutorLost:
        """See `Crew`. Calls that end with the connection are cancelled, which says little."""
        lost = ConnectionError("the connection to the Dask scheduler is lost")
        return super().gone(reason if self.there() else lost)

    def _count(self) -> None:
        """Ask the scheduler, every few seconds and without waiting, how many threads its workers have. Tell if it has none."""
        if self._threads == 0 and self.count != 0 and self.tell is not None:
            self.tell("the Dask scheduler has no workers: their work waits until one is there")
        if self._threads >= 0:
            self.count = self._threads
        if time.monotonic() - self._counted > _REFRESH:
            self._counted = time.monotonic()
            threading.Thread(target=self._ask, name="nlicl-dask-count", daemon=True).start()

    def _ask(self) -> None:
        with suppress(Exception):  # a scheduler that is gone is noticed elsewhere
            self._threads = sum(self.client.nthreads().values())


def of_client(executor: Any, threads: int | None, tell: Tell) -> Crew:
    """The crew of a client, or of the executor of a client."""
    client = getattr(executor, "_client", executor)
    if hasattr(executor, "get_executor"):
        executor = client.get_executor()
    return _Dask(client, executor, Setup(modules_of_registers(), threads or 1), tell)


@contextmanager
def by_text(text: str, threads: int | None, tell: Tell) -> Iterator[Crew]:
    """The crew of "local", of an address, or of a scheduler file; ValueError where nobody answers.

    Raises
    ------
    ImportError
        Dask is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            f"executor is {short(text)}: this needs distributed, which is not installed: pip install '.[dask]' in a clone, or "
            "distributed itself",
            name="distributed",
        ) from error
    with _quiet(distributed):
        if text == "local":
            with _local(distributed) as cluster, _connected(distributed, cluster, text) as client:
                setup = Setup(modules_of_registers(), threads or 1, THREADS)
                yield _Dask(client, client.get_executor(), setup, tell)
        else:
            with _connected(distributed, _address(text), text) as client:
                yield of_client(client, threads, tell)


def _address(text: str) -> str:
    """The address that a text is, or that the file of that name holds."""
    if "://" in text:
        return text
    try:
        return str(json.loads(Path(text).read_text(encoding="utf-8"))["address"])
    except OSError as error:
        raise InvalidValue(
            f"executor is {short(text)}, no file that can be read ({error.strerror}); expected 'local', the address of a Dask "
            "scheduler as tcp://host:8786, or the path of the file that it writes (dask scheduler --scheduler-file FILE)."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise InvalidValue(
            f"executor is {short(text)}, which is not the file of a Dask scheduler; expected one."
        ) from None


@contextmanager
def _connected(distributed: Any, where: Any, text: str) -> Iterator[Any]:
    """A client of a scheduler that answers."""
    from distributed.comm.addressing import get_address_host_port

    try:
        if isinstance(where, str):
            get_address_host_port(where)  # what it refuses leaves half a client behind
        client = distributed.Client(where, timeout=_ANSWERS, set_as_default=False)
    except Exception as error:  # of many kinds; and what answers may be no scheduler, and make no sense
        raise InvalidValue(
            f"executor is {short(text)}: no Dask scheduler answers there ({message(error)}); expected the address of one that "
            "runs, such as tcp://host:8786."
        ) from None
    try:
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that is gone
            client.close(timeout=2)


@contextmanager
def _local(distributed: Any) -> Iterator[Any]:
    """A cluster on this machine: processes of one thread each, as many as cores, which Ctrl-C does not reach."""
    with unheard():  # the thread that starts processes is made here
        cluster = distributed.LocalCluster(
            n_workers=THREADS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},  # else port 8787, or a warning
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    try:
        yield cluster
    finally:
        with suppress(Exception):
            cluster.sync(_end, list(cluster.workers.values()))
        with suppress(Exception):
            cluster.close(timeout=5)


async def _end(nannies: list[Any]) -> None:
    """End worker processes soon: they do not finish their calls. What they raise meanwhile does not matter."""
    await asyncio.gather(*(nanny.close(timeout=_SOON) for nanny in nannies), return_exceptions=True)


@contextmanager
def _quiet(distributed: Any) -> Iterator[None]:
    """Dask's own logs say nothing meanwhile: what matters of them is raised."""
    names = [
        name
        for name in logging.root.manager.loggerDict
        if name.partition(".")[0] in ("distributed", "tornado", "bokeh")
    ]
    before = [(handler, handler.level) for name in names for handler in logging.getLogger(name).handlers]
    for handler, _ in before:
        handler.setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=distributed.versions.VersionMismatchWarning)
        try:
            yield
        finally:
            for handler, level in before:
                handler.setLevel(level)
