"""Where the gradients of GPT-2 and of its layers are judged, and the kernels they are judged by.

No two sizes of a draw are equal where equal ones could hide a wrong axis; some draws have equal ones on purpose, where a sum
along the wrong axis is an array of the right shape.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ...audit.subject import Point, fill
from ...core.seeds import GPT2, generator
from ...kernels.compile import source as source_of
from ...kernels.layers import causal_attention, gelu, layernorm, linear
from .layers import GELU, Attention, LayerNorm, Linear, Softmax, Upstream, output, read_off

__all__ = ["layer_conditions", "layer_definition", "layer_gradient", "layer_kernel", "layer_points", "layer_sizes"]


# ---- Layers: places


def layer_points(layer: type) -> Callable[[int, int, bool], list[Point]]:
    """points(draws, seed, query_attends) of a layer, two prompts each. The query attends in either case."""

    def points(draws: int, seed: int, query_attends: bool) -> list[Point]:
        rng = generator(GPT2.LAYER_POINTS, (seed, list(_RANDOM).index(layer)))
        return fill([], _random(rng, _RANDOM[layer]), draws)

    return points


def _random(
    rng: np.random.Generator, of: Callable[[np.random.Generator, float, int], tuple[str, Any]]
) -> Iterator[Point]:
    number = 0
    while True:
        label, params = of(rng, (1.0, 0.03, 3.0)[number % 3], number)
        prompts = []
        for causal in (True, False):
            y = output(params, causal)
            c = rng.standard_normal(y.shape) * abs(y).max()
            prompts.append(Upstream(c, c + y, causal))
        yield Point(label, params, tuple(prompts))
        number += 1


def _layernorm(rng: np.random.Generator, scale: float, number: int) -> tuple[str, LayerNorm]:
    T, C = ((3, 5), (6, 4), (4, 4), (2, 6), (5, 3))[number % 5]
    x = scale * (rng.standard_normal((T, C)) + rng.standard_normal((T, 1)))
    return f"random, rows of scale {scale:g} (T={T}, C={C})", LayerNorm(x, *rng.standard_normal((2, C)))


def _softmax(rng: np.random.Generator, scale: float, number: int) -> tuple[str, Softmax]:
    T = (4, 3, 5, 2)[number % 4]
    return f"random, of scale {scale:g} (T={T})", Softmax(scale * rng.standard_normal((T, T)))


def _attention(rng: np.random.Generator, scale: float, number: int) -> tuple[str, Attention]:
    H, T, D = ((2, 4, 3), (3, 5, 2), (2, 3, 5), (3, 3, 3))[number % 4]
    q, k, v = rng.standard_normal((3, H, T, D))
    return f"random, q of scale {scale:g} (H={H}, T={T}, D={D})", Attention(scale * q, k, v)


def _gelu(rng: np.random.Generator, scale: float, number: int) -> tuple[str, GELU]:
    T, M = ((3, 5), (4, 2))[number % 2]
    return f"random, of scale {scale:g} (T={T}, M={M})", GELU(scale * rng.standard_normal((T, M)))


def _linear(rng: np.random.Generator, scale: float, number: int) -> tuple[str, Linear]:
    n, inner, outer = ((3, 4, 5), (5, 3, 5), (2, 5, 3), (3, 4, 4), (4, 4, 4))[number % 5]
    label = f"random, of scale {scale:g} (n={n}, in={inner}, out={outer})"
    X, W = scale * rng.standard_normal((n, inner)), rng.standard_normal((outer, inner))
    return label, Linear(X, W, rng.standard_normal(outer))


_RANDOM: dict[type, Callable[[np.random.Generator, float, int], tuple[str, Any]]] = {
    LayerNorm: _layernorm,
    Softmax: _softmax,
    Attention: _attention,
    GELU: _gelu,
    Linear: _linear,
}


def layer_sizes(params: Any, prompt: Upstream) -> dict[str, float]:
    """The constants by which a layer's formula may be off."""
    if isinstance(params, Attention):
        H, T, D = params.q.shape
        return {
            "H": H,
            "T": T,
            "D": D,
            "sqrt(D)": np.sqrt(D),
            "C": H * D,
            "sqrt(C)": np.sqrt(H * D),
            "sqrt(H)": np.sqrt(H),
        }
    if isinstance(params, Linear):
        return {"n": len(params.X), "out": params.W.shape[0], "in": params.W.shape[1]}
    rows, width = params[0].shape
    return {"T": rows, {LayerNorm: "C", GELU: "M"}.get(type(params), "keys"): width}


def layer_conditions(params: Any, prompt: Upstream) -> dict[str, str]:
    """Whether attention is causal, in words; of the layers that attend."""
    attends = isinstance(params, (Attention, Softmax))
    return {"mask": "attention is causal" if prompt.causal else "attention has no mask"} if attends else {}


# ---- Layers: witnesses


def layer_definition(params: Any, prompt: Upstream) -> tuple[Any, np.ndarray]:
    """(loss, no margins) of a layer: it is smooth."""
    return read_off(output(params, prompt.causal), prompt.c), np.empty(0)


