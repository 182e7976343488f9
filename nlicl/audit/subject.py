"""What a paper hands to the audit: its formulas, and the functions they are judged by.

The audit knows functions and arrays, not papers. A paper module builds one `Subject`; everything the audit does
follows from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Edit", "Formula", "Point", "Subject", "fill"]


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
        The model it is judged against: the query among the keys (l+1 terms), not among them (l), or None for whichever
        model is asked for.
    erratum : str or None
        What is known to be wrong with it.
    expected : {"agree", "disagree"}
        The verdict that says all is as known.
    domain : str
        In words, where the formula holds, if not everywhere; draws outside are left out. Inside are the points that list
        these words in `holds`,
    defined : callable or None
        or, if given, those with defined(params) -> True.
    code : str
        The source text of a reader's own function, for the report.
    """

    function: Callable
    name: str
    wrt: str
    equation: str
    source: str
    query_attends: bool | None = None
    erratum: str | None = None
    expected: str = "agree"
    domain: str = ""
    defined: Callable | None = None
    code: str = ""

    def __call__(self, params, prompt):
        return self.function(params, prompt)

    def __repr__(self):
        return f"Formula({self.name!r}, wrt={self.wrt!r}, expected={self.expected!r}: {self.equation})"


class Point(NamedTuple):
    """A place in parameter space with a batch of prompts: `label` says what it is, `prompts` supports len and slices.

    `holds` lists, in words, what is special about it: assumptions of the paper that other points break. A formula that is
    right on just these points is said to use them.
    """

    label: str
    params: Any
    prompts: Any
    holds: tuple[str, ...] = ()


def fill(fixed, random, draws):
    """Points with `draws` prompts in all: those of the list `fixed` first, then of the iterator `random`."""
    found, fixed = [], list(fixed)
    while draws > 0:
        point = fixed.pop(0) if fixed else next(random)
        found.append(point._replace(prompts=point.prompts[:draws]))
        draws -= len(point.prompts)
    return found


class Edit(NamedTuple):
    """One way in which a derivation goes wrong, as a change to a paper's own gradient.

    `slot` is the factor it changes (two edits of one slot exclude each other), `value` what is put there, `kind` and
    `detail` what the audit says when the edited gradient is the given one.
    """

    slot: str
    value: Any
    kind: str
    detail: str


@dataclass(frozen=True)
class Subject:
    """All that the audit needs to know of a paper.

    Attributes
    ----------
    name, title : str
    formulas : mapping of str to Formula
    points : callable
        points(draws, seed, query_attends) -> list of Point with `draws` prompts in all; where the loss has gates, open
        and closed ones.
    definition : callable
        definition(params, prompt) -> (loss, margins): NumPy, any dtype, complex and longdouble included; the loss is
        smooth where no margin is zero.
    kernel : callable
        kernel(params, prompts) -> mean loss through the compiled kernels, float64 or complex128.
    source : callable
        The same through the kernels' Python source, any dtype.
    gradient : callable
        gradient(params, prompts) -> gradients of the mean loss, the library's.
    edited : callable
        edited(wrt, {slot: value}, params, prompt) -> the paper's gradient with some factors changed, or None where
        that makes no sense.
    edits : callable
        edits(wrt, query_attends) -> the list of Edit to try when a formula disagrees.
    sizes : callable
        sizes(params, prompt) -> {name: number}: constants by which a formula may be off (l, m, beta ...).
    activity : callable
        activity(params, prompt) -> {name: share}: what is active, averaged over the draws and reported.
    parts : tuple of Subject
        Subjects of the paper's other losses, with parameters and draws of their own; audited with it.
    rows : mapping of str to str
        What a row, the first index, of a parameter is, if it has a name: {"W_O": "neuron"}.
    computed_by : str
        What `gradient` is, for the report; {wrt} stands for the parameter.
    on_gpu : mapping of str to callable
        The library's gradients through each of its GPU kernels, as `gradient`, by a name that tells them apart; none where
        the paper has no such kernels.
    """

    name: str
    title: str
    formulas: Mapping[str, Formula]
    points: Callable
    definition: Callable
    kernel: Callable
    source: Callable
    gradient: Callable
    edited: Callable
    edits: Callable
    sizes: Callable
    activity: Callable
    parts: tuple["Subject", ...] = ()
    rows: Mapping[str, str] = field(default_factory=dict)
    computed_by: str = "mean over a batch, nlicl.loss_and_grad(...)[1].{wrt}"
    on_gpu: Mapping[str, Callable] = field(default_factory=dict)

    @property
    def every(self):
        """The subjects of all the paper's losses, this one first."""
        return (self, *self.parts)

    @property
    def parameters(self):
        """The names of all parameters that formulas differentiate by, in their order."""
        return list(dict.fromkeys(formula.wrt for part in self.every for formula in part.formulas.values()))
