"""What papers on the one-layer transformer Psi = {W_Q, W_K, W_V, W_O, a} share under audit.

Witnesses of the loss, random points that leave a wrong formula nowhere to hide, and the gradient with its factors
made replaceable, so that the audit can say which factor of a wrong formula is the wrong one.
"""

import numpy as np

from ...audit.subject import Edit, Point
from ...kernels.compile import source as source_of
from ...kernels.layers import loss as losses
from ...kernels.steps import dense
from ..front import loss_and_grad
from . import reference
from .prompts import CodedPrompts, Params, Prompts

_SIZES = (3, 4, 5, 6, 7, 8)  # of d, l, m, m_a, m_b: five different ones a point


def definition(loss):
    """(loss, margins) of one prompt, by the definition."""

    def evaluate(params, prompt):
        return reference.evaluate(params, prompt, loss)

    return evaluate


def activity(loss):
    """Shares of active neurons and, for the hinge, 1 where it is active and 0 where not, of one prompt."""

    def evaluate(params, prompt):
        margins = reference.margins(params, prompt, loss)
        u = margins[: len(params.a)]
        shares = {"relu_active": float(np.mean(u > 0))}
        return shares | ({"hinge_active": float(margins[-1] > 0)} if loss == "hinge" else {})

    return evaluate


def kernel(loss, step=dense.step):
    """Mean loss of a batch through the compiled step, in float64 or complex128."""

    def evaluate(params, prompts):
        dtype = np.result_type(*params)
        arrays = [np.ascontiguousarray(array, dtype) for array in params]
        tokens, labels = prompts.tokens.astype(dtype), prompts.labels.astype(dtype)
        keys = tokens.shape[1] if prompts.query_attends else tokens.shape[1] - 1
        return step(tokens, labels, keys, *arrays, losses.NAMES[loss])[0]

    return evaluate


def source(loss, step=dense.step):
    """The same through the kernels' Python source, in any dtype."""
    return kernel(loss, source_of(step))


def gradient(loss, times=1):
    """The library's batched gradients; of every prompt so many `times`, for many and for few go through other kernels."""

    def evaluate(params, prompts):
        return loss_and_grad(params, prompts[list(range(len(prompts))) * times] if times > 1 else prompts, loss)[1]

    return evaluate


def on_gpu(loss):
    """The library's batched gradients through its GPU kernels: that for tokens and, of the same tokens, that for codes."""

    def through(kind):
        return lambda params, prompts: loss_and_grad(params, kind(prompts), loss, backend="cuda")[1]

    return {"GPU, tokens": through(lambda prompts: prompts), "GPU, codes": through(as_codes)}


def as_codes(prompts):
    """Prompts as codes of all kinds: token = E_r + kappa v + sign q with any v, q and a column E_r for each token."""
    B, rows, d = prompts.tokens.shape
    rng = np.random.default_rng(0)
    v, q = rng.standard_normal((2, d))
    kappa, sign = rng.uniform(-1, 1, (B, rows)), rng.choice([-1, 0, 1], (B, rows))
    sign[:, -1] = 0
    own = (prompts.tokens - kappa[..., None] * v - sign[..., None] * q).reshape(-1, d)
    relevant = np.arange(B * rows).reshape(B, rows)
    irrelevant = np.full((B, rows), B * rows)
    return CodedPrompts(
        np.vstack([own, v, q]).T, relevant, irrelevant, kappa, sign, prompts.labels, prompts.query_attends
    )


def random_points(rng, query_attends):
    """Endless random points: by turns rectangular, all sizes different, and square, m_a = d, neither W_Q nor W_K symmetric.

    Each has three prompts with answers of all kinds, see `placed`.
    """
    square = False
    while True:
        d, length, m, m_a, m_b = (int(size) for size in rng.permutation(_SIZES)[:5])
        point = _random_point(rng, d, length, m, d if square else m_a, m_b, query_attends)
        if point is not None:
            yield point
            square = not square


def _random_point(rng, d, length, m, m_a, m_b, query_attends):
    scales = {"W_Q": d, "W_K": d, "W_V": d, "W_O": m_b, "a": m}
    shapes = {"W_Q": (m_a, d), "W_K": (m_a, d), "W_V": (m_b, d), "W_O": (m, m_b), "a": (m,)}
    params = Params(**{k: rng.standard_normal(shapes[k]) / np.sqrt(scales[k]) for k in shapes})
    prompts = Prompts(rng.standard_normal((3, length + 1, d)), np.ones(3), query_attends)
    place = f"random, {'square' if m_a == d else 'rectangular'} (d={d}, l={length}, m_a={m_a}, m_b={m_b}, m={m})"
    return placed(place, params, prompts)