def layer_kernel(layer: type, source: bool = False) -> Callable[[Any, tuple[Upstream, ...]], Any]:
    """The mean read-off of several prompts through the layer's kernel, or its source."""
    forward, _ = _KERNELS[layer]
    run: Callable[..., Any] = source_of if source else lambda kernel: kernel

    def evaluate(params: Any, prompts: tuple[Upstream, ...]) -> Any:
        dtype = np.result_type(*params)
        packed = type(params)(*(np.ascontiguousarray(array, dtype) for array in params))
        return sum(read_off(forward(packed, prompt.causal, run)[0], prompt.c) for prompt in prompts) / len(prompts)

    return evaluate


def layer_gradient(layer: type) -> Callable[[Any, tuple[Upstream, ...]], Any]:
    """Its gradient by the layer's own backward kernel."""
    forward, backward = _KERNELS[layer]

    def evaluate(params: Any, prompts: tuple[Upstream, ...]) -> Any:
        found = []
        for prompt in prompts:
            y, saved = forward(params, prompt.causal, lambda kernel: kernel)
            found.append(backward(params, prompt.c + y, saved))
        return type(params)(*(sum(arrays) / len(found) for arrays in zip(*found, strict=True)))

    return evaluate


def _layernorm_forward(params: LayerNorm, causal: bool, run: Callable[..., Any]) -> tuple[np.ndarray, tuple]:
    x, (n, _) = params.x, params.x.shape
    y, mean, r = np.empty_like(x), np.empty(n, x.dtype), np.empty(n, x.dtype)
    run(layernorm.forward)(y, mean, r, *params)
    return y, (mean, r)


def _layernorm_backward(params: LayerNorm, dy: np.ndarray, saved: tuple) -> tuple[np.ndarray, ...]:
    dx, dgamma, dbeta = gradients = tuple(map(np.zeros_like, params))
    mean, r = saved
    layernorm.backward(dx, dgamma, dbeta, dy, params.x, mean, r, params.gamma)
    return gradients


def _attention_forward(params: Attention, causal: bool, run: Callable[..., Any]) -> tuple[np.ndarray, tuple]:
    q, k, v = params
    H, T, _ = q.shape
    Q, KV = _side_by_side(q), np.hstack([_side_by_side(k), _side_by_side(v)])
    o, A = np.empty_like(Q), np.empty((H, T, T), q.dtype)
    run(causal_attention.forward)(o, A, Q, KV, np.arange(T), causal)
    return _apart(o, H), (A, Q, KV)


def _attention_backward(params: Attention, do: np.ndarray, saved: tuple) -> tuple[np.ndarray, ...]:
    A, Q, KV = saved
    dQ, dKV = np.empty_like(Q), np.empty_like(KV)
    causal_attention.backward(dQ, dKV, _side_by_side(do), A, Q, KV)
    H, C = len(A), Q.shape[1]
    return _apart(dQ, H), _apart(dKV[:, :C], H), _apart(dKV[:, C:], H)


def _side_by_side(heads: np.ndarray) -> np.ndarray:
    """(T, H D) from (H, T, D), packed."""
    return np.ascontiguousarray(heads.transpose(1, 0, 2)).reshape(heads.shape[1], -1)


def _apart(rows: np.ndarray, H: int) -> np.ndarray:
    """(H, T, D) from (T, H D), packed."""
    return np.ascontiguousarray(rows.reshape(len(rows), H, -1).transpose(1, 0, 2))


def _as_attention(params: Softmax) -> Attention:
    """One head whose scores are S, and whose outputs are A: q = S, k = sqrt(T) I, v = I."""
    S = params.S
    unit = np.eye(len(S), dtype=S.dtype)[None]
    return Attention(S[None], np.sqrt(S.real.dtype.type(len(S))) * unit, unit)


def _softmax_forward(params: Softmax, causal: bool, run: Callable[..., Any]) -> tuple[np.ndarray, tuple]:
    o, saved = _attention_forward(_as_attention(params), causal, run)
    return o[0], saved


def _softmax_backward(params: Softmax, dA: np.ndarray, saved: tuple) -> tuple[np.ndarray, ...]:
    return (_attention_backward(_as_attention(params), dA[None], saved)[0][0],)


def _gelu_forward(params: GELU, causal: bool, run: Callable[..., Any]) -> tuple[np.ndarray, tuple]:
    h = np.empty_like(params.u)
    run(gelu.forward)(h, params.u)
    return h, ()


def _gelu_backward(params: GELU, dh: np.ndarray, saved: tuple) -> tuple[np.ndarray, ...]:
    du = np.empty_like(params.u)
    gelu.backward(du, params.u, dh)
    return (du,)


def _linear_forward(params: Linear, causal: bool, run: Callable[..., Any]) -> tuple[np.ndarray, tuple]:
    X, W, b = params
    Y = np.empty((len(X), len(W)), X.dtype)
    run(linear.forward)(Y, X, np.ascontiguousarray(W.T), b)
    return Y, ()


def _linear_backward(params: Linear, dY: np.ndarray, saved: tuple) -> tuple[np.ndarray, ...]:
    dX, dW, db = gradients = tuple(map(np.zeros_like, params))
    linear.backward(dX, dW, db, dY, params.X, params.W)
    return gradients


_KERNELS: Mapping[type, tuple[Callable[..., tuple[np.ndarray, tuple]], Callable[..., tuple[np.ndarray, ...]]]] = {
    LayerNorm: (_layernorm_forward, _layernorm_backward),
    Softmax: (_softmax_forward, _softmax_backward),
    Attention: (_attention_forward, _attention_backward),
    GELU: (_gelu_forward, _gelu_backward),
    Linear: (_linear_forward, _linear_backward),
}
