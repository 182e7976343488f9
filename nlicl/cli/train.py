"""`nlicl train`: a paper's gradient descent, from the command line."""

from dataclasses import fields

from .common import CannotRun, check_folder, folder_name, load_paper, meant, progress_bar, settings, split_name

# of nlicl.train, by --set
OPTIONS = ("loss", "trained", "optimizer", "weight_decay", "prompts", "model", "dtype", "measure", "checkpoint")


def add(commands):
    """The command's arguments."""
    train = commands.add_parser(
        "train",
        help="train a paper's model; measure as it goes; keep checkpoints",
        description="Trains as the paper does, by SGD on fresh prompts or by gradient descent on the population loss, and "
        "prints the measurements as a table. With --out DIR: checkpoint.npz (parameters, history, settings; read it by "
        "nlicl.load_run) and history.csv. --resume DIR goes on where a run stopped, whatever stopped it, to the same result "
        "as without the stop.",
    )
    train.add_argument(
        "paper",
        metavar="PAPER[:SETTINGS]",
        help="for example li2024, or huang2023:balanced; nlicl papers lists papers and the names of their settings",
    )
    train.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="a field of the paper's Problem (length, learning_rate, ...; a wrong name lists all), or one of "
        + ", ".join(OPTIONS),
    )
    train.add_argument("--steps", type=int, metavar="N", help="updates in all; the problem's if not given")
    train.add_argument("--seed", type=int, metavar="S", help="default 0")
    train.add_argument("--backend", choices=("cpu", "cuda"), help="where to train: cpu, the default, or cuda, on a GPU")
    where = train.add_mutually_exclusive_group()
    where.add_argument("--out", type=folder_name, metavar="DIR", help="a folder for the run; made if it is not there")
    where.add_argument("--resume", type=folder_name, metavar="DIR", help="the folder of a run to continue")
    train.set_defaults(run=run)


def run(options):
    from ..training import Diverged, load_run, train
    from ..training.checkpoint import CHECKPOINT, paper_of

    if options.resume is not None and options.resume.name == CHECKPOINT:
        options.resume = options.resume.parent
    with progress_bar() as bar:
        if options.resume is not None:
            problem, chosen = _resumed(options, load_run, paper_of)
        else:
            problem, chosen = _chosen(options)
            chosen["seed"] = 0 if options.seed is None else options.seed
            chosen["backend"] = options.backend or "cpu"
            if options.out is not None:
                check_folder("--out", options.out)
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


def _named(options):
    """PAPER[:SETTINGS] as (paper's name, its module, the settings' name or None, the problem so named, or the default)."""
    name, which = split_name(options.paper)
    paper = load_paper(name)
    if which is not None and which not in paper.problems:
        raise CannotRun(f"{options.paper}: {name} has no settings {which!r}; it has {', '.join(paper.problems)}")
    return name, paper, which, paper.problems[which or next(iter(paper.problems))]


def _chosen(options):
    """Problem and training settings from PAPER[:SETTINGS] and --set."""
    from ..training.problem import extra as offers

    name, _, which, named = _named(options)
    given = settings(options.set)
    names = [field.name for field in fields(named)]
    extra = [key for key in OPTIONS if key not in names]
    unknown = [key for key in given if key not in names and key not in extra]
    if unknown:
        key, known = unknown[0], [*names, *extra]
        instead = " (give --seed)" if key == "seed" else meant(key, known)
        raise CannotRun(f"--set {key}: no such setting{instead}; there are {', '.join(known)}")
    if "steps" in given and options.steps is not None:
        raise CannotRun(f"--set steps={given['steps']} and --steps {options.steps}: expected one of the two")
    chosen = {key: given.pop(key) for key in extra if key in given}
    if isinstance(chosen.get("trained"), str):
        chosen["trained"] = tuple(part.strip() for part in chosen["trained"].split(","))
    if chosen.get("optimizer") is not None:
        chosen["optimizer"] = _optimizer(str(chosen["optimizer"]))
    problem = _with(named, given)
    if which is not None and offers(problem, "case") != offers(named, "case"):
        raise CannotRun(
            f"{options.paper} with --set {' '.join(options.set)} is {problem.case}; expected settings that leave it "
            f"{named.case}, or {name} alone"
        )
    prompts = chosen.get("prompts")
    if "batch" in given and (offers(problem, "prompts") if prompts is None else prompts) == "population":
        raise CannotRun(
            f"--set batch={given['batch']}: training is on the population, of which every step takes all; leave it out, or "
            "--set prompts=fresh"
        )
    return problem, chosen


def _optimizer(text):
    """The optimizer that `--set optimizer=adam,beta_1=0.8` names: a name, and settings of it that are numbers."""
    from ..training.optimizers import named

    name, *pairs = (part.strip() for part in text.split(","))
    if not all("=" in pair for pair in pairs):
        raise CannotRun(f"--set optimizer={text}: expected a name and settings of it, for example adam,beta_1=0.8")
    return named(name, settings(pairs))


def _with(problem, given):
    """The problem with some fields given. What it has by default is made anew: it may follow from those."""
    kind = type(problem)
    usual = kind()
    kept = {field.name: getattr(problem, field.name) for field in fields(kind)}
    own = {name: value for name, value in kept.items() if value != getattr(usual, name)}
    return kind(**{**own, **given})


def _resumed(options, load_run, paper_of):
    """Problem and training settings as a checkpoint has them."""
    from ..training.optimizers import named as optimizer_named

    if options.set:
        raise CannotRun("--set does not go with --resume: a run keeps its settings. Start a new one with --out")
    name, paper, which, named = _named(options)
    try:
        kept = dict(load_run(options.resume).settings)
    except FileNotFoundError as error:
        raise CannotRun(f"--resume {options.resume}: {error}") from None
    if paper_of(kept) not in (name, None):
        there = paper_of(kept)
        raise CannotRun(
            f"--resume {options.resume}: is a run of {there}, not of {name}; say nlicl train {there} --resume {options.resume}"
        )
    kind = paper.Problem
    described = kept.pop("problem")
    if described["type"] != f"{kind.__module__}.{kind.__qualname__}":
        raise CannotRun(
            f"--resume {options.resume}: is a run of {described['type']}, not of {name}; resume it in Python"
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
    name, own = kept["optimizer"].pop("name"), kept["optimizer"]
    try:
        kept["optimizer"] = optimizer_named(name, own)
    except (ValueError, TypeError):
        raise CannotRun(
            f"--resume {options.resume}: was started from Python with an optimizer of its own, {name}; resume it there"
        ) from None
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