def placed(label, params, prompts):
    """A Point with answers of all kinds: zF < 0 at its first prompt, zF = 2 at its second; None if F is all 0.

    Where |F| allows it the last one has 0 < zF < 1. So the hinge is active at the first and the last and inactive at the
    second, and a logistic loss has slopes of all sizes.
    """
    scores = np.array([reference.forward(params, prompt).score for prompt in prompts])
    order = np.argsort(-abs(scores), kind="stable")
    order[:2] = order[1::-1]  # the second largest first: with all neurons off, F = 0 and so is every gradient
    scores = scores[order]
    if abs(scores[0]) < 1e-3:
        return None
    grow = 2.0 / abs(scores[1])  # |F| = 2 at the second prompt, at most 2 at the others
    labels = np.where(scores > 0, -1.0, 1.0)
    labels[1] = -labels[1]
    near = grow * abs(scores[2:]) < 1
    labels[2:][near] *= -1
    return Point(
        label, params._replace(a=params.a * grow), Prompts(prompts.tokens[order], labels, prompts.query_attends)
    )


def pruned_point(rng, query_attends):
    """A random point with one row of W_O zero: u_i = 0 exactly, a kink of the loss in that row and nowhere else."""
    point = next(random_points(rng, query_attends))
    W_O = point.params.W_O.copy()
    W_O[len(W_O) // 2] = 0
    params, prompts = point.params._replace(W_O=W_O), point.prompts[:1]
    z = -1.0 if reference.forward(params, prompts[0]).score > 0 else 1.0  # an active hinge: else all is 0 there
    return Point("one neuron pruned: its row of W_O is 0", params, Prompts(prompts.tokens, [z], query_attends))


def edited(loss):
    """The gradient of one prompt with some of its factors replaced: `slots` names the factor and what stands there.

    With no slots it is 7.3 of the specification, summed in another order:

        dW_Q = g sum_s w_s (W_K p_s - sum_r attn_r W_K p_r) p_query^T,     w_s = attn_s sum_i a_i I_i W_O(i,.) W_V p_s
        dW_K = g sum_s w_s W_Q p_query (p_s - sum_r attn_r p_r)^T
        dW_V = g sum_i a_i I_i W_O(i,.)^T sum_s attn_s p_s^T
        dW_O(i,.) = g a_i I_i (sum_s attn_s W_V p_s)^T,                   da_i = g I_i u_i
    """
    kind = losses.NAMES[loss]

    def evaluate(wrt, slots, params, prompt):
        if "scores" in slots:
            scaled = params.W_Q / np.sqrt(len(params.W_Q))
            swapped = {"W_Q": params.W_K, "W_K": params.W_Q}
            params = params._replace(**(swapped if slots["scores"] == "swapped" else {"W_Q": scaled}))
        W_Q, W_K, W_V, W_O, a = params
        attends = prompt.query_attends != ("query" in slots)  # the edit turns it around
        tokens = prompt.tokens
        if "contexts" in slots:
            if len(tokens) < 3:
                return None
            tokens = np.delete(tokens, slots["contexts"], axis=0)
        prompt = type(prompt)(tokens, prompt.z, attends)
        p, p_query, z = prompt.keys, prompt.query, prompt.z
        F, attn, _, u = reference.forward(params, prompt)
        attn_s = {
            "1/l": np.full_like(attn, 1 / len(attn)),
            "1": np.ones_like(attn),
            "attn^2": attn**2,
            "first": np.full_like(attn, attn[0]),
        }.get(slots.get("attn"), attn)
        g = losses.slope.py_func(kind, F, z) if hasattr(losses.slope, "py_func") else losses.slope(kind, F, z)
        if "hinge gate" in slots:
            gate = {"absent": True, "reversed": 1 - z * F <= 0, "no z": 1 - F > 0, "no 1": -z * F > 0}
            g = -z * gate[slots["hinge gate"]]
        if "sigmoid" in slots:
            t = {"absent": -np.inf, "reversed": -z * F, "no z": F}[slots["sigmoid"]]
            g = -z / (1 + np.exp(t))
        if "z" in slots:
            g = g * z
        I = (u > 0) * 1.0
        I = {"absent": np.ones_like(u), "reversed": 1 - I, "first": np.full_like(u, I[0])}.get(
            slots.get("relu gate"), I
        )
        a_i = {
            "1": np.ones_like(a),
            "sign": np.sign(a),
            "a^2": a**2,
            "|a|": abs(a),
            "first": np.full_like(a, a[0]),
        }.get(slots.get("a"), a)
        if "W_O" in slots:
            W_O = np.broadcast_to(W_O[0], W_O.shape)
        I, keep = I.copy(), np.ones(p.shape[1])  # how often a neuron, a token is counted
        for slot, summands in (("neuron", I), ("token", keep)):
            if slot in slots:
                which, times = slots[slot]
                summands[slice(1, None) if which == "rest" else which] *= times
        if wrt == "a":
            return g * I * u
        if wrt == "W_O":
            return g * np.outer(a_i * I, W_V @ (p @ (attn_s * keep)))
        if wrt == "W_V":
            return g * np.outer((a_i * I) @ W_O, p @ (attn_s * keep))
        w = attn_s * keep * ((a_i * I) @ W_O @ W_V @ p)  # w_s
        key, probe = _replaced(W_K, slots.get("W_K"), W_Q), _replaced(W_Q, slots.get("W_Q"), W_K)
        if key is None or probe is None:
            return None
        centre = {
            "absent": np.zeros_like(attn),
            "uniform": np.full_like(attn, 1 / len(attn)),
            "added": -attn,
            "doubled": 2 * attn,
            "short": np.append(attn[:-1], 0.0),
        }.get(slots.get("centring"), attn)
        spread = p - np.outer(p @ centre, np.ones(p.shape[1]))  # p_s - sum_r attn_r p_r
        if slots.get("p_query") == "p_s":
            return g * ((key @ (spread * w)) @ p.T if wrt == "W_Q" else (probe @ (p * w)) @ spread.T)
        if slots.get("p_query") == "p_1":
            p_query = p[:, 0]
        if wrt == "W_Q":
            return g * np.outer(key @ (spread @ w), p_query)
        return g * np.outer(probe @ p_query, spread @ w)

    return evaluate


def _replaced(W, how, other):
    """W, its transpose, or the other matrix; None where the shapes do not allow it."""
    if how == "transposed":
        return W.T if W.shape[0] == W.shape[1] else None
    return other if how == "other" else W


_OF_LOSS = {
    "hinge": [
        Edit("hinge gate", "no z", "hinge-gate", "the indicator is another one: 1[1 - F > 0], without the label z"),
        Edit("hinge gate", "no 1", "hinge-gate", "the indicator is another one: 1[-z F > 0], without the margin 1"),
        Edit("hinge gate", "absent", "hinge-gate", "the indicator of an active hinge 1[1 - z F > 0] is missing"),
        Edit("hinge gate", "reversed", "hinge-gate", "the indicator of an active hinge is reversed: 1[1 - z F <= 0]"),
    ],
    "logistic": [
        Edit("sigmoid", "reversed", "wrong-factor", "a factor is another one: sigmoid(z F) for sigmoid(-z F)"),
        Edit("sigmoid", "absent", "wrong-factor", "a factor is absent: sigmoid(-z F)"),
        Edit(
            "sigmoid",
            "no z",
            "wrong-factor",
            "a factor is another one: sigmoid(-F) for sigmoid(-z F), without the label",
        ),
    ],
    "squared": [],
}


def edits(loss):
    """The ways in which formulas of this model with that loss go wrong: (wrt, query_attends) -> list of Edit."""
    return lambda wrt, query_attends: _of_model(wrt, query_attends) + _OF_LOSS[loss]


def _of_model(wrt, query_attends):
    softmax = wrt in ("W_Q", "W_K")
    found = [
        Edit("relu gate", "absent", "relu-gate", "the indicator of active neurons 1[u_i > 0] is missing"),
        Edit("relu gate", "reversed", "relu-gate", "the indicator of active neurons is reversed: 1[u_i <= 0]"),
        Edit("relu gate", "first", "relu-gate", "the indicator is that of the first neuron, I_1 for I_i"),
        Edit("z", "absent", "wrong-factor", "a factor is absent: the label z"),
    ]
    found += [
        Edit("scores", "swapped", "wrong-factor", "W_Q and W_K stand for each other throughout, in the scores too"),
        Edit("scores", "temperature", "wrong-factor", "a factor is another one: the scores are divided by sqrt(m_a)"),
        Edit("contexts", 0, "missing-term", "the first context is left out everywhere, of the softmax too"),
        Edit("contexts", -2, "missing-term", "the last context is left out everywhere, of the softmax too"),
    ]
    if query_attends:
        found.append(
            Edit("query", "out", "query-in-context", "the query was left out of the sums, which run to l, not l+1")
        )
    else:
        found.append(
            Edit("query", "in", "query-in-context", "the query was summed over as if it were a context: l+1 terms")
        )
    if wrt != "a":
        found += [
            Edit("a", "1", "wrong-factor", "a factor is absent: a_i"),
            Edit("a", "a^2", "wrong-factor", "a factor is doubled: a_i stands twice"),
            Edit("a", "sign", "wrong-factor", "a factor is another one: sign(a_i) for a_i"),
            Edit("a", "|a|", "wrong-factor", "a factor is another one: |a_i| for a_i"),
            Edit("a", "first", "wrong-factor", "a factor is another one: a_1 for a_i"),
            Edit("attn", "1", "wrong-factor", "a factor is absent: attn_s"),
            Edit("attn", "first", "wrong-factor", "a factor is another one: attn_1 for attn_s"),
            Edit("attn", "1/l", "wrong-factor", "a factor is another one: the uniform 1/l for attn_s"),
            Edit("attn", "attn^2", "wrong-factor", "a factor is doubled: attn_s stands twice"),
        ]
        if wrt != "W_O":
            found.append(Edit("W_O", "first", "wrong-factor", "a factor is another one: W_O(1,.) for W_O(i,.)"))
        for slot, index in (("neuron", "i"), ("token", "s")):
            found.append(
                Edit(
                    slot, ("rest", 0), "missing-term", f"the sum over {index} is missing: only the first {slot} counts"
                )
            )
            for which, place in ((0, "first"), (-1, "last")):
                term = f"the {place} {slot}"
                found.append(Edit(slot, (which, 0), "missing-term", f"{term} is left out of the sum over {index}"))
                found.append(Edit(slot, (which, 2), "extra-term", f"{term} is counted twice in the sum over {index}"))
    if softmax:
        mine, other = ("W_K", "W_Q") if wrt == "W_Q" else ("W_Q", "W_K")
        token = "p_s" if wrt == "W_Q" else "p_query"
        found += [
            Edit("centring", "absent", "softmax-centering", "the softmax's mean term, - sum_r attn_r p_r, is missing"),
            Edit("centring", "added", "softmax-centering", "the softmax's mean term has the wrong sign: + sum_r attn_r p_r"),
            Edit("centring", "doubled", "extra-term", "the softmax's mean term, - sum_r attn_r p_r, is counted twice"),
            Edit("centring", "short", "missing-term", "the last token is left out of the softmax's mean term, the sum over r"),
            Edit("p_query", "p_s", "wrong-factor", "a factor is another one: p_s for p_query"),
            Edit("p_query", "p_1", "wrong-factor", "a factor is another one: p_1 for p_query"),
            Edit("centring", "uniform", "wrong-factor", "a factor is another one: 1/l for attn_r in the softmax's mean term"),
            Edit(mine, "transposed", "wrong-factor", f"a factor is another one: it agrees after {mine}^T {token} -> "
                 f"{mine} {token}; invisible where {mine} is symmetric"),
            Edit(mine, "other", "wrong-factor", f"a factor is another one: it agrees after {other} {token} -> {mine} {token}"),
        ]  # fmt: skip
    return found


def sizes(params, prompt):
    """The constants by which a formula may be off."""
    l = prompt.tokens.shape[0] - 1
    m_a, d = params.W_Q.shape
    m, m_b = params.W_O.shape
    return {"l": l, "l+1": l + 1, "m": m, "sqrt(m)": np.sqrt(m), "d": d, "m_a": m_a, "m_b": m_b, "sqrt(d)": np.sqrt(d),
            "sqrt(m_a)": np.sqrt(m_a)}  # fmt: skip
