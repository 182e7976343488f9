"""What becomes of an error: a refusal is one line and status 2, a result status 1, a bug its traceback and status 70."""

import argparse
import errno
import json
import os
import re
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest
from child import ROOT

import nlicl
from nlicl import cli
from nlicl.cli.common import CannotRun
from nlicl.core.errors import InvalidInput, InvalidType, InvalidValue, NotFinite
from nlicl.core.registry import PAPERS
from nlicl.core.text import INVISIBLE
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
        "nlicl.cli.papers.run = lambda options: 1 / 0\n"
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
        "nlicl.cli.papers.run = lambda options: print('\\u2016 \\udcff') or 0\n"
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


# ---- Code that is not nlicl's


@pytest.mark.parametrize("code", ["", "3", "'no more'"])
def test_code_that_ends_the_process(ending, code):
    status, out, err = ending(SystemExit(eval(code) if code else None))
    assert (status, out) == (2, "") and err.startswith(
        "nlicl: code that is not nlicl's ended the process, by SystemExit"
    )
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [GeneratorExit("x"), BaseException("x")], ids=lambda error: type(error).__name__)
def test_what_is_left_is_a_bug(ending, error):
    status, _, err = ending(error)
    assert status == 70 and "Traceback" in err and "this is a bug of nlicl" in err.splitlines()[-1]


class Odd(ValueError):
    def __str__(self):
        raise SystemExit(3)


class OddRefusal(InvalidValue):
    def __str__(self):
        raise RecursionError


def test_errors_that_cannot_be_read(ending):
    assert ending(OddRefusal()) == (2, "", "nlicl: its message cannot be read\n")
    assert ending(Odd())[0] == 70  # its traceback cannot be written


def test_no_memory_to_say_it(monkeypatch, capfd):
    monkeypatch.setattr("nlicl.audit.audit_paper", raising(ValueError("x")))
    monkeypatch.setattr(cli, "_say", raising(MemoryError()))
    assert cli.main(["audit"]) == 70
    assert capfd.readouterr().err.endswith("nlicl: this is a bug of nlicl: what went wrong cannot be said.\n")


PLUGIN = """
from dataclasses import dataclass
from typing import NamedTuple
from nlicl.audit.subject import Subject
from nlicl.papers.paper import Paper, register


class Params(NamedTuple):
    Q: object


class Kind(type):
    def __repr__(cls):
        raise ValueError("no repr")


@dataclass(frozen=True)
class Problem(metaclass=Kind):
    steps: int = 3

    def __repr__(self):
        raise ValueError("no repr")

    def __getattr__(self, name):
        {raises}


def nothing(*_):
    {raises}


subject = Subject("odd", "Odd", {{}}, nothing, nothing, nothing, nothing, nothing)
PAPER = register(
    Paper("odd", "Odd \\u202e\\x1b[31m", subject, Problem, Params, figures="odd_figures", theorems="odd_theorems")
)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch, run):
    """plugin(source, figures, theorems) installs a paper, "odd"; returns `run`."""

    def install(source, figures="FIGURES = {}", theorems="THEOREMS = {}"):
        for name, text in (("odd_paper", source), ("odd_figures", figures), ("odd_theorems", theorems)):
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        about = tmp_path / "odd-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[nlicl.papers]\nodd = odd_paper:PAPER\n")
        return run

    monkeypatch.syspath_prepend(tmp_path)
    yield install
    PAPERS._things.pop("odd", None)
    for name in ("odd_paper", "odd_figures", "odd_theorems"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("class Own(BaseException): pass\nraise Own('\\x1b[31m\\n two')", r"Own: \x1b[31m"),
        ("raise GeneratorExit", "GeneratorExit: no message"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion"),
        ("class Odd(Exception):\n    def __str__(self): raise SystemExit\nraise Odd", "its message cannot be read"),
    ],
    ids=["SystemExit", "BaseException", "GeneratorExit", "RecursionError", "unreadable"],
)
def test_papers_that_cannot_be_imported(plugin, source, words):
    run = plugin(source)
    one, every = run("papers", "odd"), run("papers")
    for status, _, err in (one, every):
        assert status == 2 and err.count("\n") == 1 and words in err
        assert err.startswith("nlicl: paper 'odd', declared as odd_paper:PAPER by odd, cannot be imported: ")
    assert one[1] == "" and "li2024:" in every[1]  # it hides no other


@pytest.mark.parametrize("raises", ["raise AttributeError", "raise SystemExit(3)", "raise KeyError('W_X')"])
def test_papers_whose_classes_are_odd(plugin, raises):
    run = plugin(PLUGIN.format(raises=raises), theorems="raise SystemExit(0)")
    commands = (
        ["train", "odd"],
        ["train", "odd", "--set", "steps=x"],
        ["reproduce", "odd"],
        ["theorem", "odd"],
        ["papers", "odd"],
    )
    found = [run(*words) for words in commands]
    for status, out, err in found:
        assert status == 2 and err.startswith("nlicl: ") and err.count("\n") == 1 and "\x1b" not in out + err, err
    assert "odd_theorems: SystemExit: 0" in found[-1][2]


def test_a_paper_whose_texts_hide_something(plugin):
    source = PLUGIN.format(raises="raise AttributeError").replace("[31m", "[31m\\nli2024: none")
    status, out, err = plugin(source)("papers", "odd")
    assert (status, err) == (0, "") and out.startswith(r"odd: Odd \u202e\x1b[31m li2024: none")
    assert not re.search(f"[{INVISIBLE}]|^li2024", out, re.MULTILINE)


MEASURES = """
from nlicl.experiments.experiment import Experiment, no_runs


