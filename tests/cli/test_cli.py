"""The command line: exit statuses, what goes to which stream, and one clear line for everything that cannot run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from of_nlicl import EXPECTED

import nlicl
from nlicl.cli import main

ROOT = Path(nlicl.__file__).parents[1]
DRAWS = ["--draws", "4"]

RIGHT = """
from nlicl.papers.li2024.gradients import dW_V

def grad(params, prompt):
    "The corrected formula, as it stands."
    return dW_V(params, prompt)

def minus(params, prompt):
    return -dW_V(params, prompt)

def nan(params, prompt):
    return float("nan") * dW_V(params, prompt)

def none(params, prompt):
    return None

def rows(params, prompt):
    return dW_V(params, prompt)[:-1]

def text(params, prompt):
    return "W_V"

def raises(params, prompt):
    raise KeyError("W_X")

def needs_more(params, prompt, extra):
    return dW_V(params, prompt)

number = 3
"""


@pytest.fixture
def appendix(tmp_path):
    (tmp_path / "appendix.py").write_text(RIGHT)
    return tmp_path / "appendix.py"


def cannot_run(result, *words):
    """Status 2, nothing but one line on standard error, with these words."""
    status, out, err = result
    assert status == 2
    assert out == ""
    assert err.startswith("nlicl: ") and err.endswith("\n") and err.count("\n") == 1
    for word in words:
        assert word in err, err


# ---- Formulas of the reader's own


def test_a_right_formula(run, appendix):
    status, out, err = run("audit", "li2024", "--wrt", "W_V", "--formula", f"{appendix}:grad", *DRAWS)
    assert (status, err) == (0, "")
    assert "agree" in out and "disagree" not in out
    assert "The verdict is as expected; the negative control was caught." in out


def test_a_wrong_formula(run, appendix):
    status, out, err = run("audit", "--wrt", "W_V", "--formula", f"{appendix}:minus", *DRAWS)
    assert (status, err) == (1, "")
    assert "DISAGREE" in out
    assert "sign: the given gradient is minus the expected one" in out
    assert "worst entry W_V[" in out


def test_nan_disagrees(run, appendix):
    status, out, err = run("audit", "--wrt", "W_V", "--formula", f"{appendix}:nan", *DRAWS)
    assert (status, err) == (1, "")
    assert "DISAGREE" in out and "returns nan at [0, 0]" in out


@pytest.mark.parametrize(
    "name, words",
    [
        ("none", "none returns None; is a return missing? Expected a floating array"),
        ("rows", "rows returns shape ("),
        ("text", "text returns 'W_V'; expected a floating array"),
        ("raises", "raises raises KeyError: 'W_X' (line 24 of appendix.py: `raise KeyError(\"W_X\")`), on draw 0"),
        ("needs_more", "needs_more raises TypeError: "),
    ],
)
def test_formulas_without_a_value(run, appendix, name, words):
    status, out, err = run("audit", "--wrt", "W_V", "--formula", f"{appendix}:{name}", *DRAWS)
    assert status == 2
    assert err.startswith(f"nlicl: {words}") and err.count("\n") == 1, err
    assert "DISAGREE" in out or "UNDETERMINED" in out  # the table is there all the same
    assert "Not as expected" in out


def test_a_formula_judged_in_the_other_model(run, appendix):
    arguments = ("audit", "--wrt", "W_V", "--formula", f"{appendix}:grad", *DRAWS)
    assert run(*arguments, "--query-attends")[0] == 0  # the library's formula follows prompt.keys
    assert run(*arguments, "--no-query-attends")[0] == 0
    contexts = appendix.with_name("contexts.py")
    contexts.write_text(
        "from nlicl.models.transformer.prompts import Prompt\n"
        "from nlicl.papers.li2024.gradients import dW_V\n"
        "def grad(params, prompt):\n"
        "    return dW_V(params, Prompt(prompt.tokens, prompt.z, False))\n"
    )
    arguments = ("audit", "--wrt", "W_V", "--formula", f"{contexts}:grad", *DRAWS)
    assert run(*arguments)[0] == 0
    status, out, _ = run(*arguments, "--query-attends")
    assert status == 1
    assert "query-in-context" in out


@pytest.mark.parametrize(
    "text, words",
    [
        ("def grad(params, prompt:\n", ["does not import: SyntaxError: ", ", line 1"]),
        ("x = 1\n  y = 2\n", ["does not import: IndentationError: ", ", line 2"]),
        ("import no_such_module_anywhere\n", ["ModuleNotFoundError: No module named 'no_such_module_anywhere'"]),
        ("from numpy import no_such_name\n", ["ImportError: cannot import name 'no_such_name'"]),
        ("raise RuntimeError('half\\nway')\n", ["does not import: RuntimeError: half"]),
        ("raise RuntimeError\n", ["does not import: RuntimeError: no message"]),
        ("import sys\nsys.exit(0)\n", ["does not import: SystemExit: 0"]),
        ("\0", ["does not import: "]),
        ("", ["has no function grad; it has none"]),
        ("def gard(params, prompt): pass\n", ["has no function grad; it has gard"]),
        ("grad = 3\n", ["has no function grad; it has none"]),
    ],
)
def test_files_without_the_function(run, tmp_path, text, words):
    path = tmp_path / "appendix.py"
    path.write_text(text)
    cannot_run(run("audit", "--wrt", "W_V", "--formula", f"{path}:grad"), "--formula", "appendix.py", *words)


def test_files_that_are_none(run, tmp_path, appendix):
    cannot_run(run("audit", "--wrt", "a", "--formula", tmp_path / "absent.py:f"), "there is no file", "absent.py")
    (tmp_path / "folder.py").mkdir()
    cannot_run(run("audit", "--wrt", "a", "--formula", tmp_path / "folder.py:f"), "there is no file")
    (tmp_path / "notes.txt").write_text("f = 1")
    cannot_run(run("audit", "--wrt", "a", "--formula", tmp_path / "notes.txt:f"), "is not a Python file")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00f")
    cannot_run(run("audit", "--wrt", "a", "--formula", tmp_path / "binary.py:f"), "does not import")


@pytest.mark.parametrize("where", ["appendix.py", "appendix.py:", ":grad", ":", "grad"])
def test_formula_without_file_or_function(run, where):
    cannot_run(run("audit", "--wrt", "W_V", "--formula", where), f"--formula {where}", "expected FILE.py:FUNCTION")


def test_a_formula_needs_its_parameter(run, appendix):
    cannot_run(run("audit", "--formula", f"{appendix}:grad"), "--formula needs --wrt NAME", "--wrt W_Q")


def test_a_formula_may_import_its_neighbours_and_leaves_the_path_alone(run, appendix):
    (appendix.parent / "neighbour_of_appendix.py").write_text("from appendix import grad\n")
    user = appendix.parent / "user.py"
    user.write_text("from neighbour_of_appendix import grad\n")
    before = list(sys.path)
    try:
        assert run("audit", "--wrt", "W_V", "--formula", f"{user}:grad", *DRAWS)[0] == 0
        assert sys.path == before
    finally:
        for name in ("appendix", "neighbour_of_appendix"):
            sys.modules.pop(name, None)


# ---- Arguments


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["adit"], ["COMMAND is 'adit' (did you mean audit?); expected one of 'audit', 'train'"]),
        (["nothing"], ["COMMAND is 'nothing'; expected one of 'audit', 'train'"]),
        (["audit", "li2042"], ["paper is 'li2042' (did you mean li2024?)", "'li2024'"]),
        (["audit", "LI2024"], ["paper is 'LI2024' (did you mean li2024?)"]),
        (["audit", "--wrt", "w_q"], ["wrt is 'w_q' (did you mean W_Q?)"]),
        (["audit", "--sed=3"], ["unrecognized arguments: --sed=3 (did you mean --seed?)"]),
        (["train", "li2024", "--backend", "cud"], ["--backend is 'cud' (did you mean cuda?); expected one of"]),
        (["train", "li2024:gtp2"], ["li2024 has no settings 'gtp2' (did you mean gpt2?)"]),
        (["sweep", "li2024:scaling-alfa"], ["no settings 'scaling-alfa' (did you mean scaling-alpha?)"]),
        (["reproduce", "li2024:fig5"], ["li2024 has no 'fig5' (did you mean fig5"]),
        (["reproduce", "li2024:fig2a", "huang2023:fig2", "--set", "m=3"], ["--set belongs to one figure"]),
        (["theorem", "li2024:3.3", "li2024:9"], ["li2024:9: li2024 has no '9'"]),
        (["audit", "bu2024:paper"], ["not at named settings: nlicl audit bu2024.", "nlicl audit FILE.py:LOSS"]),
        (["audit", "bu2024:papr"], ["paper is 'bu2024:papr'"]),
        (["audit", "--wrt", "W_X"], ["wrt is 'W_X'", "'W_Q', 'W_K', 'W_V', 'W_O', 'a'"]),
        (["audit", "--draws", "1"], ["draws is 1; expected at least 2"]),
        (["audit", "--draws", "0"], ["draws is 0; expected at least 2"]),
        (["audit", "--draws", "-3"], ["draws is -3"]),
        (["audit", "--draws", "2.5"], ["--draws", "'2.5'"]),
        (["audit", "--seed", "-1"], ["seed is -1; expected at least 0"]),
        (["audit", "--seed", "x"], ["--seed", "'x'"]),
        (["audit", "--no-such-option"], ["unrecognized arguments: --no-such-option"]),
        (["audit", "li2024", "more"], ["unrecognized arguments: more"]),
        (["papers", "more"], [f"paper is 'more'; {EXPECTED}"]),
        (["papers", "li2024", "more"], ["unrecognized arguments: more"]),
    ],
)
def test_bad_arguments(run, arguments, words):
    cannot_run(run(*arguments), *words)


def test_nlicl_alone_shows_its_help_with_examples(run):
    status, out, err = run()
    assert (status, err) == (0, "") and "nlicl audit li2024 --formula appendix.py:grad --wrt W_K" in out


@pytest.mark.parametrize("command", ["audit", "train", "sweep", "reproduce", "theorem", "compare", "papers", "doctor"])
def test_every_help_has_examples(command, capsys):
    """Each begins as one would type it."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert not ended.value.code
    _, _, end = capsys.readouterr().out.partition("options:")
    assert f"nlicl {command} " in end


