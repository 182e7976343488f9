"""A paper and a model of somebody else, in a folder of their own: registered, audited, trained and drawn. No file is touched.

The paper is the one of docs/adding-a-paper.md, whose blocks are put into a module. The model is linear attention, in
tests/examples. Each is installed as any distribution is, by what its entry points say.
"""

import json
import re
import subprocess
import sys

import pytest
from child import ROOT

PAGE = ROOT / "docs" / "adding-a-paper.md"
LINEAR_ATTENTION = ROOT / "tests" / "examples" / "linear_attention" / "linear_attention.py"


def install(folder, module, source, paper, model):
    """Put a module and what declares its paper and its model into a folder."""
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    about = folder / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[nlicl.papers]\n{paper} = {module}:PAPER\n[nlicl.models]\n{model} = {module}:MODEL\n"
    )


@pytest.fixture
def command(tmp_path, monkeypatch):
    """nlicl in a fresh process that finds what lies in tmp_path: (arguments) -> standard output."""

    def call(*arguments, status=0):
        done = subprocess.run(
            [sys.executable, "-m", "nlicl", *map(str, arguments)],
            capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    return call


def blocks_of_the_page():
    """The page's Python up to the paper's registration: the module that the page speaks of."""
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    last = next(n for n, block in enumerate(found) if "PAPER = register(" in block)
    return "\n\n".join(found[: last + 1])


@pytest.mark.slow
@pytest.mark.skipif(not PAGE.exists(), reason="installed: there are no pages")
def test_the_papers_page_is_a_paper(tmp_path, command):
    install(tmp_path, "toy", blocks_of_the_page(), "toy", "toy-linear")
    listed = command("papers", "toy")
    assert "toy: A linear model with squared loss" in listed and "; beside Figure 1\n" in listed
    assert re.search(r"\n    scaling-learning-rate +steps to a loss of 0.001 against eta\n", listed)
    swept = command("sweep", "toy:scaling-learning-rate", "--quick")
    assert "T = O(eta^-1 log(1/eps)) [recalled]" in swept and "the bound of T [recalled]" in swept
    assert re.search(r"\n  learning_rate +0\.2 +\[measured\]\n", command("papers", "toy:usual"))
    assert "'toy'" in command("audit", "nobody", status=2)
    report = json.loads(command("audit", "toy", "--draws", 8, "--json", "-"))
    verdicts = {
        entry["wrt"] + entry["source"]: (entry["verdict"], entry["control_caught"]) for entry in report["formulas"]
    }
    assert verdicts.pop("Qour blackboard") == ("disagree", True)
    assert verdicts.pop("Qbroken on purpose")[0] == "disagree"
    assert len(verdicts) == 2 and set(verdicts.values()) == {("agree", True)}
    rows = command("train", "toy:wide", "--set", "n_x=5", "--steps", 3, status=2)
    assert "n_x is called d" in rows
    command("train", "toy:wide", "--set", "learning_rate=0.1", "--steps", 12, "--out", tmp_path / "run")
    command("train", "toy", "--steps", 20, "--resume", tmp_path / "run")
    drawn = command("reproduce", "toy", "--quick", "--seeds", 2, "--out", tmp_path / "figures")
    assert "All 1 claims hold" in drawn
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"toy-loss.{kind}" for kind in ("png", "csv", "json")
    }
    page = command("compare", tmp_path / "figures")
    assert (
        "| Figure 1, [`toy:loss`](#toy-loss) | the loss falls to a hundredth [recalled] | a quick run; seeds 0, 1;"
        in page
    )
    assert "value: 1 of 1 claims hold |" in page
    assert "toy has no theorems" in command("theorem", "toy", status=2)


def test_a_run_of_another_paper_can_be_read(tmp_path, command):
    install(tmp_path, "toy", blocks_of_the_page(), "toy", "toy-linear")
    command("train", "toy", "--steps", 5, "--out", tmp_path / "run")
    code = (
        "import nlicl, sys; run = nlicl.load_run(sys.argv[1]); print(type(run.params).__module__, run.params.Q.shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.split() == ["toy", "(3,", "4)"], done.stderr


@pytest.mark.slow
def test_another_model_on_the_same_parameters_and_prompts(tmp_path, command):
    source = LINEAR_ATTENTION.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 150
    install(tmp_path, "linear_attention", source, "linear-attention", "linear-attention")
    report = json.loads(command("audit", "linear-attention", "--draws", 8, "--json", "-"))
    agreeing = [entry for entry in report["formulas"] if entry["verdict"] == "agree"]
    assert len(agreeing) == len(report["formulas"]) - 1  # the negative control
    assert max(entry["max_relative_error"] for entry in agreeing) < 1e-12
    drawn = command("reproduce", "linear-attention", "--quick", "--seeds", 2, "--out", tmp_path / "figures")
    assert "All 1 claims hold" in drawn and (tmp_path / "figures" / "linear-attention-loss.png").exists()
    code = """
import numpy as np, nlicl
from nlicl.papers import li2024
import linear_attention
problem = li2024.Problem()
params, prompts = problem.initialize(), problem.sample(8).dense()
softmax = nlicl.loss_and_grad(params, prompts, "squared")
linear = nlicl.loss_and_grad(params, prompts, model="linear-attention")
assert softmax[0] != linear[0] and all(np.isfinite(grad).all() for grad in linear[1])
assert nlicl.forward(params, prompts, model="linear-attention").attention.shape == (8, 20)
run = nlicl.train(problem, model="linear-attention", loss="squared", steps=5, batch=8, measure=None)
print(run.settings["model"], len(run.history.loss))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.split() == ["linear-attention", "5"], done.stderr
