"""What becomes of an error: a refusal is one line and status 2, a result status 1, a bug its traceback and status 70."""

import argparse
import errno
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest
from child import ROOT

import nlicl
from nlicl import cli
from nlicl.cli.common import CannotRun
from nlicl.core.errors import InvalidInput, InvalidType, InvalidValue, NotFinite
from nlicl.devices import Unavailable
from nlicl.experiments.experiment import Experiment


def raising(error):
    def raises(*_, **__):
        raise error

    return raises


@pytest.fixture
def ending(monkeypatch, capsys):
    """ending(error) -> (status, standard output, standard error) of a command whose work ends by it."""

    def call(error):
        monkeypatch.setattr("nlicl.audit.audit_paper", raising(error))
        status = cli.main(["audit"])
        return status, *capsys.readouterr()

    return call


# ---- Refusals and results


@pytest.mark.parametrize(
    "error",
    [
        CannotRun("x is 3;\n  expected 4"),
        InvalidInput("x is 3; expected 4"),
        InvalidValue("x is 3; expected 4"),
        InvalidType("x is 3; expected 4"),
        NotFinite("x is 3; expected 4"),
        Unavailable("x is 3; expected 4"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_is_one_line(ending, error):
    assert ending(error) == (2, "", "nlicl: x is 3; expected 4\n")


def test_a_run_that_diverged_is_a_result(ending):
    assert ending(nlicl.Diverged("training diverged at step 3.", None)) == (
        1,
        "",
        "nlicl: training diverged at step 3.\n",
    )


def test_memory_that_is_used_up(ending):
    assert ending(MemoryError()) == (2, "", "nlicl: there is not enough memory: it is used up; lower the sizes\n")
    assert ending(MemoryError("9 TiB"))[2] == "nlicl: there is not enough memory: 9 TiB; lower the sizes\n"


def test_a_library_that_is_missing(ending):
    error = ModuleNotFoundError("No module named 'numba'", name="numba")
    assert ending(error) == (
        2, "", "nlicl: a library that nlicl needs cannot be imported: No module named 'numba'. `nlicl doctor` says what is "
        "missing\n",
    )  # fmt: skip
    assert ending(ModuleNotFoundError("No module named 'nlicl.x'", name="nlicl.x"))[0] == 70
    assert ending(ImportError("cannot import"))[0] == 70


def test_a_process_that_was_ended_from_outside(ending):
    error = BrokenProcessPool("A process in the process pool was terminated abruptly")
    status, out, err = ending(error)
    assert (status, out) == (2, "") and "as the system does where memory runs out" in err and err.count("\n") == 1
    error.__cause__ = TypeError("what it sent cannot be read")
    assert ending(error)[0] == 70


def test_a_worker_that_the_system_ends(run, monkeypatch):
    monkeypatch.setattr(
        "nlicl.experiments.registry.theorems", lambda paper: {"9": Experiment("9", "", none, killed, max)}
    )
    status, out, err = run("theorem", "li2024:9", "--seeds", 1, "--jobs", 2)
    assert (status, out) == (2, "") and "a process was ended from outside" in err and err.count("\n") == 1


def none(options):
    return {}


def killed(options, seed, runs):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


# ---- Bugs


@pytest.mark.parametrize(
    "error",
    [
        ValueError("too many values to unpack"),
        TypeError("'NoneType' object is not callable"),
        KeyError("W_X"),
        IndexError("list index out of range"),
        AttributeError("no attribute"),
        OverflowError("int too large to convert to float"),
        RecursionError("maximum recursion depth exceeded"),
        ArithmeticError("it has not settled"),
        AssertionError(),
        RuntimeError("generator raised StopIteration"),
        UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
        OSError(errno.EIO, "Input/output error"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_bug_looks_like_a_bug(ending, error):
    status, out, err = ending(error)
    assert (status, out) == (70, "")
    lines = err.splitlines()
    assert lines[0] == "Traceback (most recent call last):" and "in raises" in err and type(error).__name__ in err
    assert lines[-1] == (
        f"nlicl: this is a bug of nlicl {nlicl.__version__}, not a mistake of yours. Please report it, with the lines above "
        "and the command: nlicl audit"
    )


def test_a_bug_in_training_is_no_wrong_setting(monkeypatch, capsys):
    """What NumPy says of arrays that do not fit together was once shown as if a setting were wrong."""
    monkeypatch.setattr(
        "nlicl.papers.li2024.Problem.initialize", raising(ValueError("operands could not be broadcast"))
    )
    assert cli.main(["train", "li2024", "--set", "alpha=1", "--steps", "1"]) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err and "operands could not be broadcast" in err
    assert err.endswith("the command: nlicl train li2024 --set alpha=1 --steps 1\n")


def bugged(options, seed, runs):
    return {}["W_X"]


def test_a_bug_in_a_worker_shows_where_it_is(monkeypatch, capsys):
    monkeypatch.setattr(
        "nlicl.experiments.registry.theorems", lambda paper: {"9": Experiment("9", "", none, bugged, max)}
    )
    assert cli.main(["theorem", "li2024:9", "--seeds", "1", "--jobs", "2"]) == 70
    err = capsys.readouterr().err
    assert (
        'return {}["W_X"]' in err
        and "KeyError: 'W_X'" in err
        and err.splitlines()[-1].startswith("nlicl: this is a bug")
    )


def test_a_bug_of_a_process():
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import nlicl.cli\n"
        "nlicl.cli._papers = lambda options: 1 / 0\n"
        "sys.exit(nlicl.cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", program, "papers"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (70, "")
    assert "ZeroDivisionError: division by zero" in done.stderr and done.stderr.endswith("the command: nlicl papers\n")


# ---- Neither


def test_help_is_no_error(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--help"])
    assert ended.value.code == 0 and "--resume" in capsys.readouterr().out


def test_the_statuses_are_documented():
    for status in (0, 1, 2, cli.BUG, 130):
        assert f"\n| {status} " in cli.__doc__


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_greek_letters(encoding):
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import nlicl.cli\n"
        "nlicl.cli._papers = lambda options: print('\\u2016 \\udcff') or 0\n"
        "sys.exit(nlicl.cli.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "papers"], capture_output=True, env={"PYTHONIOENCODING": encoding}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\u2016 \\udcff\n", b"")


def test_an_argument_that_cannot_be_parsed_is_refused():
    with pytest.raises(CannotRun, match="see `nlicl --help`"):
        cli._parser().parse_args(["no-such-command"])
    assert isinstance(cli._parser(), argparse.ArgumentParser)
