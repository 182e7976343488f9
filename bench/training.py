"""A whole training run: the experiment of Li et al. 2024 to a hinge loss below 1% on unseen tasks, everywhere alike.

The same prompts, from `Problem.sample`, the same steps, the same initial parameters and the same update. nlicl is
`nlicl.train`, given the prompts as codes or as tokens; the others are loops as one writes them, and are given tokens. The
clock runs over the whole: drawing prompts, making tokens where tokens are given, and the steps.
"""

import statistics
import time

import numpy as np
import peers
import timing
from models import transformer

import nlicl
from nlicl.papers.li2024 import Problem

GOAL = 0.01  # of the hinge loss on unseen tasks, in domain
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}  # after hundreds of steps, of which each rounds
ROUNDS, LONGEST = 5, 60  # seconds: after that, and three rounds, a dtype is done


def steps_to_goal(problem):
    """The first of nlicl's measurements, every 10 steps, that is below the goal."""
    history = nlicl.train(problem, measure=10).history
    below = history.steps[history["hinge_unseen"] < GOAL]
    if not len(below):
        raise SystemExit(f"bench/run.py: {len(history.loss)} steps do not bring the loss on unseen tasks below {GOAL}.")
    return int(below[0])


class Drawn:
    """A problem that draws codes or tokens, and knows how long that took. Otherwise the problem itself."""

    def __init__(self, problem, dtype, tokens):
        self._problem, self._dtype, self._tokens = problem, dtype, tokens
        self.seconds = 0.0

    def __getattr__(self, name):
        return getattr(self._problem, name)

    def sample(self, n, seed):
        start = time.perf_counter()
        prompts = self._problem.sample(n, seed=seed)
        if self._tokens:
            prompts = prompts.dense(self._dtype)
        self.seconds += time.perf_counter() - start
        return prompts

    def batches(self, steps):
        """The prompts that nlicl.train draws from seed 0."""
        return (self.sample(self.batch, seed=(0, t)) for t in range(steps))


# Each is a function `threads -> train`, where `train(problem, params, steps) -> (losses, params)` on a Drawn problem.


def nlicl_train(threads):
    def train(problem, params, steps):
        run = nlicl.train(problem, steps=steps, params=params, dtype=params.W_Q.dtype, measure=None)
        return run.history.loss, run.params

    return train


def numpy_train(threads):
    def train(problem, params, steps):
        losses = []
        for prompts in problem.batches(steps):
            loss, *grads = transformer.numpy_step(params, prompts.tokens, prompts.labels)
            grads = nlicl.Params(*grads)
            changed = {
                name: getattr(params, name) - problem.learning_rate * getattr(grads, name) for name in problem.trained
            }
            params = params._replace(**changed)
            losses.append(loss)
        return losses, params

    return train


