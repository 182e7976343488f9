"""A right call of every public function, class and method: small, quick, and always the same.

`CALLS` has them by name, module and qualified name, with further cases of one function behind a number: `Problem.sample (2)`.
A newer paper has its calls in a module of the folder calls_of/, which is found there: `EXCEPTIONS`, and `add(add)`.
Tests replace arguments of these calls by values that nobody should give. `EXCEPTIONS` says what has no call here, and why.
"""

import functools
import importlib
import inspect
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import calls_of
import numpy as np
from matplotlib.figure import Figure

import nlicl
import nlicl.papers
from nlicl import audit, devices, training
from nlicl.experiments.sweeps import laws
from nlicl.models import front
from nlicl.models import model as models
from nlicl.models.gpt2 import prompts as gpt2_prompts
from nlicl.models.gpt2 import reference as gpt2_reference
from nlicl.models.regression import steps as regression_steps
from nlicl.models.transformer import checks as transformer_checks
from nlicl.papers import bu2024, huang2023, li2024
from nlicl.papers.bu2024 import coordinates, prediction
from nlicl.papers.huang2023 import population, queries, reduced, trajectory
from nlicl.papers.li2024 import baselines, gpt2_observer, mechanism, patterns, pruning, tasks

__all__ = ["CALLS", "EXCEPTIONS", "Call", "public"]


class Call(NamedTuple):
    """A function and the arguments of a right call; `calls(**arguments)` of a function that takes some by position only."""

    function: Callable[..., Any]
    arguments: dict[str, Any]


CALLS: dict[str, Call] = {}

EXCEPTIONS: dict[str, str] = {
    "nlicl.papers.li2024.gradients": "formulas: plain NumPy, as they stand in the paper",
    "nlicl.papers.huang2023.gradients": "formulas: plain NumPy, as they stand in the paper",
    "nlicl.papers.bu2024.gradients": "formulas: plain NumPy, as they stand in the paper",
    "nlicl.papers.gpt2.gradients": "formulas: plain NumPy, as they stand in the paper",
    "nlicl.papers.gpt2.problem.Problem": "li2024.GPT2 under another name",
    "nlicl.papers.gpt2.layers": "formulas: plain NumPy, as they stand in the paper",
    "nlicl.papers.li2024.sampling": "parts of Problem.sample, which checks",
    "nlicl.papers.li2024.observer.drawn_tests": "a part of observers, which check",
    "nlicl.papers.bu2024.sampling": "parts of Problem.sample, which checks",
    "nlicl.papers.bu2024.rates": "a part of Problem, which checks",
    "nlicl.papers.bu2024.words": "for the descent and for nlicl.forward, which check",
    "nlicl.papers.bu2024.dictionaries": "parts of Problem, which checks",
    "nlicl.papers.bu2024.theory.checks": "checks themselves",
    "nlicl.models.transformer.audited": "for the audit, which makes what it gives",
    "nlicl.models.overflow": "what definitions say of their own numbers",
    "nlicl.models.transformer.marked": "for the audit, which makes what it gives",
    "nlicl.models.transformer.steps": "steps of a table: they are called by nlicl.forward and nlicl.loss_and_grad",
    "nlicl.models.regression.steps.Regression": "steps of a table: they are called by nlicl.forward and nlicl.loss_and_grad",
    "nlicl.models.gpt2.steps.Gpt2": "steps of a table: they are called by nlicl.forward and nlicl.loss_and_grad",
    "nlicl.models.gpt2.prompts.Prompt.unchecked": "for batches: nothing is looked at",
    "nlicl.models.gpt2.prompts.Prompts.cast": "for the descent, which checks the dtype of a run",
    "nlicl.models.gpt2.reference.checked": "a check itself",
    "nlicl.models.gpt2.reference.gelu": "a line of the definition, which checks",
    "nlicl.models.gpt2.reference.layernorm": "a line of the definition, which checks",
    "nlicl.models.gpt2.reference.softmax": "a line of the definition, which checks",
    "nlicl.papers.li2024.data.DataModel": "what problems inherit from",
    "nlicl.models.notebook": "what a notebook calls, which shows the object's repr where they fail",
    "nlicl.models.model.Batch": "what a batch type inherits from",
    "nlicl.models.model.enter": "find and step_of at once, for nlicl.forward",
    "nlicl.models.model.register": "changes the register; tests/models/test_registry.py has its errors",
    "nlicl.papers.paper.register": "changes the register; tests/papers/test_another_paper.py has its errors",
    "nlicl.core.registry.Registry.names": "no arguments",
    "nlicl.papers.paper.Paper": "tests/papers/test_another_paper.py has its errors",
    "nlicl.models.transformer.checks.check_all_finite": "of parameters that check_params has passed",
    "nlicl.models.transformer.checks.check_dtype": "of parameters that check_params has passed",
    "nlicl.models.transformer.checks.check_fit": "of parameters that check_params has passed",
    "nlicl.models.transformer.checks.check_tokens_fit": "of parameters that check_params has passed",
    "nlicl.models.transformer.prompts.Prompts.unchecked": "for samplers: nothing is looked at",
    "nlicl.models.transformer.prompts.CodedPrompts.unchecked": "for samplers: nothing is looked at",
    "nlicl.papers.bu2024.prompts.CodedPrompts.unchecked": "for samplers: nothing is looked at",
    "nlicl.papers.bu2024.prompts.CodedPrompts.codes": "what kernels take, for steps",
    "nlicl.models.transformer.prompts.packed_codes": "what kernels take, for steps",
    "nlicl.papers.li2024.problem.Problem.device_sampler": "needs a GPU",
    "nlicl.papers.huang2023.law.Law.__getitem__": "refuses every argument",
    "nlicl.models.transformer.reference.relu": "a line of the definition, which checks",
    "nlicl.models.transformer.reference.logistic": "a line of the definition, which checks",
    "nlicl.models.transformer.reference.checked": "a check itself",
    "nlicl.models.regression.reference.softmax": "a line of the definition, which checks",
    "nlicl.papers.provenance": "for the settings() of each problem, which checks itself",
    "nlicl.papers.problem.keep": "parts of Problem, which checks",
    "nlicl.core.progress.progress": "no arguments",
    "nlicl.devices.kernels": "no arguments",
    "nlicl.devices.unavailable": "no arguments",
    "nlicl.devices.place": "needs a GPU",
    "nlicl.devices.shape_of": "needs a GPU",
    "nlicl.devices.all_finite": "needs a GPU",
    "nlicl.devices.check_finite": "needs a GPU",
    "nlicl.devices.to_device": "needs a GPU",
    "nlicl.papers.li2024.problem.Problem.fresh_descent": "called by train, which checks what it gives",
    "nlicl.papers.li2024.descent": "called by train, which checks what it gives",
    "nlicl.training.SGD": "no arguments",
    "nlicl.training.optimizers.SGD.init": "called by train, which checks what a user's own optimizer returns",
    "nlicl.training.optimizers.SGD.update": "called by train, which checks what it is given",
    "nlicl.training.optimizers._Moments.init": "called by train, which checks what a user's own optimizer returns",
    "nlicl.training.optimizers.Adam.update": "called by train, which checks what it is given",
    "nlicl.training.optimizers.AdamW.update": "called by train, which checks what it is given",
    "nlicl.training.runs.Run": "what train returns",
    "nlicl.training.Runs": "what train returns",
    "nlicl.training.many.Runs": "what train returns",
    "nlicl.training.runs.History": "what train returns",
    "nlicl.audit.mistakes": "for the audit's diagnosis, which makes what it gives",
    "nlicl.audit.marks": "for the tests of a paper's formulas",
    "nlicl.audit.subject": "what a paper hands to the audit; docs/adding-a-paper.md",
    "nlicl.audit.report": "what the audit returns",
}
"""Names, or modules as a whole, with the reason why no call of them is here."""


