"""Optimizers in float64 NumPy, one array at a time, written from the papers and the libraries' documentation.

Each is ``f(gradient, w, steps, …) -> w``, where ``gradient(w, t)`` is asked once a step, t = 1, 2, …  They share
nothing with the package and are as plain as the algorithm boxes: what is stored and in which order is the paper's.
"""

from __future__ import annotations

import numpy as np

from tests.optim.case import Gradient

__all__ = [
    "adadelta", "adafactor", "adagrad", "adam", "adamw", "amsgrad", "lamb", "lion", "nadam", "nesterov",
    "nesterov_shifted", "rmsprop", "rmsprop_nesterov", "sgd",
]  # fmt: skip

Array = np.ndarray


def sgd(gradient: Gradient, w: Array, steps: int, a: float, beta: float = 0.0, inside: bool = True) -> Array:
    """Polyak 1964, with the rate inside (Keras) or outside (torch, optax) the buffer."""
    buffer = np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        if inside:
            buffer = beta * buffer - a * g
            w = w + buffer
        else:
            buffer = beta * buffer + g
            w = w - a * buffer
    return w


def nesterov(gradient: Gradient, w: Array, steps: int, a: float, beta: float) -> Array:
    """Sutskever et al. 2013, equations 3 and 4."""
    v = np.zeros_like(w)
    for t in range(1, steps + 1):
        v = beta * v - a * gradient(w + beta * v, t)
        w = w + v
    return w


def nesterov_shifted(gradient: Gradient, w: Array, steps: int, a: float, beta: float, keras: bool) -> Array:
    """``torch.optim.SGD(nesterov=True)`` and ``keras.optimizers.SGD(nesterov=True)``: w is the look-ahead point."""
    buffer = np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        if keras:
            buffer = beta * buffer - a * g
            w = w + beta * buffer - a * g
        else:
            buffer = beta * buffer + g
            w = w - a * (g + beta * buffer)
    return w


def adagrad(gradient: Gradient, w: Array, steps: int, a: float, eps: float, first: float, inside: bool) -> Array:
    """Duchi et al. 2011, figure 1, diagonal: H = ε + √Σg²; optax and Keras √(Σg² + ε)."""
    total = np.full_like(w, first)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        total = total + np.square(g)
        w = w - a * g / (np.sqrt(total + eps) if inside else np.sqrt(total) + eps)
    return w


def rmsprop(
    gradient: Gradient, w: Array, steps: int, a: float, rho: float, eps: float,
    beta: float = 0.0, centered: bool = False, torch: bool = False,
) -> Array:  # fmt: skip
    """Tieleman & Hinton 2012, lecture 6.5; centred: Graves 2013, equations 38 to 41."""
    square, mean, v = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        square = rho * square + (1 - rho) * np.square(g)
        mean = rho * mean + (1 - rho) * g
        variance = square - np.square(mean) if centered else square
        if torch:
            v = beta * v + g / (np.sqrt(variance) + eps)
            w = w - a * v
        else:
            v = beta * v + a * g / np.sqrt(variance + eps)
            w = w - v
    return w


def rmsprop_nesterov(
    gradient: Gradient, w: Array, steps: int, a: float, rho: float, beta: float, eps: float, shifted: bool = False
) -> Array:
    """Aggarwal 2018, section 3.5.4: both moments from the gradient at the look-ahead point.

    Shifted, ``w`` is that point, as with ``optax.rmsprop(nesterov=True)``.
    """
    square, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w if shifted else w + beta * v, t)
        square = rho * square + (1 - rho) * np.square(g)
        old, v = v, beta * v - a * g / np.sqrt(square + eps)
        w = w - beta * old + v + beta * v if shifted else w + v
    return w


def adadelta(gradient: Gradient, w: Array, steps: int, a: float, rho: float, eps: float) -> Array:
    """Zeiler 2012, algorithm 1."""
    gradients, updates = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        gradients = rho * gradients + (1 - rho) * np.square(g)
        update = -np.sqrt(updates + eps) / np.sqrt(gradients + eps) * g
        updates = rho * updates + (1 - rho) * np.square(update)
        w = w + a * update
    return w


def adam(
    gradient: Gradient, w: Array, steps: int, a: float, b1: float, b2: float, eps: float, keras: bool = False
) -> Array:
    """Kingma & Ba 2015, algorithm 1; Keras: the more efficient order at the end of its section 2."""
    return adamw(gradient, w, steps, a, b1, b2, eps, 0.0, keras)


