"""How mends are asked for and shown: in the terminal, as data, on a page. The searches are made up."""

import copy
import difflib
import json
import pickle
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

import nlicl
from nlicl.audit import AuditReport, FormulaReport
from nlicl.audit.mend import DEFAULT_SECONDS, Change, Mending, Repair
from nlicl.audit.report.diff import rows
from nlicl.audit.report.gradient import ArgumentReport, GradientReport
from nlicl.audit.report.html import page
from nlicl.audit.report.mends import CAUTION
from nlicl.audit.report.search import Search
from nlicl.audit.report.table import table
from nlicl.cli.screen import Screen
from nlicl.core.interruption import Interrupted
from nlicl.core.text import INVISIBLE
from nlicl.papers import li2024

NASTY = "\u202ea<b>\x1b[31m\udcff\u2028\u200b\x9b\u2066\x07é∂ש&\nW_K       agree\r"
HIDDEN = re.compile(f"[{INVISIBLE}]")
AGREES = "on all 20 draws, and on 200 fresh ones"
BEFORE = "import numpy as np\n\n\ndef grad(params, prompt):\n    u = 1\n    return np.outer(W_Q.T @ q, u)\n"


def diff_of(before, after):
    lines = (text.splitlines(keepends=True) for text in (before, after))
    return "".join(difflib.unified_diff(*lines, "appendix.py", "appendix.py"))


def repair(*edits, file="appendix.py", function=None):
    """A mend of BEFORE, of edits (line, before, after)."""
    text = BEFORE
    for _, old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    changes = tuple(Change(line, old, new, file) for line, old, new in edits)
    return Repair(changes, diff_of(BEFORE, text), text, AGREES, function)


ONE = repair((6, "W_Q.T @ q", "W_Q @ q"))
TWO = repair((5, "1", "2"), (6, "W_Q.T", "W_Q"), file="")


class Run:
    """A search that counts how often it runs: it returns `found`, or what that returns, or raises it."""

    def __init__(self, found):
        self.found, self.progress = found, []

    def __call__(self, progress):
        self.progress.append(progress)
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found() if callable(self.found) else self.found


def formula(name="grad", verdict="disagree", kind=FormulaReport):
    return kind(name, "W_K", "eq", "appendix.py", "agree", None, 3, verdict=verdict)


def report_of(*found, names=("grad",)):
    """A report on wrong formulas, and the runs of its searches, one each."""
    runs = [Run(each) for each in found]
    searches = [Search((number,), run) for number, run in enumerate(runs)]
    return AuditReport("li2024", 0, 3, [formula(name) for name in names], searches), runs


def shown(*found, **more):
    """The lines of a report's text below its table."""
    report, _ = report_of(*found, **more)
    above = table(report)
    text = str(report)
    assert text.startswith(above)
    return text[len(above) :].lstrip("\n").split("\n")


def test_a_search_runs_when_it_is_asked_for_and_once():
    report, (run,) = report_of(Mending((ONE,)))
    assert (report.verdict, report.ok, bool(report)) == ("disagree", False, False)
    assert "disagree" in repr(report) and "not run yet" in repr(report.searches) and table(report)
    assert not run.progress
    for ask in (str, page, AuditReport.to_dict, lambda r: r.repairs, lambda r: r.mending, AuditReport.mended, str):
        ask(report)
        assert len(run.progress) == 1
    for ask in (str, page, AuditReport.to_dict, lambda r: r.repairs, lambda r: r.mending, AuditReport.mended):
        report, (run,) = report_of(Mending((ONE,)))
        ask(report)
        assert len(run.progress) == 1 and report.searches[0].done


def test_progress_is_handed_on():
    report, runs = report_of(Mending(), Mending(), names=("a", "b"))
    report.search(print)
    assert [run.progress for run in runs] == [[print], [print]]


