"""`nlicl train`: a paper's Algorithm 1, from the command line."""

from dataclasses import fields, replace

from .common import CannotRun, folder_name, load_paper, progress_bar, settings, split_name

OPTIONS = ("loss", "trained", "weight_decay", "prompts", "dtype", "measure", "checkpoint")  # of nlicl.train, by --set


def add(commands):
    """The command's arguments."""
    train = commands.add_parser(
        "train",
        help="train a paper's model; measure as it goes; keep checkpoints",
        description="Trains by SGD and prints the measurements as a table. With --out DIR: checkpoint.npz (parameters, "
        "history, settings; read it by nlicl.load_run) and history.csv. --resume DIR goes on where a run stopped, whatever "
        "stopped it, to the same result as without the stop.",
    )
    train.add_argument("paper", metavar="PAPER[:SETTINGS]", help="for example li2024, or li2024:sibling")
    train.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="a field of the paper's Problem (alpha, length, m, learning_rate, ...), or one of " + ", ".join(OPTIONS),
    )
    train.add_argument("--steps", type=int, metavar="N", help="updates in all; the problem's if not given")
    train.add_argument("--seed", type=int, metavar="S", help="default 0")
    where = train.add_mutually_exclusive_group()
    where.add_argument("--out", type=folder_name, metavar="DIR", help="a folder for the run; made if it is not there")
    where.add_argument("--resume", type=folder_name, metavar="DIR", help="the folder of a run to continue")
    train.set_defaults(run=run)


def run(options):
    from ..training import CHECKPOINT, Diverged, load_run, train

    if options.resume is not None and options.resume.name == CHECKPOINT:
        options.resume = options.resume.parent
    with progress_bar() as bar:
        if options.resume is not None:
            problem, chosen = _resumed(options, load_run)
        else:
            problem, chosen = _chosen(options)
            chosen["seed"] = 0 if options.seed is None else options.seed
            if options.out is not None and (options.out / CHECKPOINT).exists():
                raise CannotRun(f"--out {options.out} holds a run already: continue it by --resume {options.out}")
            chosen["steps"] = problem.steps
        steps = chosen.pop("steps") if options.steps is None else options.steps
        chosen.pop("steps", None)
        folder = options.resume or options.out
        diverged = None
        try:
            result = train(
                problem,
                steps=steps,
                out=folder,
                resume=options.resume is not None,
                progress=lambda t, total, loss: bar(t, total, f"loss {loss:.4g}"),
                **chosen,
            )
        except Diverged as error:
            result, diverged = error.run, error
        except OSError as error:
            option = "--out" if options.resume is None else "--resume"
            raise CannotRun(
                f"{option} {folder}: {error.strerror or error}; expected a folder that can be written"
            ) from None
        except KeyboardInterrupt:
            if folder is not None:
                raise KeyboardInterrupt(f"what was done is kept; go on by --resume {folder}") from None
            raise
    print(table(result))
    if folder is not None:
        print(f"\n{folder / CHECKPOINT}\n{folder / 'history.csv'}")
    if diverged is not None:
        raise Failed(str(diverged))
    return 0


class Failed(Exception):
    """What was tried went wrong, and that is a result: exit status 1, with the reason on standard error."""


def _chosen(options):
    """Problem and training settings from PAPER[:SETTINGS] and --set."""
    name, which = split_name(options.paper)
    paper = load_paper(name)
    if which is not None and which not in paper.problems:
        raise CannotRun(f"{options.paper}: {name} has no settings {which!r}; it has {', '.join(paper.problems)}")
    problem = paper.problems[which or next(iter(paper.problems))]
    given = settings(options.set)
    chosen = {key: given.pop(key) for key in OPTIONS if key in given}
    if isinstance(chosen.get("trained"), str):
        chosen["trained"] = tuple(part.strip() for part in chosen["trained"].split(","))
    names = [field.name for field in fields(problem)]
    unknown = [key for key in given if key not in names]
    if unknown:
        raise CannotRun(f"--set {unknown[0]}: no such setting; there are {', '.join([*names, *OPTIONS])}")
    if "M1" in given and "training_tasks" not in given:
        given["training_tasks"] = None  # those of the default belong to its own M1
    return replace(problem, **given), chosen


def _resumed(options, load_run):
    """Problem and training settings as a checkpoint has them."""
    if options.set:
        raise CannotRun("--set does not go with --resume: a run keeps its settings. Start a new one with --out")
    name, which = split_name(options.paper)
    paper = load_paper(name)
    try:
        kept = dict(load_run(options.resume, paper.Params).settings)
    except FileNotFoundError as error:
        raise CannotRun(f"--resume {options.resume}: {error}") from None
    kind = paper.Problem
    described = kept.pop("problem")
    if described["type"] != f"{kind.__module__}.{kind.__qualname__}":
        raise CannotRun(f"--resume {options.resume}: is a run of {described['type']}, not of {options.paper}")
    problem = kind(**described["fields"])
    if which is not None and paper.problems.get(which) != problem:
        raise CannotRun(
            f"--resume {options.resume}: is no run of {options.paper}; a run keeps its settings, say {name} alone"
        )
    if "given" in (kept["prompts"], kept["params"]) or kept["schedule"] is not None:
        raise CannotRun(f"--resume {options.resume}: was started from Python with arrays of its own; resume it there")
    if options.seed is not None and options.seed != kept["seed"]:
        raise CannotRun(f"--seed {options.seed}: the run in {options.resume} has seed {kept['seed']}, and keeps it")
    del kept["schedule"], kept["params"]
    return problem, kept


def table(result):
    """The measurements as a table, up to a dozen rows of those that are one number."""
    history = result.history
    names = [name for name, values in history.measured.items() if values.ndim == 1]
    if not names:
        last = f", loss {history.loss[-1]:.4g}" if len(history.loss) else ""
        return f"{result.step} steps{last}"
    every = max(1, -(-len(history.steps) // 12))
    rows = sorted({*range(0, len(history.steps), every), len(history.steps) - 1})
    cells = [["step", *names]]
    cells += [[str(history.steps[i]), *(f"{history[name][i]:.4g}" for name in names)] for i in rows]
    turned = list(zip(*cells, strict=True))  # names are long and many: one line each, steps across
    first = max(len(row[0]) for row in turned)
    widths = [max(len(row[i]) for row in turned) for i in range(1, len(cells))]
    lines = [
        f"{row[0]:<{first}}  " + "  ".join(f"{cell:>{w}}" for cell, w in zip(row[1:], widths, strict=True))
        for row in turned
    ]
    return "\n".join(lines)