def adamw(
    gradient: Gradient, w: Array, steps: int, a: float, b1: float, b2: float, eps: float, decay: float,
    keras: bool = False, by_rate: bool = True,
) -> Array:  # fmt: skip
    """Loshchilov & Hutter 2019, algorithm 2, with η = 1; the libraries multiply the decay by the rate."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * np.square(g)
        if keras:
            step = a * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)
        else:
            step = a * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        w = w - step - (a if by_rate else 1) * decay * w
    return w


def nadam(
    gradient: Gradient, w: Array, steps: int, a: float, b1: float, b2: float, eps: float, psi: float | None, paper: bool
) -> Array:
    """Dozat 2016, algorithm 2; ``psi=None`` is a constant momentum, without ``paper`` as torch and Keras have it."""

    def mu(t: int) -> float:
        return b1 if psi is None else b1 * (1 - 0.5 * 0.96 ** (psi * t))

    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        f = mu(t) if paper else b1
        m = f * m + (1 - f) * g
        v = b2 * v + (1 - b2) * np.square(g)
        upto = np.prod([mu(i) for i in range(1, t + 1)])
        further = np.prod([mu(i) for i in range(1, t + 2)])
        m_hat = mu(t + 1) * m / (1 - further) + (1 - mu(t)) * g / (1 - upto)
        v_hat = (b2 if paper else 1) * v / (1 - b2**t)
        w = w - a / (np.sqrt(v_hat) + eps) * m_hat
    return w


def amsgrad(
    gradient: Gradient, w: Array, steps: int, a: float, b1: float, b2: float, eps: float, convention: str
) -> Array:
    """Reddi et al. 2018, algorithm 2, and how the libraries unbias it."""
    m, v, top = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * np.square(g)
        m_hat = m / (1 - b1**t)
        if convention == "optax":
            top = np.maximum(top, v / (1 - b2**t))
            w = w - a * m_hat / (np.sqrt(top) + eps)
            continue
        top = np.maximum(top, v)
        if convention == "paper":
            w = w - a * m / (np.sqrt(top) + eps)
        if convention == "torch":
            w = w - a * m_hat / (np.sqrt(top) / np.sqrt(1 - b2**t) + eps)
        if convention == "keras":
            w = w - a * np.sqrt(1 - b2**t) * m_hat / (np.sqrt(top) + eps)
    return w


def lion(gradient: Gradient, w: Array, steps: int, a: float, b1: float, b2: float, decay: float) -> Array:
    """Chen et al. 2023, algorithm 2."""
    m = np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        c = b1 * m + (1 - b1) * g
        w = w - a * (np.sign(c) + decay * w)
        m = b2 * m + (1 - b2) * g
    return w


def lamb(
    gradient: Gradient, w: Array, steps: int, a: float, b1: float, b2: float, eps: float, decay: float,
    low: float = 0.0, high: float = np.inf, keras: bool = False,
) -> Array:  # fmt: skip
    """You et al. 2020, algorithm 2, for one layer; in Keras the decay stands apart."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * np.square(g)
        r = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        if keras:
            w = w - a * decay * w
        else:
            r = r + decay * w
        phi, norm = min(max(np.sqrt(np.sum(w**2)), low), high), np.sqrt(np.sum(r**2))
        w = w - a * (phi / norm if phi > 0 and norm > 0 else 1.0) * r
    return w


def adafactor(
    gradient: Gradient, w: Array, steps: int, a: float, eps_1: float, eps_2: float, d: float = 1.0, power: float = 0.8,
    beta: float | None = None, relative: bool = True, scaled: bool = True, convention: str = "paper", smallest: int = 1,
) -> Array:  # fmt: skip
    """Shazeer & Stern 2018, algorithms 4 (matrices) and 5 (vectors) with the hyperparameters of section 9.

    Optax factors the two longest axes if both have ``smallest`` entries; the others the last two.
    """
    torch = convention == "torch"
    order = sorted(range(w.ndim), key=lambda i: (w.shape[i], i)) if convention == "optax" else list(range(w.ndim))
    factored = w.ndim >= 2 and min(w.shape[order[-1]], w.shape[order[-2]]) >= smallest
    rows, columns, full, velocity = 0.0, 0.0, np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w, t)
        keep = 1 - t**-power
        rho = min(a, 1 / np.sqrt(t)) if relative else a
        alpha = max(eps_2, float(np.sqrt(np.mean(w**2)))) * rho if scaled else rho
        squares = np.square(g) if torch else np.square(g) + eps_1
        if factored:
            # Sums, as in the paper, not means: V̂ = R C / (1ᵀ R).  torch bounds the *mean* of R from below.
            n, m = w.shape[order[-2]], w.shape[order[-1]]
            rows = keep * rows + (1 - keep) * squares.sum(order[-1], keepdims=True)
            columns = keep * columns + (1 - keep) * squares.sum(order[-2], keepdims=True)
            total = rows.sum(order[-2], keepdims=True)
            estimate = rows * columns / (np.maximum(total, eps_1 * n * m) if torch else total)
        else:
            estimate = full = keep * full + (1 - keep) * squares
        u = g / np.sqrt(np.maximum(estimate, eps_1**2) if torch else estimate)
        u = u / max(1.0, float(np.sqrt(np.mean(u**2))) / d)
        velocity = beta * velocity + (1 - beta) * alpha * u if beta is not None else alpha * u
        w = w - velocity
    return w
