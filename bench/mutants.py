"""Does the audit tell right from wrong? Thousands of right formulas and systematic mistakes, at random sizes and scales.

    python bench/mutants.py [--subjects N] [--seed S] [--json FILE]

Right formulas are written in different but equal ways; none may be called wrong. Mutants are made from right formulas by
one mistake each; all must be called wrong, and their diagnosis must name the mistake made. Exit status 0 if so, else 1.
"""

import argparse
import inspect
import json
import sys
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np

import nlicl
from nlicl.audit import Formula
from nlicl.audit.bench import Bench
from nlicl.audit.mistakes import Mark, edits
from nlicl.models.transformer import audited
from nlicl.models.transformer.prompts import Params, Prompts
from nlicl.papers import bu2024, li2024

WRT = Params._fields


def random_subject(seed):
    """Li et al.'s subject at other places: any sizes from 1 to 9, scales over many orders of magnitude."""

    def points(draws, _, query_attends):
        rng = np.random.default_rng([7, seed])
        found = []
        while draws > 0:
            point = wild_point(rng, query_attends)
            if point is not None:
                found.append(point._replace(prompts=point.prompts[:draws]))
                draws -= len(found[-1].prompts)
        return found

    return replace(li2024.subject, points=points)


def wild_point(rng, query_attends):
    """Sizes 1 to 9, often 1; tokens up to 1e3 or down to 1e-3, W_Q and W_K scaled so that scores are of order one.

    Beyond that a softmax saturates, its gradient is rounding alone, and there is nothing left to judge.
    """
    d, length, m, m_a, m_b = (int(n) for n in np.where(rng.random(5) < 0.2, 1, rng.integers(1, 10, 5)))
    tokens, value, output = 10.0 ** rng.uniform(-3, 3, 3)
    match = 10.0 ** rng.uniform(-3, 3)  # between W_Q and W_K
    shapes = {"W_Q": (m_a, d), "W_K": (m_a, d), "W_V": (m_b, d), "W_O": (m, m_b), "a": (m,)}
    sizes = {"W_Q": match / tokens, "W_K": 1 / (match * tokens), "W_V": value, "W_O": output, "a": 1.0}
    params = Params(**{k: sizes[k] * rng.standard_normal(shapes[k]) / np.sqrt(shapes[k][-1]) for k in shapes})
    prompts = Prompts(tokens * rng.standard_normal((3, length + 1, d)), np.ones(3), query_attends)
    return audited.placed(f"wild (d={d}, l={length}, m_a={m_a}, m_b={m_b}, m={m})", params, prompts)


# ---- Right formulas, written in different but equal ways


def closed_form(wrt, gate=np.greater):
    """Covariance form: C = X diag(attn) X^T - h h^T. With gate >= the other value of the subgradient at u_i = 0."""

    def gradient(params, prompt):
        W_Q, W_K, W_V, W_O, a = params
        X, p_query, z = prompt.keys, prompt.query, prompt.z
        scores = X.T @ W_K.T @ W_Q @ p_query
        attn = np.exp(scores - scores.max())
        attn /= attn.sum()
        h = X @ attn
        u = W_O @ W_V @ h
        g = -z if 1 - z * a @ np.maximum(u, 0) > 0 else 0.0
        c = a * gate(u, 0)
        C = X @ np.diag(attn) @ X.T - np.outer(h, h)
        e = W_V.T @ W_O.T @ c
        return {
            "W_Q": lambda: g * np.outer(W_K @ C @ e, p_query),
            "W_K": lambda: g * np.outer(W_Q @ p_query, C @ e),
            "W_V": lambda: g * np.outer(W_O.T @ c, h),
            "W_O": lambda: g * np.outer(c, W_V @ h),
            "a": lambda: g * np.maximum(u, 0),
        }[wrt]()

    return gradient


def einsum_form(wrt):
    """Index notation, no matrix products."""

    def gradient(params, prompt):
        Q, K, V, O, a = params
        x, q, z = prompt.keys, prompt.query, prompt.z
        s = np.einsum("jd,ds,je,e->s", K, x, Q, q)
        t = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        v = np.einsum("kd,ds->ks", V, x)
        u = np.einsum("ik,ks,s->i", O, v, t)
        g = -z * float(z * np.einsum("i,i", a, np.clip(u, 0, None)) < 1)
        w = np.einsum("i,i,ik,ks,s->s", a, 1.0 * (u > 0), O, v, t)
        D = np.eye(len(t)) - t[None, :]  # delta_sr - attn_r
        indices = {
            "W_Q": ("jd,dr,sr,s,e->je", K, x, D, w, q),
            "W_K": ("je,e,dr,sr,s->jd", Q, q, x, D, w),
            "W_V": ("i,i,ik,ds,s->kd", a, 1.0 * (u > 0), O, x, t),
            "W_O": ("i,i,ks,s->ik", a, 1.0 * (u > 0), v, t),
            "a": ("i,i->i", 1.0 * (u > 0), u),
        }
        return g * np.einsum(*indices[wrt])

    return gradient