def name_of(function: Any) -> str:
    """Module and qualified name of a function, a class, or a method, bound or not."""
    function = getattr(function, "__func__", function)
    return f"{function.__module__}.{function.__qualname__}"


def _add(function: Callable[..., Any], **arguments: Any) -> None:
    name = first = name_of(function)
    number = 1
    while name in CALLS:
        number += 1
        name = f"{first} ({number})"
    CALLS[name] = Call(function, arguments)


def public() -> Iterator[str]:
    """The names of everything public that can be called: what the packages for users, and their modules, list in `__all__`."""
    modules = ["nlicl", "nlicl.audit", "nlicl.devices", "nlicl.training", "nlicl.papers", "nlicl.models.front"]
    for package in ("nlicl.models", "nlicl.papers"):
        path = importlib.import_module(package).__path__
        modules += [found.name for found in pkgutil.walk_packages(path, f"{package}.") if "._" not in found.name]
    seen: set[str] = set()
    for name in modules:
        module = importlib.import_module(name)
        for public_name in getattr(module, "__all__", ()):
            for found in _callables(getattr(module, public_name)):
                if found not in seen:
                    seen.add(found)
                    yield found


def _callables(thing: Any) -> Iterator[str]:
    if inspect.isroutine(thing):
        yield name_of(thing)
    elif inspect.isclass(thing) and thing.__module__.startswith("nlicl"):
        if getattr(thing, "_is_protocol", False) or issubclass(thing, BaseException):
            return
        if tuple not in thing.__bases__:  # a NamedTuple is checked where it is taken
            yield name_of(thing)
        for kind in thing.__mro__:
            for name, member in vars(kind).items() if kind.__module__.startswith("nlicl") else ():
                of_class = isinstance(member, (classmethod, staticmethod))
                if (inspect.isfunction(member) or of_class) and (name == "__getitem__" or not name.startswith("_")):
                    function = member.__func__ if of_class else member  # type: ignore[attr-defined]
                    if list(inspect.signature(function).parameters) != ["self"]:
                        yield name_of(function)


# ---- What the calls are made of


_rng = np.random.default_rng(0)
_B, _L, _D = 5, 4, 6

_TOKENS = _rng.standard_normal((_B, _L + 1, _D))
_LABELS = np.array([1.0, -1.0, 1.0, 1.0, -1.0])
_PARAMS = nlicl.Params(
    *(0.3 * _rng.standard_normal(shape) for shape in ((3, _D), (3, _D), (4, _D), (7, 4), (7,))),
)
_PROMPTS = nlicl.Prompts(_TOKENS, _LABELS)

_LI = li2024.Problem(M1=4, M2=3, d_X=8, d_Y=3, length=5, m=6, batch=8, steps=3, alpha=0.7)
_LI_PARAMS = _LI.initialize(seed=0)
_LI_CODED = _LI.sample(6, seed=0)
_LI_OUT = nlicl.forward(_LI_PARAMS, _LI_CODED)

