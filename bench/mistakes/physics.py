"""Energies: pairs of particles, chains, fields, test functions of optimisation."""

import numpy as np

from .case import Case, Wrong

rng = np.random.default_rng(21)
charge = np.array([1.0, -1.0, 2.0, 0.5])
mass = np.array([1.0, 2.0, 0.5, 1.5])


# ---- Lennard-Jones energy of particles x (n, 2)


def lennard_jones(x):
    total = 0.0
    for i in range(len(x)):
        for j in range(i):
            r2 = np.sum((x[i] - x[j]) ** 2)
            total = total + 4 * (r2**-6 - r2**-3)
    return total


def lennard_jones_gradient(x):
    g = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(len(x)):
            if i != j:
                d = x[i] - x[j]
                r2 = d @ d
                g[i] += 24 * (r2**-4 - 2 * r2**-7) * d
    return g


def lennard_jones_one_body(x):
    """Only one of each pair gets its share."""
    g = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(i):
            d = x[i] - x[j]
            r2 = d @ d
            g[i] += 24 * (r2**-4 - 2 * r2**-7) * d
    return g


def lennard_jones_force(x):
    """The force, minus the gradient."""
    f = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(i):
            d = x[i] - x[j]
            r2 = np.sum(d**2)
            pair = 24 * (2 * r2**-7 - r2**-4) * d
            f[i] += pair
            f[j] -= pair
    return f


def lennard_jones_exponent(x):
    """The exponent of the repulsion is not lowered: r^-12 for r^-14."""
    g = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(i):
            d = x[i] - x[j]
            r2 = d @ d
            pair = 24 * (r2**-4 - 2 * r2**-6) * d
            g[i] += pair
            g[j] -= pair
    return g


def lennard_jones_same_sign(x):
    """Both bodies get the same force, and the two is missing."""
    g = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(i):
            d = x[i] - x[j]
            r2 = d @ d
            pair = 24 * (r2**-4 - r2**-7) * d
            g[i] += pair
            g[j] += pair
    return g


# ---- Coulomb energy in a harmonic trap, vectorised


def coulomb(x):
    total = 0.5 * np.sum(mass[:, None] * x**2)
    for i in range(4):
        for j in range(i + 1, 4):
            total = total + charge[i] * charge[j] / np.sqrt(np.sum((x[i] - x[j]) ** 2))
    return total


def coulomb_gradient(x):
    d = x[:, None] - x[None]
    r = np.sqrt(np.sum(d**2, axis=-1) + np.eye(4))
    return mass[:, None] * x - np.sum((np.outer(charge, charge) / r**3)[:, :, None] * d, axis=1)


def distances(x):
    d = x[:, None, :] - x[None, :, :]
    return d, np.linalg.norm(d, axis=-1) + np.eye(len(x))


def coulomb_square(x):
    """1 / r^2 for 1 / r^3: the direction has length r."""
    d, r = distances(x)
    w = np.outer(charge, charge) / r**2
    return mass[:, None] * x - np.einsum("ij,ijk->ik", w, d)


def coulomb_direction(x):
    """The directions are summed over the wrong particle."""
    d, r = distances(x)
    w = np.outer(charge, charge) / r**3
    return mass[:, None] * x - np.einsum("ij,ijk->jk", w, d)


def coulomb_one_charge(x):
    """Only the particle's own charge."""
    d, r = distances(x)
    w = charge[:, None] / r**3
    return mass[:, None] * x - np.einsum("ij,ijk->ik", w, d)


def coulomb_no_mass(x):
    """The trap does not know the masses."""
    d, r = distances(x)
    pull = (charge[:, None] * charge / r**3)[..., None] * d
    return x - pull.sum(axis=1)


def coulomb_two(x):
    """Attraction for repulsion, and half of the trap."""
    d, r = distances(x)
    pull = (charge[:, None] * charge / r**3)[..., None] * d
    return 0.5 * mass[:, None] * x + pull.sum(axis=1)


# ---- A chain of springs with rest lengths, fixed at 0

