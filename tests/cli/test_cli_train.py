"""`nlicl train`, `reproduce`, `theorem` as a user meets them: statuses, files, refusals, interruption."""

import importlib.util
import json
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from child import ROOT
from of_nlicl import EXPECTED

import nlicl
from nlicl.cli import main
from nlicl.cli.reproduce import not_every, print_claims
from nlicl.experiments.claims import every
from nlicl.experiments.experiment import Experiment, Training
from nlicl.experiments.figure import Figure, Recipe
from nlicl.experiments.series import Series
from nlicl.papers import li2024
from nlicl.training.checkpoint import pack

SMALL = ["--set", "M1=4", "--set", "M2=3", "--set", "d_X=8", "--set", "d_Y=3", "--set", "m=7", "--set", "length=5",
         "--set", "batch=6"]  # fmt: skip
PROBLEM = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6)


# ---------------------------------------------------------------- train


def test_train_prints_measurements_and_keeps_the_run(run, tmp_path):
    folder = tmp_path / "new" / "run"
    status, out, err = run("train", "li2024", *SMALL, "--steps", 30, "--seed", 4, "--out", folder)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].split() == ["step", "0", "20", "30"] and "hinge_unseen" in out
    assert out.splitlines()[-2:] == [str(folder / "checkpoint.npz"), str(folder / "history.csv")]
    want = nlicl.train(PROBLEM, steps=30, seed=4)
    for got, array in zip(nlicl.load_run(folder).params, want.params, strict=True):
        np.testing.assert_array_equal(got, array)


def test_resume_goes_on_to_the_same_bits(run, tmp_path):
    run(
        "train",
        "li2024",
        *SMALL,
        "--set",
        "weight_decay=0.01",
        "--set",
        "trained=W_O,W_V",
        "--steps",
        7,
        "--out",
        tmp_path,
    )
    status, out, _ = run("train", "li2024", "--resume", tmp_path / "checkpoint.npz", "--steps", 25)
    assert status == 0 and out.split("\n")[0].split() == ["step", "0", "20", "25"]
    want = nlicl.train(PROBLEM, steps=25, weight_decay=0.01, trained=("W_O", "W_V"))
    got = nlicl.load_run(tmp_path)
    for name, array in want.params._asdict().items():
        np.testing.assert_array_equal(getattr(got.params, name), array)
    assert got.history.loss.tolist() == want.history.loss.tolist()


