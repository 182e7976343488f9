"""Ctrl-C waits for a moment when it does no harm, comes at once the second time, and ends a command with one line."""

import os
import signal
import threading
from contextlib import suppress

import pytest
from child import python

from nlicl.core.interruption import Ending, Interrupted, as_interruption, held


@pytest.fixture(autouse=True)
def handlers():
    """Those of Python at the start; the same after each test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    for number, handler in before.items():
        signal.signal(number, handler)


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def test_it_waits_until_it_is_looked_for():
    done = []
    with pytest.raises(KeyboardInterrupt), held() as signals:
        signals.look()
        ctrl_c()
        done.append(1)
        signals.look()
        done.append(2)
    assert done == [1]


def test_it_comes_at_the_end_if_nobody_looked():
    done = []
    with pytest.raises(KeyboardInterrupt), held():
        ctrl_c()
        done.append(1)
    assert done == [1]


def test_the_second_does_not_wait():
    done = []
    with pytest.raises(KeyboardInterrupt), held():
        ctrl_c()
        done.append(1)
        ctrl_c()
        done.append(2)
    assert done == [1]


def test_nothing_breaks_off_what_is_shut():
    done = []

    def write(name):
        for _ in range(3):
            ctrl_c()
        done.append(name)

    with pytest.raises(KeyboardInterrupt), held() as signals:
        signals.shut = True
        write("file")
        signals.shut = False
        done.append("after")
        signals.look()
        done.append("never")
    assert done == ["file", "after"]


def test_what_waits_comes_after_another_error_too():
    with pytest.raises(KeyboardInterrupt) as caught, held():
        ctrl_c()
        raise ValueError("diverged")
    assert isinstance(caught.value.__context__, ValueError)


def test_one_interruption_is_enough():
    """A further Ctrl-C while the first is on its way is the same one."""
    with pytest.raises(KeyboardInterrupt), held() as signals:
        try:
            ctrl_c()
            signals.look()
        finally:
            ctrl_c()


def test_an_error_without_interruption_is_itself():
    for error in (ValueError("x"), SystemError("x"), RuntimeError("x")):
        with pytest.raises(type(error), match="x"), held():
            raise error


def test_a_handler_of_the_user_s_is_left():
    seen = []
    own = signal.signal(signal.SIGINT, lambda *_: seen.append(1)) and signal.getsignal(signal.SIGINT)
    with held() as signals:
        assert signal.getsignal(signal.SIGINT) is own
        ctrl_c()
        signals.look()
    assert seen == [1]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_that_is_put_in_meanwhile_stays():
    def own(*_):
        pass

    with held():
        signal.signal(signal.SIGINT, own)
    assert signal.getsignal(signal.SIGINT) is own
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_another_thread_holds_nothing():
    seen = []

    def work():
        with held() as signals:
            signals.look()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_sigterm_is_left_to_the_process_that_is_no_command():
    before = signal.getsignal(signal.SIGTERM)
    with held():
        assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("how", ["cause", "context", "far"])
@pytest.mark.parametrize("around", [held, as_interruption])
def test_what_compiled_code_makes_of_it_is_an_interruption(how, around):
    def compiled():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as reason:
            if how == "context":
                raise SystemError("returned a result with an exception set")  # noqa: B904
            between = ValueError()
            between.__cause__ = reason
            raise SystemError("returned a result with an exception set") from (between if how == "far" else reason)

    with pytest.raises(KeyboardInterrupt), around():
        compiled()


def test_another_error_in_the_wake_of_an_interruption_is_itself():
    """A full disk, say, where what was done was to be kept."""
    with pytest.raises(RuntimeError), as_interruption():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise RuntimeError("something else")  # noqa: B904


def test_an_import_that_an_interruption_of_a_command_broke_off_is_one():
    ending = Ending()
    signal.signal(signal.SIGINT, ending)
    try:
        with pytest.raises(ImportError), as_interruption():
            raise ImportError("numpy")
        with pytest.raises(Interrupted) as caught, as_interruption():
            with suppress(KeyboardInterrupt):  # C code loses what it replaces by an error of its own
                ctrl_c()
            raise ImportError("numpy")
        assert caught.value.status == 130
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


UNHEARD = """
import multiprocessing, os, signal, sys
from nlicl.core.interruption import hear, unheard

def work(pipe):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pipe.send(os.getpid())
    pipe.recv()
    try:
        hear()
        pipe.send("nothing came")
    except KeyboardInterrupt:
        pipe.send("it came once it was heard")

if __name__ == "__main__":
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(there,))
    try:
        with unheard():
            process.start()
            signal.raise_signal(signal.SIGINT)
            print("not here")
    except KeyboardInterrupt:
        pass
    os.kill(process.pid, signal.SIGINT)  # as it imports
    assert here.poll(60)
    os.kill(here.recv(), signal.SIGINT)
    here.send("go on")
    print(here.recv())
    process.join()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals cannot be blocked there")
def test_a_process_is_started_out_of_reach(tmp_path):
    (tmp_path / "main.py").write_text(UNHEARD)
    assert python(tmp_path / "main.py").splitlines() == ["not here", "it came once it was heard"]


COMMAND = """
import os, signal, sys, time
from nlicl.core.interruption import Ending
ending = Ending()
ending.begin()

class Closed:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def lost():
    closed = Closed()
    del closed
    time.sleep(30)

def forked():
    process = os.fork()
    if not process:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    print(os.waitpid(process, 0)[1])

def again():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        signal.raise_signal(signal.SIGINT)

try:
    {"int": lambda: signal.raise_signal(signal.SIGINT), "term": lambda: signal.raise_signal(signal.SIGTERM), "lost": lost,
     "forked": forked, "again": again, "none": lambda: None}[sys.argv[1]]()
    status = 0
except KeyboardInterrupt as reason:
    print("unwound")
    status = reason.status
ending.finish(status)
"""


@pytest.mark.parametrize(
    ("what", "status", "says"),
    [("none", 0, ""), ("int", 130, "unwound"), ("term", 143, "unwound"), ("again", 130, ""), ("lost", 130, "unwound"),
     ("forked", 0, "15")],
)  # fmt: skip
def test_a_command_ends(what, status, says):
    """With the status of its signal; from a destructor as well; a process that it forks has the usual handlers."""
    if what == "forked" and not hasattr(signal, "SIGKILL"):
        pytest.skip("no fork here")
    assert python(COMMAND, what, expect=status) == says
