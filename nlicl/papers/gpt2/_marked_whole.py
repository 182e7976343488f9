"""The gradient of the whole of GPT-2 on one prompt, its factors marked for the audit. `gradients.backward` has the equations.

A slip is made in all layers alike. What belongs to the gradient by one parameter alone, such as the axis of a bias's sum, is
marked for that parameter, and what every gradient passes through for all.
"""

from typing import Any

import numpy as np

from ...audit.mistakes import PLAIN, Mark, Marked
from ...models.gpt2.prompts import Params, Prompt
from ._marked import Heads, Normalised, bias, gelu_forward, gelu_slope, weight

__all__ = ["marked"]


def marked(wrt: str) -> Marked:
    """The marked gradient f(params, prompt, mark) by one of the parameters."""

    def evaluate(params: Params, prompt: Prompt, mark: Mark = PLAIN) -> np.ndarray:
        return _Backward(params, prompt, mark, wrt).gradient()

    return evaluate


class _Backward:
    """Forward, as far as `wrt` depends on it, and backward down to `wrt`."""

    def __init__(self, params: Params, prompt: Prompt, mark: Mark, wrt: str) -> None:
        self.W, self.prompt, self.mark, self.wrt = params, prompt, mark, wrt
        self.p, self.reads = prompt.tokens, list(prompt.reads)
        mark = PLAIN if wrt in ("b_out", "beta_f") else mark  # which scores enter by the hinge's indicator alone
        W, T, (L, C) = params, len(self.p), params.b_o.shape
        self.x = [self.p @ W.W_in.T + W.b_in + W.wpe[:T]]
        self.n_1, self.heads, self.o, self.x_2, self.n_2, self.u, self.h = ([] for _ in range(7))
        for l in range(L):
            self.n_1.append(_layernorm(self.x[l], W.gamma_1[l], W.beta_1[l], mark))
            q, k, v = np.einsum("shdc,tc->shtd", W.W_qkv[l], self.n_1[l]) + W.b_qkv[l][:, :, None]
            self.heads.append(Heads(q, k, v, prompt.causal, mark, wrt not in _ABOVE))
            self.o.append(self.heads[l].o.transpose(1, 0, 2).reshape(T, C))
            self.x_2.append(self.x[l] + self.o[l] @ W.W_o[l].T + W.b_o[l])
            self.n_2.append(_layernorm(self.x_2[l], W.gamma_2[l], W.beta_2[l], mark))
            self.u.append(self.n_2[l] @ W.W_fc[l].T + W.b_fc[l])
            self.h.append(gelu_forward(self.u[l], mark))
            self.x.append(self.x_2[l] + self.h[l] @ W.W_pr[l].T + W.b_pr[l])
        self.y = _layernorm(self.x[L][self.reads], W.gamma_f, W.beta_f, mark)

    def own(self, name: str) -> Mark:
        """The mark for what belongs to the gradient by that parameter alone."""
        return self.mark if name == self.wrt else PLAIN

    def gradient(self) -> np.ndarray:
        """The gradient by `wrt`."""
        g = self._slope(self.y @ self.W.w_out + self.W.b_out, self.prompt.z)
        if self.wrt == "b_out":
            return np.array([g.sum()])
        if self.wrt == "w_out":
            return g @ self.own("w_out").other("y = LN_f(x)", self.y, {"x": lambda: self.x[-1][self.reads]})
        x, dy = self.x[-1][self.reads], np.outer(g, self.W.w_out)
        if self.wrt == "beta_f":
            return bias(dy, self.mark, "t")
        rows = Normalised(x, self.W.gamma_f, self.mark, "backward")
        if self.wrt == "gamma_f":
            return rows.dgamma(dy, x, self.mark)
        dx = np.zeros_like(self.x[-1])
        dx[self.reads] = _without("LN_f", self.mark, rows.dx(dy), dy)
        by_layer = []
        for l in reversed(range(len(self.u))):
            found, dx = self._block(l, dx)
            by_layer.append(found)
        return np.array(by_layer[::-1]) if self.wrt not in ("W_in", "b_in", "wpe") else self._read_in(dx)

    def _slope(self, F: np.ndarray, z: np.ndarray) -> np.ndarray:
        """g_t = -z_t 1[1 - z_t F_t > 0] / R."""
        mark, R = self.mark, len(z)
        no_z, no_1 = "1[1 - F > 0], without the label z", "1[-z F > 0], without the margin 1"
        others = {no_z: lambda: 1 - F > 0, no_1: lambda: -z * F > 0}
        active = mark.gate("hinge-gate", "an active hinge", "1[1 - z F > 0]", 1 - z * F > 0, others)
        g = -mark.factor("the label z", z, doubled=False) * active / R
        last = {"only the last token that is read counts": lambda: g * (np.arange(R) == R - 1)}
        return mark.choice("reads", g, "missing-term", last)

    def _block(self, l: int, dx: np.ndarray) -> tuple[Any, np.ndarray]:
        """The gradient by `wrt` in block l, None if it is not there, and dx before the block, from dx behind it."""
        W, mark, found = self.W, self.mark, {}
        found["b_pr"] = bias(dx, self.own("b_pr"), "t")
        found["W_pr"] = weight(
            dx, self.own("W_pr").other("gelu(u)", self.h[l], {"u": self.u[l]}), self.own("W_pr"), "t"
        )
        du = (dx @ W.W_pr[l]) * gelu_slope(self.u[l], mark, "backward")
        found["b_fc"] = bias(du, self.own("b_fc"), "t")
        n_2 = self.own("W_fc").other("n = LN_2(x)", self.n_2[l], {"x": self.x_2[l]})
        found["W_fc"] = weight(du, n_2, self.own("W_fc"), "t")
        dx = self._layernorm("2", "the MLP", self.x_2[l], W.gamma_2[l], du @ W.W_fc[l], dx, found)
        found["b_o"] = bias(dx, self.own("b_o"), "t")
        found["W_o"] = weight(dx, self.o[l], self.own("W_o"), "t")
        turned = {"a factor is another one: do = W_o dx for do = W_o^T dx, transposed": lambda: W.W_o[l].T}
        do = self._apart(dx @ mark.choice("W_o in do", W.W_o[l], "wrong-factor", turned))
        dqkv = self._heads(self.heads[l], do)
        n_1 = self.own("W_qkv").other("n = LN_1(x)", self.n_1[l], {"x": self.x[l]})
        found["W_qkv"] = np.einsum("shtd,tc->shdc", self._exchanged(dqkv, "W_qkv"), n_1)
        found["b_qkv"] = self._exchanged(dqkv, "b_qkv").sum(axis=2)
        dn = sum(
            mark.term(f"the share of the {name}, d{name[0]} W_{name[0]},", np.einsum("htd,hdc->tc", dqkv[i], W.W_qkv[l, i]),
                      " in dn", slot=name)
            for i, name in enumerate(("queries", "keys", "values"))
        )  # fmt: skip
        dx = self._layernorm("1", "the attention", self.x[l], W.gamma_1[l], dn, dx, found)
        return found.get(self.wrt), dx

    def _exchanged(self, dqkv: np.ndarray, name: str) -> np.ndarray:
        """dq, dk, dv in their order (3, H, T, D), or in another one."""
        wrong = {
            "the gradients of queries and keys stand in each other's place": lambda: dqkv[[1, 0, 2]],
            "the order is values, keys, queries": lambda: dqkv[[2, 1, 0]],
        }
        dqkv = self.own(name).choice("order", dqkv, "entries", wrong)
        return self.own(name).terms("token", "t", dqkv.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)

    def _layernorm(
        self, number: str, through: str, x: np.ndarray, gamma: np.ndarray, dn: np.ndarray, dx: np.ndarray, found: dict
    ) -> np.ndarray:
        """dx before a branch, from dx behind it and dn inside of it."""
        rows = Normalised(x, gamma, self.mark, "backward")
        found[f"gamma_{number}"] = rows.dgamma(dn, x, self.own(f"gamma_{number}"))
        found[f"beta_{number}"] = bias(dn, self.own(f"beta_{number}"), "t")
        inside = _without(f"LN_{number}", self.mark, rows.dx(dn), dn)
        around = self.mark.term(f"the residual branch around {through}", dx)
        return around + self.mark.term(f"the branch through {through}", inside)

    def _apart(self, rows: np.ndarray) -> np.ndarray:
        """(H, T, D) from (T, C)."""
        H, T, D = self.heads[0].q.shape
        wrong = {"the heads are taken apart as (H, T, D): expected (T, H, D), turned": lambda: rows.reshape(H, T, D)}
        return self.mark.choice("apart", rows.reshape(T, H, D).transpose(1, 0, 2), "wrong-factor", wrong)

    def _heads(self, heads: Heads, do: np.ndarray) -> np.ndarray:
        """dq, dk, dv (3, H, T, D)."""
        dqkv = np.array([heads.dq(do), heads.dk(do), heads.dv(do)])
        first = {"the sum over heads is missing: only the first head counts": lambda: dqkv * _first(len(do))}
        return self.mark.choice("heads", dqkv, "missing-term", first)

    def _read_in(self, dx: np.ndarray) -> np.ndarray:
        """The gradient by W_in, b_in or wpe."""
        if self.wrt != "wpe":
            return weight(dx, self.p, self.mark, "t") if self.wrt == "W_in" else bias(dx, self.mark, "t")
        T, found = len(dx), np.zeros_like(self.W.wpe)

        def filled(rows: Any, at: Any = slice(T)) -> np.ndarray:
            made = np.zeros_like(found)
            made[at] = rows
            return made

        wrong = {
            "row t holds dx_{t-1}, of the position before": lambda: np.roll(filled(dx), 1, axis=0),
            "row t holds dx_{T-1-t}: positions are counted from the end": lambda: filled(dx[::-1]),
            "every row holds the sum over t of dx_t": lambda: filled(dx.sum(axis=0)),
            "every row holds the mean over t of dx_t": lambda: filled(dx.mean(axis=0)),
            "the first row holds the sum over t of dx_t, and the others nothing": lambda: filled(dx.sum(axis=0), 0),
        }
        return self.mark.choice("positions", filled(dx), "entries", wrong)


_ABOVE = ("b_out", "w_out", "gamma_f", "beta_f")  # no gradient of theirs passes through a block


def _layernorm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mark: Mark) -> np.ndarray:
    return gamma * Normalised(x, gamma, mark, "forward").xh + beta


def _without(name: str, mark: Mark, dx: np.ndarray, dn: np.ndarray) -> np.ndarray:
    wrong = {f"the derivative of {name} is left out: the gradient by its output stands for that by its input": dn}
    return mark.choice(name, dx, "missing-term", wrong)


def _first(H: int) -> np.ndarray:
    return (np.arange(H) == 0)[:, None, None]