rest = rng.uniform(0.5, 1.5, 6)
k_spring = rng.uniform(0.5, 2.0, 6)


def chain(x):
    energy = 0.5 * k_spring[0] * (x[0] - rest[0]) ** 2
    for i in range(1, len(x)):
        energy = energy + 0.5 * k_spring[i] * (x[i] - x[i - 1] - rest[i]) ** 2
    return energy


def chain_gradient(x):
    tension = k_spring * (np.diff(x, prepend=0) - rest)
    return tension - np.append(tension[1:], 0)


def chain_shifted(x):
    """The next spring has this spring's constant."""
    g = np.zeros_like(x)
    stretch = np.diff(x, prepend=0) - rest
    for i in range(len(x)):
        g[i] = k_spring[i] * stretch[i]
        if i + 1 < len(x):
            g[i] -= k_spring[i] * stretch[i + 1]
    return g


def chain_left_only(x):
    """The spring to the right is forgotten."""
    stretch = np.diff(x, prepend=0) - rest
    return k_spring * stretch


def chain_no_wall(x):
    """The spring to the wall is left out."""
    g = np.zeros_like(x)
    for i in range(1, len(x)):
        tension = k_spring[i] * (x[i] - x[i - 1] - rest[i])
        g[i] += tension
        g[i - 1] -= tension
    return g


def chain_two(x):
    """Both ends get a plus, and rest lengths are forgotten."""
    tension = k_spring * np.diff(x, prepend=0)
    g = tension.copy()
    g[:-1] += tension[1:]
    return g


# ---- A field on a ring: phi^4 with a Laplacian


def field(phi):
    return np.sum(0.5 * (np.roll(phi, -1) - phi) ** 2 + 0.25 * (phi**2 - 1) ** 2)


def field_gradient(phi):
    return 2 * phi - np.roll(phi, 1) - np.roll(phi, -1) + phi * (phi**2 - 1)


def field_laplacian(phi):
    """The Laplacian's sign."""
    laplacian = np.roll(phi, 1) + np.roll(phi, -1) - 2 * phi
    return laplacian + phi * (phi**2 - 1)


def field_chain(phi):
    """The inner derivative 2 phi of phi^2 is missing."""
    return 2 * phi - np.roll(phi, 1) - np.roll(phi, -1) + 0.5 * (phi**2 - 1)


def field_neighbour(phi):
    """The same neighbour twice."""
    return (phi - np.roll(phi, 1)) + (phi - np.roll(phi, 1)) + phi * (phi**2 - 1)


def field_two(phi):
    """One neighbour only, and phi^2 for phi^3."""
    return phi - np.roll(phi, -1) + phi**2 - phi


# ---- Rosenbrock's function of any length


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_gradient(x):
    g = np.zeros_like(x)
    r = x[1:] - x[:-1] ** 2
    g[:-1] = -400 * x[:-1] * r - 2 * (1 - x[:-1])
    g[1:] += 200 * r
    return g


def rosenbrock_two_hundred(x):
    """200 for 400: the inner derivative's 2 is missing."""
    g = np.zeros_like(x)
    r = x[1:] - x[:-1] ** 2
    g[:-1] = -200 * x[:-1] * r - 2 * (1 - x[:-1])
    g[1:] += 200 * r
    return g


def rosenbrock_overwritten(x):
    """= for += at the second of the two."""
    g = np.zeros_like(x)
    r = x[1:] - x[:-1] ** 2
    g[:-1] = -400 * x[:-1] * r - 2 * (1 - x[:-1])
    g[1:] = 200 * r
    return g


def rosenbrock_one(x):
    """The sign of 1 - x's derivative."""
    g = np.zeros_like(x)
    for i in range(len(x) - 1):
        r = x[i + 1] - x[i] ** 2
        g[i] += -400 * x[i] * r + 2 * (1 - x[i])
        g[i + 1] += 200 * r
    return g


def rosenbrock_two(x):
    """x is missing in the inner derivative, and the second share has 100."""
    g = np.zeros_like(x)
    for i in range(len(x) - 1):
        r = x[i + 1] - x[i] ** 2
        g[i] += -400 * r - 2 * (1 - x[i])
        g[i + 1] += 100 * r
    return g