def library_form(wrt):
    """The library's own gradient, one prompt at a time."""

    def gradient(params, prompt):
        prompts = Prompts(prompt.tokens[None], np.array([prompt.z]), prompt.query_attends)
        return getattr(nlicl.loss_and_grad(params, prompts)[1], wrt)

    return gradient


def right_formulas(wrt):
    return {
        "literal sums": li2024.formulas[wrt].function,
        "covariance form": closed_form(wrt),
        "other subgradient": closed_form(wrt, np.greater_equal),
        "einsum": einsum_form(wrt),
        "library": library_form(wrt),
        "marked": lambda params, prompt: li2024.subject.marked[wrt](params, prompt, Mark()),
        "twice a half": lambda params, prompt: (
            closed_form(wrt)(params, prompt) / 2 + einsum_form(wrt)(params, prompt) / 2
        ),
    }


# ---- Wrong formulas: one mistake each, with the kinds that name it


def mutants(subject, wrt, cases):
    """Triples (name, function, set of kinds that are right); `cases` are where wrong forms are looked for."""
    right = subject.formulas[wrt].function

    def change(name, kinds, f):
        return name, (lambda params, prompt: f(np.array(right(params, prompt)), params, prompt)), set(kinds)

    yield change("sign", ["sign"], lambda g, p, x: -g)
    for name, c in {"factor 2": 2.0, "factor 1/2": 0.5, "factor -3": -3.0}.items():
        yield change(name, ["scale"], lambda g, p, x, c=c: c * g)
    yield change("factor 1/l", ["scale"], lambda g, p, x: g / (len(x.tokens) - 1))
    yield change("factor m", ["scale"], lambda g, p, x: g * len(p[-1]))
    yield change("factor d", ["scale"], lambda g, p, x: g * x.tokens.shape[1])
    if wrt != "a":
        yield change("transposed result", ["transpose", "shape"], lambda g, p, x: g.T)
    yield change("row off by 1e-6", ["entries"], lambda g, p, x: g * np.where(np.arange(len(g)) == 0, 1 + 1e-6, 1).reshape(
        -1, *[1] * (g.ndim - 1)))  # fmt: skip
    yield change("entry off by 1e-9", ["entries"], one_entry)
    yield change("NaN", ["entries"], lambda g, p, x: g * np.nan)
    yield change("zeros", ["unknown"], lambda g, p, x: 0 * g)
    yield change("extra row", ["shape"], lambda g, p, x: np.concatenate([g, g[:1]]))
    yield change(
        "first context only",
        ["unknown", "missing-term", "wrong-factor", "entries"],
        lambda g, p, x: np.full_like(g, g.sum()),
    )
    if wrt in OTHERS:
        yield "gradient by the other", subject.formulas[OTHERS[wrt]].function, {"wrong-parameter"}
    yield from misprints(right, MISPRINTS[subject.name])
    marked = subject.marked[wrt]
    for edit in edits(marked, [(case.params, case.each[0]) for case in cases]):
        mark = Mark([edit])
        yield edit.detail, lambda params, prompt, mark=mark: marked(params, prompt, mark), {edit.kind}


OTHERS = {"W_Q": "W_K", "W_K": "W_Q", "W_Qx": "W_Kx", "W_Kx": "W_Qx", "W_Q1": "W_K1", "W_K1": "W_Q1"}