_GPT2 = li2024.GPT2(
    M1=4, M2=3, d_X=8, d_Y=3, length=5, layers=2, heads=2, width=6, hidden=7, positions=7, batch=8, steps=3, alpha=0.7
)
_GPT2_PARAMS = _GPT2.initialize(seed=0)
_GPT2_CODES = _GPT2.codes(6, seed=0)
_GPT2_PROMPTS = _GPT2.prompts_of(_GPT2_CODES)

_HUANG = huang2023.Problem(K=4, length=6, d=5, draws=20, batch=8, steps=3, learning_rate=1.0)
_HUANG_CODED = _HUANG.sample(6, seed=0)
_HUANG_PARAMS = huang2023.Params(0.2 * _rng.standard_normal((5, 5)))
_HUANG_DENSE = _HUANG_CODED.dense()
_P = np.array([0.4, 0.3, 0.2, 0.1])
_SOURCE = population.sampled(_P, 6, 12, seed=0)
_S = 0.3 * _rng.standard_normal((4, 4))
_QUERY = queries.balanced(5, 30)
_RARE = queries.under_represented(6, 0.5)
_DESCENT = reduced.descend(_RARE, eta=1.0, steps=5)
_FLOW = reduced.flow(queries.balanced(4), eps=0.1)

_BU = bu2024.Problem(
    concepts=2,
    dictionary=6,
    d_x=8,
    d_y=6,
    length=4,
    m=6,
    batch=8,
    steps=3,
    sigma_xi=0.1,
    p_z=0.2,
    sigma_0=0.3,
    sigma_1=0.1,
)
_BU_CLEAN = replace(_BU, sigma_xi=0.0, p_z=0.0)
_BU_PARAMS = _BU.initialize(seed=0)
_BU_CODED = _BU_CLEAN.sample(6, seed=0)
_BU_NOISY = _BU.sample(6, seed=0)
_BU_OUT = nlicl.forward(_BU_PARAMS, _BU_CODED)
_SEMANTICS = _BU.semantics
_BLOCKS = bu2024.reference.Blocks(_BU_PARAMS.W_Q[:, :8], _BU_PARAMS.W_K[:, :8], _BU_PARAMS.W_O, _BU_PARAMS.a)
_MERGED = bu2024.reference.Merged(_BU_PARAMS.W_Q.T @ _BU_PARAMS.W_K, _BU_PARAMS.W_V, _BU_PARAMS.W_O, _BU_PARAMS.a)
_STATE, _R = coordinates.random_start(5, 0.3, 0.1, [0, 1])
_SETTING = bu2024.recursion.Setting(2, 1.0, 0.7, 1.0, 0.7, 0.01)


def _nothing(*arguments: Any) -> None:
    """A function that takes anything."""


# ---- nlicl


_add(nlicl.Prompts, tokens=_TOKENS, labels=_LABELS, query_attends=False)
_add(nlicl.Prompts.__getitem__.__get__(_PROMPTS), index=1)
_add(
    nlicl.CodedPrompts,
    dictionary=np.array(_LI_CODED.dictionary),
    relevant=np.array(_LI_CODED.relevant),
    irrelevant=np.array(_LI_CODED.irrelevant),
    kappa=np.array(_LI_CODED.kappa),
    sign=np.array(_LI_CODED.sign),
    labels=np.array(_LI_CODED.labels),
    query_attends=False,
)
_add(_LI_CODED.__getitem__, index=1)
_add(_LI_CODED.dense, dtype=np.float64)
_add(nlicl.forward, params=_PARAMS, prompts=_PROMPTS, model=None, backend="auto")
_add(nlicl.forward, params=_LI_PARAMS, prompts=_LI_CODED)
_add(nlicl.forward, params=_HUANG_PARAMS, prompts=_HUANG_CODED)
_add(nlicl.loss_and_grad, params=_PARAMS, prompts=_PROMPTS, loss="hinge", model=None, backend="auto")
_add(nlicl.loss_and_grad, params=_LI_PARAMS, prompts=_LI_CODED)
_add(nlicl.loss_and_grad, params=_HUANG_PARAMS, prompts=_HUANG_CODED)
_add(nlicl.loss_and_grad, params=_HUANG_PARAMS, prompts=_HUANG_DENSE)
_add(nlicl.loss_and_grad, params=_BU_PARAMS, prompts=_BU_CODED)
_add(nlicl.loss_and_grad, params=_BU_PARAMS, prompts=_BU_NOISY)
_add(nlicl.forward, params=_GPT2_PARAMS, prompts=_GPT2_PROMPTS)
_add(nlicl.loss_and_grad, params=_GPT2_PARAMS, prompts=_GPT2_PROMPTS)
_add(nlicl.to_host, thing=_PARAMS)

# ---- nlicl.models

_add(nlicl.Prompt, tokens=_TOKENS[0], z=1.0, query_attends=False)
_add(front.check_batch, prompts=_PROMPTS)
_add(front.check_loss, model=front.BUILT_IN[0], prompts=_PROMPTS, loss="hinge")
_add(models.find, params=_PARAMS, batch=_PROMPTS, model="transformer")
_add(models.step_of, model=front.BUILT_IN[0], batch=_PROMPTS, device="cpu")
_add(transformer_checks.check_params, params=_PARAMS)
_add(transformer_checks.packed_params, params=_PARAMS)
_add(transformer_checks.real_params, params=_PARAMS)
_add(regression_steps.check_params, params=_HUANG_PARAMS)
_add(gpt2_prompts.checked_params, params=_GPT2_PARAMS, complex_too=False)
_add(gpt2_prompts.Prompts, tokens=_TOKENS, labels=_LABELS, reads=None, causal=True)
_add(gpt2_prompts.Prompts, tokens=_TOKENS, labels=_LABELS[:, None] * [1.0, -1.0], reads=(1, 4))
_add(_GPT2_PROMPTS.__getitem__, index=1)
_add(gpt2_prompts.Prompt, tokens=_TOKENS[0], z=_LABELS[:1], reads=(4,), causal=True)
_add(gpt2_prompts.interleaved, tokens=_TOKENS, d_X=4)
for _definition in (gpt2_reference.evaluate, gpt2_reference.loss):
    _add(_definition, params=_GPT2_PARAMS, prompt=_GPT2_PROMPTS[0], loss="hinge")