def test_resume_goes_to_the_steps_the_run_was_started_for(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        nlicl.train(PROBLEM, steps=9, out=tmp_path, progress=interrupt)
    assert nlicl.load_run(tmp_path).step == 2
    assert run("train", "li2024", "--resume", tmp_path)[0] == 0
    assert nlicl.load_run(tmp_path).step == 9


def interrupt(t, steps, loss):
    if t == 2:
        raise KeyboardInterrupt


def test_named_settings(run, tmp_path):
    assert run("train", "li2024:sibling", "--steps", 1, "--set", "measure=None", "--out", tmp_path)[0] == 0
    fields = nlicl.load_run(tmp_path).settings["problem"]["fields"]
    assert li2024.Problem(**fields) == li2024.sibling


HUANG_WRONG = [
    (["huang2023", "--set", "N=9"], "(N is called length)"),
    (["huang2023", "--set", "eta=9"], "(eta is called learning_rate)"),
    (["bu2024", "--set", "gamma=9"], "(gamma is called step_offset)"),
    (["bu2024:small", "--set", "K1=9"], "(K1 is called concepts)"),
    (["huang2023", "--set", "K=1000000"], "GiB of memory. Lower it; or see nlicl.papers.huang2023.reduced"),
    (
        ["huang2023", "--set", "d=1000000"],
        "K is 20, d = 1000000: training holds some 12 arrays of shape (1000000, 1000000)",
    ),
    (
        ["huang2023", "--set", "length=1" + 30 * "0"],
        "length is 1" + 30 * "0" + "; expected at most 9223372036854775807",
    ),
    (["huang2023", "--set", "learning_rate=50"], "learning_rate is 50 with max p = 0.5; expected at most"),
    (["huang2023", "--set", "batch=10"], "--set batch=10: training is on the population"),
    (
        ["huang2023:experiment", "--set", "batch=10", "--set", "prompts=population"],
        "--set batch=10: training is on the pop",
    ),
    (
        ["huang2023:experiment", "--set", "prompts=None"],
        "prompts is None; expected 'population', 'fresh', or a number of",
    ),
    (["huang2023:experiment", "--set", "prompts=0"], "prompts is 0; expected at least 1"),
    (
        ["huang2023:experiment", "--set", "prompts=fresh"],
        "batch is None with prompts = 'fresh', which never end",
    ),
    (["huang2023:experiment", "--set", "M=5"], "--set M: no such setting (M is called prompts)"),
    (["huang2023:experiment", "--set", "features=axes"], "features is 'axes'; expected one of 'one-hot', 'dense'"),
    (["huang2023:experiment", "--set", "d=4"], "d is 4 with K = 10: no 10 orthonormal features fit into 4 dimensions"),
    (["huang2023:experiment", "--set", "optimizer=adagrad"], "adagrad"),
    (["huang2023:experiment", "--set", "p_1=None"], "leave it imbalanced, or huang2023:experiment-balanced"),
    (["huang2023", "--set", "p_1=0.01"], "the first feature is not dominant. Expected at least 1/K = 0.05"),
    (
        ["huang2023:balanced", "--set", "p_1=0.5"],
        "huang2023:balanced with --set p_1=0.5 is imbalanced; expected settings that",
    ),
    (
        ["huang2023:imbalanced", "--set", "p_1=None"],
        "is balanced; expected settings that leave it imbalanced, or huang2023 alone",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), HUANG_WRONG, ids=lambda value: "".join(value)[:50])
def test_wrong_settings_of_the_second_paper(run, arguments, message, monkeypatch):
    monkeypatch.setattr("nlicl.core.memory._memory", lambda: 16 * 2**30)
    monkeypatch.setattr("nlicl.core.memory._limits", lambda root: iter(()))
    status, out, err = run("train", *arguments, "--steps", 2)
    assert status == 2 and not out and err.count("\n") == 1 and message in err, err


def test_settings_that_follow_from_others_follow(run, tmp_path):
    """With another M1 the tasks are another M1's, in every paper's way: nothing of the default is carried over."""
    assert run("train", "li2024:sibling", *SMALL, "--steps", 1, "--set", "measure=None", "--out", tmp_path)[0] == 0
    fields = nlicl.load_run(tmp_path).settings["problem"]["fields"]
    assert fields["training_tasks"] == [[0, 1], [1, 2], [2, 3], [3, 0]]
    assert (fields["beta"], fields["a_scale"]) == (li2024.sibling.beta, li2024.sibling.a_scale)


def test_the_table_of_the_second_paper(run, tmp_path):
    """What is one number: weights and attention of the dominant and of one under-represented query, or of any balanced one."""
    small = ("--set", "K=4", "--set", "length=9", "--steps", 3)
    _, out, _ = run("train", "huang2023", *small, "--out", tmp_path)
    rows = ["step", "A_1", "Attn_1", "loss_1", "A_2", "B_21", "Attn_2", "Attn_21", "loss_2", "population_loss"]
    assert [line.split()[0] for line in out.split("\n\n")[0].splitlines()] == rows
    assert (tmp_path / "history.csv").read_text().splitlines()[0] == ",".join(rows)
    _, out, _ = run("train", "huang2023:balanced", *small)
    assert [line.split()[0] for line in out.splitlines()] == ["step", "A_1", "Attn_1", "loss_1", "population_loss"]


def test_a_run_is_resumed_as_its_paper_s(run, tmp_path):
    assert run("train", "huang2023", "--set", "K=3", "--steps", 2, "--out", tmp_path)[0] == 0
    for arguments, message in (
        (("li2024",), f"is a run of huang2023, not of li2024; say nlicl train huang2023 --resume {tmp_path}"),
        (("huang2023:balanced",), "is no run of huang2023:balanced; a run keeps its settings, say huang2023 alone"),
        (("huang2023:none",), "huang2023 has no settings 'none'; it has imbalanced, balanced"),
    ):
        status, _, err = run("train", *arguments, "--resume", tmp_path)
        assert status == 2 and message in err and err.count("\n") == 1, err
    assert run("train", "huang2023", "--resume", tmp_path, "--steps", 3)[0] == 0


def test_divergence_is_status_1_with_the_history(run, tmp_path):
    status, out, err = run("train", "li2024", *SMALL, "--set", "learning_rate=1e4", "--steps", 60, "--out", tmp_path)
    assert status == 1 and err.startswith("nlicl: training diverged at step") and err.count("\n") == 1
    assert "try a tenth of it" in err and "hinge_unseen" in out and len(nlicl.load_run(tmp_path).history.loss) > 0


WRONG = [
    (["--set", "K=-1"], "K is -1; expected a finite number at least 0"),
    (["--set", "alpha=1.5"], r"alpha is 1.5; expected a finite number in \(0, 1\]"),
    (["--set", "alpha=0"], "alpha is 0"),
    (["--set", "M1=1"], "M1 is 1; expected at least 2"),
    (["--set", "M2=40"], r"M1 \+ M2 = 6 \+ 40 patterns do not fit orthogonally into d_X = 30"),
    (["--set", "kappa=1"], "--set kappa: no such setting; there are M1, M2"),
    (["--set", "l=3"], r"--set l: no such setting \(l is called length\); there are M1"),
    (["--set", "lenght=3"], r"--set lenght: no such setting \(did you mean length\?\)"),
    (["--set", "seed=3"], r"--set seed: no such setting \(give --seed\)"),
    (["--set", "steps=3"], "--set steps=3 and --steps 2: expected one of the two"),
    (
        ["--set", "m=10000000000000"],
        "m is 10000000000000, m_a 60 and m_b 60: W_Q, .* W_O 10000000000000 of 60, 8,940,697 GiB, and there are .* Lower them",
    ),
    (["--set", "alpha"], "--set alpha: expected KEY=VALUE"),
    (["--set", "alpha=1", "--set", "alpha=1"], "--set alpha is given twice"),
    (["--set", "query_attends=false"], "query_attends is 'false'; expected True or False"),
    (["--set", "trained=W_X"], "expected at least one of W_Q, W_K"),
    (["--set", "loss=cubic"], "loss is 'cubic'; expected one of"),
    (["--set", "dtype=int8"], "dtype is int8; expected numpy.float64 or numpy.float32"),
    (["--set", "dtype=real"], "dtype is 'real'; expected numpy.float64"),
    (["--steps", "-1"], "steps is -1; expected at least 0"),
    (["--steps", "many"], "argument --steps: invalid int value: 'many'"),
    (["--seed", "-1"], "seed is -1"),
    (["--resume", "nowhere"], "--resume nowhere: there is no checkpoint"),
    (["--resume", "a", "--out", "b"], "not allowed with argument"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_wrong_settings_are_one_line_and_status_2(run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = [] if "--steps" in arguments else ["--steps", "2"]
    status, out, err = run("train", "li2024", *arguments, *steps)
    assert status == 2 and not out and err.count("\n") == 1
    import re

    assert re.search(message, err), err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("paper", "message"),
    [("huang", f"paper is 'huang'; {EXPECTED}"),
     ("li2024:best", "has no settings 'best'; it has calibrated, stated, sibling"),
     ("li2024:", "expected PAPER or PAPER:NAME")],
)  # fmt: skip
def test_unknown_papers_and_settings(run, paper, message):
    for command in ("train", "reproduce", "theorem"):
        status, _, err = run(command, paper)
        assert status == 2
        if command == "train" or paper != "li2024:best":
            assert message in err
        else:
            assert "li2024 has no 'best'; it has " in err


def test_what_does_not_go_with_a_kept_run(run, tmp_path):
    nlicl.train(PROBLEM, steps=3, out=tmp_path / "run")
    nlicl.train(PROBLEM, steps=3, out=tmp_path / "own", prompts=PROBLEM.sample(9))
    for arguments, message in [
        (["--out", tmp_path / "run"], "holds a run already: continue it by --resume"),
        (["--resume", tmp_path / "run", "--set", "alpha=1"], "--set does not go with --resume"),
        (["--resume", tmp_path / "run", "--seed", "5"], "has seed 0, and keeps it"),
        (["--resume", tmp_path / "run", "--steps", "2"], "is at step 3 already"),
        (["--resume", tmp_path / "own"], "was started from Python with arrays of its own"),
        (["--out", ""], "argument --out: is empty; expected the name of a folder"),
    ]:
        status, _, err = run("train", "li2024", *arguments)
        assert status == 2 and message in err and err.count("\n") == 1, err
    assert nlicl.load_run(tmp_path / "run").step == 3
    status, _, err = run("train", "li2024:sibling", "--resume", tmp_path / "run")
    assert status == 2 and "is no run of li2024:sibling; a run keeps its settings, say li2024 alone" in err


def test_a_file_where_a_folder_should_be(run, tmp_path):
    (tmp_path / "file").write_text("precious")
    status, _, err = run("train", "li2024", *SMALL, "--steps", 1, "--out", tmp_path / "file")
    assert (
        status == 2
        and "--out" in err
        and "expected the name of a folder" in err
        and (tmp_path / "file").read_text() == "precious"
    )
    for command in ("train", "reproduce"):
        status, _, err = run(command, "li2024", "--out", tmp_path / "file" / "new")
        assert (
            status == 2
            and err
            == f"nlicl: --out {tmp_path}/file/new: {tmp_path}/file is no folder; expected the name of a folder\n"
        )


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that not even root can write to")
@pytest.mark.parametrize("command", ["train", "reproduce"])
def test_a_folder_that_cannot_be_written(run, command):
    status, _, err = run(command, "li2024", "--out", "/proc/self/run")
    assert status == 2 and err.startswith("nlicl: --out /proc/self/run: /proc/self cannot be written (")
    assert err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="no such terminals there")
def test_ctrl_c_on_a_terminal_keeps_the_run_and_says_how_to_go_on(tmp_path):
    """The bar is shown on a terminal; after Ctrl-C, one line says what to do, and doing it works."""
    parent, child = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "nlicl",
        "train",
        "li2024",
        *SMALL,
        "--steps",
        "1000000",
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(
        command,
        stderr=child,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background has it ignored
    )
    os.close(child)
    text, deadline = b"", time.monotonic() + 120
    while b"/1000000 loss" not in text and time.monotonic() < deadline:
        text += os.read(parent, 4096)
    process.send_signal(signal.SIGINT)
    try:
        while chunk := os.read(parent, 4096):
            text += chunk
    except OSError:  # the other end is closed
        pass
    os.close(parent)
    assert process.communicate(timeout=60)[0] == b"" and process.returncode == 130
    last = text.decode().replace("\r", "\n").strip().splitlines()[-1]
    assert last.endswith(f"nlicl: interrupted; the steps made are stored; continue with --resume {tmp_path / 'run'}")
    step = nlicl.load_run(tmp_path / "run").step
    assert step > 0
    assert main(["train", "li2024", "--resume", str(tmp_path / "run"), "--steps", str(step + 1)]) == 0


# ---------------------------------------------------------------- reproduce and theorem


def runs(options):
    return {"small": Training(PROBLEM, steps=3, measure=None)}


def measure(options, seed, runs):
    return {"loss": runs["small"].history.loss[-1]}


def assemble(options, seeds, found):
    values = [one["loss"] for one in found]
    claims = [every("the loss is a number", values, 0, 100), every("it is small", values, 0, options["bound"])]
    return Figure("A small figure", {}, seeds, [Series("s", np.arange(2), np.arange(2))], claims, notes=["so"])


def draw(figure):
    from nlicl.experiments import style

    canvas, axes = style.new()
    style.curve(axes, figure.series[0], 0)
    return canvas


@pytest.fixture
def one_figure(monkeypatch):
    pytest.importorskip("matplotlib")

    def put(bound=100, needs=()):
        options = {"bound": bound}
        recipe = Recipe("figx", "small", runs, measure, assemble, options, needs=needs, draw=draw, paper="li2024")
        monkeypatch.setattr("nlicl.experiments.registry.figures", lambda paper: {"figx": recipe, "again": recipe})

    return put


def test_reproduce_writes_files_and_prints_claims(run, one_figure, tmp_path):
    one_figure()
    status, out, err = run(
        "reproduce", "li2024", "--out", tmp_path / "a" / "b", "--seeds", 2, "--jobs", 1, "--format", "pdf"
    )
    assert (status, err) == (0, "")
    assert "holds  the loss is a number\n" in out and "note   so" in out and "All 4 claims hold.\n" in out
    kinds = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert kinds == [*(f"li2024-figx.{kind}" for kind in ("csv", "json", "pdf", "png")), "li2024.md"]
    page = (tmp_path / "a" / "b" / "li2024.md").read_text()
    assert "4 of 4 claims hold" in page and "![li2024-figx](li2024-figx.png)" in page and "- so" in page
    assert json.loads((tmp_path / "a" / "b" / "li2024-figx.json").read_text())["seeds"] == [0, 1]


def test_without_matplotlib_there_are_numbers_and_claims(run, one_figure, tmp_path, monkeypatch):
    one_figure()
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "matplotlib" else find(name, *more)
    )
    arguments = ("reproduce", "li2024", "--out", tmp_path / "a", "--seeds", 1, "--jobs", 1)
    status, out, err = run(*arguments)
    assert (status, err) == (0, "") and "holds  the loss is a number\n" in out
    assert "No pictures were drawn: matplotlib is not installed. pip install '.[plot]'" in out
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "li2024-figx.csv",
        "li2024-figx.json",
        "li2024.md",
    ]
    assert "png" not in (tmp_path / "a" / "li2024.md").read_text()
    status, _, err = run(*arguments, "--format", "png")
    assert status == 2 and "this needs matplotlib, which is not installed" in err
    status, _, err = run("reproduce", "li2042")
    assert status == 2 and "did you mean li2024?" in err


