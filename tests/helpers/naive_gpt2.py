"""GPT-2's gradient as a reader would write it, head by head and token by token, with the slips a reader makes."""

import numpy as np
from scipy.special import erf

__all__ = ["gradient", "normal"]


def normal(u):
    """The normal distribution function."""
    return (1 + erf(u / np.sqrt(2))) / 2


def gradient(wrt, *slips):
    """f(params, prompt), the gradient by one parameter, with these slips in it."""

    def formula(params, prompt):
        return _all(params, prompt, set(slips))[wrt]

    return formula


def _norm(x, slips):
    sd2 = x.var(axis=1, ddof=1 if "unbiased" in slips else 0)[:, None]
    r = 1 / (np.sqrt(sd2) + 1e-5) if "epsilon outside" in slips else (sd2 + 1e-5) ** -0.5
    return (x - x.mean(axis=1)[:, None]) * r, r


def _norm_back(dy, x, gamma, slips):
    xh, r = _norm(x, slips)
    g = dy * gamma
    dx = g.copy()
    if "no mean term" not in slips:
        dx -= g.mean(axis=1)[:, None]
    if "no third term" not in slips:
        dx -= xh * (g * xh).mean(axis=1)[:, None]
    if "no r" not in slips:
        dx = dx * r
    return dx, (dy * xh).sum(axis=0), dy.sum(axis=0)


def _attend(q, k, v, causal, slips):
    """One head: (o, A)."""
    T, D = q.shape
    C = D * slips["heads"]
    S = (k @ q.T).T / np.sqrt(C if "sqrt(C)" in slips["all"] else D)
    if "no scale" in slips["all"]:
        S = q @ k.T
    if "exchanged" in slips["all"]:
        S = S.T
    hidden = np.triu(np.ones((T, T)), {"off by one": 0, "one too many": 2}.get(slips["mask"], 1)) > 0
    if slips["mask"] == "off by one":
        hidden[0, 0] = False
    if not causal or slips["mask"] == "none":
        hidden[:] = False
    late = slips["mask"] == "late"
    E = np.exp(S - S.max()) if late else np.where(hidden, 0, np.exp(S - S.max()))
    A = E / E.sum(axis=1)[:, None]
    if late:
        A = np.where(hidden, 0, A)
    return A @ v, A


def _all(W, prompt, all_slips):
    L, _, H, D, C = W.W_qkv.shape
    p, T = prompt.tokens, len(prompt.tokens)
    mask = next((slip.removeprefix("mask: ") for slip in all_slips if slip.startswith("mask: ")), "")
    slips = {"all": all_slips, "mask": mask, "heads": H}
    x = np.array([W.W_in @ p[t] + W.b_in + W.wpe[t] for t in range(T)])
    kept = []
    for l in range(L):
        n1 = _norm(x, all_slips)[0] * W.gamma_1[l] + W.beta_1[l]
        qkv = np.array([[n1 @ W.W_qkv[l, s, h].T + W.b_qkv[l, s, h] for h in range(H)] for s in range(3)])
        outs = [_attend(*qkv[:, h], prompt.causal, slips) for h in range(H)]
        o = np.concatenate([out for out, _ in outs], axis=1)
        m = x + o @ W.W_o[l].T + W.b_o[l]
        n2 = _norm(m, all_slips)[0] * W.gamma_2[l] + W.beta_2[l]
        u = n2 @ W.W_fc[l].T + W.b_fc[l]
        t = np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3))
        h = u * normal(u) if "erf" in all_slips else u * (1 + t) / 2
        kept.append((x, n1, qkv, outs, o, m, n2, u, t, h))
        x = m + h @ W.W_pr[l].T + W.b_pr[l]
    read = np.array(prompt.reads)
    y = _norm(x[read], all_slips)[0] * W.gamma_f + W.beta_f
    F = y @ W.w_out + W.b_out
    g = np.where(1 - prompt.z * F > 0, -prompt.z, 0)
    if "no hinge" in all_slips:
        g = -prompt.z
    if "summed" not in all_slips:
        g = g / len(read)
    out = {name: np.zeros_like(value) for name, value in W._asdict().items()}
    out["w_out"], out["b_out"] = (g[:, None] * y).sum(axis=0), np.array([g.sum()])
    dx = np.zeros_like(x)
    dx[read], out["gamma_f"], out["beta_f"] = _norm_back(g[:, None] * W.w_out, x[read], W.gamma_f, all_slips)
    axis = 1 if "wrong axis" in all_slips else 0
    bias = {name: [] for name in ("b_pr", "b_fc", "b_o")}
    for l in reversed(range(L)):
        x, n1, qkv, outs, o, m, n2, u, t, h = kept[l]
        bias["b_pr"].insert(0, dx.sum(axis=axis))
        out["W_pr"][l] = dx.T @ h
        inner = np.sqrt(2 / np.pi) * (1 + (1 if "no 3" in all_slips else 3) * 0.044715 * u**2)
        slope = (1 + t) / 2 + u / 2 * (1 - t**2) * (1 if "no inner" in all_slips else inner)
        if all_slips & {"erf", "erf backward"}:
            slope = normal(u) + u * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
        du = dx @ W.W_pr[l] * slope
        bias["b_fc"].insert(0, du.sum(axis=axis))
        out["W_fc"][l] = du.T @ n2
        dn = du @ W.W_fc[l]
        back, out["gamma_2"][l], out["beta_2"][l] = _norm_back(dn, m, W.gamma_2[l], all_slips)
        if "no LN_2" in all_slips:
            back = dn
        dx = back + (0 if "no residual" in all_slips else dx)
        bias["b_o"].insert(0, dx.sum(axis=axis))
        out["W_o"][l] = o.T @ dx if "turned" in all_slips else dx.T @ o
        do = dx @ W.W_o[l]
        dn = np.zeros_like(n1)
        for i in range(H):
            (q, k, v), (_, A), up = qkv[:, i], outs[i], do[:, i * D : (i + 1) * D]
            dA = up @ v.T
            mean = 0 if "no softmax mean" in all_slips else (A * dA).sum(axis=1)[:, None]
            dS = A * (dA - (A * dA if "diagonal" in all_slips else mean))
            scale = np.sqrt(C if "sqrt(C)" in all_slips else D)
            if all_slips & {"no scale", "no scale backward"}:
                scale = 1.0
            dq, dk, dv = dS @ k / scale, dS.T @ q / scale, A.T @ up
            if "exchanged" in all_slips:
                dq, dk = dS.T @ k / scale, dS @ q / scale
            thirds = (dk, dq, dv) if "thirds" in all_slips else (dq, dk, dv)
            for s, third in enumerate(thirds):
                out["W_qkv"][l, s, i] = third.T @ n1
                out["b_qkv"][l, s, i] = third.sum(axis=0)
            for s, third in enumerate((dq, dk, dv)):
                dn += third @ W.W_qkv[l, s, i]
        back, out["gamma_1"][l], out["beta_1"][l] = _norm_back(dn, x, W.gamma_1[l], all_slips)
        dx = dx + back
    out["W_in"], out["b_in"] = dx.T @ p, dx.sum(axis=0)
    out["wpe"][:T] = dx / T if "averaged" in all_slips else dx
    if "position" in all_slips:
        out["wpe"] = np.roll(out["wpe"], 1, axis=0)
    return out | {name: np.array(rows) for name, rows in bias.items()}