_add(gpt2_reference.forward, params=_GPT2_PARAMS, prompt=_GPT2_PROMPTS[0])
_add(_PROMPTS.moved, move=np.array)
_add(_LI_CODED.moved, move=np.array)

# ---- nlicl.devices

_add(devices.choose, backend="auto", params=_PARAMS, arrays=_PROMPTS.arrays)
_add(devices.on_device, array=_TOKENS)
_add(devices.fetch, array=_TOKENS)

# ---- nlicl.training

_add(nlicl.slider, pictures=[Figure((1, 1))], labels=[0.5], name="alpha", first=0)
_add(training.Adam, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
_add(training.AdamW, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
_add(training.InverseTime, offset=100.0)
_add(training.InverseTime(100.0).__call__, t=3)
_TRAINED: dict[str, Any] = {
    "problem": _LI,
    "steps": 2,
    "learning_rate": 0.1,
    "batch": 4,
    "seed": 0,
    "loss": "hinge",
    "trained": ("W_Q", "W_O"),
    "optimizer": training.Adam(),
    "weight_decay": 0.01,
    "schedule": training.InverseTime(10.0),
    "mask": {"W_Q": np.arange(_LI.d) < 4},
    "prompts": _LI_CODED,
    "params": _LI_PARAMS,
    "model": "transformer",
    "dtype": np.float64,
    "backend": "cpu",
    "measure": [0, 2],
    "observe": lambda params: {"a": params.a[0]},
    "until": lambda losses: False,
    "checkpoint": 2,
    "resume": False,
    "progress": _nothing,
}
_add(nlicl.train, **_TRAINED)
_add(nlicl.train, problem=_HUANG, steps=2, learning_rate=0.5, prompts="population", measure=None)
_add(nlicl.train, problem=_BU, steps=2, measure=None, batch=4)
_add(
    nlicl.sweep,
    problem=_LI,
    over={"alpha": [0.5, 0.8]},
    seeds=[1],
    measure="training_loss",
    training={"steps": 1, "batch": 4},
    executor=None,
    jobs=None,
    threads=1,
    out=None,
    progress=_nothing,
    tell=_nothing,
)
_RUN = nlicl.train(_LI, steps=2, measure=2, batch=4, observe=_TRAINED["observe"])
_add(_RUN.history.__getitem__, name="a")
_add(_RUN.history.at, step=2, name="a")


@functools.cache
def _folder() -> Path:
    """The folder of a run, made when it is first asked for; it goes with the process."""
    kept = tempfile.TemporaryDirectory()
    _KEPT.append(kept)
    nlicl.train(_LI, steps=1, measure=None, batch=4, out=kept.name)
    return Path(kept.name)


_KEPT: list[Any] = []


def _load_run(path: Any = None, params: Any = None) -> Any:
    return nlicl.load_run(_folder() if path is None else path, params)


_load_run.__module__, _load_run.__qualname__ = nlicl.load_run.__module__, nlicl.load_run.__qualname__
_add(_load_run, path=None, params=nlicl.Params)


def _to_csv(path: Any = None) -> None:
    _RUN.history.to_csv(_folder() / "history.csv" if path is None else path)


_to_csv.__module__, _to_csv.__qualname__ = "nlicl.training.runs", "History.to_csv"
_add(_to_csv, path=None)

# ---- nlicl.audit


def _square(x: np.ndarray) -> Any:
    return (x * x).sum()


def _twice(x: np.ndarray) -> np.ndarray:
    return 2 * x


_add(
    audit.audit_formula, formula=li2024.formulas["W_O"], paper="li2024", wrt="W_O", draws=2, seed=0, query_attends=False
)
_add(audit.audit_gradient, loss=_square, gradient=_twice, x=np.array([0.3, -0.7]), entries=3, seed=0, tolerance=1e-6)
_add(audit.assert_gradient, loss=_square, gradient=_twice, x=np.array([0.3, -0.7]))
_add(
    audit.audit_paper,
    paper="huang2023",
    wrt="Q",
    draws=2,
    seed=0,
    query_attends=False,
    backend="cpu",
    progress=_nothing,
)

# ---- nlicl.papers

_add(nlicl.papers.load, name="li2024")

# ---- nlicl.papers.li2024

_add(li2024.Problem, M1=4, M2=3, d_X=8, d_Y=3, beta=2.0, K=0.5, alpha=0.7, length=5, m=6, m_a=7, m_b=8, delta=0.2, xi=0.02,
     a_scale="2/m", learning_rate=1.0, batch=8, steps=3, training_tasks=((0, 1), (1, 0)), query_attends=False)  # fmt: skip
_add(li2024.Problem, M1=2, M2=3, d_X=8, alpha=1.0, coefficients=np.array([[1.0, 0, 0, 0], [0, 0.6, 0.8, 0]]))
_add(_LI.tasks, which="unseen")
_add(_LI.sample, n=6, length=5, alpha=0.7, seed=0, tasks=[(0, 1), (2, 3)], sampling="iid")
_add(_LI.sample, n=6, seed=(0, 3), tasks="all", sampling="at-least")
_add(_LI.initialize, m=5, m_a=4, m_b=3, seed=0)
_add(_LI.out_of_domain, S_1=1.2, K=0.4, M1=2)
_add(_LI.out_of_domain, coefficients=np.array([[1.0, 0, 0, 0], [0, 0.6, 0.8, 0]]))
_add(_LI.observer, seed=0)
_add(li2024.Observer, problem=_LI, n=6, seed=0, S_1=1.2, alpha=0.8)
_add(li2024.Observer(_LI, n=6).__call__, params=_LI_PARAMS)
_add(tasks.all_tasks, M1=4)
_add(tasks.cyclic_tasks, M1=4, shifts=2)
_add(tasks.condition_3_2, tasks=((0, 1), (1, 0)), M1=2)
_add(tasks.checked_tasks, tasks=((0, 1), (1, 0)), M1=2, name="tasks")
_add(patterns.odr_coefficients, S_1=1.2, M1=2, idr=4)
_add(patterns.checked_coefficients, coefficients=np.array([[1.0, 0, 0], [0, 0.6, 0.8]]), M1=2)
_add(li2024.wrong, margin=np.array([-0.5, 0.0, 2.0]), ties=False)
_add(li2024.no_match_probability, alpha=0.8, length=20)
_add(li2024.no_match_probability, alpha=0.8, length=np.array([1.0, 20.0]))
_add(li2024.number_of_neurons, M1=6)
_add(li2024.batch_size, M1=6, epsilon=0.1)
_add(li2024.context_length, alpha=0.8)
_add(li2024.number_of_steps, alpha=0.8, M1=6, beta=2.0, learning_rate=1.0, C=1.0)
_add(mechanism.same_pattern_attention, attention=_LI_OUT.attention, prompts=_LI_CODED)
_add(
    mechanism.projection,
    W=_LI_PARAMS.W_Q,
    tokens=_LI_CODED.dense().tokens[:, -1],
    patterns=_LI.mu[_LI_CODED.relevant[:, -1]],
)
_add(mechanism.neurons, params=_LI_PARAMS, mu_bar=_LI.mu_bar, q=_LI.q)
_add(mechanism.lucky_neurons, params=_LI_PARAMS, preactivation=_LI_OUT.preactivation, labels=np.array(_LI_CODED.labels),
     share=0.9)  # fmt: skip
_add(mechanism.pattern_block, W=_LI_PARAMS.W_Q, patterns=_LI.mu)
_add(mechanism.drift, W=_LI_PARAMS.W_K, start=1.1 * _LI_PARAMS.W_K, direction=_LI.mu_bar)
_add(pruning.order, params=_LI_PARAMS, how="random", seed=0)
_add(pruning.number_removed, fraction=0.3, m=10)
_add(pruning.prune, params=_LI_PARAMS, neurons=np.array([0, 2]))
_add(pruning.prune, params=_LI_PARAMS, neurons=np.arange(6) < 2)
_add(pruning.small_neurons, params=_LI_PARAMS, threshold=0.5)
_add(pruning.scores, params=_LI_PARAMS, prompts=_LI_CODED, neurons=np.arange(6), counts=np.array([0, 3]))
_add(pruning.curve, params=_LI_PARAMS, prompts=_LI_CODED, neurons=np.arange(6), counts=np.array([0, 3]))
_CONTEXTS = _rng.standard_normal((6, 3))
_add(baselines.predict, method="1-NN", contexts=_CONTEXTS, labels=np.array([1.0, -1, 1, -1, 1, -1]), query=_CONTEXTS[0] + 0.1,
     C=1.0)  # fmt: skip
_add(baselines.predictions, method="Logistic", prompts=_LI_CODED, d_X=8, C=1.0)
_add(baselines.predictions, method="3-NN", prompts=_LI_CODED.dense(), d_X=8, q=_LI.q)

_add(
    li2024.GPT2,
    M1=4, M2=3, d_X=8, d_Y=3, beta=2.0, K=0.5, alpha=0.7, length=5, layers=2, heads=2, width=6, hidden=7, positions=7,
    learned_positions=True, causal=True, layout="stacked", read="query", loss="hinge", shortest=1, learning_rate=0.01,
    batch=8, steps=3, training_tasks=((0, 1), (1, 2), (2, 3), (3, 0)), coefficients=None,
)  # fmt: skip
_add(_GPT2.n_tokens, length=5)
_add(_GPT2.sample, n=6, length=5, alpha=0.7, seed=0, tasks=[(0, 1), (2, 3)], sampling="iid")
_add(_GPT2.sample, n=6, length=0)
_add(_GPT2.codes, n=6, length=5, alpha=0.7, seed=0, tasks=[(0, 1), (2, 3)], sampling="iid")
_add(_GPT2.prompts_of, codes=_GPT2_CODES, n_contexts=3)
_add(_GPT2.initialize, seed=0)
_add(_GPT2.observer, seed=0)
_add(gpt2_observer.GPT2Observer, problem=_GPT2, n=6, seed=0, S_1=1.2, alpha=0.8)
_add(gpt2_observer.GPT2Observer(_GPT2, n=6).__call__, params=_GPT2_PARAMS)
_add(gpt2_observer.attention_mass, attention=nlicl.forward(_GPT2_PARAMS, _GPT2_PROMPTS).attention, codes=_GPT2_CODES)
_add(gpt2_observer.neurons, params=_GPT2_PARAMS, mu_bar=_GPT2.mu_bar, q=_GPT2.q, path="value")
_add(mechanism.parts, rows=np.ones((2, _GPT2.d)), mu_bar=_GPT2.mu_bar, q=_GPT2.q)

# ---- nlicl.papers.huang2023

_add(huang2023.Params, Q=_HUANG_PARAMS.Q)
_add(huang2023.Prompts, tokens=np.array(_HUANG_DENSE.tokens), labels=np.array(_HUANG_DENSE.labels), query_attends=False)
_add(_HUANG_DENSE.__getitem__, index=1)
_add(huang2023.CodedPrompts, V=np.array(_HUANG_CODED.V), features=np.array(_HUANG_CODED.features),
     omega=np.array(_HUANG_CODED.omega), query_attends=False)  # fmt: skip
_add(_HUANG_CODED.__getitem__, index=1)
_add(_HUANG_CODED.dense, dtype=np.float64)
_add(huang2023.Prompt, tokens=np.array(_HUANG_DENSE.tokens[0]), z=0.5, query_attends=False)
_add(huang2023.Law, V=_HUANG.V, p=_P, source=_SOURCE)
_add(huang2023.Problem, K=4, length=6, d=5, p=(0.4, 0.3, 0.2, 0.1), p_1=0.5, V_seed=0, learning_rate=1.0, counts="sampled",
     draws=20, batch=8, steps=3, features="dense", prompts="population")  # fmt: skip
_add(huang2023.Experiment, K=4, length=6, d=5, features="one-hot", p=(0.4, 0.3, 0.2, 0.1), p_1=0.5, V_seed=0,
     learning_rate=0.1, counts="sampled", draws=20, batch=8, steps=3, prompts=9)  # fmt: skip
_add(huang2023.Problem.balanced, K=4)
_add(huang2023.Problem.imbalanced, K=4, p_1=0.4)
_add(_HUANG.sample, n=6, length=5, seed=0)
_add(_HUANG.population, seed=0)
_add(_HUANG.check_descent, learning_rate=1.0)
_add(_HUANG.initialize, seed=0)
_add(_HUANG.observer, seed=0)
_add(huang2023.Observer, problem=_HUANG, n=6, seed=0)
_add(huang2023.Observer(_HUANG, n=6).__call__, params=_HUANG_PARAMS)
_add(huang2023.phases.phases, trajectory=_FLOW, eps=0.2)
_add(trajectory.Trajectory, kind="balanced", K=4, tau=np.arange(6.0), points=_DESCENT.points, eta=1.0, interpolant=None,
     reached=None)  # fmt: skip
_add(_FLOW.at, tau=1.0)
_add(_FLOW.at, tau=np.array([0.5, 1.0]))
_add(population.Source, counts=_SOURCE.counts, weights=_SOURCE.weights)
_add(population.enumerated, p=_P, N=3)
_add(population.sampled, p=_P, N=6, M=12, seed=0)
_add(population.infinite, p=_P)
_add(population.attention, S=_S, source=_SOURCE, masked=True)
_add(population.loss_k, S=_S, source=_SOURCE, masked=True)
_add(population.loss, S=_S, p=_P, source=_SOURCE, masked=True)
_add(population.increments, S=_S, p=_P, source=_SOURCE, masked=True)
_add(population.loss_and_increments, S=_S, p=_P, source=_SOURCE, masked=True)
_add(population.gradient, Q=_HUANG_PARAMS.Q, V=_HUANG.V, p=_P, source=_SOURCE, masked=True)
_add(population.descend, k=1, p=_P, source=_SOURCE, eta=1.0, steps=3, eps=0.1, masked=True)
_add(population.check_law, p=_P, source=_SOURCE)
_add(queries.balanced, K=5, N=30)
_add(queries.dominant, K=5, p_1=0.4, N=30)
_add(queries.under_represented, K=5, p_1=0.4, N=30)
_add(queries.Query, kind="balanced", K=5, p_k=0.2, p_1=0.0, G=4, N=30)
_add(_QUERY.point, A=0.3, B_1=0.0, B_o=-0.1)
_add(queries.binomial, N=30, p=0.2)
_add(reduced.descend, query=_QUERY, eta=1.0, steps=3, eps=0.1)
_add(reduced.flow, query=queries.balanced(4), eps=0.2, end=50.0)
_add(reduced.floor, query=_RARE)
_adam = huang2023.adam
_add(_adam.largest_move, eta=0.002, steps=40)
_add(_adam.one_hot_attention, p_k=0.1, move=0.8)
_add(_adam.one_hot_gap, eta=0.002, steps=40)
_add(_adam.dense_gap, eta=0.002, steps=40, d=100, K=10)
_theory = huang2023.theory
_add(_theory.F, u=1.5)
_add(_theory.F, u=np.array([0.5, 1.5]))
_add(_theory.attention_ratio, eps=0.1)
_add(_theory.balanced_times, K=5, eps=0.1)
_add(_theory.check_length, N=30)
_add(_theory.check_p, p=_P)
_add(_theory.check_step_size, eta=1.0, largest=0.5)
_add(_theory.concentration_probability, K=3, N=10000, c=1.0)
_add(_theory.dominant_bound, eps=0.1, eta=1.0, C=1.0)
_add(_theory.dominant_time, K=5, p_1=0.4, eps=0.1)
_add(_theory.dominant_weight_law, tau=np.array([0.0, 2.0]), K=5, p_1=0.4)
_add(_theory.end_of_growth, K=5)
_add(_theory.floor_bounds, p_k=0.2, N=30, K=5)
_add(_theory.flow_time, u=np.array([0.5, 2.0]), K=5, p_k=0.2)
_add(_theory.initial_loss, p=_P, N=30)
_add(_theory.leading_times, K=5, p_1=0.4, eps=0.1)
_add(_theory.missing_probability, p_k=0.2, N=30)
_add(_theory.phase_bounds, kind="balanced", K=5, eps=0.1, eta=1.0, C=1.0)
_add(_theory.step_size, largest=0.5)
_add(_theory.target_weight, u=np.array([0.5, 2.0]), K=5, p_k=0.2)
_add(_theory.target_weight_law, tau=2.0, K=5, p_1=0.4)
_add(_theory.under_represented_bound, K=5, eps=0.1, eta=1.0, C=1.0)
_reference = huang2023.reference
_add(_reference.forward, params=_HUANG_PARAMS, prompt=_HUANG_DENSE[0])
_add(_reference.loss, params=_HUANG_PARAMS, prompt=_HUANG_DENSE[0])
_add(_reference.transformer, params=_HUANG_PARAMS, prompt=_HUANG_DENSE[0])
_add(
    _reference.task_averaged_loss, weights=_reference.Weights(_S), counted=_reference.Counted(np.array([2, 1, 0, 3]), 1)
)
_add(_reference.population_loss, weights=_reference.PopulationWeights(_S), population=_reference.Population(_P, 2))

# ---- nlicl.papers.bu2024

_transformer = importlib.import_module("nlicl.models.transformer.reference")
_add(_transformer.forward, params=_PARAMS, prompt=_PROMPTS[0])
_add(_transformer.evaluate, params=_PARAMS, prompt=_PROMPTS[0], loss="hinge")
_add(_transformer.loss, params=_PARAMS, prompt=_PROMPTS[0], loss="hinge")
_add(_transformer.margins, params=_PARAMS, prompt=_PROMPTS[0], loss="hinge")
_add(bu2024.Problem, concepts=2, dictionary=6, d_x=8, d_y=6, norm_x=5.0, norm_y=5.0, kappa_x=0.5, kappa_y=0.5, sigma_xi=0.1,
     p_z=0.2, length=4, match="iid", semantics_seed=0, m=6, sigma_0=0.3, sigma_1=0.1, weight_decay=0.01, step_offset=100.0,
     learning_rate=1.0, batch=8, steps=3)  # fmt: skip
_add(_BU.unseen, direction="c", seed=0)
_add(
    _BU.sample, n=6, length=4, seed=0, match="balanced", concept_weights=(0.4, 0.6), semantics=_SEMANTICS, sigma_xi=0.2
)
_add(_BU.sample, n=6, seed=(0, 1), sigma_xi=0.0)
_add(_BU_CLEAN.population, seed=0)
_add(_BU.initialize, m=5, m_a=8, m_b=6, seed=0)
_add(_BU.schedule, t=3)
_add(_BU.observer, seed=0)
_add(bu2024.Observer, problem=_BU, n=6, seed=0, length=2)
_add(bu2024.Observer(_BU, n=6).__call__, params=_BU_PARAMS)
_add(bu2024.Semantics, **{name: np.array(getattr(_SEMANTICS, name)) for name in "abcd"})
_add(_SEMANTICS.combined, a=np.eye(2), b=np.eye(2)[::-1], c=np.eye(2), d=-np.eye(2))
_add(_SEMANTICS.switched, by=1)
_add(bu2024.CodedPrompts, dictionary=np.array(_BU_NOISY.dictionary), d_x=8, code=np.array(_BU_NOISY.code),
     concept=np.array(_BU_NOISY.concept), signs=np.array(_BU_NOISY.signs), tokens=np.array(_BU_NOISY.tokens))  # fmt: skip
_add(_BU_NOISY.__getitem__, index=1)
_add(_BU_CODED.dense, dtype=np.float64)
_add(_BU_CODED.moved, move=np.array)
_add(bu2024.Prompts, tokens=_TOKENS, labels=_LABELS)
_add(bu2024.Prompt, tokens=_TOKENS[0], z=1.0, query_attends=False, d_x=3, signs=np.ones(5, int), one_concept=False,
     feature=np.ones((6, 2)))  # fmt: skip
_add(bu2024.Shift, name="longer", about="longer prompts", succeeds=True, draw={"length": 8})
_add(bu2024.shifts, problem=_BU, seed=0)
_add(bu2024.predict, problem=_BU, params=_BU_PARAMS)
_add(prediction.early, params=_BU_PARAMS, semantics=_SEMANTICS, k=1)
_closed: dict[str, Any] = {
    "W_Q": _BU_PARAMS.W_Q[:, :8],
    "W_K": _BU_PARAMS.W_K[:, :8],
    "W_O": _BU_PARAMS.W_O,
    "r": _BU_PARAMS.a,
}
_add(bu2024.closed.closed_form, **_closed, **{name: np.array(getattr(_SEMANTICS, name)[:, 0]) for name in "abcd"}, e_q=1,
     n_plus=2, n_minus=1)  # fmt: skip
_add(bu2024.closed.sigmoid, x=0.5)
_add(coordinates.start, o_c=_STATE.o_c, o_d=_STATE.o_d, sigma_0=0.3)
_add(coordinates.random_start, width=5, sigma_0=0.3, sigma_1=np.array([0.1, 0.2]), seeds=[0, 1])
_add(coordinates.project, params=_BU_PARAMS, semantics=_SEMANTICS, k=1)
_add(
    bu2024.recursion.Setting,
    concepts=2,
    norm_a=1.0,
    norm_b=0.7,
    norm_c=1.0,
    norm_d=np.array([0.7, 0.8]),
    weight_decay=0.01,
)
_add(bu2024.recursion.step, state=_STATE, r=_R, eta=0.1, setting=_SETTING)
_add(bu2024.recursion.run, state=_STATE, r=_R, setting=_SETTING, etas=np.full(3, 0.1), record=[0, 2])
_add(bu2024.recursion.observe, state=_STATE, r=_R, setting=_SETTING)
_mechanism = bu2024.mechanism
_add(_mechanism.correct_attention, attention=_BU_OUT.attention, prompts=_BU_CODED)
_add(_mechanism.error, score=_BU_OUT.score, labels=_BU_CODED.labels)
_add(_mechanism.answers, out=_BU_OUT, prompts=_BU_CODED)
_add(_mechanism.dead_neurons, preactivation=_BU_OUT.preactivation)
_add(_mechanism.word_matrix, params=_BU_PARAMS, d_x=8)
_add(_mechanism.coefficients, params=_BU_PARAMS, semantics=_SEMANTICS)
_add(
    _mechanism.products, params=_BU_PARAMS, semantics=_SEMANTICS, nu=_BU.nu, xi_x=np.ones((8, 3)), xi_y=np.ones((6, 3))
)
_add(bu2024.reference.forward, blocks=_BLOCKS, prompt=_BU_NOISY[0])
_add(bu2024.reference.evaluate, blocks=_BLOCKS, prompt=_BU_NOISY[0])
_add(bu2024.reference.evaluate_merged, merged=_MERGED, prompt=_BU_NOISY[0])
_add(bu2024.reference.full, blocks=_BLOCKS)
_add(bu2024.reference.full_merged, merged=_MERGED)
_early = bu2024.theory
_add(_early.early_quantities, r=_R, o_c=_STATE.o_c, o_d=_STATE.o_d, beta=0.3)
_add(_early.early_rate, norm_b=0.7, norm_d=0.6, concepts=2, length=4, match="iid")
_add(_early.early_source, m_plus=3, width=6, norm_d=0.6, concepts=2, length=4, match="at-least-one")
_add(_early.early_flow, R=0.1, X=0.2, etas=np.full(3, 0.1), k_0=0.5, weight_decay=0.01, source=0.0)
_add(_early.escape_step, T_b=2.0, weight_decay=0.01, step_offset=100.0)
_add(_early.escape_time, R_0=np.array([0.1, 0.3]), X_0=0.2, k_0=0.5)
_add(_early.failure_probability, sigma_0=0.3, sigma_1=0.1)
_add(_early.invariant, R=0.1, X=0.2, decayed=1.0)
_add(_early.lambda_star, sigma_0=0.3, norm_b=0.7, norm_d=0.6, concepts=2, width=6, m_plus=3)
_add(_early.succeeds, R_0=0.1, X_0=0.2, k_0=0.5, weight_decay=0.01)
_add(_early.sufficient_sigma_0, sigma_1=0.1, concepts=2, delta=0.1)
_add(_early.norms, norm_x=1.0, norm_y=2.0, kappa_x=0.5, kappa_y=0.3)
_add(_early.decay, steps=3, step_offset=100.0)
_add(_early.needed_step_offset, norm_c=1.0, weight_decay=0.01, width=6, sigma_1=0.1)
_add(_early.step_sizes, steps=3, weight_decay=0.01, step_offset=100.0)
_add(_early.attention_law, length=4, match="iid", product=0.3)
_add(_early.floor_error, length=4)
_add(_early.initial_attention, length=4, match="iid", product=0.3)
_add(_early.match_law, length=4, match="iid")

# ---- nlicl.experiments.sweeps

_CELLS: dict[str, Any] = {
    "x": {"n": np.array([1.0, 1, 2, 2, 4, 4]), "k": np.array([1.0, 3, 3, 1, 1, 3])},
    "y": np.array([8.1, 7.5, np.inf, 4.2, np.nan, 2.1]),
    "seeds": np.array([0, 1, 0, 1, 0, 1]),
    "limit": np.full(6, 9.0),
}
_THEORY = {"n": laws.Theory(-1.0, "Theorem 1 [ours]")}
_add(laws.Theory, exponent=-1.0, source="Theorem 1 [ours]")
_add(laws.fit_power, **_CELLS, theory=_THEORY, y_name="steps", draws=100, seed=0)
_LAW = laws.fit_power(**_CELLS, draws=100)
_add(_LAW.predict, x={"n": np.array([1.0, 2.0]), "k": 2.0})
_add(_LAW.band, x={"n": np.array([1.0, 2.0]), "k": 2.0})
_add(_LAW.rows, x={"n": np.array([1.0, 2.0]), "k": 2.0})

# ---- Papers with a module of their own

for _found in pkgutil.iter_modules(calls_of.__path__):
    _module = importlib.import_module(f"calls_of.{_found.name}")
    EXCEPTIONS |= _module.EXCEPTIONS
    _module.add(_add)
