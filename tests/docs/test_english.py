"""The pages are in plain English: sentences that are short, and numbers with their leading zero."""

import pytest
from child import ROOT
from english import point_first, sentences, words

LONGEST = 30
HOW_TO = (
    "README.md",
    "CONTRIBUTING.md",
    "bench/README.md",
    "docs/index.md",
    "docs/first-audit.md",
    "docs/audit-gradient.md",
    "docs/mending.md",
    "docs/models.md",
    "docs/reproduce.md",
    "docs/training.md",
    "docs/sweeps.md",
    "docs/laws.md",
    "docs/clusters.md",
    "docs/cuda.md",
    "docs/adding-a-paper.md",
)
PAGES = [*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/**/*.md")), *ROOT.glob("bench/*.md")]

pytestmark = pytest.mark.skipif(not PAGES, reason="installed: there are no pages")


def too_long(text):
    """The sentences of a page that have too many words, each with their number."""
    return [f"{words(sentence)} words: {sentence}" for sentence in sentences(text) if words(sentence) > LONGEST]


@pytest.mark.parametrize("name", HOW_TO)
def test_no_sentence_is_too_long(name):
    assert too_long((ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_numbers_have_their_leading_zero(path):
    """0.48, not .48: in prose, in tables and in the output of commands."""
    assert point_first(path.read_text(encoding="utf-8")) == []


LONG = "One " + 29 * "word " + "more."
PAGE = f"""\
# A heading without a full stop
The first `x = 1. Y` sentence, by Author et al. 2024, has $a. B$ in it. See [the second](page.md#it)!

- An item,
  in two lines
- Another: *one*. (And two.)

| a table | {LONG} |
|---|---|

```text
{LONG}
```

$$
{LONG}
$$

    {LONG}

The last.
"""


def test_this_machinery_reads_sentences():
    assert sentences(PAGE) == [
        "A heading without a full stop",
        "The first Code sentence, by Author et al 2024, has Code in it.",
        "See the second!",
        "An item, in two lines",
        "Another: *one*.",
        "(And two.)",
        "The last.",
    ]
    assert [words(sentence) for sentence in ("W_Q is 3.5 times as large.", "a-b's")] == [5, 1]
    assert too_long(PAGE) == []


def test_this_machinery_sees_a_long_sentence():
    assert too_long(f"It is short. {LONG}\nThis is as well.\n") == [f"31 words: {LONG}"]


@pytest.mark.parametrize("wrong", ["is .48", "| -.48 |", "(.5", "```text\nmean .48\n```", "[.4, 2]", ".5 to 1", "~.5"])
def test_this_machinery_sees_a_number_without_its_zero(wrong):
    assert len(point_first(f"A page: 0.5.\n\n{wrong}\n")) == 1
    assert point_first("0.48 of v1.2.3, `.48`, [x](.5), *.json, ...5, m.25\n\n```python\nx = .5\n```\n") == []