def measure(options, seed, runs):
    return {}["W_X"]


THEOREMS = {"1": Experiment("1", "One", no_runs, measure, max)}
"""


def test_an_error_of_another_papers_code_names_the_paper(plugin):
    run = plugin(PLUGIN.format(raises="raise AttributeError"), theorems=MEASURES)
    for jobs in (1, 2):
        status, out, err = run("theorem", "odd", "--seeds", 1, "--jobs", jobs)
        assert (status, out) == (2, "")
        assert (
            err == "nlicl: the paper odd raises KeyError: 'W_X' (line 6 of odd_theorems.py); expected its code to run\n"
        )


def test_an_error_within_nlicl_stays_a_bug_of_nlicl(plugin, capsys):
    """Whoever called."""
    theirs = MEASURES.replace('return {}["W_X"]', "from nlicl.core.text import visible; return visible(5)")
    plugin(PLUGIN.format(raises="raise AttributeError"), theorems=theirs)
    assert cli.main(["theorem", "odd", "--seeds", "1", "--jobs", "1"]) == 70
    assert "this is a bug of nlicl" in capsys.readouterr().err


# ---- One line


def test_what_the_user_typed_is_shortened_and_advice_is_not(run):
    for given in ("x" * 5000, "x " * 2500, "\x1b[31m" * 1000, "\u202e" * 2000, "é" * 3000):
        for words in (
            ["papers", given],
            ["audit", "--wrt", given],
            ["train", "li2024", "--set", f"m={given}"],
            ["papers", "li2024", given],
        ):
            status, out, err = run(*words)
            assert (status, out) == (2, "") and err.count("\n") == 1 and len(err) <= 410
            assert re.search(r"expected |see `nlicl --help`", err[-140:]), err


def test_bugs_name_the_command_in_a_length_that_can_be_read(ending, monkeypatch, capsys):
    monkeypatch.setattr("nlicl.audit.audit_paper", raising(ValueError("y" * 100_000)))
    assert cli.main(["audit", "--wrt", "\u202e" + "x" * 100_000]) == 70
    err = capsys.readouterr().err
    assert len(err) < 8000 and "\u202e" not in err and r"\u202exxx" in err.splitlines()[-1]


# ---- Streams that are closed, or have no reader


def process(*words, closed="", **more):
    command = f"exec {sys.executable} -m nlicl {' '.join(words)} {closed}"
    return subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **more,
    )


@pytest.mark.parametrize(
    "closed",
    [pytest.param(">&-", marks=pytest.mark.slow), pytest.param("2>&-", marks=pytest.mark.slow), "<&- >&- 2>&-"],
)
def test_streams_that_are_closed(closed):
    done = process("papers", "li2024", closed=closed)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("li2024: " in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


@pytest.mark.slow
def test_what_is_asked_of_a_closed_output_is_refused():
    done = process("theorem", "li2024:3.4", "--json", "-", closed=">&-")
    assert (done.returncode, done.stderr) == (
        2, "nlicl: --json - asks for standard output, which is closed; name a file instead\n"
    )  # fmt: skip
    assert process("papers", "nobody", closed="2>&-").returncode == 2


@pytest.mark.slow
def test_output_that_cannot_be_written():
    done = process("papers", "li2024", closed="1</dev/null")
    assert (done.returncode, done.stderr) == (2, "nlicl: the output cannot be written: Bad file descriptor\n")


def test_a_pipe_that_is_closed_early_ends_no_work():
    """The status is that of the work, and what else was asked for is done."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import nlicl.cli\n"
        "def work(options):\n"
        "    for _ in range(10_000): print('x' * 100)\n"
        "    print('done', file=sys.stderr)\n"
        "    return 1\n"
        "nlicl.cli.papers.run = work\n"
        "sys.exit(nlicl.cli.main())"
    )
    child = subprocess.Popen([sys.executable, "-c", program, "papers"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout.readline() == b"x" * 100 + b"\n"
    child.stdout.close()
    error = child.stderr.read()
    child.stderr.close()
    assert (child.wait(timeout=300), error) == (1, b"done\n")


def test_json_of_any_encoding():
    """What an encoding has not is JSON's own escape."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import nlicl.cli\n"
        "from nlicl.core.files import to_json\n"
        "nlicl.cli.papers.run = lambda options: print(to_json(['\\xe9\\u2202\\U0001f600\\u202e'])) or 0\n"
        "sys.exit(nlicl.cli.main())"
    )
    for encoding in ("ascii", "utf-16"):
        done = subprocess.run(
            [sys.executable, "-c", program, "papers"],
            capture_output=True,
            env={"PYTHONIOENCODING": encoding, "LANG": "C"},
        )
        assert json.loads(done.stdout.decode(encoding)) == ["\xe9\u2202\U0001f600\u202e"] and done.stderr == b""


@pytest.mark.slow
@pytest.mark.parametrize("level", ["-O", "-OO"])
def test_without_docstrings_or_asserts(level):
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from nlicl.cli import main\n"
        "from nlicl.papers import load, names\n"
        "assert False\n"
        "for name in names():\n"
        "    if any(not formula.equation for formula in load(name).formulas.values()): sys.exit(name)\n"
        "sys.exit(main(['papers']) or main(['audit', '--wrt', 'a', '--draws', '2'])"
        " or main(['train', 'li2024', '--steps', '0']))\n"
    )
    done = subprocess.run([sys.executable, level, "-c", program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "") and "as expected" in done.stdout
