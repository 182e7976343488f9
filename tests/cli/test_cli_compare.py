"""`nlicl compare`: pages from stored results, and one line for everything that is none."""

import json
from dataclasses import replace

import pytest
from stored import RECIPES, figure, store

from nlicl.experiments import distance
from nlicl.experiments.distance import distances


@pytest.fixture(autouse=True)
def recipes(monkeypatch):
    monkeypatch.setattr(distance, "recipes_of", lambda paper: RECIPES if paper == "li2024" else {})


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = [claim for claim in figure().claims if claim.holds]
    return store(tmp_path / "one", figure(claims=good)), store(tmp_path / "two", figure("li2024-b"))


def test_the_page_goes_to_standard_output_or_to_a_file(run, results, tmp_path):
    expected = distances([figure("li2024-b"), figure(claims=[claim for claim in figure().claims if claim.holds])])
    assert run("compare", *results) == (1, expected, "")  # claims of the second do not hold
    status, out, err = run("compare", *results, "--out", "page.md")
    assert (status, out, err) == (
        1,
        "page.md: 2 figures; 2 of 4 claims about the papers' own figures and texts hold.\n",
        "",
    )
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == expected
    status, out, err = run("compare", results[0], "--out", "page.md")
    assert (status, out) == (0, "page.md: 1 figure; 1 of 1 claims about the papers' own figures and texts hold.\n")


def test_results_are_kept_without_curves(run, results, tmp_path):
    status, page, err = run("compare", *results, "--keep", "small/kept")
    assert (status, err) == (1, "")
    assert run("compare", "small/kept") == (1, page, "")
    for folder, name in zip(results, ("li2024-a.json", "li2024-b.json"), strict=True):
        whole, kept = (json.loads((where / name).read_text()) for where in (folder, tmp_path / "small" / "kept"))
        assert kept == {**whole, "series": [], "reference": []}
    assert run("compare", "small/kept", "--keep", "small/kept") == (1, page, "")  # in its place


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: DIR"),
        (["nowhere"], "nowhere: No such file or directory; expected a folder with results"),
        (["file"], "file: Not a directory; expected a folder with results"),
        (["empty"], "empty: holds no results (*.json); make some by nlicl reproduce PAPER --out empty"),
        (["one", "empty"], "empty: holds no results"),
        ([""], "is empty; expected the name of a folder"),
        (["one", "one"], "'li2024-a' is there twice"),
        (["damaged"], "damaged/li2024-a.json is damaged: it is no JSON"),
        (["older"], "older/li2024-a.json has format 0; this nlicl reads 1. Make it again by nlicl reproduce"),
        (["other"], "other/x.json is no figure of nlicl reproduce; expected one. Move it to another folder"),
        (["strange"], "'li2024-z' is a figure of no paper; nlicl papers lists"),
        (["one", "--out", "nowhere/page.md"], "--out nowhere/page.md: there is no folder nowhere; make it first"),
        (["one", "--out", "empty"], "--out empty: is a folder; expected the name of a file"),
        (["one", "--keep", "file"], "is no folder; expected the name of a folder"),
        (["damaged", "--out", "page.md", "--keep", "kept"], "damaged/li2024-a.json is damaged"),
        (["one", "one", "--out", "page.md", "--keep", "kept"], "'li2024-a' is there twice"),
    ],
)
def test_what_cannot_be_compared(run, results, tmp_path, arguments, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for folder, name, content in [
        ("damaged", "li2024-a.json", "{"),
        ("older", "li2024-a.json", json.dumps({**figure().to_dict(), "format": 0, "series": [], "reference": []})),
        ("other", "x.json", "[]"),
    ]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
    store(tmp_path / "strange", figure("li2024-z"))
    status, out, err = run("compare", *arguments)
    assert (status, out) == (2, "") and said in err and err.count("\n") == 1
    assert not (tmp_path / "page.md").exists() and not list(tmp_path.glob("kept/*"))


def test_a_folder_that_cannot_be_written_to_is_one_line(run, results, monkeypatch):
    def full(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nlicl.core.files.write_whole", full)
    status, _, err = run("compare", "one", "--out", "page.md")
    assert (status, err) == (2, "nlicl: --out page.md: Permission denied\n")
    status, _, err = run("compare", "one", "--keep", "kept")
    assert (status, err) == (2, "nlicl: --keep kept: Permission denied\n")


def test_a_text_of_others_hides_nothing(run, results, tmp_path):
    nasty = figure("li2024-b", settings={"\u202eeta\x1b[2J": ["\n| x", "ours"]})
    store(tmp_path / "two", replace(nasty, claims=[]))
    _, out, _ = run("compare", "two")
    assert r"\u202eeta\x1b[2J = | x" in out and "\x1b" not in out and "\u202e" not in out
