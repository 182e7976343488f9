"""`nlicl sweep` from the command line: tables, folders, laws, and what is refused in one line."""

import json
import sys

import pytest

from nlicl.cli import main

SMALL = ["--set", "m=8", "--set", "batch=16", "--set", "learning_rate=3.0", "--set", "xi=0.1", "--set", "measure=4"]
T = "steps until hinge_unseen < 0.99"
SWEEP = ["sweep", "li2024", "--over", "alpha=0.5:1:3", "--seeds", "2", "--steps", "40", "--measure", T, *SMALL]


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_a_sweep_is_printed_kept_and_gone_on_with(tmp_path, capsys):
    assert run(*SWEEP, "--out", tmp_path / "s", "--fit", "power") == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "6 runs; median over seeds (least to largest)\nalpha  seeds  steps until hinge_unseen < 0.99\n"
    )
    assert "exponent of" in out and "Theorem 3.3 [paper]" in out and str(tmp_path / "s" / "table.csv") in out
    assert {path.name for path in (tmp_path / "s").iterdir()} >= {
        "table.csv",
        "records",
        "sweep.json",
        "law.png",
        "law.pdf",
    }
    table = (tmp_path / "s" / "table.csv").read_text()
    assert table.splitlines()[0] == f"alpha,seed,{T},steps,state,reason" and len(table.splitlines()) == 7
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "s" / "records").iterdir()}
    assert run(*SWEEP, "--out", tmp_path / "s") == 0
    assert records == {path: path.stat().st_mtime_ns for path in (tmp_path / "s" / "records").iterdir()}
    assert (tmp_path / "s" / "table.csv").read_text() == table


def test_a_folder_is_shown(tmp_path, capsys):
    run(*SWEEP, "--out", tmp_path / "s")
    made = capsys.readouterr().out
    (tmp_path / "s" / "table.csv").unlink()
    assert run("sweep", tmp_path / "s") == 0
    assert capsys.readouterr().out == made
    assert run("sweep", tmp_path / "s", "--fit", "power", "--json", "-") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cells"] == 6 and list(found["laws"]) == [T] and found["settings"][0]["over"] == {"alpha": 0.5}


def test_a_sweep_by_name_says_its_claim_and_what_to_know(capsys):
    from nlicl.experiments.registry import sweeps

    named = sweeps("huang2023")["scaling-eps"]
    assert run("sweep", "huang2023:scaling-eps", "--quick") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{named.title}\n{named.claim}\n\n3 runs; ")
    head, notes = out.split("\nTo know:\n")
    assert "the balanced theorem" in head and max(map(len, notes.splitlines())) <= 118
    assert " ".join(notes.split()) == " ".join(f"- {note}" for note in named.notes)


def test_a_plan_counts_and_makes_nothing(tmp_path, capsys):
    assert run(*SWEEP, "--plan") == 0
    assert capsys.readouterr().out == "6 runs: 3 settings of alpha, seeds: 2\n0 are done, 6 are to be made\n"


def test_settings_of_a_file(tmp_path, capsys):
    cases = tmp_path / "cases.csv"
    cases.write_text("alpha,optimizer\n0.5,sgd\n1.0,adam\n")
    arguments = [
        "sweep",
        "li2024",
        "--cases",
        cases,
        "--seeds",
        "1",
        "--steps",
        "4",
        "--measure",
        "training_loss",
        *SMALL,
    ]
    assert run(*arguments) == 0
    assert "SGD()" in capsys.readouterr().out


def test_what_goes_wrong_in_a_run_is_status_1_and_told(capsys):
    arguments = ["--seeds", "1", "--steps", "20", "--measure", "training_loss", *SMALL[:4]]
    assert run("sweep", "li2024", "--over", "learning_rate=1.0,1e9", "--over", "alpha=0.5,3", *arguments) == 1
    out = capsys.readouterr().out
    assert "3 of 4 runs did not come to their end" in out and "diverged: learning_rate = 1000000000.0" in out
    assert "refused: learning_rate = 1.0, alpha = 3.0, seed 0: alpha is 3.0" in out


