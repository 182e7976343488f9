"""Threads that share one kernel's tasks out among themselves: every task once, and nobody waits for who does not come."""

import threading
import time
from queue import Empty, SimpleQueue

import numpy as np
import pytest

from nlicl.kernels import atomics, compile, team
from nlicl.kernels.compile import kernel, source

TASKS = 7


class Tasks:
    """Stands for a compiled kernel: does tasks until none is left, and writes down who did which."""

    def __init__(self, action=lambda task: None, patient=True):
        self.left, self.done, self.seats = SimpleQueue(), [], []
        self.action, self.patient = action, patient
        for task in range(TASKS):
            self.left.put(task)

    def __call__(self, seat, calls, state, *arguments):
        assert arguments == ("x",)
        if seat < 0:
            return
        self.seats.append((seat, threading.current_thread()))
        while True:
            try:
                task = self.left.get_nowait()
            except Empty:
                break
            self.action(task)
            self.done.append(task)
            state[0] = len(self.done)
        while self.patient and state[0] < TASKS:
            time.sleep(0.001)

    def run(self, most=3):
        team.together(self, most, np.zeros(1, np.int64), 0, TASKS, "x")


@pytest.fixture(autouse=True)
def three_threads(monkeypatch):
    monkeypatch.setattr(compile, "is_jitted", lambda function: isinstance(function, Tasks))
    monkeypatch.setattr(compile, "_helpers", compile._Helpers())
    monkeypatch.setattr(compile, "THREADS", 3)


@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_every_task_is_done_once(most):
    for _ in range(20):
        tasks = Tasks()
        tasks.run(most)
        assert sorted(tasks.done) == list(range(TASKS))
        assert {thread for seat, thread in tasks.seats if seat == 0} == {threading.current_thread()}
        assert len({thread for _, thread in tasks.seats}) <= min(most, 3)


def test_they_work_side_by_side_and_within_a_limit():
    barrier = threading.Barrier(3)
    tasks = Tasks(lambda task: barrier.wait(60) if task < 3 else None)
    tasks.run()
    assert len({thread for _, thread in tasks.seats}) == 3
    with compile.threads_at_most(1):
        tasks = Tasks()
        tasks.run()
    assert tasks.seats == [(0, threading.current_thread())]


def test_nobody_waits_for_busy_helpers():
    release, ended = threading.Event(), SimpleQueue()
    compile._helpers.call(lambda: ended.put(release.wait(60)), 2)
    tasks = Tasks()
    tasks.run()
    assert tasks.seats == [(0, threading.current_thread())] and len(tasks.done) == TASKS and ended.empty()
    release.set()


def test_sleepers_are_woken_for_small_work_by_who_calls_again_at_once(monkeypatch):
    """No helper is awake at first: the first call is done alone, and the next one a moment later is not."""
    barrier = threading.Barrier(2)
    for action, threads in ((lambda task: None, 1), (lambda task: barrier.wait(60) if task < 2 else None, 2)):
        tasks = Tasks(action)
        team.together(tasks, 2, np.zeros(1, np.int64), 0, TASKS, "x", small=True)
        assert len({thread for _, thread in tasks.seats}) == threads
        monkeypatch.setattr(team, "_MOMENT", 60)


def test_no_thread_to_be_had_is_no_error(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    tasks = Tasks()
    tasks.run()
    assert tasks.seats == [(0, threading.current_thread())] and len(tasks.done) == TASKS


def test_who_gives_up_waiting_is_called_again():
    """A helper takes long over its task: the caller returns, and has to look again once the helper has ended."""
    caller, begun = threading.current_thread(), threading.Event()

    def action(task):
        if threading.current_thread() is not caller:
            begun.set()
            time.sleep(0.05)
        elif task < TASKS - 1:
            begun.wait(60)

    tasks = Tasks(action, patient=False)
    tasks.run(2)
    assert sorted(tasks.done) == list(range(TASKS))


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["caller", "helper"])
def test_what_is_raised_is_raised_when_nobody_is_at_work_any_more(error, where):
    barrier, caller, ended = threading.Barrier(3), threading.current_thread(), []

    def action(task):
        if task < 3:
            barrier.wait(60)
            if (threading.current_thread() is caller) == (where == "caller"):
                raise error(where)
            time.sleep(0.05)
            ended.append(task)

    tasks = Tasks(action, patient=False)
    with pytest.raises(error, match=where):
        tasks.run()
    assert len(ended) == (2 if where == "caller" else 1)


