"""`nlicl train`: a paper's gradient descent, from the command line."""

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import CannotRun, check_folder, examples, folder_name, progress_bar
from .problems import OPTIONS, chosen_problem, named_problem

if TYPE_CHECKING:
    from ..training import Run, Runs

__all__ = ["add"]


def add(commands: Any) -> None:
    """The command's arguments."""
    train = commands.add_parser(
        "train",
        help="train a paper's model, with measurements and checkpoints",
        description="Trains as the paper does, by SGD or Adam on fresh prompts or by gradient descent on the population loss, "
        "and prints the measurements as a table. With --out DIR: checkpoint.npz (parameters, history, settings; read it by "
        "nlicl.load_run) and history.csv. --resume DIR continues a run that was interrupted; the result is "
        "the same as without the interruption.",
        **examples(
            ("nlicl train li2024", "as the paper does"),
            ("nlicl train li2024 --set alpha=0.6 --steps 300 --seeds 20", "another setting, twenty seeds side by side"),
            ("nlicl train huang2023:balanced --out run", "stored in a folder"),
            ("nlicl train huang2023 --resume run --steps 2000", "continued"),
        ),
    )
    train.add_argument(
        "paper",
        metavar="PAPER[:SETTINGS]",
        help="for example li2024, li2024:gpt2 or huang2023:balanced; nlicl papers lists papers and their settings",
    )
    train.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="a field of the problem (length, learning_rate, ...; a wrong name lists all), or one of "
        + ", ".join(OPTIONS),
    )
    train.add_argument("--steps", type=int, metavar="N", help="number of updates (default: the problem's)")
    which = train.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, metavar="S", help="seed of the run (default 0)")
    which.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="train with seeds 0 .. N-1 at once, and print median and range over them; DIR gets folders seed-0, seed-1, ..",
    )
    train.add_argument("--backend", choices=("cpu", "cuda"), help="the device: cpu (default), or cuda for a GPU")
    where = train.add_mutually_exclusive_group()
    where.add_argument("--out", type=folder_name, metavar="DIR", help="a folder for the run; made if it does not exist")
    where.add_argument("--resume", type=folder_name, metavar="DIR", help="the folder of a run to continue")
    train.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, print the measurements as a table, and keep the run where that was asked for.

    Returns
    -------
    int
        0.

    Raises
    ------
    CannotRun
        Options that do not go together; a folder that cannot be written; a checkpoint that is none, or of another run.
    nlicl.Diverged
        The run diverged. Its measurements are printed, and it is kept, before this is raised.
    """
    from ..training import Diverged, Run, load_run, train
    from ..training.checkpoint import CHECKPOINT, paper_of

    if options.resume is not None and options.resume.name == CHECKPOINT:
        options.resume = options.resume.parent
    if options.seeds is not None and options.seeds < 1:
        raise CannotRun(f"--seeds {options.seeds}: expected a number of seeds, at least 1")
    result: Run | Runs
    diverged: Diverged | None = None
    seeds = None if options.seeds is None else range(options.seeds)
    with progress_bar() as bar:
        if options.resume is not None:
            problem, chosen = _resumed(options, load_run, paper_of, _first(options.resume, options.seeds))
        else:
            problem, chosen = chosen_problem(options.paper, options.set, options.steps)
            chosen["seed"] = 0 if options.seed is None else options.seed
            chosen["backend"] = options.backend or "cpu"
            if options.out is not None:
                check_folder("--out", options.out)
                _check_free(options.out, options.seeds)
            chosen["steps"] = problem.steps
        if seeds is not None:
            chosen["seed"] = seeds
        steps = chosen.pop("steps") if options.steps is None else options.steps
        chosen.pop("steps", None)
        folder = options.resume or options.out
        try:
            result = train(
                problem,
                steps=steps,
                out=folder,
                resume=options.resume is not None,
                progress=(lambda t, total, loss: bar(t, total, f"loss {loss:.4g}")) if bar.terminal else None,
                **chosen,
            )
        except Diverged as error:
            result, diverged = error.runs or error.run, error
        except OSError as error:
            if folder is None:
                raise
            option = "--out" if options.resume is None else "--resume"
            raise CannotRun(
                f"{option} {folder}: {error.strerror or error}; expected a folder that can be written"
            ) from None
        except KeyboardInterrupt as interruption:
            if (
                folder is not None
                and seeds is not None
                and any((each / CHECKPOINT).exists() for each in folder.iterdir())
            ):
                interruption.args = (
                    f"the steps made are stored; continue with --seeds {options.seeds} --resume {folder}",
                )
            elif folder is not None and (folder / CHECKPOINT).exists():
                interruption.args = (f"the steps made are stored; continue with --resume {folder}",)
            raise
    print(table(result) if isinstance(result, Run) else table_of_seeds(result))
    if folder is not None and seeds is not None:
        print(f"\n{folder / 'seed-*' / CHECKPOINT}\n{folder / 'seed-*' / 'history.csv'}")
    elif folder is not None:
        print(f"\n{folder / CHECKPOINT}\n{folder / 'history.csv'}")
    if diverged is not None:
        raise diverged
    return 0


def _check_free(folder: Path, seeds: int | None) -> None:
    """CannotRun if a folder for a run, or for those of so many seeds, holds one already."""
    from ..training.checkpoint import CHECKPOINT

    if seeds is None and (folder / CHECKPOINT).exists():
        raise CannotRun(f"--out {folder} holds a run already: continue it by --resume {folder}")
    if seeds is not None and _first(folder, seeds) is not None:
        raise CannotRun(f"--out {folder} holds runs already: continue them by --seeds {seeds} --resume {folder}")


def _first(folder: Path, seeds: int | None) -> Path | None:
    """The folder itself, or of several seeds the first one in it that holds a run; None if none does."""
    from ..training.checkpoint import CHECKPOINT

    if seeds is None:
        return folder
    held = (path.parent.name.removeprefix("seed-") for path in folder.glob(f"seed-*/{CHECKPOINT}"))
    numbers = [int(number) for number in held if number.isascii() and number.isdigit() and len(number) < 30]
    first = min((number for number in numbers if number < seeds), default=None)
    return None if first is None else folder / f"seed-{first}"


def _resumed(
    options: argparse.Namespace,
    load_run: Callable[..., "Run"],
    paper_of: Callable[[Mapping[str, Any]], str | None],
    folder: Path | None,
) -> tuple[Any, dict[str, Any]]:
    """Problem and training settings as the checkpoint in a folder has them."""
    from ..core.errors import InvalidInput
    from ..training.optimizers import named as optimizer_named

    if options.set:
        raise CannotRun("--set does not go with --resume: a run keeps its settings. Start a new one with --out")
    name, paper, which, named = named_problem(options.paper)
    if folder is None:
        raise CannotRun(
            f"--resume {options.resume}: has no run of the seeds 0 .. {options.seeds - 1}; start them anew with --out"
        )
    try:
        kept = dict(load_run(folder).settings)
    except OSError as error:  # there is none, or it may not be read
        raise CannotRun(f"--resume {options.resume}: {error}") from None
    if paper_of(kept) not in (name, None):
        there = paper_of(kept)
        raise CannotRun(
            f"--resume {options.resume}: is a run of {there}, not of {name}; say nlicl train {there} --resume {options.resume}"
        )
    described = kept.pop("problem")
    kind = paper.kind(described["type"])
    if kind is None:
        raise CannotRun(
            f"--resume {options.resume}: is a run of {described['type']}, not of {name}; resume it in Python"
        )
    _check_names(f"--resume {options.resume}", kept, described)
    unknown = [field for field in described["fields"] if field not in {field.name for field in fields(kind)}]
    if unknown:
        raise CannotRun(
            f"--resume {options.resume}: is a run with the setting {unknown[0]}, which {name} does not have here. Continue it "
            "with the nlicl that wrote it"
        )
    problem = kind(**described["fields"])
    if which is not None and named != problem:
        raise CannotRun(
            f"--resume {options.resume}: is no run of {options.paper}; a run keeps its settings, say {name} alone"
        )
    if "given" in (kept["prompts"], kept["params"]) or kept["schedule"] is not None:
        raise CannotRun(f"--resume {options.resume}: was started from Python with arrays of its own; resume it there")
    if options.seed is not None and options.seed != kept["seed"]:
        raise CannotRun(f"--seed {options.seed}: the run in {options.resume} has seed {kept['seed']}, and keeps it")
    if options.backend not in (None, kept["backend"]):
        raise CannotRun(
            f"--backend {options.backend}: the run in {options.resume} is on {kept['backend']}, and stays there: "
            "another's sums differ in their last digits"
        )
    if kept["backend"] == "cuda":
        from ..devices import unavailable

        found = unavailable()
        if found is not None:
            raise CannotRun(
                f"--resume {options.resume}: the run is on a GPU and goes on there only; here there is none: {found[0]}. "
                f"To mend it: {found[1]}. On the CPU, start one anew with --out"
            )
    del kept["schedule"], kept["params"]
    own = dict(kept["optimizer"])
    name = own.pop("name")
    try:
        kept["optimizer"] = optimizer_named(name, own)
    except InvalidInput:
        raise CannotRun(
            f"--resume {options.resume}: was started from Python with an optimizer of its own, {name}; resume it there"
        ) from None
    return problem, kept


def _check_names(where: str, kept: Mapping[str, Any], described: Any) -> None:
    """CannotRun unless the settings of a checkpoint are those that `nlicl.train` takes: a file may be damaged, or of another
    version."""
    from ..training import train

    needed = {"prompts", "params", "schedule", "seed", "backend"}
    whole = isinstance(described, dict) and isinstance(described.get("fields"), dict) and needed <= set(kept)
    if not whole or not set(kept) <= set(inspect.signature(train).parameters):
        raise CannotRun(
            f"{where}: has settings that this nlicl does not know, or is damaged. Continue it with the nlicl that wrote it, "
            "or start anew with --out"
        )


def table(result: "Run") -> str:
    """The measurements as a table, up to a dozen rows of those that are one number."""
    history = result.history
    names = [name for name, values in history.measured.items() if values.ndim == 1]
    if not names:
        last = f", loss {history.loss[-1]:.4g}" if len(history.loss) else ""
        return f"{result.step} steps{last}"
    steps = history.steps.tolist()
    columns = _spread(len(steps), 12)
    rows = [[name, *(f"{history[name][i]:.4g}" for i in columns)] for name in names]
    return _aligned([["step", *(str(steps[i]) for i in columns)], *rows])


def table_of_seeds(runs: "Runs") -> str:
    """Median and range over seeds of what `table` shows, up to five steps of it; the seeds that diverged are left out."""
    kept = [run for seed, run in zip(runs.seeds, runs, strict=True) if seed not in runs.diverged]
    head = f"{len(kept)} of {len(runs)} seeds: median [least, largest]"
    if not kept:
        return head
    first = kept[0].history
    names = [name for name, values in first.measured.items() if values.ndim == 1]
    if not names:
        last = [run.history.loss[-1] for run in kept if len(run.history.loss)]
        return f"{head}\n{kept[0].step} steps" + (f", loss {_range(last)}" if last else "")
    steps = first.steps.tolist()
    columns = _spread(len(steps), 5)
    rows = [[name, *(_range([run.history[name][i] for run in kept]) for i in columns)] for name in names]
    return f"{head}\n" + _aligned([["step", *(str(steps[i]) for i in columns)], *rows])


def _spread(count: int, most: int) -> list[int]:
    """Some of the numbers 0 .. count - 1, in order, the first and the last among them: `most` and one at most."""
    every = max(1, -(-count // most))
    return sorted({*range(0, count, every), count - 1})


def _range(values: Sequence[Any]) -> str:
    """Median, least and largest of some numbers."""
    from statistics import median

    return f"{median(values):.4g} [{min(values):.4g}, {max(values):.4g}]"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Cells in columns: names are long and many, so that each has a line, and steps go across."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )
    return "\n".join(lines)
