"""How derivations for Bu et al. 2024 go wrong: their gradients with factors made replaceable, for the audit's diagnosis."""

import numpy as np

from ...audit.subject import Edit
from ...models.transformer import audited
from . import reference

edited = audited.edited("logistic")
edits = audited.edits("logistic")
_BLOCKS = {"W_Qx": "W_Q", "W_Kx": "W_K", "W_Oy": "W_O"}  # the parameter each is a block of


# ---- W_QK: of W_Q where W_K is the identity


def edited_merged(wrt, slots, merged, prompt):
    """The gradient of W_QK with some of its factors replaced."""
    return edited("W_Q", slots, reference.full_merged(merged), prompt)


def edits_merged(wrt, query_attends):
    """Those that do not speak of W_Q or W_K."""
    return [e for e in edits("W_Q", query_attends) if e.slot not in ("W_K", "scores")]


# ---- Blocks


def edited_blocks(wrt, slots, blocks, prompt):
    """The block of the gradient of all matrices; None where a transpose would meet another size, which blocks do not have."""
    params, d_x = reference.full(blocks), prompt.d_x
    if "transposed" in slots.values():  # of square blocks: with rows of zeros, W^T is [W^xT 0; 0 0]
        if slots.get("scores") == "temperature":
            return None
        rows = np.zeros((params.W_Q.shape[1] - d_x, params.W_Q.shape[1]))
        params = params._replace(W_Q=np.vstack([params.W_Q, rows]), W_K=np.vstack([params.W_K, rows]))
    gradient = edited(_BLOCKS[wrt], slots, params, prompt)
    return gradient if gradient is None or wrt == "W_Oy" else gradient[:d_x, :d_x]


def edits_blocks(wrt, query_attends):
    """Those of the matrix, in the paper's letters."""
    names = {"W_Q ": "W_Q^x ", "W_K ": "W_K^x ", "W_Q^T": "W_Q^xT", "W_K^T": "W_K^xT", "W_O(": "W_O^y("}
    found = []
    for edit in edits(_BLOCKS[wrt], query_attends):
        detail = edit.detail
        for old, new in names.items():
            detail = detail.replace(old, new)
        found.append(edit._replace(detail=detail))
    return found


# ---- One concept, no noise: g 4 attn_+ attn_- G (W_Q^x x_q) b_k^T, and with W_K^x b_k and x_q


def edited_one_concept(wrt, slots, blocks, prompt):
    """The closed form with some of its factors replaced."""
    W_Q, W_K, W_O, r = blocks
    out, y, e_q = reference.forward(blocks, prompt), prompt.z, prompt.signs[-1]
    plus = sum(out.attn[prompt.signs[:-1] == e_q])
    minus = 1 - plus
    t = {"reversed": -y * out.F, "absent": -np.inf, "no z": out.F}.get(slots.get("sigmoid"), y * out.F)
    g = -y / (1 + np.exp(t))
    if "e_q" in slots:
        g = g * e_q
    on = {"absent": np.ones_like(out.h), "reversed": out.h <= 0}.get(slots.get("relu gate"), out.h > 0)
    G = {
        "no r": on @ (W_O @ prompt.d),
        "c": (r * on) @ (W_O @ prompt.c),
        "F": out.F,
        "h": (r * on) @ (W_O @ out.v),
    }.get(slots.get("G"), (r * on) @ (W_O @ prompt.d))
    weight = {"attn_+": plus, "attn_-": minus, "attn_+^2": plus**2, "gap": plus - minus}.get(
        slots.get("attn"), plus * minus
    )
    b = {"a": prompt.a, "e_q b": e_q * prompt.b, "x_q": prompt.x_q}.get(slots.get("b"), prompt.b)
    x_q = {"b": prompt.b, "a": prompt.a}.get(slots.get("x_q"), prompt.x_q)
    key, probe = {"other": (W_Q, W_K), "transposed": (W_K.T, W_Q.T)}.get(slots.get("W"), (W_K, W_Q))
    direction = np.outer(key @ b, x_q) if wrt == "W_Q1" else np.outer(probe @ x_q, b)
    return g * 4 * weight * G * direction


def edits_one_concept(wrt, query_attends):
    """Mistakes of the closed form."""
    mine, other, of = ("W_K^x", "W_Q^x", "b_k") if wrt == "W_Q1" else ("W_Q^x", "W_K^x", "x_q")
    found = [e for e in edits("W_Q", False) if e.slot == "sigmoid" or (e.slot, e.value) in
             (("relu gate", "absent"), ("relu gate", "reversed"))]  # fmt: skip
    found += [
        Edit("e_q", "more", "wrong-factor", "the sign e_q = y_S is there once too often, or once too seldom"),
        Edit("G", "no r", "wrong-factor", "a factor is absent: r_i in G"),
        Edit("G", "c", "wrong-factor", "a factor is another one: <w_i, c_k> for <w_i, d_k> in G"),
        Edit("G", "F", "wrong-factor", "a factor is another one: the score F for G"),
        Edit("attn", "attn_+", "wrong-factor", "a factor is absent: attn_-"),
        Edit("attn", "attn_-", "wrong-factor", "a factor is absent: attn_+"),
        Edit("attn", "attn_+^2", "wrong-factor", "a factor is another one: attn_+^2 for attn_+ attn_-"),
        Edit("attn", "gap", "wrong-factor", "a factor is another one: attn_+ - attn_- for attn_+ attn_-"),
        Edit("b", "a", "wrong-factor", "a factor is another one: a_k for b_k"),
        Edit("b", "x_q", "wrong-factor", "a factor is another one: x_q for b_k"),
        Edit("x_q", "b", "wrong-factor", "a factor is another one: b_k for x_q"),
        Edit("x_q", "a", "wrong-factor", "a factor is another one: a_k for x_q"),
        Edit("W", "other", "wrong-factor", f"a factor is another one: it agrees after {other} {of} -> {mine} {of}"),
        Edit("W", "transposed", "wrong-factor", f"a factor is another one: it agrees after {mine}^T {of} -> {mine} {of}; "
             f"invisible where {mine} is symmetric"),
    ]  # fmt: skip
    return found