def test_several_formulas_are_one_report(run, appendix, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("import numpy as np\n\n\ndef dWV(params, prompt):\n    return 0 * params.W_V\n", encoding="utf-8")
    page, data = tmp_path / "page.html", tmp_path / "report.json"
    few = ("--draws", 4, "--mend", 0, "--html", page, "--json", data)
    status, out, err = run(
        "audit", "--formula", f"{appendix}:grad", "--wrt", "W_V", "--formula", f"{other}:dWV=W_V", *few
    )
    assert (status, err) == (1, "") and "Not as expected: dWV (disagree)." in out
    assert [entry["name"] for entry in json.loads(data.read_text())["formulas"]] == ["grad", "dWV"]
    assert [page.read_text().count(f'<section id="f{n}"') for n in range(3)] == [1, 1, 0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{0}:grad=W_V", "{0}:grad"], "--formula needs --wrt NAME"),
        (["{0}:grad=W_V", "{0}:grad=W_V"], "is given twice"),
        (["{0}:grad=w_v"], "wrt is 'w_v' (did you mean W_V?)"),
        (["{0}:grad="], "--formula needs --wrt NAME"),
    ],
)
def test_formulas_that_do_not_say_by_what(run, appendix, arguments, said):
    given = [part for text in arguments for part in ("--formula", text.format(appendix))]
    cannot_run(run("audit", *given, "--draws", 2), said)
    cannot_run(
        run("audit", "--formula", f"{appendix}:grad=W_V", "--wrt", "W_K"), "--wrt says W_K; leave one of them out"
    )


