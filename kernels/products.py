"""Small matrix products, accumulating. BLAS is not used: its threads and ours would fight over the cores."""

from ._jit import kernel


@kernel
def add_product(C, A, B):
    """C += A B for C (r, n), A (r, k), B (k, n). C and B row by row in memory; A may be a transposed view.

    Four rows of C and four of B at a time: sixteen multiply-adds for eight loads and four stores, a quarter faster
    than two rows of C. The plain triple loop is its twin in tests/naive.py.
    """
    r, k = A.shape
    n = B.shape[1]
    for i in range(0, r - 3, 4):
        for p in range(0, k - 3, 4):
            a0, a1, a2, a3 = A[i, p], A[i, p + 1], A[i, p + 2], A[i, p + 3]
            e0, e1, e2, e3 = A[i + 1, p], A[i + 1, p + 1], A[i + 1, p + 2], A[i + 1, p + 3]
            f0, f1, f2, f3 = A[i + 2, p], A[i + 2, p + 1], A[i + 2, p + 2], A[i + 2, p + 3]
            h0, h1, h2, h3 = A[i + 3, p], A[i + 3, p + 1], A[i + 3, p + 2], A[i + 3, p + 3]
            for j in range(n):
                b0, b1, b2, b3 = B[p, j], B[p + 1, j], B[p + 2, j], B[p + 3, j]
                C[i, j] += a0 * b0 + a1 * b1 + a2 * b2 + a3 * b3
                C[i + 1, j] += e0 * b0 + e1 * b1 + e2 * b2 + e3 * b3
                C[i + 2, j] += f0 * b0 + f1 * b1 + f2 * b2 + f3 * b3
                C[i + 3, j] += h0 * b0 + h1 * b1 + h2 * b2 + h3 * b3
        for p in range(k - k % 4, k):
            a0, e0, f0, h0 = A[i, p], A[i + 1, p], A[i + 2, p], A[i + 3, p]
            for j in range(n):
                C[i, j] += a0 * B[p, j]
                C[i + 1, j] += e0 * B[p, j]
                C[i + 2, j] += f0 * B[p, j]
                C[i + 3, j] += h0 * B[p, j]
    for i in range(r - r % 4, r):
        add_rows(C[i], A[i], B)


@kernel
def add_rows(c, w, P):
    """c += sum_i w_i P[i] for c (n,), w (k,), P (k, n): a weighted sum of rows, four at a time."""
    k, n = P.shape
    for i in range(0, k - 3, 4):
        w0, w1, w2, w3 = w[i], w[i + 1], w[i + 2], w[i + 3]
        for j in range(n):
            c[j] += w0 * P[i, j] + w1 * P[i + 1, j] + w2 * P[i + 2, j] + w3 * P[i + 3, j]
    for i in range(k - k % 4, k):
        w0 = w[i]
        for j in range(n):
            c[j] += w0 * P[i, j]


@kernel
def row_products(s, P, u):
    """s_i = P[i] . u (no conjugation) for s (k,), P (k, n), u (n,), four rows at a time."""
    k, n = P.shape
    zero = u.dtype.type(0)  # `0 * u[0]` is a float64 in compiled code, and a float32 sum would run at half the speed
    for i in range(0, k - 3, 4):
        s0, s1, s2, s3 = zero, zero, zero, zero
        for j in range(n):
            s0 += P[i, j] * u[j]
            s1 += P[i + 1, j] * u[j]
            s2 += P[i + 2, j] * u[j]
            s3 += P[i + 3, j] * u[j]
        s[i], s[i + 1], s[i + 2], s[i + 3] = s0, s1, s2, s3
    for i in range(k - k % 4, k):
        s0 = zero
        for j in range(n):
            s0 += P[i, j] * u[j]
        s[i] = s0


@kernel
def transpose(T, A):
    """T = A^T for T (k, r), A (r, k)."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            T[j, i] = A[i, j]
