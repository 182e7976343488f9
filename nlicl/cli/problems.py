"""Problems and settings as the command line names them: PAPER[:SETTINGS], --set KEY=VALUE."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .common import CannotRun, load_paper, meant, settings, split_name

if TYPE_CHECKING:
    from ..papers.paper import Paper
    from ..training.optimizers import Optimizer

__all__ = ["OPTIONS", "chosen_problem", "named_problem", "optimizer_named"]

# of nlicl.train, by --set
OPTIONS = ("loss", "trained", "optimizer", "weight_decay", "prompts", "model", "dtype", "measure", "checkpoint")


def named_problem(text: str) -> "tuple[str, Paper, str | None, Any]":
    """PAPER[:SETTINGS] as (name of the paper, the paper, name of the settings or None, the problem of these settings)."""
    name, which = split_name(text)
    paper = load_paper(name)
    if which is not None and which not in paper.problems:
        raise CannotRun(
            f"{text}: {name} has no settings {which!r}{meant(which, paper.problems, {})}; it has {', '.join(paper.problems)}"
        )
    return name, paper, which, paper.problems[which or next(iter(paper.problems))]


def chosen_problem(text: str, pairs: Sequence[str] | None, steps: int | None) -> tuple[Any, dict[str, Any]]:
    """Problem and training settings from PAPER[:SETTINGS], the options --set, and --steps."""
    from ..core.describe import short
    from ..training.problem import extra as offers
    from ..training.problem import with_fields

    name, paper, which, named = named_problem(text)
    given = settings(pairs)
    names = [field.name for field in fields(named)]
    extra = [key for key in OPTIONS if key not in names]
    unknown = [key for key in given if key not in names and key not in extra]
    if unknown:
        key, known = unknown[0], [*names, *extra]
        instead = " (give --seed)" if key == "seed" else meant(key, known, paper.notation)
        raise CannotRun(f"--set {key}: no such setting{instead}; there are {', '.join(known)}")
    if "steps" in given and steps is not None:
        raise CannotRun(f"--set steps={short(given['steps'])} and --steps {steps}: expected one of the two")
    chosen = {key: given.pop(key) for key in extra if key in given}
    if isinstance(chosen.get("trained"), str):
        chosen["trained"] = tuple(part.strip() for part in chosen["trained"].split(","))
    if chosen.get("optimizer") is not None:
        chosen["optimizer"] = optimizer_named(chosen["optimizer"])
    problem = with_fields(named, given)
    if which is not None and offers(problem, "case") != offers(named, "case"):
        alike = (key for key, one in paper.problems.items() if type(one) is type(problem) and one.case == problem.case)
        instead = f"{name} alone" if type(problem) is paper.Problem else f"{name}:{next(alike, which)}"
        raise CannotRun(
            f"{text} with --set {' '.join(pairs or ())} is {problem.case}; expected settings that leave it "
            f"{named.case}, or {instead}"
        )
    prompts = chosen.get("prompts")
    if "batch" in given and (offers(problem, "prompts") if prompts is None else prompts) == "population":
        raise CannotRun(
            f"--set batch={short(given['batch'])}: training is on the population, of which every step takes all; leave it "
            "out, or --set prompts=fresh"
        )
    return problem, chosen


def optimizer_named(given: Any) -> "Optimizer":
    """The optimizer that `--set optimizer=adam,beta_1=0.8` names: a name, and settings of it that are numbers."""
    from ..core.describe import short
    from ..training.optimizers import named

    text = given if isinstance(given, str) else short(given)
    name, *pairs = (part.strip() for part in text.split(","))
    if not all("=" in pair for pair in pairs):
        raise CannotRun(f"--set optimizer={text}: expected a name and settings of it, for example adam,beta_1=0.8")
    return named(name, settings(pairs))