def test_bad_arguments_with_a_formula(run, appendix):
    cannot_run(run("audit", "--wrt", "W_X", "--formula", f"{appendix}:grad"), "wrt is 'W_X'")
    cannot_run(run("audit", "nobody", "--wrt", "W_V", "--formula", f"{appendix}:grad"), "paper is 'nobody'")


# ---- The paper's own


def test_a_paper_and_its_json(run, tmp_path):
    path = tmp_path / "report.json"
    status, out, err = run("audit", "--wrt", "W_V", "--draws", "8", "--seed", "3", "--json", path)
    assert (status, err) == (0, "")
    report = json.loads(path.read_text())
    assert {key: report[key] for key in ("nlicl", "paper", "seed", "draws")} == {
        "nlicl": nlicl.__version__, "paper": "li2024", "seed": 3, "draws": 8}  # fmt: skip
    names = [entry["name"] for entry in report["formulas"]]
    assert names == ["W_V", "library W_V", "W_V_printed", "negative control"]
    assert [entry["verdict"] for entry in report["formulas"]] == ["agree", "agree", "disagree", "disagree"]
    assert all(name in out for name in names)
    assert "All 4 verdicts are as expected; 4 of 4 negative controls caught." in out
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]  # nothing half-written beside it


def test_json_is_written_for_wrong_formulas_too(run, appendix, tmp_path):
    path = tmp_path / "report.json"
    assert run("audit", "--wrt", "W_V", "--formula", f"{appendix}:nan", "--json", path, *DRAWS)[0] == 1
    # NaN is no JSON: other languages would not read it
    entry = json.loads(path.read_text(), parse_constant=pytest.fail)["formulas"][0]
    assert (entry["verdict"], entry["expected"]) == ("disagree", "agree")
    assert entry["worst"]["given"] == "nan"
    assert run("audit", "--wrt", "W_V", "--formula", f"{appendix}:raises", "--json", path, *DRAWS)[0] == 2
    assert "KeyError" in json.loads(path.read_text())["formulas"][0]["error"]