def test_an_interrupted_search_runs_again():
    report, (run,) = report_of(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        str(report)
    assert not report.searches[0].done
    run.found = Mending((ONE,))
    assert report.repairs == [ONE]


def test_the_mended_function():
    right = repair((6, "W_Q.T @ q", "W_Q @ q"), function=np.sin)
    report, _ = report_of(Mending(note="nothing"), Mending((right, ONE)), names=("a", "b"))
    assert report.mended(0) is None and report.mended(1) is np.sin
    assert report.mended() is None and report.mending.note == "nothing" and report.repairs == [right, ONE]
    for wrong in (2, -1):
        with pytest.raises(ValueError, match="formula is"):
            report.mended(wrong)
    with pytest.raises(TypeError, match="formula is 'a'; expected an integer"):
        report.mended("a")
    nothing = AuditReport("li2024", 0, 3, [formula()])
    assert nothing.mended() is None and nothing.mended(0) is None
    assert (nothing.mending, nothing.repairs) == (Mending(), [])


def test_one_function_mends_all_arguments():
    right = repair((6, "W_Q.T @ q", "W_Q @ q"), function=np.sin)
    arguments = [formula(name, "agree" if name == "a" else "disagree", ArgumentReport) for name in "abc"]
    report = GradientReport("loss", 0, ["x"], arguments, "disagree", "wrong", [])
    report.searches = [Search((1, 2), Run(Mending((right,))))]
    assert report.mended() is report.mended(1) is report.mended(2) is np.sin and report.mended(0) is None
    a, b, c = report.to_dict()["arguments"]
    assert (a["repairs"], a["mend"]) == ([], None) and b["repairs"] == c["repairs"] != []


def test_a_report_can_be_pickled_and_copied():
    right = repair((6, "W_Q.T @ q", "W_Q @ q"), function=lambda: None)
    report, (run,) = report_of(Mending((right,), others=1))
    unsearched = pickle.loads(pickle.dumps(report))
    assert copy.copy(report.searches[0]) is report.searches[0]
    assert not run.progress and "before the search" in str(unsearched) and unsearched.mended() is None
    copies = copy.copy(report), copy.deepcopy(report)
    assert all(each.mended() is right.function for each in (report, *copies)) and len(run.progress) == 1
    stored = pickle.loads(pickle.dumps(report))
    assert stored.repairs == report.repairs and stored.mended() is None and str(stored) == str(report)
    assert report.mended() is right.function and stored == report


def test_one_change_is_one_line():
    assert shown(Mending((ONE,), others=2)) == [
        "mend, line 6 of appendix.py:  W_Q.T @ q  ->  W_Q @ q",
        f"    agrees {AGREES}",
        "2 other edits agree as well.",
        CAUTION,
    ]


def test_several_changes_and_several_mends():
    assert shown(Mending((TWO, ONE, TWO), others=1, note="the time was over")) == [
        "mend in 2 places:",
        "    line 5:  1  ->  2",
        "    line 6:  W_Q.T  ->  W_Q",
        f"    agrees {AGREES}",
        "or, line 6 of appendix.py:  W_Q.T @ q  ->  W_Q @ q",
        f"    agrees {AGREES}",
        "or in 2 places:",
        "    line 5:  1  ->  2",
        "    line 6:  W_Q.T  ->  W_Q",
        f"    agrees {AGREES}",
        "1 other edit agrees as well.",
        "The time was over.",
        CAUTION,
    ]


def test_at_most_three_mends_are_shown():
    lines = shown(Mending((ONE,) * 5, others=1))
    assert sum("->" in line for line in lines) == 3 and "3 other edits agree as well." in lines
    assert page(report_of(Mending((ONE,) * 5))[0]).count("W_Q @ q</code>") == 3


@pytest.mark.parametrize(
    ("old", "new"), [("    u = 1\n", ""), ("    u = 1", ""), ("    u = 1", "    u = 1\n    v = u")]
)
def test_lines_put_in_or_taken_out_are_shown_as_a_diff(old, new):
    lines = shown(Mending((repair((5, old, new)),)))
    assert lines[0] == "mend, line 5 of appendix.py:" and lines[1].startswith("    @@")
    assert ("    -    u = 1" in lines) == (new == "") and ("    +    v = u" in lines) == (new != "")
    assert not any("appendix.py" in line for line in lines[1:])


def test_why_there_is_none():
    assert shown(Mending(note="the source cannot be read")) == ["no mend: the source cannot be read."]
    assert shown(Mending()) == [""]


def test_searches_of_several_formulas_are_told_apart():
    lines = shown(Mending((ONE,)), Mending(note="nothing helps"), names=("first", "second"))
    assert lines == [
        "mend of first, line 6 of appendix.py:  W_Q.T @ q  ->  W_Q @ q",
        f"    agrees {AGREES}",
        "no mend of second: nothing helps.",
        CAUTION,
    ]


def test_the_data():
    report, _ = report_of(Mending((ONE, TWO), 4, 99, 1.5, "over"), names=("grad", "other"))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    wrong, other = data["formulas"]
    assert wrong["mend"] == {"others": 4, "tried": 99, "seconds": 1.5, "note": "over"}
    assert [each["line"] for each in wrong["repairs"]] == [6, 5] and len(wrong["repairs"][1]["changes"]) == 2
    first = {key: wrong["repairs"][0][key] for key in ("line", "before", "after", "file", "agrees")}
    assert first == {
        "line": 6, "before": "W_Q.T @ q", "after": "W_Q @ q", "file": "appendix.py", "agrees": AGREES,
    }  # fmt: skip
    assert wrong["repairs"][0]["diff"] == ONE.diff
    assert (other["repairs"], other["mend"]) == ([], None)


class Tags(HTMLParser):
    """What is open at the end, and the texts of some tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "path", "rect", "circle", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [data for inside, data in self.texts if inside == tag]


def test_the_page_shows_both_sides():
    report, _ = report_of(Mending((ONE, TWO), others=2, note="the time was over"))
    tags = Tags(page(report))
    assert not tags.open
    assert tags.of("del") == [
        "    return np.outer(W_Q.T @ q, u)",
        "    u = 1",
        "    return np.outer(W_Q.T @ q, u)",
    ]
    assert tags.of("ins")[0] == "    return np.outer(W_Q @ q, u)" and tags.of("code")[:2] == ["W_Q.T @ q", "W_Q @ q"]
    assert "   6 - " in tags.of("b") and "   6 + " in tags.of("b") and "   3   " in tags.of("b")
    said = tags.of("p")
    assert {f"It agrees {AGREES}.", "2 other edits agree as well.", "The time was over.", CAUTION, "or"} <= set(said)
    assert "flex-wrap: wrap" in page(report)


def test_a_page_without_searches_has_no_section_on_them():
    report, _ = report_of()
    assert 'id="m0"' not in page(report) and 'id="m0"' in page(report_of(Mending(note="none"))[0])
    assert 'id="m0"' not in page(report_of(Mending())[0])


def test_a_diff_side_by_side():
    numbers = "".join(f"{n}\n" for n in range(1, 31))
    after = numbers.replace("3\n", "three\nand more\n", 1).replace("\n25\n", "\n")
    first, second = rows(diff_of(numbers, after))
    changed = [row for row in first + second if row.changed]
    assert [tuple(row[:4]) for row in changed] == [
        (3, "3", 3, "three"),
        (None, None, 4, "and more"),
        (25, "25", None, None),
    ]
    for row in first + second:
        assert row.before is None or numbers.split("\n")[row.number - 1] == row.before
        assert row.after is None or after.split("\n")[row.new_number - 1] == row.after
    assert len(first) > 3 and rows("") == rows("no diff") == []


def test_a_line_that_looks_like_a_files_name():
    (hunk,) = rows(diff_of("a\n-- b\n", "a\n++ c\n"))
    assert [tuple(row[:4]) for row in hunk] == [(1, "a", 1, "a"), (2, "-- b", 2, "++ c")]


def test_nothing_of_a_mend_is_hidden():
    nasty = Repair((Change(1, NASTY, NASTY, NASTY),), f"--- a\n+++ b\n@@ -1 +1 @@\n-{NASTY}\n+{NASTY}", NASTY, NASTY)
    for one in (nasty, Repair((Change(1, NASTY[:-17], "x", NASTY),) * 2, "", NASTY, NASTY)):
        report, _ = report_of(Mending((one,), note=NASTY), Mending(note=NASTY), names=(NASTY, NASTY))
        text, html = str(report), page(report)
        assert not HIDDEN.search(text) and not HIDDEN.search(html) and "<b>\\x1b" not in html and r"\u202ea" in text
        assert not [line for line in text.splitlines() if line.startswith("W_K       agree")]
        assert not Tags(html).open
        text.encode(), html.encode()


def linear(x):
    return np.sum(3 * x)


def wrong(x):
    return 2 + 0 * x


X = np.array([0.4, -1.2])


@pytest.fixture
def hooks(monkeypatch):
    """The arguments of the searches that were made, in place of those made."""
    made = {}

    def replaced(module, name):
        def make(*arguments):
            made.setdefault(name, []).append(arguments)
            return Run(Mending((ONE,)))

        monkeypatch.setattr(f"nlicl.audit.{module}.{name}", make)

    replaced("functions.general", "gradient_search")
    replaced("functions.general", "files_search")
    replaced("run", "formula_search")
    return made


def test_a_gradient_is_searched_once_for_all_its_arguments(hooks):
    def loss(a, b, c):
        return a * b + c

    report = nlicl.audit_gradient(
        loss, lambda a, b, c: (b, 2 * a, 3.0), (0.4, 1.2, 2.0), names=("a", "b", "c"), points=[(0.3, 1.0, 2.5)], mend=2
    )
    ((audit, places, seconds),) = hooks["gradient_search"]
    assert [search.of for search in report.searches] == [(1, 2)] and seconds == 2.0
    assert audit.function.names == ["a", "b", "c"] and [float(a) for a in places[0]] == [0.3, 1.0, 2.5]
    assert "mend, line 6 of appendix.py" in str(report)
    with pytest.raises(AssertionError, match="mend, line 6 of appendix"):
        nlicl.assert_gradient(linear, wrong, X, mend=1)
    assert hooks["gradient_search"][1][1] is None


def test_what_agrees_or_is_not_to_be_searched_is_not(hooks):
    def hessian(x):
        return np.eye(2)

    assert nlicl.audit_gradient(linear, lambda x: 3 + 0 * x, X, mend=1).searches == []
    assert nlicl.audit_gradient(linear, wrong, X, mend=0).searches == []
    curved = nlicl.audit_gradient(lambda x: np.sum(x**3), lambda x: 3 * x**2, X, hessian=hessian, mend=1)
    assert (curved.verdict, curved.searches) == ("disagree", [])
    assert nlicl.audit_formula(li2024.formulas["a"], draws=2, mend=1).searches == []
    assert not hooks


@pytest.mark.mends
def test_a_search_takes_the_usual_limit_if_none_is_given(hooks):
    nlicl.audit_gradient(linear, wrong, X)
    assert hooks["gradient_search"][0][2] == DEFAULT_SECONDS > 0


def test_tests_do_not_search_by_surprise(hooks):
    assert nlicl.audit_gradient(linear, wrong, X).searches == []


def twice(params, prompt):
    return 2 * li2024.formulas["a"](params, prompt)


def test_formulas_are_searched(hooks):
    report = nlicl.audit_formula(twice, wrt="a", draws=2, query_attends=True, mend=3)
    ((judged, bench, attends, timeout, seconds, entry),) = hooks["formula_search"]
    assert (judged.function, attends, timeout, seconds) == (twice, True, None, 3.0)
    assert entry is report.formulas[0] and bench.draws == 2 and report.searches[0].of == (0,)
    assert nlicl.audit_formula(twice, wrt="a", draws=2, mend=0).searches == []


def test_of_a_paper_only_what_disagrees_unexpectedly_is_searched(hooks):
    from dataclasses import replace

    right = li2024.formulas["a"]
    known = replace(right, function=twice, name="known", expected="disagree", erratum="it is doubled")
    slip = replace(right, function=twice, name="slip")
    subject = replace(li2024.subject, formulas={each.name: each for each in (right, slip, known)})
    report = nlicl.audit.audit_paper(subject, draws=2, mend=3)
    names = [entry.name for entry in report.formulas]
    assert len(names) == len(set(names)) == 5 and names[-1] == "negative control"
    assert [search.of for search in report.searches] == [(names.index("slip"),)]
    ((judged, _, attends, timeout, seconds, entry),) = hooks["formula_search"]
    assert (judged, attends, timeout, seconds) == (slip, None, None, 3.0) and entry.name == "slip"
    assert nlicl.audit.audit_paper(subject, draws=2, mend=0).searches == []


@pytest.mark.parametrize("mend", [-1, float("nan"), float("inf"), "5", True, 1e12])
def test_other_limits_are_refused(mend):
    match = "mend is .*; expected a .*number of seconds at least 0, at most 10\\*\\*9, or None for the usual limit"
    with pytest.raises((TypeError, ValueError), match=match):
        nlicl.audit_gradient(linear, wrong, X, mend=mend)
    with pytest.raises((TypeError, ValueError), match=match):
        nlicl.assert_gradient(linear, wrong, X, mend=mend)
    with pytest.raises((TypeError, ValueError), match=match):
        nlicl.audit_formula(twice, wrt="a", draws=2, mend=mend)
    with pytest.raises((TypeError, ValueError), match=match):
        nlicl.audit.audit_paper(draws=2, mend=mend)


# the command line


@pytest.fixture
def audited(monkeypatch):
    """audited(found) -> a namespace with the settings that the command line hands on; its audit has a search for `found`."""

    def make(*found, names=("grad",)):
        report, runs = report_of(*found, names=names)
        seen = SimpleNamespace(runs=runs)

        def audit_paper(*_, **settings):
            seen.settings = settings
            return report

        monkeypatch.setattr("nlicl.audit.audit_paper", audit_paper)
        return seen

    return make


def test_the_command_prints_the_table_and_then_the_mends(run, audited):
    seen = audited(Mending((ONE,)))
    status, out, err = run("audit", "--mend", 2.5)
    report, _ = report_of(Mending((ONE,)))
    assert (status, err, out) == (1, "", f"{report}\n") and seen.settings["mend"] == 2.5
    assert seen.runs[0].progress[0] is not None
    for arguments in ((), ("--mend", 0)):
        assert run("audit", *arguments)[0] == 1
        assert seen.settings["mend"] == (0 if arguments else None)


def test_the_verdict_is_printed_before_the_search(run, audited, capsys, monkeypatch):
    printed, flushed = [], []
    usual = Screen.flush
    monkeypatch.setattr(Screen, "flush", lambda screen: (flushed.append(screen.must), usual(screen)))

    def looking():
        assert True in flushed  # standard output
        printed.append(capsys.readouterr().out)
        return Mending((ONE,))

    audited(looking)
    _, rest, _ = run("audit")
    assert printed == [table(report_of()[0]) + "\n"] and rest.startswith("\nmend, line 6")


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_files_have_the_mends(run, audited, tmp_path, option):
    found = Mending((ONE,))
    audited(found)
    assert run("audit", option, tmp_path / "report")[0] == 1
    text = (tmp_path / "report").read_text(encoding="utf-8")
    audited(found)
    status, out, _ = run("audit", option, "-")
    assert (status, out) == (1, text) and "W_Q @ q" in text and "mend, line" not in text
    if option == "--json":
        assert json.loads(text)["formulas"][0]["repairs"][0]["after"] == "W_Q @ q"


def of_numba():
    error = SystemError("CPUDispatcher(<function merge>) returned a result with an exception set")
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(("error", "expected"), [(KeyboardInterrupt(), 130), (of_numba(), 130), (Interrupted(15), 143)])
def test_ctrl_c_keeps_the_verdict(run, audited, tmp_path, error, expected):
    audited(error)
    status, out, err = run("audit", "--json", tmp_path / "a.json", "--html", tmp_path / "a.html")
    report, _ = report_of()
    assert (status, out, err) == (expected, table(report) + "\n", "nlicl: interrupted\n")
    entry = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["formulas"][0]
    assert (entry["verdict"], entry["repairs"], entry["mend"]) == ("disagree", [], None)
    report.call = "nlicl audit"
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == page(report)
    audited(error)
    status, out, _ = run("audit", "--json", "-")
    assert status == expected and json.loads(out)["formulas"][0]["repairs"] == []


def test_what_was_found_before_ctrl_c_is_written(run, audited, tmp_path):
    audited(Mending((ONE,)), KeyboardInterrupt(), names=("first", "second"))
    assert run("audit", "--json", tmp_path / "a.json")[0] == 130
    first, second = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["formulas"]
    assert len(first["repairs"]) == 1 and second["mend"] is None


@pytest.mark.parametrize("mend", ["-1", "nan", "inf", "-0.5", "1e10", "x", ""])
def test_other_limits_are_refused_in_a_line(run, audited, mend):
    audited(Mending())
    status, out, err = run("audit", f"--mend={mend}")
    assert (status, out) == (2, "") and err.startswith("nlicl: ") and err.count("\n") == 1 and "--mend" in err


def test_the_help_says_the_limit():
    from nlicl import cli

    commands = next(action for action in cli._parser()._actions if action.choices)
    (mend,) = (action for action in commands.choices["audit"]._actions if action.dest == "mend")
    assert f"default {DEFAULT_SECONDS:g};" in mend.help


CODE = "import numpy as np\n\nx0 = np.ones(2)\n\ndef loss(x):\n    return np.sum(3 * x)\n\ndef grad(x):\n    return 0 * x\n"


def test_functions_and_formulas_in_files(run, tmp_path, monkeypatch, hooks):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text(CODE)
    status, out, _ = run("audit", "code.py:loss", "--gradient", "grad", "--at", "x0", "--mend", 2)
    assert status == 1 and "\n\nmend, line 6 of appendix.py" in out
    ((files, audit, _, timeout, seconds),) = hooks["files_search"]
    assert files.loss.name == "loss" and audit.function.names == ["x"] and (timeout, seconds) == (60.0, 2.0)
    assert "mend" not in run("audit", "code.py:loss", "--gradient", "grad", "--at", "x0", "--mend", 0)[1]
    (tmp_path / "formula.py").write_text("def grad(params, prompt):\n    return 0 * params.a\n")
    ours = ("audit", "--formula", "formula.py:grad", "--wrt", "a", "--draws", 2)
    status, out, _ = run(*ours, "--mend", 2)
    assert status == 1 and "\n\nmend, line 6 of appendix.py" in out
    ((judged, _, _, timeout, seconds, _),) = hooks["formula_search"]
    assert (judged.name, timeout, seconds) == ("grad", 60.0, 2.0)
