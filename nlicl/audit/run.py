"""An audit from beginning to end: which formulas, on which draws, and the report."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import devices
from ..core.checks import boolean, choice, function, seconds, text
from ..core.describe import kind_of, meant, short
from ..core.errors import InvalidType, InvalidValue
from ..core.registry import PAPERS
from .bench import Bench
from .mend.found import Mending
from .mends import formula_search
from .process import Named
from .report import AuditReport, FormulaReport
from .report.search import Progress, Search, limit
from .sources import source_text
from .subject import Formula, Subject

__all__ = ["audit_formula", "audit_paper"]

_CONTROL = "negative control"


def audit_formula(
    formula: Formula | Callable[[Any, Any], Any],
    *,
    paper: str | Subject = "li2024",
    wrt: str | None = None,
    draws: int = 20,
    seed: int = 0,
    query_attends: bool | None = None,
    timeout: float | None = None,
    mend: float | None = None,
) -> AuditReport:
    """Tell whether a gradient formula is right, by comparing it with derivatives from the loss alone.

    Parameters
    ----------
    formula : Formula or callable
        f(params, prompt) -> array: the gradient of the loss of one prompt, with the parameter's shape. NumPy is enough
        to write it. The paper's page says what its parameters and prompts are.
    paper : str or Subject
        The source of model, loss and draws: a paper's name, or a `nlicl.audit.Subject` of your own.
    wrt : str, optional
        The parameter, one of `subject.parameters` of the paper; needed unless the formula names it. In a paper with
        several losses, it also selects the loss.
    draws : int
        The number of draws, from 2 to 10000. A draw is one set of parameters and one prompt.
    seed : int
        The seed of the draws, at least 0.
    query_attends : bool, optional
        Whether the query attends to itself (l+1 terms) or not (l terms) in the model. Default: as the formula asks,
        else not.
    timeout : float, optional
        Seconds that the formula may take on all draws together. It then runs in a child process, so an endless loop or
        a crash does not harm the caller (not on Windows, which cannot fork). Default: no limit.
    mend : float, optional
        Seconds that the search for a mend of a formula that disagrees may take. Default: 5; 0 means no search. It starts
        when the report is printed or written, or `mended()` is called.

    Returns
    -------
    AuditReport
        With one entry. `print` it for the table; `.verdict` is "agree", "disagree" or "undetermined".

    Raises
    ------
    ValueError, TypeError
        An unknown paper or parameter, another number of draws, a time limit that is not positive, a limit of the search that
        is negative, a formula that is not callable.
    """
    subject = _subject(paper)
    if query_attends is not None:
        query_attends = boolean("query_attends", query_attends)
    judged = _formula(formula, wrt, subject)
    if timeout is not None:
        seconds("timeout", timeout, ", or None for no limit")
    most = limit(mend)
    bench = Bench(_part(judged, subject), draws, seed, subject)
    found = bench.audit(judged, query_attends, timeout)
    report = AuditReport(subject.name, seed, draws, [found])
    known = f"{subject.name}.formulas[{judged.name!r}]" if judged is formula else judged.name
    settings = {"wrt": wrt, "draws": draws, "seed": seed, "query_attends": query_attends}
    report.call = _call("audit_formula", [known], paper, settings)
    if found.verdict == "disagree" and most:
        report.searches = [Search((0,), formula_search(judged, bench, query_attends, timeout, most, found))]
    return report


def audit_paper(
    paper: str | Subject = "li2024",
    *,
    wrt: str | None = None,
    draws: int = 20,
    seed: int = 0,
    query_attends: bool | None = None,
    backend: str = "cpu",
    progress: Callable[[int, int, str], None] | None = None,
    mend: float | None = None,
) -> AuditReport:
    """Audit every formula of a paper, the library's batched gradients and a negative control.

    Parameters
    ----------
    paper, draws, seed, query_attends
        As in `audit_formula`; `query_attends` overrides the choice of the formulas.
    wrt : str, optional
        Only formulas of this parameter.
    backend : {"cpu", "cuda"}
        The kernels that compute the library's own gradients: those of the CPU, or each of the GPU. The witnesses are on the
        CPU in either case.
    progress : callable, optional
        progress(done, total, name), called before each formula.
    mend : float, optional
        As in `audit_formula`, for each formula that disagrees unexpectedly.

    Returns
    -------
    AuditReport

    Raises
    ------
    ValueError, TypeError
        As `audit_formula`; another backend, or a paper without GPU kernels.
    nlicl.devices.Unavailable
        backend="cuda" without a GPU, or without the package numba-cuda.
    """
    subject = _subject(paper)
    if wrt is not None:
        _check_parameter(wrt, subject)
    backend = choice("backend", backend, ("cpu", "cuda"))
    if query_attends is not None:
        query_attends = boolean("query_attends", query_attends)
    if progress is not None:
        function("progress", progress)
    if backend == "cuda" and not subject.on_gpu:
        raise InvalidValue(f"backend is 'cuda', and there are no GPU kernels for {subject.name}; expected 'cpu'.")
    if backend == "cuda":
        devices.kernels()  # or an error, before the work
    most = limit(mend)
    jobs: list[_Job] = []
    for part in subject.every:
        chosen = [formula for formula in part.formulas.values() if wrt in (None, formula.wrt)]
        controlled = any(job.name == _CONTROL for job in jobs)
        jobs += _jobs(Bench(part, draws, seed, subject, backend), chosen, query_attends, control=not controlled)
    report = AuditReport(subject.name, seed, draws, [])
    settings = {"wrt": wrt, "draws": draws, "seed": seed, "query_attends": query_attends, "backend": backend}
    report.call = _call("audit.audit_paper", [], paper, settings)
    for done, job in enumerate(jobs):
        if progress is not None:
            progress(done, len(jobs), job.name)
        found = job.audit()
        found.background = found.background._replace(role=job.role)
        report.formulas.append(found)
        if job.search is not None and found.verdict == "disagree" and not found.ok and most:
            report.searches.append(Search((done,), job.search(most, found)))
    return report


class _Job(NamedTuple):
    """One audit of many: its name, the call, of a formula the search for a mend, search(seconds, report), and its role."""

    name: str
    audit: Callable[[], FormulaReport]
    search: Callable[[float, FormulaReport], Callable[[Progress | None], Mending]] | None = None
    role: str = "formula"


def _call(function: str, given: list[str], paper: str | Subject, settings: dict[str, Any]) -> str:
    """A call in Python that does the same."""
    whose = repr(paper) if isinstance(paper, str) else f"<the subject {paper.name}>"
    usual = {"query_attends": None, "backend": "cpu", "wrt": None}
    words = [f"{name}={value!r}" for name, value in settings.items() if name not in usual or value != usual[name]]
    return f"nlicl.{function}({', '.join([*given, f'paper={whose}', *words])})"


def _jobs(bench: Bench, formulas: list[Formula], query_attends: bool | None, control: bool) -> list[_Job]:
    """All audits that a list of a subject's formulas asks for, in the order of the report."""
    right = [formula for formula in formulas if formula.expected == "agree"]
    own = [formula for formula in right if query_attends is None or formula.query_attends in (None, query_attends)]

    def judged(formula: Formula) -> _Job:
        search = partial(formula_search, formula, bench, query_attends, None)
        return _Job(formula.name, partial(bench.audit, formula, query_attends), search)

    jobs = [judged(f if f in own else _foreign(f)) for f in right]
    models = dict.fromkeys((f.wrt, f.query_attends if query_attends is None else query_attends) for f in right)
    for wrt, attends in models:
        for through in bench.through:
            remarks = [through] * bool(through) + ["query attends"] * bool(attends and query_attends is None)
            name = f"library {wrt}" + (f" ({', '.join(remarks)})" if remarks else "")
            jobs.append(_Job(name, partial(bench.audit_library, wrt, attends, name, through), role="library"))
    jobs += [judged(f) for f in formulas if f.expected != "agree"]
    if control and own:
        jobs.append(_Job(_CONTROL, lambda: bench.audit(_broken(own[0]), query_attends), role="control"))
    return jobs