def test_json_goes_into_a_file(tmp_path):
    assert run(*SWEEP, "--json", tmp_path / "a.json") == 0
    assert json.loads((tmp_path / "a.json").read_text())["laws"] == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["li2024", "--over", "alpa=1", "--measure", T], "no such setting (did you mean alpha?)"),
        (["li2024", "--over", "T=1", "--measure", T], "(T is called steps)"),
        (["li2024", "--over", "seed=1", "--measure", T], "(give --seeds)"),
        (["li2024", "--over", "alpha=", "--measure", T], "has no values"),
        (["li2024", "--over", "alpha", "--measure", T], "expected NAME=VALUES"),
        (["li2024", "--over", "alpha=1:2:0", "--measure", T], "with a count from 1"),
        (["li2024", "--over", "alpha=1:2:x", "--measure", T], "expected LOW:HIGH:COUNT"),
        (["li2024", "--over", "alpha=0:1:3:log", "--measure", T], "ends greater than 0"),
        (["li2024", "--over", "alpha=0:1:3:cubic", "--measure", T], "expected LOW:HIGH:COUNT"),
        (["li2024", "--over", "alpha=1", "--over", "alpha=2", "--measure", T], "is given twice"),
        (["li2024", "--over", "alpha=1,1", "--measure", T], "twice"),
        (["li2024", "--measure", T], "expected --over"),
        (["li2024", "--over", "alpha=1"], "--measure is missing"),
        (["li2024", "--over", "alpha=1", "--measure", "hinge_unsen"], "did you mean hinge_unseen?"),
        (["li2024", "--over", "alpha=1", "--measure", "steps until"], "expected for example"),
        (["li2024", "--over", "alpha=1", "--measure", T, "--seeds", "0"], "--seeds 0: expected a number of seeds"),
        (["li2024", "--over", "alpha=1", "--measure", T, "--quick"], "--quick belongs to a sweep by name"),
        (["li2024", "--over", "alpha=1", "--measure", T, "--fit", "power"], "alpha has one value"),
        (
            ["li2024", "--over", "dtype=float32,float64", "--measure", T, "--fit", "power"],
            "expected numbers greater than 0",
        ),
        (["li2024", "--over", "alpha=2,3", "--measure", T], "alpha is 2"),
        (
            ["li2024", "--over", "alpha=1", "--measure", T, "--dask", "tcp://127.0.0.1:1", "--jobs", "2"],
            "not allowed with",
        ),
        (["li2024:scaling-alpha", "--over", "alpha=1"], "--over does not go with li2024:scaling-alpha"),
        (["li2024:scaling-alfa", "--over", "alpha=1", "--measure", T], "it has the sweeps scaling-alpha"),
        (["li2025", "--over", "alpha=1", "--measure", T], "expected one of 'bu2024'"),
        (["li2024", "--cases", "no.csv", "--measure", T], "No such file"),
        (["./nothing"], "has no sweep"),
    ],
)
def test_what_is_refused_is_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("sweep", *arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not captured.out


@pytest.mark.parametrize("text", ["", "alpha\n", "alpha,alpha\n1,2\n", "alpha\n1,2\n", '"alpha\n1', "\xff\n1\n"])
def test_a_file_of_settings_that_is_none(text, capsys, tmp_path):
    (tmp_path / "cases.csv").write_text(text, encoding="latin-1")
    assert run("sweep", "li2024", "--cases", tmp_path / "cases.csv", "--measure", T) == 2
    assert "--cases" in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_the_store_of_another_sweep_and_a_folder_that_goes_on_elsewhere(tmp_path, capsys):
    run(*SWEEP, "--out", tmp_path / "s")
    assert run(*SWEEP, "--set", "length=9", "--out", tmp_path / "s") == 2
    assert "the store of another sweep: length is not given there and 9 here" in capsys.readouterr().err
    assert run("sweep", tmp_path / "s", "--seeds", "3") == 2
    assert "--seeds does not go with a sweep's folder" in capsys.readouterr().err


def test_without_dask_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setattr("nlicl.cli.common.importlib.util.find_spec", lambda name: None)
    assert run(*SWEEP, "--dask", "local") == 2
    assert "pip install" in capsys.readouterr().err


def test_bounds_are_swept_over_and_functions_of_names_stay_text(capsys):
    arguments = [
        "--over",
        "eps=0.999,0.99",
        "--seeds",
        "1",
        "--steps",
        "40",
        "--measure",
        "steps until hinge_unseen < eps",
    ]
    assert run("sweep", "li2024", *arguments, *SMALL) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "eps"
