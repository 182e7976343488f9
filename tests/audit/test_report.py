"""The report as data and as a page: valid, self-contained, whole or not at all."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import nlicl
from nlicl.audit.report.html import page
from nlicl.core.files import write_whole
from nlicl.papers import li2024


@pytest.fixture(scope="module")
def right():
    return nlicl.audit_formula(li2024.formulas["W_K"], draws=6)


@pytest.fixture(scope="module")
def wrong():
    def grad(params, prompt):
        """<script>alert("& this is not a formula")</script>"""
        return -2 * li2024.formulas["W_O"](params, prompt)

    return nlicl.audit_formula(grad, wrt="W_O", draws=6)


class _Tags(HTMLParser):
    """Opening and closing tags match; collects what there is."""

    void = frozenset({"meta", "br", "circle", "path", "rect", "wbr"})

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        self.attributes += attributes
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag


@pytest.mark.parametrize("which", ["right", "wrong"])
def test_the_page_is_whole_and_self_contained(which, request):
    text = page(request.getfixturevalue(which))
    tags = _Tags()
    tags.feed(text)
    assert not tags.open
    assert {"table", "svg", "figure"} <= tags.seen
    assert not {"script", "link", "img", "iframe"} & tags.seen
    for name, value in tags.attributes:
        assert name not in ("src", "onclick") and not (name == "href" and not value.startswith("#"))
    assert "url(" not in text and "@import" not in text


def test_the_page_says_what_the_report_says(wrong, right):
    text = page(wrong)
    assert "&lt;script&gt;" in text  # the reader's own words are escaped
    assert "<pre" in text and "return -2 * li2024" in text  # and so is the formula itself
    assert "-2 times" in text and "disagree" in text and "Worst entry" in text
    assert re.search(r"<math", page(right))


def test_the_json_is_json(wrong, tmp_path):
    wrong.to_json(tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text())
    assert data == json.loads(json.dumps(wrong.to_dict()))
    assert data["formulas"][0]["diagnosis"] == [
        {
            "kind": "scale",
            "detail": "the given gradient is -2 times the expected one, on every entry of every draw; 2 is also beta",
        }
    ]


def test_nan_does_not_break_json_or_page(tmp_path):
    report = nlicl.audit_formula(lambda params, prompt: params.a * np.nan, wrt="a", draws=3)
    report.to_json(tmp_path / "r.json")
    json.loads((tmp_path / "r.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    report.to_html(tmp_path / "r.html")
    assert "nan" in (tmp_path / "r.html").read_text()


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    path.write_text("before")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_is_true_only_if_all_is_as_expected(right, wrong):
    assert right
    assert right.check() is right
    assert not wrong
    with pytest.raises(AssertionError, match="-2 times"):
        wrong.check()