def test_several_figures_in_one_command(run, one_figure, tmp_path):
    one_figure()
    few = ("--out", tmp_path, "--seeds", 1, "--jobs", 1)
    status, out, _ = run("reproduce", "li2024:again", "li2024:figx", "li2024:again", *few)
    assert (
        status == 0
        and "All 4 claims hold.\n" in out
        and out.endswith(f"All of it on a page: {tmp_path / 'li2024.md'}\n")
    )
    status, out, _ = run("reproduce", "li2024:figx", "huang2023:figx", *few)
    assert status == 0 and "All 4 claims hold.\n" in out and "page" not in out


def test_a_claim_that_fails_is_status_1_and_still_written(run, one_figure, tmp_path):
    one_figure(bound=-1)
    status, out, _ = run("reproduce", "li2024:figx", "--out", tmp_path, "--seeds", 1, "--jobs", 1)
    assert status == 1 and "FAILS  it is small\n         expected 0 to -1" in out and "Not every claim holds" in out
    assert (tmp_path / "li2024-figx.json").exists()


def test_a_setting_of_a_figure(run, one_figure, tmp_path):
    one_figure()
    arguments = ("reproduce", "li2024:figx", "--out", tmp_path, "--seeds", 1, "--jobs", 1)
    assert run(*arguments, "--set", "bound=2")[0] == 0
    status, out, _ = run(*arguments, "--set", "bound=-1")
    assert status == 1 and "FAILS  it is small\n         expected 0 to -1" in out
    for key, said in (("length", "; it has bound"), ("bond", " (did you mean bound?); it has bound")):
        status, _, err = run(*arguments, "--set", f"{key}=1")
        assert status == 2 and err == f"nlicl: figx has no setting {key!r}{said}\n"