def _foreign(formula: Formula) -> Formula:
    """A copy of a formula that is right for one of the two models, to be judged against the other: it has to disagree."""
    model = "with the query among the keys" if formula.query_attends else "without the query among the keys"
    return replace(formula, expected="disagree", erratum=f"it is of the model {model}, and is judged against the other")


def _broken(formula: Formula) -> Formula:
    """A copy of a right formula with its largest entry off by a part in a million: an audit must catch it."""

    def broken(params: Any, prompt: Any) -> np.ndarray:
        gradient = np.array(formula(params, prompt))
        largest = np.unravel_index(np.argmax(abs(gradient)), gradient.shape)
        gradient[largest] *= 1 + 1e-6
        return gradient

    return replace(formula, function=broken, name=_CONTROL,
                   equation=f"{formula.name}, its largest entry times 1 + 1e-6", source="broken on purpose",
                   erratum="one entry is off by a part in a million", expected="disagree")  # fmt: skip


def _subject(paper: str | Subject) -> Subject:
    if isinstance(paper, Subject):
        return paper
    text("paper", paper)
    return PAPERS.load(paper).subject


def _part(formula: Formula, subject: Subject) -> Subject:
    """The subject that judges a formula: the one that registers it, or the first with its parameter."""
    registered = [part for part in subject.every if any(known is formula for known in part.formulas.values())]
    having = [part for part in subject.every if any(known.wrt == formula.wrt for known in part.formulas.values())]
    return (registered + having + [subject])[0]


def _formula(formula: Formula | Callable[[Any, Any], Any], wrt: str | None, subject: Subject) -> Formula:
    if isinstance(formula, Formula):
        if wrt is not None and (not isinstance(wrt, str) or wrt != formula.wrt):
            raise InvalidValue(f"wrt is {short(wrt)}, but formula {formula.name} is with respect to {formula.wrt!r}.")
        return formula
    if not callable(formula):
        raise InvalidType(f"formula is a {kind_of(formula)}; expected a function f(params, prompt) -> array.")
    if wrt is None:
        names = ", ".join(map(repr, subject.parameters))
        raise InvalidValue(f"wrt is not given; expected the parameter the formula differentiates by, one of {names}.")
    _check_parameter(wrt, subject)
    if isinstance(formula, Named):
        file = formula.source
        equation = file.docstring(formula.name) or formula.name
        return Formula(formula, formula.name, wrt, equation, file.path.name, code=file.text_of(formula.name))
    name = getattr(formula, "__name__", None)
    name = name if isinstance(name, str) and name else "formula"
    text = (inspect.getdoc(formula) or name).strip().splitlines()
    source = getattr(getattr(formula, "__code__", None), "co_filename", "given by the reader")
    return Formula(formula, name, wrt, text[0] if text else name, source.rsplit("/", 1)[-1], code=source_text(formula))


def _check_parameter(wrt: str, subject: Subject) -> None:
    if not isinstance(wrt, str) or wrt not in subject.parameters:
        known = ", ".join(map(repr, subject.parameters))
        raise InvalidValue(f"wrt is {short(wrt)}{meant(wrt, subject.parameters)}; expected one of {known}.")
