"""Determinants, traces, factors: functions of matrices."""

import numpy as np

from .case import Case, Wrong

rng = np.random.default_rng(14)
S = np.cov(rng.standard_normal((4, 20)))
B = rng.standard_normal((4, 4))
M = rng.standard_normal((6, 5))
seen = rng.random((6, 5)) < 0.7
c = rng.standard_normal(4)


# ---- Gaussian likelihood by the precision matrix; P need not be symmetric


def precision(P):
    return np.trace(S @ P) - np.linalg.slogdet(P)[1]


def precision_gradient(P):
    return S.T - np.linalg.inv(P).T


def precision_not_transposed(P):
    """The inverse is not transposed."""
    return S - np.linalg.inv(P)


def precision_half(P):
    """The half of a log-determinant that the loss does not have."""
    return S - 0.5 * np.linalg.inv(P).T


def precision_sign(P):
    """A plus before the inverse."""
    P_inv = np.linalg.inv(P)
    return S + P_inv.T


def precision_itself(P):
    """P where its inverse should be."""
    return S - P.T


def precision_two(P):
    """The signs of both terms, and the inverse not transposed."""
    return np.linalg.inv(P) - S


# ---- A quadratic form and a trace with a matrix that is not symmetric


def quadratic(x):
    return x @ B @ x + c @ x


def quadratic_gradient(x):
    return (B + B.T) @ x + c


def quadratic_symmetric(x):
    """2 B x, which is right for a symmetric B only."""
    return 2 * B @ x + c


def quadratic_one_side(x):
    """The other occurrence of x is forgotten."""
    g = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(len(x)):
            g[i] += B[i, j] * x[j]
    return g + c


def quadratic_no_linear(x):
    """The linear term is forgotten."""
    return B @ x + B.T @ x


def quadratic_two(x):
    """B x twice, and c x for c."""
    return 2 * B @ x + c * x


# ---- trace(W^T B W D), D diagonal

D = np.array([1.0, 0.5, 2.0])


def trace(W):
    return np.einsum("ai,ab,bi,i->", W, B, W, D)


def trace_gradient(W):
    return (B + B.T) @ W * D


def trace_einsum(W):
    """The second term has B's indices in the order of the first."""
    return np.einsum("ab,bi,i->ai", B, W, D) + np.einsum("ab,bi,i->ai", B, W, D)


def trace_no_weights(W):
    """D is missing in one of the terms."""
    left = np.einsum("ab,bi,i->ai", B, W, D)
    right = np.einsum("ba,bi->ai", B, W)
    return left + right


def trace_letters(W):
    """D's letter stands on the wrong side: the weight is summed."""
    return np.einsum("ab,bi,j->ai", B + B.T, W, D)


def trace_two(W):
    """D squared, and 2 B for B + B^T."""
    return 2 * B @ W * D**2


# ---- Matrix factorisation on the entries seen, with decay


def factorisation(U, V):
    R = np.where(seen, U @ V.T - M, 0.0)
    return 0.5 * np.sum(R**2) + 0.05 * (np.sum(U**2) + np.sum(V**2))


def factorisation_gradient(U, V):
    R = np.where(seen, U @ V.T - M, 0.0)
    return R @ V + 0.1 * U, R.T @ U + 0.1 * V


def factorisation_unmasked(U, V):
    """The mask is forgotten."""
    R = U @ V.T - M
    return R @ V + 0.1 * U, R.T @ U + 0.1 * V


def factorisation_decay_of_u(U, V):
    """The decay of V is left out."""
    R = (U @ V.T - M) * seen
    dU = R @ V + 0.1 * U
    dV = R.T @ U
    return dU, dV


def factorisation_half_decay(U, V):
    """The decay's factor 2 is missing."""
    R = (U @ V.T - M) * seen
    return R @ V + 0.05 * U, R.T @ U + 0.05 * V


def factorisation_sgd(U, V):
    """U is updated before V's gradient is taken."""
    R = (U @ V.T - M) * seen
    dU = R @ V + 0.1 * U
    U = U - 0.1 * dU
    dV = R.T @ U + 0.1 * V
    return dU, dV


def factorisation_loop(U, V):
    """The residual's sign in dV, and = for += there."""
    dU, dV = np.zeros_like(U), np.zeros_like(V)
    for i in range(6):
        for j in range(5):
            if seen[i, j]:
                e = U[i] @ V[j] - M[i, j]
                dU[i] += e * V[j]
                dV[j] = -e * U[i]
    return dU + 0.1 * U, dV + 0.1 * V


# ---- Gaussian likelihood by a Cholesky factor: only the lower triangle of L is read


def cholesky(L):
    T = np.tril(L)
    white = np.linalg.solve(T, c)
    return 0.5 * white @ white + np.sum(np.log(np.diag(T)))


def cholesky_gradient(L):
    T = np.tril(L)
    white = np.linalg.solve(T, c)
    return np.diag(1 / np.diag(T)) - np.tril(np.outer(np.linalg.solve(T.T, white), white))


def cholesky_full(L):
    """The upper triangle is not cut off."""
    T = np.tril(L)
    w = np.linalg.solve(T, c)
    v = np.linalg.solve(T.T, w)
    return -np.outer(v, w) + np.diag(1 / np.diag(T))


def cholesky_upper(L):
    """The outer product is the wrong way round: v and w exchanged."""
    T = np.tril(L)
    w = np.linalg.solve(T, c)
    v = np.linalg.solve(T.T, w)
    return np.diag(1 / np.diag(T)) - np.tril(np.outer(w, v))


