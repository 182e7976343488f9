"""The register of models, the table of steps, and what happens to whatever is in neither."""

from typing import NamedTuple

import numpy as np
import pytest
from child import ROOT, python

import nlicl
from nlicl.core.errors import InvalidType
from nlicl.core.registry import MODELS, Registry
from nlicl.models.model import Batch, find, register, step_of
from nlicl.models.regression.steps import REGRESSION
from nlicl.models.transformer.steps import TRANSFORMER
from nlicl.papers import huang2023, li2024


class Weights(NamedTuple):
    w: np.ndarray


class Points(Batch):
    """x (B,), labels (B,)."""

    length = 1

    def __init__(self, x, labels):
        self.x, self.labels = np.asarray(x, float), np.asarray(labels, float)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return Points(np.atleast_1d(self.x[index]), np.atleast_1d(self.labels[index]))


class Through(NamedTuple):
    """A step that multiplies."""

    factor: float

    def forward(self, params, batch):
        return Answer(self.factor * params[0] * batch.x)

    def loss_and_grad(self, params, batch, loss):
        return self.factor, params


class Answer(NamedTuple):
    score: np.ndarray


def model(name, Params=Weights, losses=("squared", "other"), **steps):
    class Model:
        def definition(self, params, prompt, loss):
            return (params.w * prompt.x - prompt.labels) ** 2, np.empty(0)

    made = Model()
    made.name, made.Params, made.losses = name, Params, losses
    made.steps = {(Points, device): step for device, step in steps.items()}
    return made


@pytest.fixture
def registered():
    """Models that are forgotten after the test."""
    before = dict(MODELS._things)
    yield register
    MODELS._things.clear()
    MODELS._things.update(before)


PARAMS, POINTS = Weights(np.array(2.0)), Points([1.0, 2.0], [1.0, -1.0])


def test_a_model_is_found_by_its_parameters(registered):
    mine = registered(model("mine", cpu=Through(3.0)))
    assert find(PARAMS) is mine and nlicl.loss_and_grad(PARAMS, POINTS)[0] == 3
    assert nlicl.forward(PARAMS, POINTS).score.tolist() == [6, 12]
    assert find(li2024.Problem().initialize()) is TRANSFORMER
    assert find(huang2023.Problem().initialize()) is REGRESSION


def test_the_first_with_these_parameters_is_meant_unless_told(registered):
    registered(model("first", cpu=Through(1.0)))
    second = registered(model("second", cpu=Through(2.0)))
    assert nlicl.loss_and_grad(PARAMS, POINTS)[0] == 1
    assert nlicl.loss_and_grad(PARAMS, POINTS, model="second")[0] == 2
    assert nlicl.loss_and_grad(PARAMS, POINTS, model=second)[0] == 2
    assert nlicl.forward(PARAMS, POINTS, model="second").score[0] == 4


def test_a_model_need_not_be_registered_to_be_used():
    assert nlicl.loss_and_grad(PARAMS, POINTS, model=model("free", cpu=Through(5.0)))[0] == 5
    with pytest.raises(TypeError, match=r"params is a Weights; expected .*nlicl\.Params\(W_Q, W_K, W_V, W_O, a\)"):
        nlicl.loss_and_grad(PARAMS, POINTS)


def test_the_same_tokens_through_another_model(registered):
    """The transformer's parameters and prompts, another model's step: neither knows of it."""
    other = model("other", Params=nlicl.Params)
    other.steps[nlicl.Prompts, "cpu"] = Through(7.0)
    registered(other)
    problem = li2024.Problem()
    params, prompts = problem.initialize(), problem.sample(3).dense()
    assert nlicl.loss_and_grad(params, prompts, model="other")[0] == 7
    assert nlicl.loss_and_grad(params, prompts)[0] == nlicl.loss_and_grad(params, prompts, model="transformer")[0] != 7


def test_a_kind_of_prompts_inherits_its_step_and_may_have_its_own():
    class More(Points):
        pass

    mine = model("mine", cpu=Through(1.0))
    assert nlicl.loss_and_grad(PARAMS, More([1.0], [1.0]), model=mine)[0] == 1
    mine.steps[More, "cpu"] = Through(2.0)
    assert nlicl.loss_and_grad(PARAMS, More([1.0], [1.0]), model=mine)[0] == 2
    assert nlicl.loss_and_grad(PARAMS, POINTS, model=mine)[0] == 1


