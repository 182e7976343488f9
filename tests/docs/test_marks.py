"""Marks of provenance on the pages: whoever meets one finds what it means, on the page or one link away."""

import re

import pytest
from child import ROOT

from nlicl.experiments.page import legend
from nlicl.papers.provenance import MEANINGS

PAGES = {path.relative_to(ROOT).as_posix(): path for path in [*ROOT.glob("README.md"), *sorted(ROOT.glob("docs/*.md"))]}
WITH_TABLE = ("docs/bu2024.md", "docs/huang2023.md", "docs/li2024.md")
ROW = re.compile(r"^\| \[([\w ]+)\] \| (.+?) \|$", re.MULTILINE)


def prose(text):
    """A page without its blocks of code and of output."""
    return re.sub(r"^```.*?^```[ ]*$", "", text, flags=re.MULTILINE | re.DOTALL)


def used(text):
    """The marks in brackets, outside of tables of marks."""
    return set(re.findall(r"^\| \[([\w ]+)\]", "\n".join(legend(ROW.sub("", prose(text)))), re.MULTILINE))


def given(text):
    """mark -> meaning, of a page's table."""
    return dict(ROW.findall(text))


def linked(path, text):
    """The texts of the pages that a page links to."""
    names = re.findall(r"\]\(([\w./-]+\.md)(?:#[\w-]*)?\)", text)
    return [found.read_text(encoding="utf-8") for name in names if (found := path.parent / name).is_file()]


@pytest.mark.parametrize("name", PAGES)
def test_the_meaning_of_every_mark_is_given(name):
    text = PAGES[name].read_text(encoding="utf-8")
    explained = set(given(text)).union(*map(given, linked(PAGES[name], text)))
    assert used(text) - explained == set()


@pytest.mark.skipif(not PAGES, reason="installed: there are no pages")
@pytest.mark.parametrize("name", WITH_TABLE)
def test_the_page_of_a_paper_says_what_a_quotation_is(name):
    """In the words that the mark is defined by; more may follow."""
    table = given(PAGES[name].read_text(encoding="utf-8"))
    assert table["quoted"].startswith(MEANINGS["quoted"])
    assert set(table) <= set(MEANINGS)


def test_this_machinery_sees_marks():
    text = "It is so [paper], or so [form recalled; signs derived]; l = 20 [summary, weakly].\n\n```text\n[measured]\n```\n"
    assert used(text) == {"paper", "recalled", "derived", "summary"}
    assert used("[the paper's page](li2024.md), [ours](x.md), [W_Q], [as in the paper's], paper") == set()
    table = "| mark | means |\n|---|---|\n| [set here] | chosen here |\n| [paper] | read there |\n"
    assert given(table) == {"set here": "chosen here", "paper": "read there"} and used(table) == set()
    assert used(f"{table}\n[set here]") == {"set here"}


def test_this_machinery_follows_links(tmp_path):
    (tmp_path / "b.md").write_text("| [paper] | read |\n")
    assert linked(tmp_path / "a.md", "[b](b.md#marks), [c](c.md), [d](https://x/d.md)") == ["| [paper] | read |\n"]


NUMBERED = ["docs/onenn2024.md", "docs/zhang2025.md", "docs/figures/onenn2024.md", "docs/figures/zhang2025.md"]
NUMBERED += [name for name in PAGES if name.startswith("docs/theorems-")]


@pytest.mark.parametrize("name", NUMBERED)
def test_numbers_have_their_leading_zero(name):
    """0.48, not .48: outside of blocks, whose text is the command line's, and of code."""
    text = re.sub(r"^    .*$|`[^`\n]*`", "", prose((ROOT / name).read_text(encoding="utf-8")), flags=re.MULTILINE)
    assert re.findall(r"(?<![\w.)\]])\.\d+", text) == []
