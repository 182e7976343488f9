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
    calls = np.zeros(1, np.int64)
    for function in (atomics.await_call, source(atomics.await_call)):
        assert not function(calls, 0) and function(calls, 1)
