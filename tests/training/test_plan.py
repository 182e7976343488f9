"""The plan of a run: what a problem offers, what is taken from it, what a checkpoint stores, which model is trained."""

import ast
import functools
import json
from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest
from child import ROOT
from trees import nodes_of

import nlicl
from nlicl import CodedPrompts, Params
from nlicl.core.registry import MODELS, PAPERS
from nlicl.models.model import register
from nlicl.models.transformer.steps import TRANSFORMER
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.training import SGD, Adam, AdamW, InverseTime, load_run
from nlicl.training.checkpoint import CHECKPOINT
from nlicl.training.descent import _gpu_step
from nlicl.training.loop import train
from nlicl.training.plan import make_plan
from nlicl.training.problem import Extras, check_problem, extra

SMALL = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, m=7, length=5, batch=6, steps=12, learning_rate=0.7)
HUANG = huang2023.Problem(K=3, length=4, counts="infinite", steps=3)
EXTRAS = {name for name in vars(Extras) if not name.startswith("_")}
DEFAULTS = {
    name: value
    for name, value in train.__kwdefaults__.items()
    if name not in ("observe", "until", "out", "resume", "progress")
}


def plan(problem=SMALL, **options):
    return make_plan(problem, **{**DEFAULTS, **options})


# ---------------------------------------------------------------- what a problem offers


@pytest.mark.parametrize("module", [li2024, huang2023, bu2024], ids=lambda module: module.__name__)
def test_the_papers_problems_have_what_is_needed(module):
    for problem in (module.Problem(), *module.problems.values()):
        check_problem(problem)
        given = {name for name in EXTRAS if extra(problem, name) is not getattr(Extras, name)}
        assert {"observer", "settings"} <= given


def test_what_a_problem_does_not_offer_has_a_default():
    assert extra(SMALL, "prompts") == "fresh" and extra(HUANG, "prompts") == "population"
    assert extra(SMALL, "weight_decay") == 0 and extra(bu2024.small, "weight_decay") == 0.01
    assert extra(SMALL, "mask") == {} and set(extra(bu2024.small, "mask")) == {"W_Q", "W_K"}
    assert extra(SMALL, "case") is None and extra(HUANG, "case") == "imbalanced"
    with pytest.raises(AttributeError, match="wieght_decay"):
        extra(SMALL, "wieght_decay")


def test_nobody_else_asks_whether_a_problem_has_something():
    """getattr and hasattr with one of these names: in `extra` alone."""
    asking = []
    for path in sorted((ROOT / "nlicl").rglob("*.py")):
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
                named = isinstance(node.args[1], ast.Constant) and node.args[1].value in EXTRAS
                asking += [str(path.relative_to(ROOT))] if named else []
    assert not asking


class Bare:
    """No more than is needed."""

    loss, trained, learning_rate, batch, steps = "squared", ("W_O",), 0.1, 4, 5
    initialize, sample = staticmethod(SMALL.initialize), staticmethod(SMALL.sample)


@pytest.mark.parametrize("name", ["initialize", "sample", "loss", "trained", "learning_rate", "batch", "steps"])
def test_what_is_needed_is_needed(name):
    lacking = type("Lacking", (), {key: value for key, value in vars(Bare).items() if key != name})()
    with pytest.raises(TypeError, match=f"it has no {name}.; expected a paper's Problem"):
        nlicl.train(lacking, measure=None)
    assert nlicl.train(Bare(), measure=None).step == 5


@pytest.mark.parametrize("name", ["initialize", "sample"])
def test_what_is_needed_of_a_problem_is_a_function(name):
    for odd in (5, None):
        with pytest.raises(TypeError, match=f"problem.{name} is {odd}; expected a function"):
            nlicl.train(type("Odd", (Bare,), {name: odd})(), measure=None)


@pytest.mark.parametrize("name", ["observer", "population", "check_descent", "schedule", "device_sampler"])
def test_what_a_problem_offers_is_a_function(name):
    with pytest.raises(TypeError, match=f"problem.{name} is 5; expected a function, or None"):
        nlicl.train(type("Odd", (Bare,), {name: 5})(), measure=None)
    assert nlicl.train(type("Fine", (Bare,), {name: None})(), measure=None).step == 5


