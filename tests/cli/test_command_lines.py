"""Command lines by the thousand, from a generator with a seed: each ends by 0, 1 or 2, and says one short line or none.

In process. The work itself does not begin: what is tried is everything before it.
"""

import argparse
import random
import re

import pytest

from nlicl import cli
from nlicl.cli.common import CannotRun
from nlicl.core.text import INVISIBLE
from nlicl.doctor import Finding

HIDDEN = re.compile(f"[{INVISIBLE}]")
EMOJI = "👨\u200d👩"  # which stays as it is
LONG = "x" * 100_000
VALUES = (
    # numbers, and what looks like one
    "0", "1", "-1", "3", "2.5", "1e999", "-1e999", "nan", "inf", "1e-400", "0x10", "1_0", "٣", "²", "1" + "0" * 400,
    "1" + "0" * 5000, "9223372036854775808", "-0", "+1", " 1", "1j", "True", "None",
    # texts
    "", " ", "-", "--", "---", "x", "x=1", "=", "x=", "=1", ":", "::", ",", "a:b:c", "é", "∂", "שלום", "a\u202eb",
    "\u2066",
    "\0",
    "a\0b", "\n", "a\nnlicl: all is well", "\r", "\t", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x7f", "\x9b31m",
    "\udcff",
    "caf\udce9", "\ud800", "\U0010ffff", "\ufeff", "\u2028", "\u200b", EMOJI, "%s", "%(prog)s", "{}",
    "{0.__class__}", "\\", "'", '"',
    "$(id)", "`id`", "a b c", "*", "~", "-h", "--help", "--version", "--no-such", "--se", "--set",
    # long, and deep
    LONG, "y " * 3000, "é" * 2000, "\u202e" * 3000, "\x1b[1m" * 2000, "\udcff" * 2000, "m=" + "-" * 5000 + "1",
    "m=" + "(" * 3000,
    "m=" + "[" * 90 + "]" * 90, "m=" + "9" * 6000, "m=" + LONG, LONG + "=1", "m=" + "\n" * 500, "a/" * 3000, "x" * 300,
    "m={[]:1}",     "m=b'x'", "m=(1,", "m='\\ud800'", "m='\u202e'", "m=" + "not " * 2000 + "1", "m=1" + "+1j" * 3000,
    # files
    "absent/file", "absent.py:f", "absent.py:", ".py:f", "a.py", "here.py:f", "here.py:absent", "here.py:\u202e", ".",
    "./", "/dev/null",    "/proc/self/mem/x", "/dev/null/x", "pipe", "circle", "x" * 300 + ".py:f", "a\nb.py:f",
    "\udcff.py:f", LONG + ".py:f",
)  # fmt: skip
NAMES = (
    "li2024", "huang2023", "bu2024", "li2024:calibrated", "li2024:3.4", "li2024:fig2a", "huang2023:imbalanced",
    "bu2024:small", "li2024:",    ":3.4", "li2024:nothing", "nothing", "li2024:3.4:5", "LI2024",
)  # fmt: skip
SETTINGS = (
    "m",
    "length",
    "alpha",
    "beta",
    "K",
    "M1",
    "learning_rate",
    "optimizer",
    "trained",
    "loss",
    "dtype",
    "measure",
    "prompts",
)


def began(*_, **__):
    raise CannotRun("it began")


@pytest.fixture
def idle(tmp_path, monkeypatch):
    """Nothing is computed, and no file is anywhere but in a folder of its own."""
    import os

    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "here.py").write_text("def f(params, prompt):\n    return None\n")
    monkeypatch.setattr("nlicl.audit.bench.Bench.audit", began)
    monkeypatch.setattr("nlicl.audit.bench.Bench.audit_library", began)
    monkeypatch.setattr("nlicl.experiments.experiment.workers", began)
    monkeypatch.setattr("nlicl.training.course.OnCpu", began)
    monkeypatch.setattr("nlicl.core.memory._memory", lambda: 2**25)
    monkeypatch.setattr("nlicl.doctor.examine", lambda: [Finding("good", "all", "well", "")])
    monkeypatch.setattr("nlicl.cli.function.audited", began)


def options():
    """Command -> its options, as the parser has them: new ones are tried without a word here."""
    subparsers = next(a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {name: [o for a in parser._actions for o in a.option_strings] for name, parser in subparsers.choices.items()}


def command_lines(seed, count):
    """Some command lines: most nearly right, some of nothing but hostile words."""
    draw = random.Random(seed)
    known = options()
    for _ in range(count):
        command = draw.choice([*known, *known, draw.choice(VALUES)])
        words = [command]
        if draw.random() < 0.85:
            words.append(draw.choice(NAMES) if draw.random() < 0.7 else draw.choice(VALUES))
        for _ in range(draw.choice((0, 1, 1, 2, 3))):
            option = draw.choice(known.get(command) or ["--x"])
            value = draw.choice(VALUES)
            if option == "--set" and draw.random() < 0.8:
                value = f"{draw.choice(SETTINGS)}={draw.choice(VALUES)}"
            words += (
                [f"{option}={value}"] if draw.random() < 0.3 else [option, value] if draw.random() < 0.9 else [option]
            )
        draw.shuffle(words) if draw.random() < 0.05 else None
        yield words


def check(words, capsys):
    """Run a command line; its status."""
    try:
        status = cli.main(words)
    except SystemExit as helped:  # --help, --version
        status = helped.code
        assert status == 0
    out, err = capsys.readouterr()
    case = f"{[word[:80] for word in words]}\n{out[-500:]}\n{err[-2000:]}"
    assert status in (0, 1, 2), case
    assert not HIDDEN.search((out + err).replace(EMOJI, "")), case
    assert "Traceback" not in out + err, case
    if status:
        assert err.startswith("nlicl: ") and err.endswith("\n") and err.count("\n") == 1 and len(err) <= 410, case
    else:
        assert not err, case
    return status


def test_command_lines(idle, capsys):
    statuses = [check(words, capsys) for words in command_lines(0, 120)]
    assert 0 in statuses and statuses.count(2) > 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
def test_more_command_lines(seed, idle, capsys):
    for words in command_lines(seed, 600):
        check(words, capsys)


def test_every_option_with_every_value(idle, capsys):
    """One option at a time, where the rest is right: nothing else is refused first."""
    tried = 0
    for command, names in options().items():
        for option in dict.fromkeys(names):
            if option.startswith("--"):
                for value in random.Random(option).sample(VALUES, 8):
                    check([command, "li2024", f"{option}={value}"], capsys)
                    tried += 1
    assert tried > 200
