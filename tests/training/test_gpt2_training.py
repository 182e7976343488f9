"""Training GPT-2 on the prompts of Li et al. 2024: Adam where nothing is said, stop and go on, options, the command line."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from child import ROOT

import nlicl
from nlicl.models.gpt2.prompts import Params, Prompts
from nlicl.papers import li2024
from nlicl.papers.li2024 import GPT2
from nlicl.papers.paper import Paper
from nlicl.training import SGD, Adam, AdamW, load_run
from nlicl.training.checkpoint import CHECKPOINT, paper_of
from nlicl.training.plan import make_plan
from nlicl.training.problem import Extras, extra

SMALL = GPT2(
    M1=4, M2=3, d_X=8, d_Y=3, length=5, layers=2, heads=2, width=6, hidden=7, batch=6, steps=12, learning_rate=0.01
)
NAMED = dataclasses.replace(SMALL, shortest=1)  # what li2024:gpt2 is with these settings
SET = ("M1=4", "M2=3", "d_X=8", "d_Y=3", "length=5", "layers=2", "width=6", "hidden=7", "batch=6", "learning_rate=0.01")
SETTINGS = [word for pair in SET for word in ("--set", pair)]


def train(problem=SMALL, **options):
    return nlicl.train(problem, **{"measure": 5, **options})


def bits(run):
    """Everything that a run is made of."""
    moments = {f"{kind}/{name}": a for kind, blocks in run.optimizer.moments.items() for name, a in blocks.items()}
    arrays = {**run.params._asdict(), **moments, **run.history.measured}
    arrays |= {name: getattr(run.history, name) for name in ("loss", "learning_rate", "steps")}
    return run.step, run.optimizer.updates, {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


# ---------------------------------------------------------------- a run


def test_a_run_is_adam_on_fresh_prompts():
    run = train(steps=3, seed=4)
    assert run.settings["optimizer"] == {"name": "Adam", **Adam().settings()} and run.settings["model"] == "gpt2"
    params, adam = SMALL.initialize(seed=4), Adam()
    state = adam.init(params._asdict())
    for t in range(3):
        loss, grads = nlicl.loss_and_grad(params, SMALL.sample(6, seed=(4, t)), "hinge")
        assert loss == run.history.loss[t]
        new, state = adam.update(params._asdict(), grads._asdict(), state, 0.01, 0.0)
        params = params._replace(**new)
    for name in Params._fields:
        np.testing.assert_array_equal(getattr(run.params, name), getattr(params, name), err_msg=name)
    assert run.history.steps.tolist() == [0, 3] and run.history["feature"].shape == (2, 2, 7)


@pytest.mark.parametrize(
    "changes",
    [
        {"learned_positions": False},
        {"layout": "interleaved", "read": "prefixes", "loss": "logistic", "shortest": 1},
        {"causal": False, "dtype": np.float32},
        {"optimizer": SGD()},
        {"optimizer": AdamW(), "weight_decay": 0.1},
    ],
    ids=str,
)
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, changes):
    own = {field.name for field in dataclasses.fields(GPT2)}
    problem = dataclasses.replace(SMALL, **{name: value for name, value in changes.items() if name in own})
    options = {name: value for name, value in changes.items() if name not in own}
    whole = train(problem, **options)
    train(problem, steps=7, out=tmp_path, **options)
    stopped = load_run(tmp_path)
    assert type(stopped.params) is Params and stopped.step == 7
    resumed = train(problem, out=tmp_path, resume=True, **options)
    assert bits(resumed) == bits(whole) == bits(load_run(tmp_path))
    moved = {name for name in Params._fields if (getattr(whole.params, name) != getattr(stopped.params, name)).any()}
    assert moved == set(Params._fields) - ({"wpe"} if not problem.learned_positions else set())
    assert whole.history.loss[0] == pytest.approx({"hinge": 1, "logistic": np.log(2)}[problem.loss], abs=0.2)
    assert all(array.dtype == options.get("dtype", float) for array in whole.params)
    if not problem.learned_positions:
        assert not whole.params.wpe.any() and "wpe" not in whole.optimizer.moments["m"]


KILLED = """
import sys, nlicl
from nlicl.papers.li2024 import GPT2
problem = GPT2(
    M1=4, M2=3, d_X=8, d_Y=3, length=5, layers=2, heads=2, width=6, hidden=7, batch=6, steps=12, learning_rate=0.001
)
nlicl.train(problem, steps=100_000, measure=40, checkpoint=10, out=sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_at_any_instant_it_goes_on(tmp_path):
    """Bitwise as the run that nobody killed, moments and measurements included."""
    problem = dataclasses.replace(SMALL, learning_rate=0.001)
    for wait in (0.0, 0.137):
        folder = tmp_path / f"{wait}"
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        deadline = time.monotonic() + 400
        while not (folder / CHECKPOINT).exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(wait)
        process.kill()
        process.wait()
        step = load_run(folder).step
        assert step > 0 and step % 10 == 0
        options = {"steps": step + 23, "measure": 40, "checkpoint": 10}
        assert bits(train(problem, out=folder, resume=True, **options)) == bits(train(problem, **options))


@pytest.mark.slow
def test_it_learns_in_context():
    """On all tasks, which leave no shortcut: out of domain, too, and attention goes to contexts with the query's pattern."""
    problem = GPT2(training_tasks=li2024.cyclic_tasks(6, shifts=5))
    run = nlicl.train(problem, steps=200, measure=200, dtype=np.float32)
    assert run.history["hinge_train"][0] > 0.9 and run.history["hinge_train"][-1] < 0.1
    assert run.history["error_ood"][-1] < 0.05
    assert run.history["same_1"][-1] > run.history["same_1"][0] + 0.03


def test_another_problem_does_not_go_on(tmp_path):
    train(out=tmp_path)
    with pytest.raises(ValueError, match="heads is 2 there and 3 here"):
        train(dataclasses.replace(SMALL, heads=3), out=tmp_path, resume=True)
    with pytest.raises(
        ValueError, match=r"problem is 'nlicl.papers.li2024.gpt2.GPT2' there and .*problem.Problem' here"
    ):
        nlicl.train(li2024.Problem(), steps=12, out=tmp_path, resume=True)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    """Parameters that do not fit together, in a file of before there was a hash."""
    train(steps=2, out=tmp_path)
    path = tmp_path / CHECKPOINT
    arrays = dict(np.load(path))
    arrays["about"] = np.array(arrays["about"].item().replace(', "digest": "sha256"', ""))
    del arrays["digest"]
    np.savez(path, **arrays)
    assert load_run(tmp_path).step == 2
    for name in ("params/wpe", "optimizer/m/wpe", "optimizer/v/wpe"):
        arrays[name] = np.ascontiguousarray(arrays[name][:, :5])
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"damaged \(params.wpe has shape \(6, 5\)"):
        load_run(tmp_path)


