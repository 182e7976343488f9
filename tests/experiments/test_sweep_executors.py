"""Who makes the runs of a sweep: the same records from all, tasks bounded and sized, and none lost without a word."""

import os
import signal
import threading
import time
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from nlicl.core.errors import InvalidType, InvalidValue
from nlicl.experiments.claims import Claim
from nlicl.experiments.experiment import Experiment, Training, execute
from nlicl.experiments.pool import ExecutorLost, WorkerLost
from nlicl.experiments.sweeps import dispatch, executors
from nlicl.experiments.sweeps.cell import Cell, Work, run_cells
from nlicl.experiments.sweeps.dispatch import records
from nlicl.experiments.sweeps.executors import opened
from nlicl.experiments.sweeps.measures import ByFunction, measures_of
from nlicl.experiments.theorem import Theorem
from nlicl.papers import li2024

SMALL = li2024.Problem(m=8, batch=16, steps=3, length=8)
WORK = Work(SMALL, {"measure": None}, measures_of("training_loss"))


def cells(n, name="alpha"):
    return [Cell(((name, 0.5 + (i % 4) / 8),), i // 4) for i in range(n)]


def nothing():
    pass


def made(work, todo, executor=None, look=nothing, **more):
    """All records, in the order of the cells."""
    asked = {name: more.pop(name) for name in ("jobs", "threads") if name in more}
    with opened(executor, **asked) as crew:
        found = {each.key: each for some in records(work, iter(todo), crew, look, **more) for each in some}
    return [found[work.key(cell)] for cell in todo]


class OnlyResult:
    """What a future must have."""

    def __init__(self, call):
        self.call = call

    def result(self):
        return self.call()


class Asked(OnlyResult):
    """A future that says whether it is done, and tells nobody."""

    def __init__(self, call):
        super().__init__(call)
        self.times = 0

    def done(self):
        self.times += 1
        return self.times > 2


class Plain:
    """An executor with nothing but `submit`: each call is made when its result is asked for, or fails as it is told to."""

    def __init__(self, kind=OnlyResult, fails=lambda n, cells: None):
        self.kind, self.fails, self.tasks = kind, fails, []

    def submit(self, function, *arguments):
        number, self.tasks = len(self.tasks), [*self.tasks, arguments[3]]

        def call():
            error = self.fails(number, arguments[3])
            if error is not None:
                raise error
            return function(*arguments)

        return self.kind(call)


# ---------------------------------------------------------------- the same records


def test_threads_and_any_executor_make_the_same_records():
    todo = cells(11)
    wanted = run_cells(WORK, todo)
    assert made(WORK, todo) == wanted and len({each.values["training_loss"] for each in wanted}) == 11
    for kind in (OnlyResult, Asked):
        assert made(WORK, todo, Plain(kind)) == wanted
    with ThreadPoolExecutor(2) as pool:
        assert made(WORK, todo, pool, total=11) == wanted
        assert pool.submit(abs, -1).result() == 1  # it is the caller's
    assert made(WORK, [], Plain()) == []


@pytest.mark.slow
def test_processes_make_the_same_records():
    todo = cells(11)
    wanted = run_cells(WORK, todo)
    assert made(WORK, todo, jobs=2, total=11) == wanted
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert made(WORK, todo, pool) == wanted


# ---------------------------------------------------------------- tasks


class Counted:
    """Cells, how many were taken, and how many are done."""

    def __init__(self, n):
        self.n, self.taken, self.done, self.most = n, 0, 0, 0

    def __iter__(self):
        for cell in cells(self.n):
            self.taken += 1
            self.most = max(self.most, self.taken - self.done)
            yield cell


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_task_is_alone_and_few_are_under_way(workers):
    under_way, seen, lock = set(), [], threading.Lock()

    class Pool(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            with lock:
                under_way.add(arguments[3][0])
                seen.append((len(under_way), len(arguments[3])))

            def call():
                try:
                    return function(*arguments)
                finally:
                    with lock:
                        under_way.discard(arguments[3][0])

            return super().submit(call)

    counted = Counted(60)
    with Pool(workers) as pool, opened(pool) as crew:
        for some in records(WORK, counted, crew, nothing, seconds=1e-9):
            if counted.done == 0:
                assert seen == [(1, 1)]
            counted.done += len(some)
    assert counted.done == 60 and max(number for number, _ in seen) <= 2 * workers
    assert {size for _, size in seen} == {1} and counted.most <= 2 * workers + 1


def timed(seconds):
    """A dispatch that has learned how long a cell takes, of 4 workers."""
    crew = executors.Crew(None, 4, False, executors.Setup())
    found = dispatch._Dispatch(WORK, [], crew, nothing, 1000, 1.0, None)
    for size in (1, 1, 2, 4, 8, 16, 32, 64, 128):
        found._learn(seconds * size, size)
    return found


def test_tasks_are_sized_by_time_and_get_smaller_towards_the_end():
    found = timed(0.1)
    assert found._size() == 10
    found.sent = 1000 - 40
    assert found._size() == 5  # for 4 workers, two each
    found.sent = 999
    assert found._size() == 1
    assert timed(20.0)._size() == 1
    quick = timed(1e-4)
    quick.sent = 1000 - 8
    assert quick._size() == 256  # of 0.05 s: the end is not worth a message for each
    found = timed(0.1)
    for _ in range(8):
        found._learn(5.0, 1)
    assert found._size() == 1  # cells have become slow


def test_a_task_is_at_most_twice_as_large_as_one_that_is_done():
    crew = executors.Crew(None, 1, False, executors.Setup())
    found = dispatch._Dispatch(WORK, [], crew, nothing, None, 1.0, None)
    assert found._size() == 1
    found._learn(9.0, 1)  # compiles
    assert found._size() == 1
    sizes = []
    for _ in range(5):
        found._learn(1e-3 * found._size(), found._size())
        sizes.append(found._size())
    assert sizes == [2, 4, 8, 16, 32]


# ---------------------------------------------------------------- what is lost


def test_a_task_that_fails_is_done_again_cell_by_cell():
    todo, said = cells(40), []
    plain = Plain(fails=lambda n, cells: OSError("no route") if n and len(cells) > 1 else None)
    assert made(WORK, todo, plain, tell=said.append) == run_cells(WORK, todo)
    sizes = [len(task) for task in plain.tasks]
    assert max(sizes) > 1 and sum(size for size in sizes if size == 1) == 40
    assert said[0] == "a worker was lost (OSError: no route); its cells are done again" and len(said) == 1


@pytest.mark.parametrize("error", [OSError("no route"), BrokenExecutor("broke")])
def test_a_cell_that_is_lost_three_times_is_a_record_and_the_sweep_goes_on(error):
    todo = cells(20)
    plain = Plain(fails=lambda n, cells: error if todo[7] in cells else None)
    found = made(WORK, todo, plain)
    wanted = run_cells(WORK, todo)
    assert found[:7] + found[8:] == wanted[:7] + wanted[8:]
    assert (
        found[7].state == "lost" and "3 times its worker was lost" in found[7].reason and str(error) in found[7].reason
    )
    assert sum(task == [todo[7]] for task in plain.tasks) == 3


def test_a_cell_that_may_have_broken_a_pool_is_done_while_nothing_else_is():
    todo, lock, under_way, together = cells(12), threading.Lock(), [], []

    class Pool(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            task = arguments[3]
            with lock:
                under_way.append(task)

            def call():
                try:
                    if todo[2] in task:
                        time.sleep(0.02)
                        with lock:
                            together.append(len(under_way))
                        raise BrokenExecutor("broke")
                    time.sleep(0.05)
                    return function(*arguments)
                finally:
                    with lock:
                        under_way.remove(task)

            return super().submit(call)

    with Pool(2) as pool:
        found = made(WORK, todo, pool, seconds=1e-9)
    assert [each.state for each in found] == ["done"] * 2 + ["lost"] + ["done"] * 9
    assert together[1:] == [1, 1]


def test_an_executor_that_takes_nothing_more_ends_it_and_what_was_there_is_good():
    pool, todo, found = ThreadPoolExecutor(1), cells(50), []
    with (
        pytest.raises(ExecutorLost, match=r"the executor makes no more calls \(RuntimeError: cannot"),
        opened(pool) as crew,
    ):
        for some in records(WORK, todo, crew, nothing, seconds=1e-9):
            found += some
            if len(found) == 3:
                pool.shutdown()
    assert 3 <= len(found) < 50 and [each.state for each in found] == ["done"] * len(found)


def test_nothing_that_comes_back_ends_it():
    """A million cells are not tried where workers cannot even read what is sent to them."""
    plain = Plain(fails=lambda n, cells: ModuleNotFoundError("No module named 'mine'"))
    with pytest.raises(ExecutorLost, match="No module named 'mine'"):
        made(WORK, cells(1000), plain)
    assert len(plain.tasks) == 4  # the first cell three times, the next one once


def test_an_executor_that_cannot_be_restarted_is_told_from_one_that_can():
    todo = cells(9)

    class Flaky(executors.Crew):
        restarts, broken = 0, False

        def submit(self, function, *arguments):
            if self.broken:
                raise BrokenExecutor("broke")
            self.broken = self.restarts == 0
            return super().submit(function, *arguments)

        def restart(self, look):
            self.restarts, self.broken = self.restarts + 1, False
            return True

    crew = Flaky(Plain(), 2, False, executors.Setup())
    found = [each for some in records(WORK, todo, crew, nothing) for each in some]
    assert sorted(found) == sorted(run_cells(WORK, todo)) and crew.restarts == 1


def killed(folder, times, run):
    """The seed of a run; but the process is ended the first few times that seed 2 is asked for."""
    before = len(list(Path(folder).iterdir()))
    if run.settings["seed"] == 2 and before < times:
        (Path(folder) / str(before)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run.settings["seed"]


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 1000])
def test_processes_go_on_without_a_worker_that_was_killed(times, tmp_path):
    work = Work(SMALL, {"measure": None}, (ByFunction("seed", partial(killed, str(tmp_path), times)),))
    todo, said = cells(20), []
    todo = [cell for cell in todo if cell.seed != 2] + todo[8:9]
    found = made(work, todo, jobs=2, total=len(todo), tell=said.append)
    assert [each.state for each in found[:-1]] == ["done"] * (len(todo) - 1)
    assert found[-1].state == ("done" if times == 1 else "lost") and said[0].startswith(
        "a worker was lost (BrokenProcessPool"
    )
    assert [each.values["seed"] for each in found[:-1]] == [cell.seed for cell in todo[:-1]]


# ---------------------------------------------------------------- Ctrl-C


def slow(seconds, run):
    time.sleep(seconds)
    return 0.0


def test_ctrl_c_ends_threads_between_steps_and_asks_for_nothing_more():
    """Runs of hours end at once."""
    work = Work(SMALL, {"measure": None, "steps": 10**6}, measures_of("training_loss"))
    before, began = threading.active_count(), time.monotonic()

    def look():
        if time.monotonic() - began > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(work, cells(8), look=look)
    assert time.monotonic() - began < 5
    while threading.active_count() > before and time.monotonic() - began < 10:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_what_was_not_begun_is_cancelled():
    waits = threading.Event()
    futures = []

    class Pool(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            futures.append(super().submit(waits.wait) if futures else super().submit(function, *arguments))
            return futures[-1]

    def look():
        if len(futures) == 3:
            raise KeyboardInterrupt

    with Pool(1) as pool:
        with pytest.raises(KeyboardInterrupt):
            made(WORK, cells(9), pool, look=look)
        waits.set()
    assert [each.cancelled() for each in futures] == [False, False, True]


@pytest.mark.slow
def test_ctrl_c_ends_processes_at_once():
    work = Work(SMALL, {"measure": None}, (ByFunction("slow", partial(slow, 60.0)),))
    found = []

    def look():
        if crew_submitted and time.monotonic() - crew_submitted[0] > 3:
            raise KeyboardInterrupt

    crew_submitted = [time.monotonic()]
    with pytest.raises(KeyboardInterrupt), opened(jobs=2) as crew:
        processes = list(crew.executor._pool._processes.values())
        found += list(records(work, cells(8), crew, look))
    assert not found and time.monotonic() - crew_submitted[0] < 20
    assert not any(process.is_alive() for process in processes)


# ---------------------------------------------------------------- what is given


@pytest.mark.parametrize("wrong", [3, object(), ThreadPoolExecutor, [1]])
def test_what_is_no_executor_is_refused(wrong):
    with (
        pytest.raises(InvalidType, match=r"executor is .*; expected an object with submit\(f, \*args\)"),
        opened(wrong),
    ):
        pass


def test_an_executor_and_jobs_are_refused_together():
    with pytest.raises(InvalidValue, match="executor and jobs=2 are both given"), opened(Plain(), jobs=2):
        pass


def test_what_cannot_be_sent_is_refused_before_the_first_run():
    work = Work(SMALL, {}, (ByFunction("own", lambda run: 1.0),))
    plain = Plain()
    with pytest.raises(InvalidType, match=r"measures is .*, which cannot be sent to another process"):
        made(work, cells(3), plain)
    assert not plain.tasks
    assert [each.values["own"] for each in made(work, cells(3))] == [1.0] * 3  # threads need not send it


def test_threads_of_a_call(monkeypatch):
    monkeypatch.setattr(executors, "THREADS", 12)
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    with ThreadPoolExecutor(5) as five, ThreadPoolExecutor(50) as fifty:
        assert executors.given(five).setup.threads == 2 and executors.given(fifty).setup.threads == 1
        assert executors.given(five, 7).setup.threads == 7 and executors.given(five).count == 5
    unknown = executors.given(Plain())
    assert unknown.setup.threads is None and unknown.count is None
    if hasattr(os, "sched_getaffinity"):
        assert executors.begin(unknown.setup) == len(os.sched_getaffinity(0))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # no number of one level
    assert executors.begin(unknown.setup) == 1
    assert executors.begin(executors.Setup(threads=3)) == 3


def test_a_package_of_other_machines_is_no_local_pool(monkeypatch):
    monkeypatch.setattr(executors, "THREADS", 12)

    class Elsewhere(Plain):
        _max_workers = 6

    assert executors.given(Elsewhere()).setup.threads == 2
    for name, seconds in (("mpi4py.futures.pool", 1.0), ("executorlib.executor", 1.0), ("submitit.core", 300.0)):
        monkeypatch.setattr(Elsewhere, "__module__", name)
        crew = executors.given(Elsewhere())
        assert (crew.setup.threads, crew.count, crew.seconds) == (None, 6, seconds)


# ---------------------------------------------------------------- experiments


def measure(options, seed, runs):
    if options["fails"] and seed == 1:
        raise InvalidValue("seed is 1")
    return {"loss": runs["run"].history.loss[-1]}


def trained(options):
    return {"run": Training(SMALL, measure=None)}


def assembled(options, seeds, found):
    return Theorem("9", "", {}, seeds, [], [Claim(str([float(one["loss"]) for one in found]), "", "", True)])


def results(fails=False, **more):
    experiment = Experiment("9", "", trained, measure, assembled, {"fails": fails})
    return [result.claims for _, result in execute([experiment], range(3), **more)]


class Once(Plain):
    """Loses the first call that is made."""

    def submit(self, function, *arguments):
        future, self.tasks = Future(), [*self.tasks, arguments]
        if len(self.tasks) == 1:
            future.set_exception(OSError("gone"))
        else:
            future.set_result(function(*arguments))
        return future


def test_experiments_take_an_executor_with_the_same_results():
    wanted, said = results(), []
    assert results(executor=Once(), tell=said.append) == wanted
    assert said == ["a worker was lost (OSError); done again: seed 0 of 9, training"]
    with ThreadPoolExecutor(2) as pool:
        assert results(executor=pool) == wanted
        with pytest.raises(InvalidValue, match="seed is 1"):
            results(fails=True, executor=pool)
    with pytest.raises(InvalidValue, match="jobs and executor are both given"):
        results(executor=Once(), jobs=2)


def test_a_call_of_an_experiment_that_never_comes_back_is_named():
    class Never:
        def submit(self, function, *arguments):
            future = Future()
            future.set_exception(OSError("gone"))
            return future

    with pytest.raises(WorkerLost, match=r"seed 0 of 9, training is lost: 3 times .*OSError: gone"):
        results(executor=Never(), tell=lambda text: None)
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ExecutorLost, match="cannot schedule"):
        results(executor=pool)
