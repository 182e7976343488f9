"""The notebooks run from the top, and show what they have stored."""

import importlib.util
import itertools
import json
import os
import re

import pytest
from child import ROOT
from printed import differs

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
if not NOTEBOOKS:
    pytest.skip("installed: the notebooks lie in a checkout", allow_module_level=True)
IDS = [path.stem for path in NOTEBOOKS]
MUST = os.environ.get("NLICL_TEST_NOTEBOOKS") == "must"
LACKING = [name for name in ("nbclient", "nbformat", "ipykernel", "pandas") if importlib.util.find_spec(name) is None]
LINK = re.compile(r"\]\(([^)#\s]+)")


def script():
    """The module that runs and stores them."""
    found = importlib.util.spec_from_file_location("execute_notebooks", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_there_are_four():
    assert len(NOTEBOOKS) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_a_notebook_is_small_and_in_order(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert path.stat().st_size < 400_000
    assert [cell["id"] for cell in notebook["cells"]] == [f"cell-{n:02}" for n in range(1, len(notebook["cells"]) + 1)]
    levels = [len(marks) for text in cells(path, "markdown") for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(next_ - level <= 1 for level, next_ in itertools.pairwise(levels))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_a_notebook_was_executed_and_nothing_failed(path):
    code = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data", "execute_result"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_links_of_a_notebook_lead_somewhere(path):
    for text in cells(path, "markdown"):
        for target in LINK.findall(text):
            assert target.startswith("https://") or (FOLDER / target).resolve().exists(), target


def test_every_notebook_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert not [path.name for path in NOTEBOOKS if f"(notebooks/{path.name})" not in index]


def held(path, stored):
    """Run a notebook; how its texts differ from those of `stored`, a list of cell and difference."""
    run = script()
    texts = run.texts(run.execute(run.read(path)))
    pairs = enumerate(zip(texts, run.texts(stored), strict=True), 1)
    return [(number, difference) for number, (got, shown) in pairs if (difference := differs(got, shown))]


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.skipif(bool(LACKING) and not MUST, reason=f"without {', '.join(LACKING)}: pip install '.[notebook]'")
@pytest.mark.filterwarnings("default")  # those of Jupyter's packages are no concern of ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_a_notebook_runs_and_shows_what_it_has_stored(path, monkeypatch):
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert not script().local(stored)
    assert not held(path, stored)


@pytest.mark.slow
@pytest.mark.skipif(bool(LACKING) and not MUST, reason=f"without {', '.join(LACKING)}: pip install '.[notebook]'")
@pytest.mark.filterwarnings("default")
def test_this_machinery_sees_another_output_and_a_failing_cell(tmp_path):
    import nbformat
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('x is', 1 / 3)\n2 + 2")])
    nbformat.write(notebook, tmp_path / "small.ipynb")
    stored = script().execute(script().read(tmp_path / "small.ipynb"))
    assert script().texts(stored) == ["x is 0.3333333333333333\n4"]
    assert not held(tmp_path / "small.ipynb", stored)
    stored.cells[0].outputs[0].text = "x is 0.3334"
    assert held(tmp_path / "small.ipynb", stored)[0][0] == 1
    stored.cells[0].outputs[0].text = "at 0x7f12ab34 in /tmp/a"
    assert script().local(stored) == ["0x7f12ab34", "/tmp/"]
    notebook.cells[0].source = "1 / 0"
    nbformat.write(notebook, tmp_path / "small.ipynb")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        script().execute(script().read(tmp_path / "small.ipynb"))