# ---------------------------------------------------------------- what a problem and a paper may name


@dataclass(frozen=True)
class Named(GPT2):
    optimizer: ClassVar[object] = AdamW(epsilon=1e-6)


def optimizer_of(problem, **options):
    usual = {name: value for name, value in nlicl.train.__kwdefaults__.items() if name not in
             ("observe", "until", "out", "resume", "progress")}  # fmt: skip
    return make_plan(problem, **{**usual, **options}).optimizer


def test_a_problem_names_its_optimizer():
    assert extra(SMALL, "optimizer") == "adam" and extra(li2024.Problem(), "optimizer") == Extras.optimizer == "sgd"
    assert optimizer_of(SMALL) == Adam() and optimizer_of(li2024.Problem()) == SGD()
    assert optimizer_of(Named()) == AdamW(epsilon=1e-6)
    assert optimizer_of(SMALL, optimizer=SGD()) == SGD()
    for odd, error, message in (
        ("adagrad", ValueError, "optimizer is 'adagrad'; expected one of 'sgd', 'adam', 'adamw'"),
        (5, TypeError, "optimizer is 5; expected an object with init and update"),
    ):
        with pytest.raises(error, match=message):
            optimizer_of(type("Odd", (GPT2,), {"optimizer": odd})())


def paper(**problems):
    return Paper("mine", "A paper.", li2024.subject, li2024.Problem, li2024.Params, problems=problems)