def test_json_into_no_folder(run, tmp_path):
    path = tmp_path / "absent" / "report.json"
    cannot_run(run("audit", "--wrt", "a", "--json", path), f"--json {path}", "there is no folder")


def test_json_over_a_folder(run, tmp_path):
    status, _, err = run("audit", "--wrt", "a", "--json", tmp_path, *DRAWS)
    assert status == 2
    assert err.startswith(f"nlicl: --json {tmp_path}: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_json_into_a_folder_that_is_read_only(run, tmp_path):
    tmp_path.chmod(0o500)
    status, _, err = run("audit", "--wrt", "a", "--json", tmp_path / "report.json", *DRAWS)
    tmp_path.chmod(0o700)
    assert status == 2
    assert "Permission denied" in err and err.count("\n") == 1


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root can write to")
def test_json_into_a_folder_that_nobody_can_write_to(run):
    status, _, err = run("audit", "--wrt", "a", "--json", "/proc/self/report.json", *DRAWS)
    assert status == 2
    assert err.startswith("nlicl: --json /proc/self/report.json: ") and err.count("\n") == 1


def test_undetermined_and_unexpected_verdicts_have_status_1(run, monkeypatch):
    from nlicl.audit import AuditReport, audit_paper
    from nlicl.papers import li2024

    report = audit_paper(wrt="a", draws=4)
    report.formulas[0].verdict = "undetermined"
    monkeypatch.setattr("nlicl.audit.audit_paper", lambda *_, **__: AuditReport("li2024", 0, 4, report.formulas))
    status, out, err = run("audit")
    assert (status, err) == (1, "")
    assert "Not as expected: a (undetermined)." in out
    assert li2024.formulas["a"].expected == "agree"


def test_one_paper(run):
    status, out, err = run("papers", "huang2023")
    assert (status, err) == (0, "")
    assert (
        out.startswith("huang2023: ")
        and "nlicl train huang2023:NAME: imbalanced, balanced" in out
        and "li2024" not in out
    )


def test_memory_that_is_not_there(run, monkeypatch):
    def starved(*_, **__):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("nlicl.audit.audit_paper", starved)
    cannot_run(run("audit"), "there is not enough memory: Unable to allocate 9 TiB; lower the sizes")


def test_the_bar_says_how_long_it_takes_yet(monkeypatch, capsys):
    from nlicl.cli.common import Bar

    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    clock = iter([100.0, 110.0, 110.0, 200.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    bar = Bar()
    for done, left in ((10, ""), (20, ", 16 minutes left"), (1010, ""), (11, ", 27 hours left")):
        bar(done, 1000 if done != 1010 else 1010, "loss 1")
        assert capsys.readouterr().err.endswith(f" loss 1{left}")


def test_papers(run):
    status, out, err = run("papers")
    assert (status, err) == (0, "")
    for word in ("li2024", "W_K_printed", "October 2024 slides", "erratum: W_Q^T p_query stands for W_Q p_query"):
        assert word in out


def test_doctor(run):
    status, out, err = run("doctor")
    assert (status, err) == (0, "")
    assert "gradient" in out and "All is as it should be." in out


def test_doctor_with_a_problem_has_status_1(run, monkeypatch):
    from nlicl.doctor import Finding

    monkeypatch.setattr("nlicl.doctor.examine", lambda: [Finding("PROBLEM", "cache", "gone", "make one")])
    status, out, _ = run("doctor")
    assert status == 1
    assert "1 to mend: cache." in out and "-> make one" in out


def test_interrupt(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nlicl.audit.audit_paper", interrupted)
    assert run("audit") == (130, "", "nlicl: interrupted\n")


def test_progress_is_for_terminals_only(run, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    status, out, err = run("audit", "--wrt", "a", *DRAWS)
    assert status == 0
    assert "0/3 a" in err and "negative control" in err
    assert "\x1b" not in out


# ---- Real processes


def process(*arguments, **more):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more.pop("env", {})}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=300, **more
    )


def test_version_and_help():
    done = process("-m", "nlicl", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"nlicl {nlicl.__version__}\n", "")
    done = process("-m", "nlicl", "audit", "--help")
    assert done.returncode == 0
    for option in ("--wrt", "--formula", "--draws", "--seed", "--json"):
        assert option in done.stdout


def test_statuses_of_a_process(appendix):
    wrong = process("-m", "nlicl", "audit", "--wrt", "W_V", "--formula", f"{appendix}:minus", *DRAWS)
    assert (wrong.returncode, wrong.stderr) == (1, "")
    missing = process("-m", "nlicl", "audit", "--wrt", "W_V", "--formula", "absent.py:grad")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == "nlicl: --formula absent.py:grad: there is no file absent.py\n"


def test_a_closed_pipe_is_quiet():
    """The reader has gone before the first line is written, as with `| head -1` on a slow day."""
    program = (
        f"import sys; sys.stdin.read(); sys.path.insert(0, {str(ROOT)!r})\n"
        "from nlicl.cli import main; sys.exit(main(['papers']))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child.stdout.close()
    child.stdin.close()
    error = child.stderr.read()
    child.stderr.close()
    assert (child.wait(timeout=300), error) == (0, "")


def test_a_file_that_never_finishes_importing(tmp_path, capsys):
    file = tmp_path / "endless.py"
    file.write_text("while True:\n    pass\n")
    assert main(["audit", "--formula", f"{file}:grad", "--wrt", "W_K", "--timeout", "1"]) == 2
    assert "does not finish within 1 s" in capsys.readouterr().err


@pytest.mark.parametrize("timeout", ["0", "-3", "nan"])
def test_time_limits_are_positive(timeout, tmp_path, capsys):
    assert main(["audit", "--formula", "a.py:f", "--wrt", "W_K", "--timeout", timeout]) == 2
    assert "--timeout" in capsys.readouterr().err


def test_a_folder_is_not_a_file_to_write(tmp_path, capsys):
    assert main(["audit", "--html", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_disk_is_one_line():
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom nlicl.cli import main; sys.exit(main(['papers']))"
    with open("/dev/full", "w") as full:
        child = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (child.returncode, child.stderr) == (2, "nlicl: the output cannot be written: No space left on device\n")
