"""The pages run, and their links lead somewhere. Every ```python block of README.md and docs/*.md is executed, the blocks of a
page in one namespace.

```python                          run
```python no-run                   not run
```python no-run from FILE         not run; its lines must stand in FILE, in this order
```text                            not looked at, but for the audit's tables in README.md and docs/first-audit.md
```text checked                    what the block before it prints, up to rounding in the numbers
"""

import contextlib
import io
import linecache
import re
from typing import NamedTuple

import pytest
from child import ROOT
from printed import differs

from nlicl.cli import main
from nlicl.core.registry import MODELS, PAPERS

# Pages that train for seconds.
TRAIN = ("docs/bu2024.md", "docs/huang2023.md", "docs/theorems-huang2023.md", "docs/training.md")
PAGES = [
    pytest.param(path, id=name, marks=[pytest.mark.slow] * (name in TRAIN))
    for path in [*ROOT.glob("README.md"), *sorted(ROOT.glob("docs/*.md"))]
    if (name := path.relative_to(ROOT).as_posix())
]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def registers_as_they_were():
    """A page that registers a paper of its own leaves none to other tests."""
    for register in (PAPERS, MODELS):
        register.load_own()  # once out of a register, what is imported already does not come back
    before = [(register, dict(register._things)) for register in (PAPERS, MODELS)]
    yield
    for register, things in before:
        register._things.clear()
        register._things.update(things)


class Block(NamedTuple):
    """One fenced block: its info string, its text, and the line of the page its text begins at."""

    info: str
    text: str
    line: int


def blocks(page):
    return [
        Block(" ".join(found["info"].split()), found["text"], page.count("\n", 0, found.start("text")) + 1)
        for found in FENCE.finditer(page)
    ]


def run(page, name):
    """Run the blocks of a page; `name` is what tracebacks and messages call it, with the page's own line numbers."""
    names, printed = {"__name__": "page"}, None
    source = page.count("\n") * ["\n"]
    linecache.cache[name] = (len(page), None, source, name)  # as a notebook does: the audit reads functions' sources
    for block in blocks(page):
        if block.info == "python":
            code = compile("\n" * (block.line - 1) + block.text, name, "exec")
            lines = [f"{line}\n" for line in block.text.split("\n")[:-1]]
            source[block.line - 1 : block.line - 1 + len(lines)] = lines
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(code, names)
            printed = output.getvalue()
        elif block.info == "text checked":
            assert printed is not None, (
                f"{name}, line {block.line}: nothing has been printed that it could be held against"
            )
            difference = differs(printed, block.text)
            assert difference is None, f"{name}, line {block.line}: {difference}; it prints\n{printed}"
        elif block.info.startswith("python no-run from "):
            misquoted(block, name)