def test_a_problem_without_an_observer_is_measured_by_a_given_one():
    run = nlicl.train(Bare(), measure=5, observe=lambda params: {"size": abs(params.W_O).max()})
    assert run.history["size"].shape == (2,)
    with pytest.raises(
        TypeError, match=r"observe is None, and .*Bare has no observer; .* Give observe, or measure=None"
    ):
        nlicl.train(Bare())


def test_a_problem_may_inherit_the_defaults():
    class Mine(Bare, Extras):
        weight_decay = 0.5

    run = nlicl.train(Mine(), measure=None)
    assert run.settings["weight_decay"] == 0.5
    assert run.history.loss.tolist() == nlicl.train(Bare(), weight_decay=0.5, measure=None).history.loss.tolist()


def test_what_a_problem_draws_must_be_a_batch():
    class Mine(Bare):
        def sample(self, n, seed):
            return np.zeros((n, 3))

    with pytest.raises(TypeError, match=r"prompts is a ndarray; expected nlicl\.Prompts"):
        nlicl.train(Mine(), measure=None)


# ---------------------------------------------------------------- what is planned


def test_a_plan_is_what_was_given_and_else_the_problem_s():
    mine = plan(bu2024.small)
    assert (mine.steps, mine.batch, mine.loss) == (bu2024.small.steps, bu2024.small.batch, "logistic")
    assert (mine.weight_decay, mine.optimizer, mine.model) == (0.01, SGD(), TRANSFORMER)
    assert mine.schedule is None and mine.eta(4000) == mine.learning_rate / 2 and set(mine.masks) == {"W_Q", "W_K"}
    other = plan(bu2024.small, weight_decay=0.0, schedule=InverseTime(1.0), mask={}, optimizer=Adam(), steps=7)
    assert (other.weight_decay, other.optimizer, other.masks, other.steps) == (0.0, Adam(), {}, 7)
    assert other.eta(1) == other.learning_rate / 2
    with pytest.raises(FrozenInstanceError):
        mine.steps = 5


def test_the_population_has_no_batches():
    assert plan(HUANG).batch is None and plan(HUANG, prompts="fresh").batch == HUANG.batch
    with pytest.raises(ValueError, match="batch is 5 with prompts = 'population'"):
        plan(HUANG, batch=5)


def test_a_plan_is_stored_as_plain_values():
    given = {"schedule": InverseTime(3.0), "mask": {"W_O": np.arange(11) < 5}, "optimizer": AdamW(0.5)}
    settings = plan(**given, trained="W_O", measure=[5, 3], params=SMALL.initialize(), dtype=np.float32).settings()
    assert json.loads(json.dumps(settings)) == {**settings, "problem": json.loads(json.dumps(settings["problem"]))}
    assert settings["optimizer"] == {"name": "AdamW", "beta_1": 0.5, "beta_2": 0.999, "epsilon": 1e-8}
    assert settings["schedule"] == {"type": "nlicl.training.InverseTime", "fields": {"offset": 3.0}}
    assert settings["mask"] == {"W_O": [True] * 5 + [False] * 6} and settings["measure"] == [3, 5]
    assert (settings["params"], settings["dtype"], settings["model"]) == ("given", "float32", "transformer")
    assert settings["trained"] == ["W_O"] and settings["backend"] == "cpu" and settings["prompts"] == "fresh"
    usual = plan(HUANG).settings()
    assert (usual["params"], usual["model"], usual["mask"], usual["schedule"]) == (None, "regression", None, None)


def test_a_wrong_loss_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match="loss is 'cubic'"):
        nlicl.train(SMALL, loss="cubic", out=tmp_path / "new")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- schedules that are resumed


def halved_at_five(t):
    return 1.0 if t < 5 else 0.5


def power(base, t):
    return base**t


@dataclass(frozen=True)
class Geometric:
    base: float

    def __call__(self, t):
        return self.base**t


class Held:
    """A schedule with a number that nothing tells of."""

    def __init__(self, base):
        self.base = base

    def __call__(self, t):
        return self.base**t

    def at(self, t):
        return self.base**t