def cholesky_twice(L):
    """Twice the log-determinant."""
    T = np.tril(L)
    w = np.linalg.solve(T, c)
    v = np.linalg.solve(T.T, w)
    G = -np.tril(np.outer(v, w))
    for i in range(len(T)):
        G[i, i] += 2 / T[i, i]
    return G


def cholesky_solve(L):
    """L where its transpose should be solved with, and no log-determinant."""
    T = np.tril(L)
    w = np.linalg.solve(T, c)
    v = np.linalg.solve(T, w)
    return -np.tril(np.outer(v, w))


# ---- Reconstruction by a linear autoencoder: PCA with W (4, 2)

C = rng.standard_normal((7, 4))


def reconstruction(W):
    E = C @ W @ W.T - C
    return np.sum(E**2) / len(C)


def reconstruction_gradient(W):
    E = C @ W @ W.T - C
    return 2 * (C.T @ E + E.T @ C) @ W / len(C)


def reconstruction_decoder_only(W):
    """Only one of the two W is differentiated."""
    E = C @ W @ W.T - C
    return 2 * E.T @ C @ W / len(C)


def reconstruction_symmetric(W):
    """Four times the first term: E^T C was taken for symmetric."""
    E = C @ W @ W.T - C
    return 4 * C.T @ E @ W / len(C)


def reconstruction_entries(W):
    """The mean is over entries, not rows."""
    E = C @ W @ W.T - C
    G = 2 * (C.T @ E + E.T @ C) @ W
    return G / C.size


def reconstruction_two(W):
    """C - C W W^T with the old sign, and no 2."""
    E = C - C @ W @ W.T
    return (C.T @ E + E.T @ C) @ W / len(C)


# ---- Penalty for columns that are not orthonormal


def orthogonality(Q):
    G = Q.T @ Q - np.eye(Q.shape[1])
    return 0.25 * np.sum(G**2)


def orthogonality_gradient(Q):
    return Q @ (Q.T @ Q - np.eye(Q.shape[1]))


def orthogonality_ones(Q):
    """1 is subtracted from every entry, not from the diagonal."""
    return Q @ (Q.T @ Q - 1)


def orthogonality_no_identity(Q):
    """The identity is forgotten."""
    return Q @ Q.T @ Q


def orthogonality_factor(Q):
    """4 for 1: the quarter was forgotten."""
    G = Q.T @ Q - np.eye(Q.shape[1])
    return 4 * Q @ G


def orthogonality_off_diagonal(Q):
    """Only off the diagonal, and twice."""
    G = Q.T @ Q
    np.fill_diagonal(G, 0)
    return 2 * Q @ G


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")
P0 = np.linalg.inv(S) + 0.3 * rng.standard_normal((4, 4))
U0, V0 = rng.standard_normal((6, 2)), rng.standard_normal((5, 2))
L0 = np.tril(0.5 * rng.standard_normal((4, 4))) + 1.5 * np.eye(4)


def any_orthogonality(rng):
    return rng.standard_normal((rng.integers(3, 7), rng.integers(1, 5)))


def any_quadratic(rng):
    return rng.standard_normal(4) * 10.0 ** rng.uniform(-1, 2)


CASES = [
    Case("precision matrix", precision, precision_gradient, P0, [
        Wrong(precision_not_transposed, ("transpose", "symmetric", *TERM)),
        Wrong(precision_half, TERM),
        Wrong(precision_sign, TERM),
        Wrong(precision_itself, TERM),
        Wrong(precision_two, ("transpose", "symmetric", "sign", *TERM), 2),
    ]),
    Case("quadratic form", quadratic, quadratic_gradient, rng.standard_normal(4), [
        Wrong(quadratic_symmetric, TERM),
        Wrong(quadratic_one_side, TERM),
        Wrong(quadratic_no_linear, (*TERM, "constant-term")),
        Wrong(quadratic_two, (*TERM, "constant-term"), 2),
    ], any_quadratic),
    Case("trace of W' B W D", trace, trace_gradient, rng.standard_normal((4, 3)), [
        Wrong(trace_einsum, TERM),
        Wrong(trace_no_weights, (*TERM, "entries")),
        Wrong(trace_letters, TERM),
        Wrong(trace_two, TERM, 2),
    ]),
    Case("matrix factorisation", factorisation, factorisation_gradient, (U0, V0), [
        Wrong(factorisation_unmasked, (*TERM, "entries")),
        Wrong(factorisation_decay_of_u, TERM),
        Wrong(factorisation_half_decay, TERM),
        Wrong(factorisation_sgd, (*TERM, "stale")),
        Wrong(factorisation_loop, (*TERM, "sign"), 2),
    ]),
    Case("Cholesky factor", cholesky, cholesky_gradient, L0, [
        Wrong(cholesky_full, (*TERM, "entries", "symmetric")),
        Wrong(cholesky_upper, ("transpose", "permutation", "entries", *TERM)),
        Wrong(cholesky_twice, (*TERM, "entries")),
        Wrong(cholesky_solve, (*TERM, "entries"), 2),
    ]),
    Case("linear autoencoder", reconstruction, reconstruction_gradient, rng.standard_normal((4, 2)), [
        Wrong(reconstruction_decoder_only, TERM),
        Wrong(reconstruction_symmetric, TERM),
        Wrong(reconstruction_entries, ("scale",)),
        Wrong(reconstruction_two, ("scale", "sign"), 2),
    ]),
    Case("orthogonality", orthogonality, orthogonality_gradient, rng.standard_normal((5, 3)), [
        Wrong(orthogonality_ones, (*TERM, "rank-one")),
        Wrong(orthogonality_no_identity, (*TERM, "normal")),
        Wrong(orthogonality_factor, ("scale",)),
        Wrong(orthogonality_off_diagonal, TERM, 2),
    ], any_orthogonality),
]  # fmt: skip
