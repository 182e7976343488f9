"""Slow and obvious twins of the kernels: plain Python loops over plain Python numbers, written from the definitions.

They share no code and no idea with the library: keys and values are built token by token, derivatives are literal
sums over neurons and tokens, nothing is merged, blocked or unrolled. Arguments are nested lists of float, complex or
mpmath numbers (`numbers` makes them from arrays); a matrix is a list of rows, a prompt a list of tokens, query last.
"""

import cmath
import math

import mpmath


def numbers(array, kind=None):
    """Nested lists of Python numbers, each converted by `kind` if given (mpmath.mpf, say)."""
    if getattr(array, "ndim", 0):
        return [numbers(row, kind) for row in array]
    return kind(array) if kind else array.item()


def exp(x):
    if isinstance(x, mpmath.mpf | mpmath.mpc):
        return mpmath.exp(x)
    return cmath.exp(x) if isinstance(x, complex) else math.exp(x)


def log(x):
    if isinstance(x, mpmath.mpf | mpmath.mpc):
        return mpmath.log(x)
    return cmath.log(x) if isinstance(x, complex) else math.log(x)


# ---------------------------------------------------------------- matrices


def dot(x, y):
    total = 0
    for j in range(len(x)):
        total += x[j] * y[j]
    return total


def times(W, x):
    """W x."""
    return [dot(row, x) for row in W]


def product(A, B):
    C = [[0] * len(B[0]) for _ in A]
    for i in range(len(A)):
        for j in range(len(B[0])):
            for k in range(len(B)):
                C[i][j] += A[i][k] * B[k][j]
    return C


# ---------------------------------------------------------------- attention


def softmax(s):
    top = max(x.real for x in s)
    e = [exp(x - top) for x in s]
    total = sum(e)
    return [x / total for x in e]


def attention(keys, u):
    """attn and context c of scores s_i = p_i . u."""
    attn = softmax([dot(p, u) for p in keys])
    c = [0] * len(u)
    for i in range(len(keys)):
        for j in range(len(u)):
            c[j] += attn[i] * keys[i][j]
    return attn, c


def attention_backward(keys, attn, dc):
    """ds and du from dc: c = sum_i attn_i p_i, and dattn_i/ds_r = attn_i (1[i = r] - attn_r) by definition."""
    l = len(keys)
    ds = [0] * l
    for r in range(l):
        for i in range(l):
            jacobian = attn[i] * ((1 if i == r else 0) - attn[r])
            ds[r] += dot(keys[i], dc) * jacobian
    du = [0] * len(dc)
    for r in range(l):
        for j in range(len(dc)):
            du[j] += ds[r] * keys[r][j]
    return ds, du


# ---------------------------------------------------------------- MLP


def mlp(W, a, c):
    """u = W c, F = sum_i a_i relu(u_i)."""
    u = times(W, c)
    F = 0
    for i in range(len(a)):
        if u[i].real > 0:
            F += a[i] * u[i]
    return u, F


def mlp_backward(W, a, c, u, g):
    """dW, da, dc from g = dL/dF."""
    dW = [[0] * len(c) for _ in a]
    da = [0] * len(a)
    dc = [0] * len(c)
    for i in range(len(a)):
        if u[i].real > 0:
            da[i] = g * u[i]
            for j in range(len(c)):
                dW[i][j] = g * a[i] * c[j]
                dc[j] += g * a[i] * W[i][j]
    return dW, da, dc


# ---------------------------------------------------------------- losses


def loss(name, F, z):
    if name == "hinge":
        return 1 - z * F if (1 - z * F).real > 0 else 0 * F
    if name == "logistic":
        return log(1 + exp(-z * F))
    return (F - z) ** 2 / 2


def slope(name, F, z):
    if name == "hinge":
        return -z if (1 - z * F).real > 0 else 0 * F
    if name == "logistic":
        return -z / (1 + exp(z * F))
    return F - z


# ---------------------------------------------------------------- the whole model


def forward(W_Q, W_K, W_V, W_O, a, tokens, query_attends=False):
    """score, attention, context, preactivation of one prompt, from keys W_K p_i and values W_V p_i."""
    keys, query = (tokens if query_attends else tokens[:-1]), tokens[-1]
    q = times(W_Q, query)
    attn = softmax([dot(times(W_K, p), q) for p in keys])
    values = [times(W_V, p) for p in keys]
    head = [sum(attn[i] * values[i][k] for i in range(len(keys))) for k in range(len(W_V))]
    context = [sum(attn[i] * keys[i][j] for i in range(len(keys))) for j in range(len(query))]
    u, F = mlp(W_O, a, head)
    return F, attn, context, u