# Misprints in the source text of the literal formulas: what a slip of the pen does, and the kinds that name it.
LI_MISPRINTS = (
    ("a[i]", "a[0]", {"wrong-factor"}),
    ("a[i]", "abs(a[i])", {"wrong-factor"}),
    ("a[i] *", "", {"wrong-factor"}),
    ("I[i]", "I[0]", {"relu-gate"}),
    ("I[i] *", "", {"relu-gate"}),
    ("attn[s]", "attn[0]", {"wrong-factor"}),
    ("attn[s]", "attn[s] ** 2", {"wrong-factor"}),
    ("W_O[i]", "W_O[0]", {"wrong-factor"}),
    ("range(len(a))", "range(1)", {"missing-term"}),
    ("range(len(a))", "range(1, len(a))", {"missing-term"}),
    ("in range(p.shape[1]):", "in range(p.shape[1] - 1):", {"missing-term"}),
    ("in range(p.shape[1]):", "in range(1):", {"missing-term"}),
    ("in range(p.shape[1]))", "in range(p.shape[1] - 1))", {"missing-term"}),
    (" - mean", " + mean", {"softmax-centering"}),
    (" - mean", "", {"softmax-centering"}),
    (", p_query)", ", p[:, s])", {"wrong-factor"}),
    ("W_Q @ p_query", "W_Q @ p[:, s]", {"wrong-factor"}),
    ("W_Q @ p_query", "W_Q.T @ p_query", {"wrong-factor"}),
    ("W_K @ p[:, s]", "W_K @ p[:, r]", {"unknown", "wrong-factor", "missing-term"}),
    ("return g *", "return -g *", {"sign"}),
    ("return g *", "return -prompt.z *", {"hinge-gate"}),
    ("return g *", "return g * prompt.z *", {"wrong-factor"}),
    ("return g *", "return g / 2 *", {"scale"}),
    ("return g *", "return g / prompt.keys.shape[1] *", {"scale"}),
)


# In those of Bu et al., too, and in the factors they call for; last the names of which a formula must use one to be touched.
BU_MISPRINTS = (
    ("-y * sigmoid(-y *", "-y * sigmoid(y *", {"wrong-factor"}),
    ("-y * sigmoid(-y *", "-sigmoid(-y *", {"wrong-factor"}),
    ("-y * sigmoid(-y *", "-y * sigmoid(-1 *", {"wrong-factor"}),
    ("-y_S * sigmoid(-y_S *", "-y_S * sigmoid(y_S *", {"wrong-factor"}),
    ("-y_S * sigmoid(-y_S *", "-sigmoid(-y_S *", {"wrong-factor"}),
    (" * (out.preactivation > 0)", "", {"relu-gate"}, "zeta", "chi", "G"),
    (" * (out.h > 0)", "", {"relu-gate"}, "zeta", "chi", "G"),
    ("params.a * (", "(", {"wrong-factor"}, "zeta", "chi", "G"),
    ("blocks.r * (", "(", {"wrong-factor"}, "zeta", "chi", "G"),
    ("(phi[l] - phibar)", "phi[l]", {"softmax-centering"}, "chi"),
    ("(phi[l] - phibar)", "(phi[l] + phibar)", {"softmax-centering"}, "chi"),
    (" - out.attn @ phi)", ")", {"softmax-centering"}, "chi"),
    (" - out.attn @ phi)", " - np.mean(phi))", {"wrong-factor", "unknown"}, "chi"),
    ("out.attention[l] * (phi[l]", "(phi[l]", {"wrong-factor", "unknown"}, "chi"),
    ("out.attn[l] * (phi[l]", "(phi[l]", {"wrong-factor", "unknown"}, "chi"),
    ("params.W_K @ chi", "params.W_Q @ chi", {"wrong-factor"}),
    ("params.W_Q @ prompt.query", "params.W_K @ prompt.query", {"wrong-factor"}),
    ("blocks.W_Kx @ chi_x", "blocks.W_Kx.T @ chi_x", {"wrong-factor"}),
    ("blocks.W_Kx @ chi_x", "blocks.W_Qx @ chi_x", {"wrong-factor"}),
    ("blocks.W_Qx @ prompt.x_q", "blocks.W_Qx.T @ prompt.x_q", {"wrong-factor"}),
    ("blocks.W_Qx @ prompt.x_q", "blocks.W_Kx @ prompt.x_q", {"wrong-factor"}),
    ("sigmoid(-y_S * out.F), others", "sigmoid(y_S * out.F), others", {"wrong-factor"}),
    ("-y_S * slope", "-slope", {"wrong-factor"}),
    ("r * active *", "r *", {"relu-gate"}),
    ("sum(r * active", "sum(active", {"wrong-factor"}),
    ("W_Q @ x_q", "W_Q.T @ x_q", {"wrong-factor"}),
    ("W_K @ b", "blocks.W_Q1 @ b", {"wrong-factor"}),
    ("@ x_q, b)", "@ x_q, prompt.a)", {"wrong-factor"}),
    ("W_K @ b", "W_K @ prompt.a", {"wrong-factor"}),
    ("g * 4 *", "g * 2 *", {"scale"}),
    ("g * 4 *", "g * prompt.z * 4 *", {"wrong-factor"}),
    ("attn_plus * attn_minus * G", "attn_plus * G", {"wrong-factor"}),
    ("attn_plus * attn_minus * G", "(attn_plus - attn_minus) * G", {"wrong-factor"}),
    ("blocks.W_O1 @ prompt.d", "blocks.W_O1 @ prompt.c", {"wrong-factor"}),
    ("range(len(phi))", "range(1, len(phi))", {"missing-term", "unknown"}, "chi"),
    ("return g *", "return -g *", {"sign"}),
)
MISPRINTS = {"li2024": LI_MISPRINTS, "bu2024": BU_MISPRINTS}