@pytest.mark.parametrize(
    ("figure", "given", "message"),
    [
        ("fig2b", "start=sibling", "start is 'sibling'; expected one of 'calibrated', 'stated'"),
        ("fig2b", "start=1", "start is 1; expected one of 'calibrated', 'stated'"),
        ("fig3a-one-layer", "start=gpt2", "start is 'gpt2'; expected one of 'sibling', 'calibrated', 'stated'"),
        ("scaling", "start=stated", "scaling has no setting 'start'; it has none"),
        ("fig6", "shifts=9", "shifts is 9; expected at most M1 - 1 = 5"),
    ],
)
def test_wrong_settings_of_figures(run, tmp_path, figure, given, message):
    pytest.importorskip("matplotlib")
    status, _, err = run("reproduce", f"li2024:{figure}", "--set", given, "--out", tmp_path)
    assert status == 2 and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_undetermined_claim_is_printed_as_one(capsys):
    unknown = replace(every("so", [1], 2), holds=None)
    print_claims([every("yes", [1], 1), unknown])
    assert capsys.readouterr().out.splitlines()[::2] == ["  holds  yes", "  ?      so"]
    assert not_every([unknown]) == "Not every claim holds: see ? (undetermined) above."
    assert not_every([every("no", [1], 2)]) == "Not every claim holds: see FAILS above."