def gradients(W_Q, W_K, W_V, W_O, a, tokens, z, name, query_attends=False):
    """Loss of one prompt and dW_Q, dW_K, dW_V, dW_O, da in token form: sums over neurons i and tokens s.

    With g = dloss/dF and I_i = 1[u_i > 0]:
        dW_Q = g sum_i a_i I_i sum_s (W_O(i,.) W_V p_s) attn_s (W_K p_s - sum_r attn_r W_K p_r) p_query^T
        dW_K = g sum_i a_i I_i sum_s (W_O(i,.) W_V p_s) attn_s W_Q p_query (p_s - sum_r attn_r p_r)^T
        dW_V = g sum_i a_i I_i W_O(i,.)^T sum_s attn_s p_s^T
        dW_O(i,.) = g a_i I_i sum_s attn_s (W_V p_s)^T,      da_i = g relu(u_i)
    """
    F, attn, _, u = forward(W_Q, W_K, W_V, W_O, a, tokens, query_attends)
    g = slope(name, F, z)
    p, query = (tokens if query_attends else tokens[:-1]), tokens[-1]
    m, m_a, m_b, d, l = len(a), len(W_Q), len(W_V), len(query), len(p)
    q = times(W_Q, query)
    K = [times(W_K, token) for token in p]
    V = [times(W_V, token) for token in p]
    mean_K = [sum(attn[r] * K[r][k] for r in range(l)) for k in range(m_a)]
    mean_p = [sum(attn[r] * p[r][j] for r in range(l)) for j in range(d)]

    dW_Q = [[0] * d for _ in range(m_a)]
    dW_K = [[0] * d for _ in range(m_a)]
    dW_V = [[0] * d for _ in range(m_b)]
    dW_O = [[0] * m_b for _ in range(m)]
    da = [0] * m
    for i in range(m):
        if not u[i].real > 0:
            continue
        da[i] = g * u[i]
        for s in range(l):
            weight = g * a[i] * dot(W_O[i], V[s]) * attn[s]
            for k in range(m_a):
                for j in range(d):
                    dW_Q[k][j] += weight * (K[s][k] - mean_K[k]) * query[j]
                    dW_K[k][j] += weight * q[k] * (p[s][j] - mean_p[j])
            for k in range(m_b):
                dW_O[i][k] += g * a[i] * attn[s] * V[s][k]
                for j in range(d):
                    dW_V[k][j] += g * a[i] * W_O[i][k] * attn[s] * p[s][j]
    return loss(name, F, z), dW_Q, dW_K, dW_V, dW_O, da


def mean(results):
    """Entry by entry, the mean of equally nested lists: the loss and gradients of a batch from those of its prompts."""
    if isinstance(results[0], list | tuple):
        return [mean(parts) for parts in zip(*results, strict=True)]
    return sum(results) / len(results)


def batch(params, tokens, labels, name, query_attends=False, kind=None):
    """Mean loss and gradients over a batch of arrays."""
    arrays = [numbers(array, kind) for array in params]
    return mean(
        [
            gradients(*arrays, prompt, z, name, query_attends)
            for prompt, z in zip(numbers(tokens, kind), numbers(labels, kind), strict=True)
        ]
    )


# ---------------------------------------------------------------- Bu et al. 2024: sums of columns, what was learnt


def sums(dictionary, code, d_x):
    """Tokens of prompts that are codes of any number of columns, one number at a time; the query, last, has no label."""
    d, K = len(dictionary), len(dictionary[0])
    prompts = []
    for flags_of in code:
        tokens = []
        for t, flags in enumerate(flags_of):
            token = [0.0] * d
            for j in range(K):
                for x in range(d):
                    if flags[j] and (x < d_x or t < len(flags_of) - 1):
                        token[x] += dictionary[x][j]
            tokens.append(token)
        prompts.append(tokens)
    return prompts


def bilinear(x, W, y):
    """x^T W y."""
    return sum(x[i] * W[i][j] * y[j] for i in range(len(x)) for j in range(len(y)))


def columns(matrix):
    """The columns of a matrix, as lists."""
    return [[row[j] for row in matrix] for j in range(len(matrix[0]) if matrix else 0)]


def products(W_Q, W_K, W_O, a, b, c, d, nu, xi_x, xi_y):
    """Largest products of W = W_K^xT W_Q^x and of the neurons with concepts and noise, over every pair one by one; lists of
    directions, word blocks W_Q, W_K."""
    W = product(columns(W_K), W_Q)
    concepts = range(len(a))
    mu = [[s + sign * t for s, t in zip(a[k], b[k], strict=True)] for k in concepts for sign in (1, -1)]
    both = lambda x, y: [abs(bilinear(x, W, y)), abs(bilinear(y, W, x))]  # noqa: E731
    return {
        "specific": max(bilinear(b[k], W, b[k]) for k in concepts),
        "cross": max([abs(bilinear(b[j], W, b[k])) for j in concepts for k in concepts if j != k], default=0.0),
        "mixed": max(max(both(a[j], b[k])) for j in concepts for k in concepts),
        "shared": max(abs(bilinear(a[j], W, a[k])) for j in concepts for k in concepts),
        "nu": max([p for n in nu for x in mu for p in both(n, x)], default=0.0),
        "xi": max([p for n in xi_x for x in mu for p in both(n, x)], default=0.0),
        "mlp_specific": max(abs(dot(w, d[k])) for w in W_O for k in concepts),
        "mlp_complement": max(abs(dot(w, c[k])) for w in W_O for k in concepts),
        "mlp_noise": max([abs(dot(w, n)) for w in W_O for n in xi_y], default=0.0),
    }


# ---------------------------------------------------------------- sampling


def decode(uniform, task, z, alpha, M1, M2, K):
    """Codes of prompts, one at a time: lists of (relevant, irrelevant, kappa, sign) for every token, the query last."""
    prompts = []
    for numbers_of, (a, b), label in zip(uniform, task, z, strict=True):
        others = [j for j in range(M1) if j not in (a, b)]
        tokens = []
        for t, (which, rest) in enumerate(numbers_of):
            if t == len(numbers_of) - 1:
                relevant, sign = (a if label > 0 else b), 0
            elif which < alpha / 2:
                relevant, sign = a, 1
            elif which < alpha:
                relevant, sign = b, -1
            else:
                place = (which - alpha) / (1 - alpha) * len(others)
                relevant = others[math.floor(place)]
                sign = 1 if place - math.floor(place) < 0.5 else -1
            place = rest * M2
            tokens.append((relevant, M1 + math.floor(place), K * (2 * (place - math.floor(place)) - 1), sign))
        prompts.append(tokens)
    return prompts