# ---- Torsion, by angles: lambdas


def torsion(theta):
    return np.sum(1 - np.cos(3 * theta - 0.5)) + 0.3 * np.sin(theta[0] - theta[-1])


def torsion_gradient(theta):
    g = 3 * np.sin(3 * theta - 0.5)
    g[0] += 0.3 * np.cos(theta[0] - theta[-1])
    g[-1] -= 0.3 * np.cos(theta[0] - theta[-1])
    return g


TERM = ("extra-term", "missing-term", "wrong-factor", "term", "formula")


def any_chain(rng):
    return rng.standard_normal(rng.integers(3, 9)) * 2


def any_particles(rng):
    apart = np.array([[0.0, 0], [1.3, 0.2], [0.1, 1.2], [1.4, 1.5], [2.7, 0.6]]) + rng.uniform(-0.1, 0.1, (5, 2))
    return apart[: rng.integers(2, 6)]


CASES = [
    Case("Lennard-Jones", lennard_jones, lennard_jones_gradient, np.array([[0.0, 0], [1.2, 0.3], [-0.2, 1.1]]), [
        Wrong(lennard_jones_one_body, (*TERM, "entries")),
        Wrong(lennard_jones_force, ("sign",)),
        Wrong(lennard_jones_exponent, TERM),
        Wrong(lennard_jones_same_sign, (*TERM, "entries"), 2),
    ], any_particles),
    Case("Coulomb in a trap", coulomb, coulomb_gradient, rng.standard_normal((4, 3)), [
        Wrong(coulomb_square, TERM),
        Wrong(coulomb_direction, TERM),
        Wrong(coulomb_one_charge, TERM),
        Wrong(coulomb_no_mass, (*TERM, "normal")),
        Wrong(coulomb_two, (*TERM, "sign"), 2),
    ]),
    Case("chain of springs", chain, chain_gradient, np.cumsum(rng.uniform(0.5, 2, 6)), [
        Wrong(chain_shifted, (*TERM, "entries")),
        Wrong(chain_left_only, (*TERM, "entries")),
        Wrong(chain_no_wall, (*TERM, "entries", "constant-term")),
        Wrong(chain_two, (*TERM, "entries"), 2),
    ]),
    Case("field on a ring", field, field_gradient, rng.standard_normal(7), [
        Wrong(field_laplacian, TERM),
        Wrong(field_chain, TERM),
        Wrong(field_neighbour, TERM),
        Wrong(field_two, TERM, 2),
    ], any_chain),
    Case("Rosenbrock", rosenbrock, rosenbrock_gradient, rng.standard_normal(5), [
        Wrong(rosenbrock_two_hundred, (*TERM, "entries")),
        Wrong(rosenbrock_overwritten, (*TERM, "entries")),
        Wrong(rosenbrock_one, (*TERM, "entries")),
        Wrong(rosenbrock_two, (*TERM, "entries"), 2),
    ], any_chain),
    Case("torsion", torsion, torsion_gradient, np.array([0.4, -1.0, 2.2, 0.9]), [
        Wrong(lambda theta: 3 * np.sin(3 * theta - 0.5) + 0.3 * np.cos(theta[0] - theta[-1]) * np.eye(4)[0],
              (*TERM, "entries"), name="torsion_first_angle", says="The last angle's share of the second term is missing."),
        Wrong(lambda theta: np.sin(3 * theta - 0.5) + 0.3 * np.cos(theta[0] - theta[-1]) * np.array([1, 0, 0, -1]),
              (*TERM, "scale"), name="torsion_no_three", says="The inner derivative 3 is missing."),
        Wrong(lambda theta: -3 * np.sin(3 * theta) + 0.3 * np.cos(theta[0] - theta[-1]) * np.array([1, 0, 0, -1]),
              (*TERM, "sign"), 2, name="torsion_two", says="cos' without its minus sign, and the phase is forgotten."),
    ]),
]  # fmt: skip