def test_a_paper_s_problems_may_be_of_several_types():
    mine = paper(first=li2024.Problem(), second=SMALL)
    assert mine.kind("nlicl.papers.li2024.problem.Problem") is li2024.Problem
    assert mine.kind("nlicl.papers.li2024.gpt2.GPT2") is GPT2 and mine.kind("nlicl.papers.li2024.gpt2.GPT3") is None
    with pytest.raises(TypeError, match=r"problems\['second'\] .*; expected a .*Problem, the first of them"):
        paper(second=SMALL, first=li2024.Problem())
    for odd in (5, GPT2, Adam()):
        with pytest.raises(TypeError, match=r"problems\['odd'\] is .*, or a dataclass with initialize and sample"):
            paper(first=li2024.Problem(), odd=odd)


def test_the_paper_of_a_run(tmp_path):
    run = train(steps=1, out=tmp_path)
    assert paper_of(run.settings) == "li2024" and type(load_run(tmp_path).params) is Params
    with pytest.raises(ValueError, match=r"of a run of nlicl\.papers\.li2024\.gpt2\.GPT2; expected .*Params\(W_Q, "):
        load_run(tmp_path, params=li2024.Params)


def test_prompts_that_are_given(tmp_path):
    """A fixed training set, in another dtype than the run's."""
    prompts = SMALL.sample(20, seed=9)
    run = train(prompts=prompts, dtype=np.float32, steps=3, measure=None)
    assert run.params.W_in.dtype == np.float32 and np.isfinite(run.history.loss).all()
    assert isinstance(prompts, Prompts) and prompts.tokens.dtype == float


# ---------------------------------------------------------------- the command line


def test_a_run_from_the_command_line(run, tmp_path):
    status, out, _ = run(
        "train", "li2024:gpt2", *SETTINGS, "--set", "measure=5", "--steps", 7, "--out", tmp_path / "run"
    )
    assert status == 0 and {"hinge_train", "same_1", "other_2", "query_2", "error_ood"} <= set(out.split())
    status, out, _ = run("train", "li2024:gpt2", "--resume", tmp_path / "run", "--steps", 12)
    assert status == 2  # it has settings of its own
    status, out, err = run("train", "li2024", "--resume", tmp_path / "run", "--steps", 12)
    assert status == 0, err
    assert bits(load_run(tmp_path / "run")) == bits(train(NAMED))


@pytest.mark.parametrize(
    ("text", "optimizer"), [("sgd", SGD()), ("adam,beta_1=0.8", Adam(beta_1=0.8)), ("adamw", AdamW()), (None, Adam())]
)
def test_the_optimizer_from_the_command_line(run, tmp_path, text, optimizer):
    more = () if text is None else ("--set", f"optimizer={text}")
    assert run("train", "li2024:gpt2", *SETTINGS, *more, "--steps", 2, "--out", tmp_path)[0] == 0
    assert load_run(tmp_path).settings["optimizer"] == {"name": optimizer.name, **optimizer.settings()}
    status, _, err = run("train", "li2024", "--resume", tmp_path, "--steps", 3)
    assert status == 0, err
    assert bits(load_run(tmp_path)) == bits(train(NAMED, steps=3, measure=20, optimizer=optimizer))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("heads=3",), "heads is 3, which does not divide the width 64; expected width a multiple of heads"),
        (("positions=7",), "length is 20, and positions 7: a prompt of 20 contexts has 21 tokens"),
        (("read=prefixes",), "read is 'prefixes' with layout 'stacked'"),
        (("loss=squared",), "loss is 'squared'; expected one of 'hinge', 'logistic'"),
        (("m=5",), "m: no such setting; there are M1, M2"),
        (("l=5",), "l: no such setting (l is called length)"),
        (("optimizer=lbfgs",), "optimizer is 'lbfgs'; expected one of 'sgd', 'adam', 'adamw'"),
    ],
    ids=str,
)
def test_bad_settings_on_the_command_line(run, arguments, message):
    status, out, err = run(
        "train", "li2024:gpt2", *(word for pair in arguments for word in ("--set", pair)), "--steps", 1
    )
    assert status == 2 and message in err and err.count("\n") == 1 and not out


def test_a_field_of_gpt2_is_none_of_the_one_layer_problem(run):
    status, _, err = run("train", "li2024", "--set", "heads=2")
    assert status == 2 and "heads: no such setting" in err


def test_papers_lists_it(run):
    status, out, _ = run("papers", "li2024")
    assert status == 0 and "Settings, by nlicl train li2024:NAME: calibrated, stated, sibling, gpt2 (a GPT2)" in out