def misprints(function, table):
    """The mutants of `mutants`, by replacing a piece of the source text of the formula and of the factors it calls for."""
    module = inspect.getmodule(function)
    helpers = [vars(module)[name] for name in function.__code__.co_names if name.endswith("_factors")]
    right = "\n\n".join(map(inspect.getsource, (*helpers, function)))
    own = inspect.getsource(function)
    for old, new, kinds, *touched in table:
        if old in right and (not touched or any(name in own for name in touched)):
            names = dict(vars(module), r=0)
            exec(right.replace(old, new), names)
            yield f"{old} -> {new or 'nothing'}", names[function.__name__], kinds


def one_entry(g, params, prompt):
    largest = np.unravel_index(np.argmax(abs(g)), g.shape)
    g[largest] *= 1 + 1e-9
    return g


# ---- The count


def count_right(subjects, seed, rows, reasons):
    for k in range(subjects):
        bench, attends = Bench(random_subject(seed * 10_000 + k), 6, 0), bool(k % 2)
        for wrt in WRT:
            for name, function in right_formulas(wrt).items():
                report = bench.audit(Formula(function, name, wrt, name, "here"), attends)
                rows[name][report.verdict] += 1
                if report.verdict == "undetermined":
                    reasons[report.reason.split(" by ")[0]] += 1
                if report.verdict == "disagree":
                    print(f"FALSE ALARM {name} {wrt} subject {k}: {report.worst} {report.diagnosis} {report.reason}")


def count_wrong(seeds, rows):
    judged = [(li2024.subject, attends) for attends in (False, True)] + [(part, False) for part in bu2024.subject.every]
    for seed in seeds:
        for subject, attends in judged:
            bench = Bench(subject, 12, seed)
            for wrt in (wrt for wrt, formula in subject.formulas.items() if formula.expected == "agree"):
                for name, function, kinds in mutants(subject, wrt, bench.single(attends)):
                    report = bench.audit(Formula(function, name, wrt, name, "here"), attends)
                    row = rows[name]
                    row["audits"] += 1
                    row["detected"] += report.verdict == "disagree"
                    given = {item["kind"] for item in report.diagnosis}
                    row["named"] += bool(given & kinds)
                    row["misnamed"] += bool(given) and not given & kinds and given != {"unknown"}
                    if report.verdict != "disagree" or not given & kinds:
                        found = [f"{item['kind']}: {item['detail']}" for item in report.diagnosis]
                        print(f"{name} {subject.name} {wrt} l{'+1' * attends} seed {seed}: {report.verdict} {found}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=60, help="random subjects for right formulas (35 audits each)")
    parser.add_argument("--seeds", type=int, default=2, help="seeds for mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="write the counts there as well")
    options = parser.parse_args()
    began = time.perf_counter()
    right, wrong = defaultdict(lambda: defaultdict(int)), defaultdict(lambda: defaultdict(int))
    reasons = defaultdict(int)
    count_right(options.subjects, options.seed, right, reasons)
    count_wrong(range(options.seed, options.seed + options.seeds), wrong)

    print(f"\n{'right formulas':28}{'agree':>8}{'undetermined':>14}{'disagree':>10}")
    for name, row in right.items():
        print(f"{name:28}{row['agree']:8}{row['undetermined']:14}{row['disagree']:10}")
    alarms = sum(row["disagree"] for row in right.values())
    print(f"false alarms: {alarms} of {sum(sum(row.values()) for row in right.values())}")
    for reason, count in reasons.items():
        print(f"  undetermined {count}: {reason}")
    print(f"\n{'mutants':72}{'audits':>8}{'detected':>10}{'named':>8}{'misnamed':>10}")
    for name, row in wrong.items():
        print(f"{name[:72]:72}{row['audits']:8}{row['detected']:10}{row['named']:8}{row['misnamed']:10}")
    total = {key: sum(row[key] for row in wrong.values()) for key in ("audits", "detected", "named", "misnamed")}
    print(f"{'all':72}" + f"{total['audits']:8}{total['detected']:10}{total['named']:8}{total['misnamed']:10}")
    print(f"{time.perf_counter() - began:.0f} s")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"right": right, "wrong": wrong, "false_alarms": alarms, "total": total}, file, indent=1)
    return 0 if alarms == 0 and total["detected"] == total["audits"] and not total["misnamed"] else 1


if __name__ == "__main__":
    sys.exit(main())