def test_a_missing_extra_says_which(run, one_figure, tmp_path):
    one_figure(needs=(("no_such_module", "baselines"),))
    status, _, err = run("reproduce", "li2024", "--out", tmp_path)
    assert status == 2 and err.count("\n") == 1
    assert "this needs no_such_module, which is not installed: pip install '.[baselines]' in a clone" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seeds", "0"], "'0'; expected an integer, at least 1"),
     (["--format", "gif"], "--format gif: expected png, pdf or svg"),
     (["--set", "bound=1"], "--set belongs to one figure: say which, for example li2024:figx"),
     (["--set", "bound"], "--set bound: expected KEY=VALUE"),
     (["--set", "bound=1", "--set", "bound=2"], "--set bound is given twice"),
     (["--jobs", "x"], "'x'; expected an integer")],
)  # fmt: skip
def test_wrong_arguments_of_reproduce(run, one_figure, arguments, message, tmp_path):
    one_figure()
    status, _, err = run("reproduce", "li2024", "--out", tmp_path, *arguments)
    assert status == 2 and message in err


def test_what_is_interrupted_leaves_no_empty_folder(run, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    pytest.importorskip("matplotlib")
    monkeypatch.setattr("nlicl.experiments.experiment.execute", interrupted)
    assert run("reproduce", "li2024", "--out", tmp_path / "new")[0] == 130
    assert not list(tmp_path.iterdir())


def test_theorem_prints_and_writes(run, monkeypatch, tmp_path):
    from nlicl.experiments.theorem import Condition, Theorem

    def assemble(options, seeds, found):
        claim = every("small", [one["loss"] for one in found], 0, options["eps"])
        return Theorem(
            "Theorem 9.9",
            "Losses are small.",
            {},
            seeds,
            [Condition("eps > 0", f"eps = {options['eps']}", True)],
            [claim],
        )

    theorem = Experiment("9.9", "losses", runs, measure, assemble, {"eps": 100.0})
    monkeypatch.setattr("nlicl.experiments.registry.theorems", lambda paper: {"9.9": theorem})
    file = tmp_path / "t.json"
    status, out, err = run("theorem", "li2024:9.9", "--seeds", 2, "--jobs", 1, "--json", file)
    assert (status, err) == (0, "") and "Theorem 9.9" in out and out.endswith("Every claim holds.\n")
    assert json.loads(file.read_text())[0]["claims"][0]["holds"] is True
    assert run("theorem", "li2024:9.9", "--seeds", 2, "--jobs", 1, "--set", "eps=1e-9")[0] == 1
    status, _, err = run("theorem", "li2024:9.9", "--set", "delta=1")
    assert status == 2 and "9.9 has no setting 'delta'; it has eps" in err
    status, _, err = run("theorem", "li2024:9.9", "--set", "epps=1")
    assert status == 2 and "9.9 has no setting 'epps' (did you mean eps?); it has eps" in err
    status, out, err = run("theorem", "li2024:9.9", "--seeds", 2, "--jobs", 1, "--json", "-")
    assert (status, err) == (0, "") and json.loads(out) == json.loads(file.read_text())
    status, _, err = run("theorem", "li2024", "--set", "eps=1")
    assert status == 2 and "--set belongs to one theorem: say which, for example li2024:9.9" in err


def test_papers_lists_what_there_is(run):
    status, out, _ = run("papers")
    assert (
        status == 0 and "nlicl reproduce li2024:NAME" in out and "fig2a" in out and "calibrated, stated, sibling" in out
    )


def test_a_run_of_a_gpu_is_not_resumed_without_one(run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    run("train", "li2024", "--steps", 1, "--set", "batch=2", "--set", "measure=None", "--out", folder)
    there = nlicl.load_run(folder)
    there.settings["backend"] = "cuda"
    (folder / "checkpoint.npz").write_bytes(pack(there))
    monkeypatch.setattr("nlicl.devices.unavailable", lambda: ("the cat sits on it", "lift the cat"))
    status, out, err = run("train", "li2024", "--steps", 2, "--resume", folder)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "the cat sits on it. To mend it: lift the cat. On the CPU, start one anew with --out" in err
    status, out, err = run("train", "li2024", "--steps", 2, "--resume", folder, "--backend", "cpu")
    assert (status, out) == (2, "") and "is on cuda, and stays there" in err


# ---------------------------------------------------------------- many seeds


def test_seeds_side_by_side(run, tmp_path):
    folder = tmp_path / "runs"
    status, out, err = run("train", "li2024", *SMALL, "--steps", 30, "--seeds", 3, "--out", folder)
    assert (status, err) == (0, "")
    first, head, *rows = out.splitlines()
    assert first == "3 of 3 seeds: median [least, largest]" and head.split() == ["step", "0", "20", "30"]
    assert rows[-2:] == [str(folder / "seed-*" / "checkpoint.npz"), str(folder / "seed-*" / "history.csv")]
    runs = nlicl.train(PROBLEM, steps=30, seed=range(3))
    found = runs.at(30, "hinge_unseen")
    row = next(row for row in rows if row.startswith("hinge_unseen"))
    assert row.endswith(f"{np.median(found):.4g} [{found.min():.4g}, {found.max():.4g}]")
    for seed, want in enumerate(runs):
        np.testing.assert_array_equal(nlicl.load_run(folder / f"seed-{seed}").params.W_O, want.params.W_O)
    status, out, _ = run("train", "li2024", "--seeds", 4, "--steps", 40, "--resume", folder)
    assert status == 0 and out.startswith("4 of 4 seeds")
    for seed, want in enumerate(nlicl.train(PROBLEM, steps=40, seed=range(4))):
        np.testing.assert_array_equal(nlicl.load_run(folder / f"seed-{seed}").params.W_O, want.params.W_O)
    status, _, err = run("train", "li2024", *SMALL, "--seeds", 2, "--out", folder)
    assert status == 2 and f"holds runs already: continue them by --seeds 2 --resume {folder}" in err


def test_seeds_without_measurements(run):
    status, out, _ = run("train", "li2024", *SMALL, "--steps", 3, "--seeds", 2, "--set", "measure=None")
    losses = [each.history.loss[-1] for each in nlicl.train(PROBLEM, steps=3, seed=(0, 1), measure=None)]
    want = f"3 steps, loss {np.mean(losses):.4g} [{min(losses):.4g}, {max(losses):.4g}]"
    assert status == 0 and out.splitlines() == ["2 of 2 seeds: median [least, largest]", want]


def test_seeds_that_diverge(run, monkeypatch):
    usual = li2024.Problem.initialize

    def initialize(self, *, seed):
        params = usual(self, seed=seed)
        return params._replace(W_O=1e300 * params.W_O, W_V=1e300 * params.W_V) if seed == 1 else params

    monkeypatch.setattr(li2024.Problem, "initialize", initialize)
    status, out, err = run("train", "li2024", *SMALL, "--steps", 3, "--seeds", 3)
    assert status == 1 and out.startswith("2 of 3 seeds: median") and "hinge_unseen" in out
    assert (
        err.startswith("nlicl: 1 of 3 seeds diverged: [1]. Of seed 1: training diverged at step 0")
        and err.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", 0], "--seeds 0: expected a number of seeds, at least 1"),
        (["--seeds", 2, "--seed", 1], "not allowed with argument"),
        (["--seeds", 2, "--resume", "nowhere"], "--resume nowhere: has no run of the seeds 0 .. 1; start them anew"),
    ],
)
def test_wrong_seeds(run, arguments, message):
    status, out, err = run("train", "li2024", *arguments)
    assert status == 2 and not out and message in err


def test_more_seeds_than_fit_are_refused_at_once(run, tmp_path):
    """Whether a folder holds one of them is not asked seed by seed."""
    status, _, err = run("train", "li2024", "--seeds", 2**63, "--out", tmp_path / "runs")
    assert status == 2 and "seed has 9223372036854775808 entries" in err and not (tmp_path / "runs").exists()
