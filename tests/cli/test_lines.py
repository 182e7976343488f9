"""One line for what went wrong, and the two streams through which everything goes."""

import io
import sys

import pytest
from child import python

from nlicl import cli
from nlicl.cli.common import Bar
from nlicl.cli.lines import command_line, line
from nlicl.cli.screen import OutputLost, Screen

ADVICE = "expected " + " ".join(f"name{n}" for n in range(30)) + ". Say nlicl papers"


@pytest.mark.parametrize(
    "given", ["x" * 5000, "x " * 3000, "\x1b[31m" * 1000, "\u202e" * 500, "a=" + "y,z " * 900, "'\\" * 900]
)
@pytest.mark.parametrize("form", [str, repr])
def test_what_was_typed_is_shortened_in_its_middle_and_nothing_else(given, form):
    text = line(f"--set {form(given)}: {ADVICE}", [given])
    assert len(text) <= 400 and text.startswith("--set ") and text.endswith(f": {ADVICE}") and "characters)..." in text


def test_short_lines_stay_as_they_are():
    reason = f"--json {'folder/' * 20}file: there is no folder; make it first"
    assert line(reason, [f"{'folder/' * 20}file"]) == reason
    assert line("x is 3;\n   expected  4\r\n", ["x"]) == "x is 3; expected 4"


@pytest.mark.parametrize(
    "reason", ["word " * 1000, "w" * 1000, "\u202e" * 1000, "9" * 5000 + " is too long; expected fewer digits"]
)
def test_no_line_is_longer_than_400_characters(reason):
    assert len(line(reason, [])) <= 400 and line(reason, []).endswith(
        reason.strip()[-20:].replace("\u202e", r"\u202e")[-20:]
    )


def test_a_command_can_be_typed_again():
    assert command_line(["train", "li2024", "--set", "m=a b"]) == "nlicl train li2024 --set 'm=a b'"
    assert len(command_line(["\u202e" * 9000])) < 300


@pytest.mark.parametrize("argument", ["--out=--", "--set=--", "--out=a\0b", "--out=\ud800"])
def test_arguments_that_no_shell_hands_on(argument, capsys):
    assert cli.main(["train", "li2024", argument]) == 2
    err = capsys.readouterr().err
    assert (
        err.startswith("nlicl: --")
        and err.count("\n") == 1
        and ("no argument can have" in err or "-- is no value" in err)
    )


# ---- Streams


def test_what_anybody_prints_can_be_seen(run, monkeypatch):
    def prints(options):
        print("\x1b[31m\u202e α\u0301 👨\u200d👩")
        print("\x9b\udcff", file=sys.stderr)
        return 0

    monkeypatch.setattr("nlicl.cli._doctor", prints)
    assert run("doctor") == (0, "\\x1b[31m\\u202e α\u0301 👨\u200d👩\n", "\\x9b\\udcff\n")


def test_only_the_bar_takes_lines_away(run, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("nlicl.cli._doctor", lambda options: Bar()(1, 2, "a\n\x1b[31m") or 0)
    assert run("doctor") == (0, "", "\r\x1b[K[##########          ] 1/2 a \\x1b[31m")


class Full(io.StringIO):
    """A stream that takes nothing."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def test_output_that_is_lost_is_told_and_what_is_told_may_be_lost():
    out, err = Screen(Full(), must=True), Screen(Full(), must=False)
    with pytest.raises(OutputLost, match="No space left on device"):
        out.write("x")
    with pytest.raises(OutputLost):  # whatever became of the first time
        out.flush()
    err.write("x")
    err.flush()


def test_streams_are_put_back(run):
    before = sys.stdout, sys.stderr
    run("papers", "nobody")
    assert (sys.stdout, sys.stderr) == before


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    code = (
        "import os, sys\nfor n in range(3): os.close(n)\nsys.stdin = sys.stdout = sys.stderr = None\n"
        "import nlicl.cli\n"
        "def opens(options):\n"
        "    with open(sys.argv[1], 'w') as file:\n"
        "        file.write(str(file.fileno()))\n"
        "    os.write(2, b'x')\n"
        "nlicl.cli._doctor = opens\n"
        "os._exit(nlicl.cli.main(['doctor']))"
    )
    python(code, tmp_path / "number", expect=70)  # nothing can be written to standard error: that is the bug here
    assert int((tmp_path / "number").read_text()) > 2