def test_the_loss_is_the_prompts_own_or_the_models_first():
    class Asks(NamedTuple):
        def loss_and_grad(self, params, batch, loss):
            return loss, params

    class Own(Points):
        loss = "other"

    mine = model("mine", cpu=Asks())
    assert nlicl.loss_and_grad(PARAMS, POINTS, model=mine)[0] == "squared"
    assert nlicl.loss_and_grad(PARAMS, Own([1.0], [1.0]), model=mine)[0] == "other"
    assert nlicl.loss_and_grad(PARAMS, Own([1.0], [1.0]), "squared", model=mine)[0] == "squared"
    with pytest.raises(ValueError, match="loss is 'hinge'; expected one of 'squared', 'other'"):
        nlicl.loss_and_grad(PARAMS, POINTS, "hinge", model=mine)


def test_what_is_no_model_is_refused(registered):
    with pytest.raises(TypeError, match="model is a Half, and has no definition; expected an object with all"):
        register(type("Half", (), dict.fromkeys(["name", "Params", "losses", "steps"]))())
    with pytest.raises(TypeError, match="model is the class Model"):
        register(type(model("mine")))
    with pytest.raises(TypeError, match="expected the type of a NamedTuple of arrays"):
        register(model("mine", Params=dict))
    first = registered(model("mine"))
    assert register(first) is first
    with pytest.raises(ValueError, match="a model is called 'mine' already; expected another name"):
        register(model("mine"))
    with pytest.raises(ValueError, match=r"model is 'nothing'; expected one of 'gpt2', .*'transformer', .*'mine'"):
        nlicl.loss_and_grad(PARAMS, POINTS, model="nothing")
    with pytest.raises(
        TypeError, match=r"model is a int; expected a model, or the name of one: gpt2, .*regression, .*transformer"
    ):
        nlicl.loss_and_grad(PARAMS, POINTS, model=3)


def test_what_a_model_does_not_take_is_refused():
    mine = model("mine", cpu=Through(1.0))
    problem = li2024.Problem()
    with pytest.raises(
        TypeError, match=r"prompts is a nlicl\.CodedPrompts; expected prompts of the model mine: Points"
    ):
        nlicl.loss_and_grad(PARAMS, problem.sample(2), model=mine)
    with pytest.raises(TypeError, match=r"expected Weights\(w\), the parameters of the model mine"):
        nlicl.loss_and_grad(problem.initialize(), POINTS, model=mine)
    with pytest.raises(TypeError, match="no kernels on a GPU"):
        step_of(mine, POINTS, "cuda")
    with pytest.raises(TypeError, match="a Points cannot be moved to or from a GPU"):
        POINTS.moved(lambda array: array)


def test_a_batch_says_what_is_missing():
    class Bare(Batch):
        pass

    for attempt in (len, list, lambda batch: batch.length, lambda batch: batch[0]):
        with pytest.raises(NotImplementedError):
            attempt(Bare())


def test_a_register_finds_what_belongs_to_the_library():
    fresh = Registry("paper", "nlicl.papers")
    assert {"bu2024", "gpt2", "huang2023", "li2024"} <= set(fresh.names()) and list(fresh) == []


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"name": ""}, ValueError, r"model\.name is ''; expected letters"),
        ({"name": "a:b"}, ValueError, r"model\.name is 'a:b'; expected letters"),
        ({"name": ["a"]}, TypeError, r"model\.name is \['a'\]; expected a text"),
        ({"Params": PARAMS}, TypeError, r"model\.Params is Weights\(.*\); expected the type of a NamedTuple"),
        ({"losses": ()}, TypeError, r"model\.losses is \(\); expected a tuple of at least one name"),
        ({"losses": "hinge"}, TypeError, r"model\.losses is 'hinge'"),
        ({"losses": (1,)}, TypeError, r"model\.losses is \(1,\)"),
        (
            {"steps": None},
            TypeError,
            r"model\.steps is None; expected a dict of \(batch type, 'cpu' or 'cuda'\) to step",
        ),
        ({"steps": {"a": 1}}, TypeError, r"model\.steps is \{'a': 1\}; expected a dict"),
        ({"steps": {(Points, "gpu"): Through(1.0)}}, TypeError, r"expected a dict of \(batch type, 'cpu' or 'cuda'\)"),
        (
            {"steps": {(Points, "cpu"): 5}},
            TypeError,
            r"model\.steps\[Points, 'cpu'\] is 5; expected an object with",
        ),
        ({"definition": 5}, TypeError, r"model\.definition is 5; expected a function"),
    ],
)
def test_a_model_is_looked_at_when_it_is_registered(registered, change, error, message):
    odd = model("odd", cpu=Through(1.0))
    for name, value in change.items():
        setattr(odd, name, value)
    with pytest.raises(error, match=message):
        registered(odd)
    assert nlicl.loss_and_grad(PARAMS, POINTS, model=model("free", cpu=Through(5.0)))[0] == 5


