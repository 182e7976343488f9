"""`nlicl completion`: the script is one that a shell takes, and completes by."""

import shutil
import subprocess

import pytest
from of_nlicl import ALL

import nlicl.cli

pytest.importorskip("shtab")

# What bash does when the Tab key is pressed at the end of `words`, and what it then offers.
TAB = """
source "$1"
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_shtab_nlicl; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def script(shell, capsys):
    assert nlicl.cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("nlicl repr", {"reproduce"}),
        ("nlicl audit --onl", {"--only-wrong"}),
        ("nlicl train --backend c", {"cpu", "cuda"}),
        ("nlicl audit ''", {*ALL, "losses.py"}),
        ("nlicl sweep li", {"li2024"}),
        ("nlicl compare ''", {"folder"}),
        ("nlicl audit li2024 --html los", {"losses.py", "losses.txt"}),
        ("nlicl completion z", {"zsh"}),
    ],
)
def test_bash_completes_commands_options_papers_and_files(tmp_path, capsys, words, offered):
    (tmp_path / "folder").mkdir()
    for name in ("losses.py", "losses.txt"):
        (tmp_path / name).touch()
    where = tmp_path / "folder" / "nlicl.bash"
    where.write_text(script("bash", capsys))
    command = ["bash", "--norc", "-c", TAB.format(words=words), "bash", str(where)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.strip().rstrip("/") for line in done.stdout.splitlines()} - {""} == offered


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script_with_every_command(shell, capsys):
    text = script(shell, capsys)
    for word in ("audit", "reproduce", "only-wrong", *ALL):
        assert word in text


def test_without_the_package_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert nlicl.cli.main(["completion", "bash"]) == 2
    assert "this needs shtab, which is not installed: pip install '.[completion]'" in capsys.readouterr().err


def test_an_unknown_shell_is_told_in_a_line(capsys):
    assert nlicl.cli.main(["completion", "bsh"]) == 2
    found = capsys.readouterr()
    assert found.out == "" and found.err.count("\n") == 1
    assert "shell is 'bsh' (did you mean bash?); expected one of 'bash', 'zsh', 'tcsh'" in found.err