# ---------------------------------------------------------------- counters


@kernel
def count(state, n):
    for _ in range(n):
        atomics.add(state, 1, 2)
    return atomics.read(state, 1), atomics.wait(state, 1, 2 * n), atomics.wait(state, 0, 1)


@pytest.mark.compiled
def test_counters_lose_nothing():
    state, n = np.zeros(2, np.int64), 200_000
    others = [threading.Thread(target=count, args=(state, n)) for _ in range(2)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(60)
    assert state.tolist() == [0, 4 * n]


def test_counters_are_what_they_look_like():
    for function in (count, source(count)):
        assert function(np.zeros(2, np.int64), 3) == (6, True, False)
    for enters in (0, 1):
        calls = np.array([0, 0, enters])
        for function in (atomics.await_call, source(atomics.await_call)):
            assert not function(calls, 0) and function(calls, 1)
        for function in (atomics.enter, source(atomics.enter)):
            function(calls)
        assert calls.tolist() == [0, 2, enters]


def test_a_team_says_that_its_caller_enters_and_a_launch_does_not():
    helpers = compile._helpers
    Tasks().run()
    assert helpers.calls[2] == 1
    helpers.call(lambda: None, 1)
    assert helpers.calls[2] == 0


# ---------------------------------------------------------------- tasks in compiled code


@kernel
def two_phases(state, done, first_done, tasks):
    """done (2, tasks): how often a task was done; first_done (tasks,): how many of the first phase were when one of the second
    began."""
    task = team.first(state, 0)
    while task < tasks:
        done[0, task] += 1
        task = team.following(state, 0)
    if team.complete(state, 0, tasks):
        task = team.first(state, 1)
        while task < tasks:
            first_done[task] = done[0].sum()
            done[1, task] += 1
            task = team.following(state, 1)
        return team.complete(state, 1, tasks)
    return False


@pytest.mark.compiled
def test_tasks_are_done_once_and_a_phase_after_the_one_before():
    tasks = 500
    for _ in range(30):
        state, done, first_done = team.new_state(), np.zeros((2, tasks), np.int64), np.zeros(tasks, np.int64)
        crowd = [threading.Thread(target=two_phases, args=(state, done, first_done, tasks)) for _ in range(3)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join(60)
        while not two_phases(state, done, first_done, tasks):  # where all of them gave up waiting
            pass
        assert (done == 1).all() and (first_done == tasks).all()


def test_tasks_of_one_thread_are_done_in_order():
    for function in (two_phases, source(two_phases)):
        state, done, first_done = team.new_state(), np.zeros((2, 4), np.int64), np.zeros(4, np.int64)
        assert function(state, done, first_done, 4)
        assert (done == 1).all() and (first_done == 4).all()
        assert state[team.DONE : team.DONE + 2].tolist() == [4, 4]


# ---------------------------------------------------------------- entries


@kernel
def twice(x, of):
    of[:, 0] = 2 * x[:, 0]


@pytest.mark.compiled
def test_an_entry_is_found_by_dtypes_and_is_of_packed_arrays_only():
    x, wide = np.arange(6.0).reshape(3, 2), np.arange(12.0).reshape(3, 4)
    y = np.zeros_like(x)
    found = team.entered(twice, (x, y), x, y)
    assert found is not twice and team.entered(twice, (x + 1, y), x + 1, y) is found
    assert team.entered(twice, (x, y), x.astype(np.float32), y) is found  # it goes by the arrays that it is told of
    narrow = x.astype(np.float32), np.zeros((3, 2), np.float32)
    assert team.entered(twice, narrow, *narrow) is not found
    for given in ((wide[:, ::2], y), (x.T.copy().T, y), (x, np.zeros((2, 3)).T)):
        function = team.entered(twice, given, *given)
        assert function is twice
        function(*given)
        assert (given[1][:, 0] == 2 * given[0][:, 0]).all()
    y[:] = 0
    found(x, y)
    assert (y[:, 0] == 2 * x[:, 0]).all()


def test_a_plain_function_is_its_own_entry():
    plain = source(twice)
    assert team.entered(plain, (), None) is plain