def test_nobody_takes_the_transformers_place():
    """A model with its parameters, registered before anything of nlicl was used, is not meant unless it is named."""
    code = """
import numpy as np
from nlicl.models.model import Batch, register
import nlicl

class Step:
    def forward(self, params, batch): ...
    def loss_and_grad(self, params, batch, loss):
        return 42.0, params

class Mine:
    name, Params, losses = "mine", nlicl.Params, ("hinge",)
    steps = {(nlicl.Prompts, "cpu"): Step()}
    def definition(self, params, prompt, loss): ...

register(Mine())
from nlicl.papers import li2024
problem = li2024.Problem()
params, prompts = problem.initialize(), problem.sample(2).dense()
print(nlicl.loss_and_grad(params, prompts)[0] < 2, nlicl.loss_and_grad(params, prompts, model="mine")[0])
Mine.name = "transformer"
try:
    register(Mine())
except ValueError as error:
    print(error)
"""
    assert python(code).splitlines() == [
        "True 42.0",
        "a model is called 'transformer' already; expected another name.",
    ]


def test_a_second_model_with_these_parameters_is_found_by_its_prompts(registered):
    other = model("other", Params=nlicl.Params, cpu=Through(3.0))
    registered(other)
    assert nlicl.loss_and_grad(li2024.Problem().initialize(), POINTS)[0] == 3


def test_what_a_device_has_no_step_for():
    only = model("only", cuda=Through(1.0))
    with pytest.raises(TypeError, match=r"for which the model only has no kernels on the CPU; .* Take backend='cuda'"):
        nlicl.loss_and_grad(PARAMS, POINTS, model=only)
    with pytest.raises(
        TypeError, match=r"for which the model mine has no kernels on a GPU; it has them there for none"
    ):
        step_of(model("mine", cpu=Through(1.0)), POINTS, "cuda")


BROKEN = {
    "missing": ("nowhere:PAPER", "cannot be imported: ModuleNotFoundError"),
    "nothing": ("odd:NOTHING", "cannot be imported: AttributeError"),
    "raises": ("raising:PAPER", "cannot be imported: ZeroDivisionError: division by zero"),
    "none": ("odd:PAPER", "registers none of this name; expected it to end with register"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_declared_paper_that_cannot_be_loaded_hides_no_other(tmp_path, name):
    where, message = BROKEN[name]
    (tmp_path / "odd.py").write_text("PAPER = None\n")
    (tmp_path / "raising.py").write_text("1 / 0\n")
    about = tmp_path / "broken-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[nlicl.papers]\n{name} = {where}\n")
    code = f"""
import warnings
from nlicl.core.registry import PAPERS
print(PAPERS.names() == PAPERS.own() + [PAPERS.names()[-1]], PAPERS.load("li2024").name)
try:
    PAPERS.load({name!r})
except ValueError as error:
    print(error)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    PAPERS.load_declared()
print(len(caught))
"""
    first, error, count = python(code, PYTHONPATH=f"{ROOT}:{tmp_path}").splitlines()
    assert first == "True li2024" and count == "1"
    assert error.startswith(f"paper {name!r}, declared as {where} by broken") and message in error


@pytest.mark.parametrize("thing", [5, None, Weights(np.ones(1)), model(5), model(""), model(["x"])], ids=repr)
def test_what_has_no_name_is_not_registered(thing):
    made = Registry("model", "nlicl.models")
    with pytest.raises(InvalidType, match=r"^a model is .*, whose name is .*; expected a text as its name"):
        made.register(thing)
    assert not list(made)


@pytest.mark.parametrize("dense", [False, True])
def test_what_a_forward_gives_can_be_moved_to_the_host(dense):
    """What it does not hold, as the counts' attention where tokens are given, stays None."""
    problem = huang2023.Problem()
    prompts = problem.sample(3, seed=0)
    out = nlicl.forward(problem.initialize(seed=0), prompts.dense() if dense else prompts)
    moved = nlicl.to_host(out)
    with pytest.raises(
        InvalidType, match=r"^Q of these Params is a NoneType; expected an array"
    ):  # of parameters none is
        nlicl.to_host(huang2023.Params(None))
    assert type(moved) is type(out) and any(x is None for x in out) is dense
    assert all(there is here for there, here in zip(moved, out, strict=True))
