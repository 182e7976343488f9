"""Sweeps by Dask: a real scheduler and real workers, some of which are killed. All of them end with their test."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from child import ROOT

import nlicl
from nlicl.experiments.pool import ExecutorLost
from nlicl.experiments.sweeps import dask
from nlicl.experiments.sweeps.cell import Cell, Work, run_cells
from nlicl.experiments.sweeps.dispatch import records
from nlicl.experiments.sweeps.executors import opened
from nlicl.experiments.sweeps.measures import measures_of
from nlicl.papers import li2024

SMALL = li2024.Problem(m=8, batch=16, steps=3, length=8)
WORK = Work(SMALL, {"measure": None}, measures_of("training_loss"))
CELLS = [Cell((("alpha", 0.5 + (i % 4) / 8),), i // 4) for i in range(60)]
# Dask leaves sockets and loops to the collector when a scheduler goes away.
OF_DASK = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:dask"),
]
pytestmark = OF_DASK


def nothing():
    pass


def waited(there, seconds=60.0):
    """What `there` returns once it is true."""
    until = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return found


class Cluster:
    """A scheduler and two workers, each a process of its own."""

    def __init__(self, folder, start):
        self.file = folder / "scheduler.json"
        common = ["--no-dashboard", "--host", "127.0.0.1"]
        self.scheduler = start("distributed.cli.dask_scheduler", *common, "--port", "0", "--scheduler-file", self.file)
        self.address = waited(self.read)
        more = ["--nthreads", "1", "--no-nanny", "--local-directory", folder]
        self.workers = [start("distributed.cli.dask_worker", self.address, *common, *more) for _ in range(2)]

    def read(self):
        with suppress(OSError, ValueError, KeyError):
            return json.loads(self.file.read_text())["address"]
        return None


@pytest.fixture
def cluster(tmp_path):
    with ExitStack() as ending:

        def start(module, *arguments):
            where = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])  # this module's functions are sent by name
            process = subprocess.Popen(
                [sys.executable, "-c", f"from {module} import main; main()", *map(str, arguments)],
                env=os.environ | {"PYTHONPATH": where},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            ending.callback(process.wait, 10)
            ending.callback(process.kill)
            return process

        yield Cluster(tmp_path, start)


@contextmanager
def workers_of(cluster, executor):
    """A crew once both workers are there."""
    with opened(executor) as crew:
        waited(lambda: len(crew.client.nthreads()) == 2)
        yield crew


def in_order(found):
    return [found[WORK.key(cell)] for cell in CELLS]


@pytest.mark.slow
def test_records_are_the_same_and_a_killed_worker_loses_none(cluster):
    wanted, found, pids = run_cells(WORK, CELLS), {}, [each.pid for each in cluster.workers]
    with workers_of(cluster, str(cluster.file)) as crew:
        for some in records(WORK, iter(CELLS), crew, nothing, total=len(CELLS), seconds=0.01):
            found |= {each.key: each for each in some}
            if len(found) > 10 and pids:
                os.kill(pids.pop(), signal.SIGKILL)
                pids.clear()
        assert waited(lambda: len(crew.client.nthreads()) == 1)
    assert in_order(found) == wanted

    import distributed

    for kind in ("client", "executor"):
        with distributed.Client(cluster.address, set_as_default=False) as client:
            given = client if kind == "client" else client.get_executor()
            with opened(given) as crew:
                assert crew.setup.threads == 1
                again = {each.key: each for some in records(WORK, CELLS[:9], crew, nothing) for each in some}
            assert client.status == "running"  # it is the caller's
            assert list(again) and again == {key: found[key] for key in map(WORK.key, CELLS[:9])}


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_noticed_and_what_came_before_is_good(cluster):
    work = Work(SMALL, {"measure": None}, measures_of("training_loss"))
    found, killed = [], []
    lost = pytest.raises(ExecutorLost, match="the connection to the Dask scheduler is lost")
    with lost, workers_of(cluster, cluster.address) as crew:
        for some in records(work, iter(CELLS), crew, nothing, seconds=1e-9):
            found += some
            if len(found) > 5 and not killed:
                cluster.scheduler.kill()
                killed.append(time.monotonic())
    assert time.monotonic() - killed[0] < 20  # 3 s are left for it to come back
    wanted = {each.key: each for each in run_cells(WORK, CELLS)}
    assert len(found) > 5 and all(wanted[each.key] == each for each in found)


@pytest.mark.slow
def test_a_sweep_goes_on_after_its_scheduler_is_lost(cluster, tmp_path):
    def kill(done, total, text):
        if done > 5:
            cluster.scheduler.kill()

    over, arguments = {"alpha": [i / 200 for i in range(1, 201)]}, {"seeds": 3, "measure": "training_loss"}
    with pytest.raises(ExecutorLost, match="the connection to the Dask scheduler is lost"):
        nlicl.sweep(SMALL, over, **arguments, executor=cluster.address, out=tmp_path / "lost", progress=kill)
    kept = len((tmp_path / "lost" / "table.csv").read_text().splitlines()) - 1
    assert 5 < kept < 600
    for folder in ("lost", "whole"):
        assert len(nlicl.sweep(SMALL, over, **arguments, out=tmp_path / folder)) == 600
    assert (tmp_path / "lost" / "table.csv").read_bytes() == (tmp_path / "whole" / "table.csv").read_bytes()


@pytest.mark.slow
def test_a_cluster_of_this_machine_from_the_command_line(run):
    """Nothing but the command's own lines is said."""
    command = ["theorem", "li2024:3.4", "--seeds", "1", "--quick"]
    done = subprocess.run(
        [sys.executable, "-m", "nlicl", *command, "--dask", "local"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == run(*command, "--jobs", 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("tcp://127.0.0.1:9", "no Dask scheduler answers there"),
        ("tcp://", "missing port"),
        ("foo://host:3", "unknown address scheme"),
        ("nowhere.json", "no file that can be read"),
        (str(Path(__file__)), "which is not the file of a Dask scheduler"),
    ],
)
def test_a_scheduler_that_does_not_answer_is_one_line(where, why, run, monkeypatch):
    monkeypatch.setattr(dask, "_ANSWERS", 1.0)
    began = time.monotonic()
    status, out, err = run("theorem", "li2024:3.4", "--dask", where)
    assert (status, out) == (2, "") and err.startswith("nlicl: executor is ") and why in err and err.count("\n") == 1
    assert time.monotonic() - began < 15


def test_dask_that_is_not_installed_is_named(monkeypatch, run):
    monkeypatch.setitem(sys.modules, "distributed", None)
    why = r"executor is 'local': this needs distributed, .* pip install '.\[dask\]'"
    with pytest.raises(ImportError, match=why), opened("local"):
        pass
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = run("theorem", "li2024:3.4", "--dask", "local")
    assert status == 2 and "this needs distributed, which is not installed: pip install '.[dask]'" in err


def test_jobs_and_dask_are_refused_together(run):
    status, _, err = run("theorem", "li2024:3.4", "--dask", "local", "--jobs", 2)
    assert status == 2 and "not allowed with" in err