def misquoted(block, name):
    """A quotation's lines must stand in the file, in order; `...` stands for lines left out."""
    file = block.info.removeprefix("python no-run from ")
    lines = iter(" ".join(line.split()) for line in (ROOT / file).read_text(encoding="utf-8").splitlines())
    for number, line in enumerate(block.text.splitlines(), block.line):
        wanted = " ".join(line.split())
        assert wanted in ("", "...") or wanted in lines, f"{name}, line {number}: {file} has no line {wanted!r} here"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_and_prints_what_it_shows(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a page may write files
    monkeypatch.setattr(linecache, "cache", dict(linecache.cache))
    run(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())


APPENDIX = ("audit", "li2024", "--formula", "appendix.py:grad", "--wrt", "W_K")
FIRST = "docs/first-audit.md"
AUDITS = [  # the page, which of its tables, the command, its exit status, and what is changed in the formula shown there
    pytest.param(FIRST, 0, ("audit", "li2024"), 0, {}, id="paper", marks=pytest.mark.slow),
    pytest.param(FIRST, 1, APPENDIX, 0, {}, id="right"),
    pytest.param(FIRST, 2, APPENDIX, 2, {"np.outer(W_Q @ p_query": "np.outer(W_Q.T @ p_query"}, id="wrong"),
    pytest.param("README.md", 0, APPENDIX, 1, {}, id="README"),
]
ROUNDED = re.compile(r"\b(1\d\.\d|\d\.\de-(0[6-9]|1\d))\b")  # correct digits; errors near rounding, others elsewhere


# The negative control is off by a part in a million on every draw: rounding decides which draw is the worst.
OF_CONTROL = re.compile(r"(?<=; see the worst one\n) +worst entry .*\n")


@pytest.mark.compiled
@pytest.mark.skipif(not PAGES, reason="installed: there is no README.md")
@pytest.mark.parametrize(("name", "number", "arguments", "expected", "changes"), AUDITS)
def test_a_page_shows_what_the_audit_says(name, number, arguments, expected, changes, tmp_path, monkeypatch, capsys):
    page = blocks((ROOT / name).read_text(encoding="utf-8"))
    tables = [block.text for block in page if block.text.startswith("nlicl audit ")]
    (code,) = (block.text for block in page if block.text.startswith("import numpy as np\n\ndef grad("))
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    (tmp_path / "appendix.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert len(tables) == sum(each.values[0] == name for each in AUDITS)
    assert main([*arguments]) == expected
    printed = "".join(capsys.readouterr())
    difference = differs(*(ROUNDED.sub("~", OF_CONTROL.sub("", text)) for text in (printed, tables[number])))
    assert difference is None, f"{name}: {difference}"


LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(text):
    """What a link to a heading of this page may say, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


MADE = (
    "sections",
    "reference",
)  # folders that a build of the site writes, and git ignores; test_site.py has their links
LINKED = [
    *ROOT.glob("*.md"),
    *(path for path in sorted(ROOT.glob("docs/**/*.md")) if path.parent.name not in MADE),
    *ROOT.glob("bench/*.md"),
]


@pytest.mark.parametrize("path", LINKED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for target, heading in LINK.findall(re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)):
        if target.startswith(("http://", "https://")):
            continue
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{path.name}: {target} is not there"
        assert not heading or heading in anchors(there.read_text(encoding="utf-8")), (
            f"{path.name}: {target} has no heading {heading}"
        )


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {target for target, _ in LINK.findall(index)}
    assert {path.name for path in ROOT.glob("docs/*.md")} - {"index.md"} <= linked


def test_the_readme_is_of_one_screen_and_a_half():
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 120


SHOWN = "x is 0.66666667 1e-16 [7]"
PAGE = f"""\
```python
x = 2 / 3
print("x is", x, 3e-17, [7])
```

```text checked
{SHOWN}
```

```python no-run
raise ValueError
```
"""


SOURCE = """\
```python
import inspect

def f():  # of two lines
    return 1

assert inspect.getsource(f) == "def f():  # of two lines\\n    return 1\\n"
```
"""


def test_this_machinery_reads_pages(monkeypatch):
    monkeypatch.setattr(linecache, "cache", {})
    assert [block.info for block in blocks(PAGE)] == ["python", "text checked", "python no-run"]
    run(PAGE, "PAGE")
    run("", "an empty page")
    run(f"{PAGE}{SOURCE}", "a page with a function")
    run("```sh\nfalse\n```\n```text\nanything\n```\n", "a page without Python")


WRONG = [
    "x is 0.6667 1e-16 [7]",
    "x is 0.66666667 1e-7 [7]",
    "x is 0.66666667 1e-16 [8]",
    "x was 0.66666667 1e-16 [7]",
    "",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_this_machinery_sees_wrong_output(wrong):
    with pytest.raises(AssertionError, match="PAGE, line 7: "):
        run(PAGE.replace(SHOWN, wrong), "PAGE")


def test_this_machinery_sees_a_failing_block_and_says_where():
    with pytest.raises(ZeroDivisionError) as caught:
        run("text\n\n```python\nx = 1\nx / 0\n```\n", "PAGE")
    assert (str(caught.traceback[-1].path), caught.traceback[-1].lineno + 1) == ("PAGE", 5)


def test_this_machinery_sees_a_wrong_quotation():
    quote = "```python no-run from tests/helpers/printed.py\nNOISE = 1e-12  # a printed\n```\n"
    with pytest.raises(AssertionError, match=r"PAGE, line 2: .* has no line"):
        run(quote, "PAGE")
    run("```python no-run from tests/docs/test_docs.py\nimport io\n...\nimport pytest\n```\n", "PAGE")