def within(base):
    def schedule(t):
        return base**t

    return schedule


@pytest.mark.parametrize(
    "make",
    [
        lambda base: lambda t: base**t,
        Held,
        lambda base: Held(base).at,
        within,
        lambda base: functools.partial(within(base)),
    ],
    ids=["lambda", "object", "method", "closure", "partial of a closure"],
)
def test_a_schedule_that_no_file_tells_is_not_resumed(make, tmp_path):
    nlicl.train(SMALL, schedule=make(0.9), measure=None, steps=2)
    nlicl.train(SMALL, schedule=make(0.9), measure=None, steps=2, out=tmp_path)
    for base in (0.9, 0.5):
        with pytest.raises(
            ValueError, match=r"cannot be resumed with the schedule .* Resume with nlicl.training.InverseTime"
        ):
            nlicl.train(SMALL, schedule=make(base), measure=None, steps=3, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("schedule", "other"),
    [
        (InverseTime(3.0), InverseTime(4.0)),
        (Geometric(0.9), Geometric(0.5)),
        (functools.partial(power, 0.9), functools.partial(power, 0.5)),
        (functools.partial(power, 0.9), functools.partial(pow, 0.9)),
        (halved_at_five, functools.partial(power, 0.9)),
    ],
)
def test_a_schedule_that_a_file_tells_is_resumed_and_no_other(schedule, other, tmp_path):
    options = {"measure": None, "out": tmp_path, "resume": True}
    nlicl.train(SMALL, schedule=schedule, steps=2, **options)
    with pytest.raises(ValueError, match="is of a run with other settings: schedule is"):
        nlicl.train(SMALL, schedule=other, steps=8, **options)
    got = nlicl.train(SMALL, schedule=schedule, steps=8, **options)
    want = nlicl.train(SMALL, schedule=schedule, steps=8, measure=None)
    assert got.history.loss.tolist() == want.history.loss.tolist()


# ---------------------------------------------------------------- another model


class Halved:
    """The model of Li et al. with W_Q / 2: the same parameters and prompts, another score."""

    name = "halved"
    Params = Params
    losses = ("hinge",)

    def __init__(self):
        self.steps = {(CodedPrompts, "cpu"): self}

    @staticmethod
    def _inner(params):
        return params._replace(W_Q=params.W_Q / 2)

    def forward(self, params, batch):
        return nlicl.forward(self._inner(params), batch)

    def loss_and_grad(self, params, batch, loss):
        value, grads = nlicl.loss_and_grad(self._inner(params), batch, loss)
        return value, grads._replace(W_Q=grads.W_Q / 2)

    def definition(self, params, prompt, loss):
        return TRANSFORMER.definition(self._inner(params), prompt, loss)


@pytest.fixture
def halved():
    before = dict(MODELS._things)
    yield register(Halved())
    MODELS._things.clear()
    MODELS._things.update(before)


@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=lambda optimizer: optimizer.name)
def test_another_model_is_trained_on_the_same_problem(halved, optimizer, tmp_path):
    options = {"optimizer": optimizer, "measure": None, "learning_rate": 0.05}
    run = nlicl.train(SMALL, model="halved", out=tmp_path, **options)
    usual = nlicl.train(SMALL, **options)
    value, grads = nlicl.loss_and_grad(SMALL.initialize(), SMALL.sample(6, seed=(0, 0)), model=halved)
    assert run.history.loss[0] == value and run.history.loss[-1] != usual.history.loss[-1]
    assert (grads.W_Q != nlicl.loss_and_grad(SMALL.initialize(), SMALL.sample(6, seed=(0, 0)))[1].W_Q).any()
    for a, b in zip(run.params, nlicl.train(SMALL, model=halved, **options).params, strict=True):
        np.testing.assert_array_equal(a, b)
    assert run.settings["model"] == "halved" and usual.settings["model"] == "transformer"
    with np.load(tmp_path / CHECKPOINT, allow_pickle=False) as file:
        assert json.loads(str(file["about"]))["format"] == 2  # an older nlicl would go on by the usual model
    with pytest.raises(ValueError, match="model is 'halved' there and 'transformer' here"):
        nlicl.train(SMALL, steps=20, out=tmp_path, resume=True, **options)
    resumed = nlicl.train(SMALL, model=halved, steps=20, out=tmp_path, resume=True, **options)
    for a, b in zip(resumed.params, nlicl.train(SMALL, model=halved, steps=20, **options).params, strict=True):
        np.testing.assert_array_equal(a, b)


