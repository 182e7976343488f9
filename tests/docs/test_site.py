"""The site: it is built without a warning, its links lead somewhere, it needs no network, and it has what it should have."""

import html.parser
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from calls import public
from child import ROOT

import nlicl
from nlicl import papers
from nlicl.cli import _parser
from nlicl.experiments.registry import figures

pytest.importorskip("sphinx", reason="the extra docs is not installed")
DOCS = ROOT / "docs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DOCS.exists(), reason="installed: there are no pages"),
]
LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src", "iframe": "src"}


class Page(html.parser.HTMLParser):
    """What a page links to, what can be linked to on it, and its text."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.anchors, self.texts = [], [], {"", "top"}, []
        self.prose, self._blocks = [], 0  # texts outside of blocks of code
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self._blocks += tag == "pre"
        self.anchors.update(filter(None, (found.get("id"), found.get("name"))))
        target = found.get(LINKS.get(tag, ""))
        if target and found.get("rel") not in ("canonical", "index", "search"):
            self.links.append(target)
            if tag != "a":
                self.loads.append(target)

    def handle_endtag(self, tag):
        self._blocks -= tag == "pre"

    def handle_data(self, data):
        self.texts.append(data)
        if not self._blocks:
            self.prose.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built from nothing: a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-j", "2", "-d", str(out / "trees")]
    done = subprocess.run([*command, "docs", str(out / "html")], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return out / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {
        path: Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }


def broken(pages):
    """Links within the site that lead nowhere: (page, link)."""
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.is_file() or (there in pages and unquote(parts.fragment) not in pages[there].anchors):
                yield path.name, link


def test_links_within_the_site_lead_somewhere(pages):
    assert len(pages) > 60 and sum(len(page.links) for page in pages.values()) > 5000
    assert list(broken(pages)) == []


def test_a_broken_link_is_seen(tmp_path):
    (tmp_path / "b.html").touch()
    texts = {"a.html": '<a href="b.html#c">', "b.html": '<a href="a.html"><img src="x.png"><p id="d"><a href="#d">'}
    found = {tmp_path / name: Page(text) for name, text in texts.items()}
    (tmp_path / "a.html").touch()
    assert list(broken(found)) == [("a.html", "b.html#c"), ("b.html", "x.png")]


def test_nothing_is_fetched(pages):
    """Neither scripts nor styles nor pictures come from elsewhere."""
    assert [
        (path.name, each)
        for path, page in pages.items()
        for each in page.loads
        if urlsplit(each).scheme not in ("", "data")
    ] == []


def test_the_landing_page(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    for expected in ("<math", "appendix.py", "DISAGREE", "li2024-fig2b.png", "Find your way"):
        assert expected in text
    assert (site / "searchindex.js").stat().st_size > 100_000


def test_every_page_of_docs_is_there(site):
    names = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.glob("**/*.md")]
    names += [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.glob("notebooks/*.ipynb")]
    assert [str(name) for name in names if not (site / name).exists()] == []


def test_every_public_name_is_documented(pages):
    documented = {anchor for page in pages.values() for anchor in page.anchors if anchor.startswith("nlicl.")}
    assert {f"nlicl.{name}" for name in nlicl.__all__} - documented == {"nlicl.__version__"}
    last_parts = {anchor.rpartition(".")[2] for anchor in documented}
    missing = {name for name in public() if name.rpartition(".")[2] not in last_parts}
    assert {name for name in missing if "._" not in name} == set()  # __getitem__ and the like are told in the text


def test_every_command_and_option_is_there(site):
    text = "".join(Page((site / "reference" / "commands.html").read_text(encoding="utf-8")).texts)
    (commands,) = (action.choices for action in _parser()._actions if isinstance(action.choices, dict))
    for name, command in commands.items():
        assert f"nlicl {name}" in text
        for option in command._option_string_actions:
            assert option in text


def test_every_stored_figure_is_in_the_gallery(pages, site):
    gallery = pages[site / "sections" / "gallery.html"]
    shown = {Path(link).name for link in gallery.loads}
    assert {path.name for path in DOCS.glob("figures/*.png")} <= shown
    text = "".join(gallery.texts)
    for paper in papers.names():
        for name in figures(paper):
            assert f"nlicl reproduce {paper}:{name}" in text


def test_formulas_are_typeset(pages):
    """No LaTeX is left in the text of a page, but for blocks of code."""
    for path, page in pages.items():
        if path.parent.name != "api":
            assert re.findall(r"\\(?:mathrm|sum|frac|begin|qquad)\b", "".join(page.prose)) == [], path.name


def test_citations_agree_with_the_file():
    """docs/citing.md and CITATION.cff name the same papers, with the same years and addresses."""
    entries = re.findall(r"^```bibtex\n(.*?)^```", (DOCS / "citing.md").read_text(encoding="utf-8"), re.M | re.S)
    fields = [dict(re.findall(r"^ +(\w+) += \{+(.*?)\}+,$", entry, re.M)) for entry in entries]
    cited = {(each["title"], each["year"], each["url"], each["booktitle"]) for each in fields if "booktitle" in each}
    parts = (ROOT / "CITATION.cff").read_text(encoding="utf-8").partition("references:")
    keys = ("title", "year", "url", "collection-title")
    references = [
        tuple(re.search(rf'^ *{key}: "?(.*?)"?$', part, re.M)[1] for key in keys)
        for part in parts[2].split("- type:")[1:]
    ]
    assert cited == set(references)
    own = dict(re.findall(r'^(title|version|license): "?(.*?)"?$', parts[0], re.M))
    assert own.items() <= fields[0].items()
