"""What a paper hands to the audit: its formulas, and the functions they are judged by.

The audit knows functions and arrays, not papers. A paper's module builds one `Subject`; everything the audit does
follows from it. docs/adding-a-paper.md shows one from beginning to end.

    from nlicl.audit import Formula, Point, Statement, Subject, fill
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .mistakes import Marked

__all__ = ["Formula", "Point", "Statement", "Subject", "fill"]


@dataclass(frozen=True)
class Formula:
    """A gradient formula of a paper: a function f(params, prompt) -> array, and where it comes from.

    Attributes
    ----------
    function : callable
        f(params, prompt), the gradient of one prompt's loss, of the shape of the parameter `wrt`.
    name : str
        Its name in the table.
    wrt : str
        The parameter it differentiates by.
    equation : str
        The formula in one line, or its descriptive name.
    source : str
        Where it stands.
    query_attends : bool or None
        The model it is judged against: the query among the keys (l+1 terms), not among them (l), or None: the model that
        the audit is asked for.
    erratum : str or None
        What is known to be wrong with it.
    expected : {"agree", "disagree"}
        The verdict that says all is as known.
    domain : str
        In words, where the formula holds, if not everywhere. It is judged on points that list these words in `holds`, and
        on no others.
    defined : callable or None
        defined(params) -> bool. If given, it says in place of `holds` which points are inside.
    code : str
        The source text of a reader's own function, for the report.
    """

    function: Callable[..., np.ndarray]
    name: str
    wrt: str
    equation: str
    source: str
    query_attends: bool | None = None
    erratum: str | None = None
    expected: str = "agree"
    domain: str = ""
    defined: Callable[[Any], bool] | None = None
    code: str = ""

    def __call__(self, params: Any, prompt: Any) -> np.ndarray:
        return self.function(params, prompt)

    def __repr__(self) -> str:
        return f"Formula({self.name!r}, wrt={self.wrt!r}, expected={self.expected!r}: {self.equation})"


@dataclass(frozen=True)
class Statement:
    r"""A model and its loss in TeX, for readers of a report who know neither.

    Attributes
    ----------
    model : tuple of str
        Its equations, one a line.
    loss : str
        The loss that formulas differentiate.
    symbols : tuple of (str, str)
        What is to be explained: TeX, and what it means in words. Words may hold TeX between dollars.
    about : str
        What the parameters and the loss are, in a few words: "linear attention, keys and queries apart".

    Examples
    --------
    >>> Statement((r"F = a^\top \mathrm{relu}(u)",), r"\max(0, 1 - z F)", (("z", "the label, $+1$ or $-1$"),)).about
    ''
    """

    model: tuple[str, ...]
    loss: str
    symbols: tuple[tuple[str, str], ...] = ()
    about: str = ""


class Point(NamedTuple):
    """A place where formulas are judged: parameters and a batch of prompts.

    Attributes
    ----------
    label : str
        What it is, for the report.
    params : NamedTuple of arrays
    prompts : batch of prompts
        It has a length; an integer index gives a prompt, a slice gives a batch.
    holds : tuple of str
        Assumptions that hold here, in words, and that other points break. A formula that is right on just these points is
        said to rest on them.
    """

    label: str
    params: Any
    prompts: Any
    holds: tuple[str, ...] = ()


def fill(fixed: Iterable[Point], random: Iterator[Point], draws: int) -> list[Point]:
    """Points with `draws` prompts in all: those of the list `fixed` first, then those of the iterator `random`.

    The last point is cut to the number of prompts.
    """
    found, left = [], list(fixed)
    while draws > 0:
        point = left.pop(0) if left else next(random)
        found.append(point._replace(prompts=point.prompts[:draws]))
        draws -= len(point.prompts)
    return found


def _nothing(params: Any, prompt: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Subject:
    """All that the audit needs to know of a paper.

    Attributes
    ----------
    name, title : str
    formulas : mapping of str to Formula
    points : callable
        points(draws, seed, query_attends) -> list of Point with `draws` prompts in all. If the loss has gates, some are open
        and some closed.
    definition : callable
        definition(params, prompt) -> (loss, margins), in NumPy, for any dtype, including complex and longdouble. The loss is
        smooth wherever no margin is zero.
    kernel : callable
        kernel(params, prompts) -> mean loss through the compiled kernels, float64 or complex128.
    source : callable
        The same through the kernels' Python source, any dtype.
    gradient : callable
        gradient(params, prompts) -> gradients of the mean loss, the library's.
    sizes : callable
        sizes(params, prompt) -> {name: number}: constants that may be a wrong factor in a formula (l, m, beta ...). None by
        default.
    activity : callable
        activity(params, prompt) -> {name: share}: active shares, whose means over the draws are reported. None by default.
    marked : mapping of str to callable
        The gradient by each parameter as a marked formula f(params, prompt, mark), see `nlicl.audit.mistakes`. The diagnosis
        tries its wrong variants. Without one, the audit still finds signs, constant factors and transposes.
    parts : tuple of Subject
        Subjects of the paper's other losses, with their own parameters and draws. All are audited together.
    rows : mapping of str to str
        The name of a row (first index) of a parameter, if it has one: {"W_O": "neuron"}.
    conditions : callable
        conditions(params, prompt) -> {topic: words that are true there}: {"output": "F < 0"}. The report names the first one
        that separates the draws on which a formula is wrong from the others. Signs of labels, equal sizes, active shares
        of 0 and 1, and symmetric matrices need not be given. None by default.
    regions : callable
        regions(params, prompt) -> {parameter: {words: bool array}}: entries that belong together, in the shape of the
        parameter: {"W_O": {"rows of inactive neurons": mask}}. The report says if only these are wrong. None by default.
    computed_by : str
        How `gradient` is computed, for the report; {wrt} stands for the parameter.
    on_gpu : mapping of str to callable
        Name -> a function like `gradient` that uses one of the GPU kernels. Empty if the paper has none.
    statement : Statement or None
        The model and the loss, typeset for readers of a report.
    """

    name: str
    title: str
    formulas: Mapping[str, Formula]
    points: Callable[[int, int, bool], list[Point]]
    definition: Callable[[Any, Any], tuple[Any, np.ndarray]]
    kernel: Callable[[Any, Any], Any]
    source: Callable[[Any, Any], Any]
    gradient: Callable[[Any, Any], Any]
    sizes: Callable[[Any, Any], Mapping[str, float]] = _nothing
    activity: Callable[[Any, Any], Mapping[str, float]] = _nothing
    marked: Mapping[str, Marked] = field(default_factory=dict)
    parts: tuple["Subject", ...] = ()
    rows: Mapping[str, str] = field(default_factory=dict)
    conditions: Callable[[Any, Any], Mapping[str, str]] = _nothing
    regions: Callable[[Any, Any], Mapping[str, Mapping[str, np.ndarray]]] = _nothing
    computed_by: str = "mean over a batch, nlicl.loss_and_grad(...)[1].{wrt}"
    on_gpu: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    statement: Statement | None = None

    @property
    def every(self) -> tuple["Subject", ...]:
        """The subjects of all the paper's losses, this one first."""
        return (self, *self.parts)

    @property
    def parameters(self) -> list[str]:
        """The names of all parameters that formulas differentiate by, in their order."""
        return list(dict.fromkeys(formula.wrt for part in self.every for formula in part.formulas.values()))