def torch_train(loss_formula, compiled=False):
    def prepare(threads):
        import torch

        torch.set_num_threads(threads)
        functions = peers.torch_functions()

        def loss_of(*arguments):
            return loss_formula(*arguments, functions)

        if compiled:
            torch._dynamo.reset()
            loss_of = torch.compile(loss_of, dynamic=False)

        def train(problem, params, steps):
            leaves = {name: torch.tensor(array) for name, array in params._asdict().items()}
            trained = [leaves[name].requires_grad_() for name in problem.trained]
            optimizer = torch.optim.SGD(trained, lr=problem.learning_rate)
            losses = []
            for prompts in problem.batches(steps):
                tokens, labels = map(peers.torch_tensor, (prompts.tokens, prompts.labels))
                loss = loss_of(*leaves.values(), tokens, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            return losses, nlicl.Params(*(leaf.detach().numpy() for leaf in leaves.values()))

        return train

    return prepare


def jax_train(loss_formula):
    def prepare(threads):
        import jax

        functions = peers.jax_functions()

        def loss_of(trained, params, tokens, labels):
            return loss_formula(*params._replace(**trained), tokens, labels, functions)

        @jax.jit
        def update(trained, params, tokens, labels, learning_rate):
            loss, grads = jax.value_and_grad(loss_of)(trained, params, tokens, labels)
            return loss, jax.tree.map(lambda W, dW: W - learning_rate * dW, trained, grads)

        def train(problem, params, steps):
            trained = {name: getattr(params, name) for name in problem.trained}
            losses = []
            for prompts in problem.batches(steps):
                loss, trained = update(trained, params, prompts.tokens, prompts.labels, problem.learning_rate)
                losses.append(float(loss))
            return losses, params._replace(**{name: np.asarray(array) for name, array in trained.items()})

        return train

    return prepare


# name -> (module it needs, prepare)
IMPLEMENTATIONS = {
    "nlicl-coded": ("numba", nlicl_train),
    "nlicl-dense": ("numba", nlicl_train),
    "numpy": ("numpy", numpy_train),
    "torch-eager-plain": ("torch", torch_train(transformer.plain_loss)),
    "torch-eager-probe": ("torch", torch_train(transformer.probe_loss)),
    "torch-compile-probe": ("torch", torch_train(transformer.probe_loss, compiled=True)),
    "jax-jit-plain": ("jax", jax_train(transformer.plain_loss)),
    "jax-jit-probe": ("jax", jax_train(transformer.probe_loss)),
}


def time_training(dtype, names, threads, steps, problem=None, rounds=ROUNDS):
    """Rows as `time_runs` gives them.

    Compared are the loss on 2000 prompts of unseen tasks, where the run ends; the mean of the batches' losses, how it got
    there; and the parameters.
    """
    problem = problem or Problem()
    start = problem.initialize(seed=0)
    test = problem.sample(2000, seed=(0, 0, 1), tasks="unseen").dense()

    def run(name, train, dtype=dtype):
        """nlicl-coded is given the problem itself, which draws within its steps: how long that takes is measured by itself."""
        coded = name == "nlicl-coded"
        drawn = Drawn(problem, dtype, tokens=not coded)
        params = nlicl.Params(*(array.astype(dtype) for array in start))
        begin = time.perf_counter()
        result = train(problem if coded else drawn, params, steps)
        seconds = time.perf_counter() - begin
        if coded:
            for _ in drawn.batches(steps):
                pass
        return seconds, drawn.seconds, result

    def end(losses, params):
        params = nlicl.Params(*(np.asarray(array, np.float64) for array in params))
        return transformer.numpy_step(params, test.tokens, test.labels)[0], np.mean(losses), *params

    case = f"training-{steps}"
    return time_runs(
        case,
        dtype,
        names,
        threads,
        IMPLEMENTATIONS,
        run,
        end,
        TOLERANCE[dtype],
        steps * problem.batch,
        "nlicl-coded",
        rounds,
    )


def time_runs(case, dtype, names, threads, implementations, run, end, tolerance, prompts, ours, rounds):
    """A row for each implementation in `names`: those that end where the NumPy loop does in float64 are timed, in turns.

    `run(name, train, dtype)` gives seconds, seconds of drawing in them, and what `train` returned; `end` of that is what is
    compared, first of all the final loss, or all losses. The run that is compared is not timed: it compiles.
    """
    truth = end(*run("numpy", implementations["numpy"][1](threads), "float64")[2])
    rows, timed = [], {}
    for name in names:
        measured = (*timing.MEASURED, "sampling_seconds", "steps_seconds", "final_loss")
        row = timing.blank(case, name, dtype, threads, measured)
        rows.append(row)
        try:
            train = implementations[name][1](threads)
            result = end(*run(name, train)[2])
        except Exception as failure:  # as in timing.time_case
            row["note"] = timing.not_available(failure)
            continue
        row["final_loss"] = float(np.ravel(result[0])[-1])
        row["max_relative_error"] = error = timing.relative_error(result, truth)
        if error <= tolerance:
            timed[name] = train
        else:
            row["note"] = timing.disagrees(error, tolerance)
    found = {name: [] for name in timed}
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - begin > LONGEST:
            break
        for name, train in timed.items():
            time.sleep(timing.PAUSE)
            found[name].append(run(name, train)[:2])
    seconds = {name: [whole for whole, _ in pairs] for name, pairs in found.items()}
    timing.fill(rows, seconds, prompts=prompts, ours=ours)
    for row in rows:
        if row["seconds"] is not None:
            pairs = found[row["implementation"]]
            row["sampling_seconds"] = statistics.median(drawing for _, drawing in pairs)
            row["steps_seconds"] = statistics.median(whole - drawing for whole, drawing in pairs)
    return rows