class Launched(Halved):
    """It has all that a run on a GPU launches."""

    kernel = None

    def checked(self, params, batch):
        raise NotImplementedError

    def operands(self, batch, dtype):
        raise NotImplementedError

    def number_of(self, loss):
        raise NotImplementedError


@pytest.mark.parametrize("lacking", [None, "checked", "operands", "number_of", "forward", "loss_and_grad"])
def test_a_step_on_a_gpu_has_what_a_run_launches(lacking):
    step = type("Theirs", (Launched,), {lacking: None} if lacking else {})()
    model, batch = Halved(), SMALL.sample(3)
    model.steps[CodedPrompts, "cuda"] = step
    if lacking is None:
        assert _gpu_step(model, batch) is step
    else:
        with pytest.raises(
            TypeError, match=r"the model halved has a Theirs for a GPU, whose kernels a run cannot launch; .*D"
        ):
            _gpu_step(model, batch)


def test_a_model_by_its_name_on_the_command_line(halved, run, tmp_path):
    arguments = ("--set", "M1=4", "--set", "M2=3", "--set", "d_X=8", "--set", "d_Y=3", "--set", "batch=6")
    arguments += ("--set", "measure=None", "--set", "model=halved", "--out", tmp_path)
    assert run("train", "li2024", *arguments, "--steps", 2)[0] == 0
    assert run("train", "li2024", "--resume", tmp_path, "--steps", 4)[0] == 0
    problem = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, batch=6)
    want = nlicl.train(problem, steps=4, measure=None, model="halved")
    assert load_run(tmp_path).history.loss.tolist() == want.history.loss.tolist()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "none"}, ValueError, "model is 'none'; expected one of"),
        ({"model": 3}, TypeError, "model is a int; expected a model, or the name of one"),
        ({"model": "regression"}, TypeError, r"params is a nlicl.Params; expected .*Params\(Q\), the parameters of the model"),
        ({"model": "halved", "loss": "squared"}, ValueError, "loss is 'squared'; expected 'hinge', the only loss"),
        ({"model": "halved", "prompts": SMALL.sample(8).dense()}, TypeError,
         "prompts is a nlicl.Prompts; expected prompts of the model halved: nlicl.CodedPrompts"),
        ({"model": "halved", "backend": "cuda"}, TypeError, "there are no GPU kernels for the model"),
    ],
)  # fmt: skip
def test_wrong_models(halved, options, error, message):
    with pytest.raises(error, match=message):
        nlicl.train(SMALL, **options)


def test_the_parameters_of_a_run_are_its_model_s(halved, tmp_path):
    """For a problem that is no paper's; and a registered paper is known by its problem."""
    nlicl.train(Bare(), measure=None, loss="hinge", model=halved, out=tmp_path)
    assert isinstance(load_run(tmp_path).params, Params)

    class Mine(Bare):
        initialize, sample = staticmethod(HUANG.initialize), staticmethod(HUANG.sample)
        trained = ("Q",)

    nlicl.train(Mine(), measure=None, out=tmp_path / "mine")
    assert isinstance(load_run(tmp_path / "mine").params, huang2023.Params)


def test_a_registered_paper_is_known_by_its_problem(monkeypatch):
    from nlicl.training.checkpoint import paper_of

    there = PAPERS.load("li2024")

    class Mine(Bare):
        pass

    monkeypatch.setitem(PAPERS._things, "mine", replace(there, name="mine", Problem=Mine, problems={"default": Mine()}))
    kind = f"{Mine.__module__}.{Mine.__qualname__}"
    assert paper_of({"problem": {"type": kind}}) == "mine" and paper_of({"problem": {"type": "theirs.Problem"}}) is None
    assert paper_of({"problem": {"type": "nlicl.papers.li2024.problem.Problem"}}) == "li2024"
