"""Float64 NumPy references of Muon, SOAP, schedule-free methods and L-BFGS, leaf by leaf, written from the papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.optim.case import Gradient

__all__ = ["lbfgs", "muon", "schedule_free_adamw", "schedule_free_sgd", "soap"]

Params = dict[str, np.ndarray]
Reference = Callable[[Gradient, Params, int], Params]


def _adam(moments: list[np.ndarray], g: np.ndarray, t: int, b1: float, b2: float, eps: float) -> np.ndarray:
    """Kingma & Ba 2015, algorithm 1: the step, for one leaf."""
    moments[0] = b1 * moments[0] + (1 - b1) * g
    moments[1] = b2 * moments[1] + (1 - b2) * g * g
    return moments[0] / (1 - b1**t) / (np.sqrt(moments[1] / (1 - b2**t)) + eps)


def _newton_schulz(x: np.ndarray) -> np.ndarray:
    """Jordan et al. 2024: what the iteration does to singular values, done to singular values."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    s = s / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ vt


def muon(
    a: float, mu: float, decay: float, adam: tuple[float, float, float, float, float], moonlight: bool
) -> Reference:
    """Matrices by momentum that is made orthogonal, other leaves by AdamW (rate, β₁, β₂, ε, λ)."""
    rate, b1, b2, eps, adam_decay = adam

    def reference(gradient: Gradient, params: Params, steps: int) -> Params:
        w = dict(params)
        velocity = {k: np.zeros_like(x) for k, x in w.items()}
        moments = {k: [np.zeros_like(x), np.zeros_like(x)] for k, x in w.items()}
        for t in range(1, steps + 1):
            grads = gradient(w, t)
            for k, g in grads.items():
                if w[k].ndim < 2:
                    w[k] = w[k] - rate * (_adam(moments[k], g, t, b1, b2, eps) + adam_decay * w[k])
                    continue
                velocity[k] = mu * velocity[k] + g
                flat = (g + mu * velocity[k]).reshape(-1, g.shape[-1])
                inputs, outputs = flat.shape
                scale = 0.2 * np.sqrt(max(inputs, outputs)) if moonlight else np.sqrt(max(1, outputs / inputs))
                w[k] = w[k] - a * (scale * _newton_schulz(flat).reshape(g.shape) + decay * w[k])
        return w

    return reference


def soap(
    a: float, b1: float, b2: float, beta: float, eps: float, decay: float, frequency: int, largest: int = 10_000
) -> Reference:
    """Vyas et al. 2024, algorithm 3, with the first step of the authors' implementation; for one leaf at a time."""

    def leaf(ask: Callable[[np.ndarray, int], np.ndarray], w: np.ndarray, steps: int) -> np.ndarray:
        shape = w.shape
        w = w.reshape(-1, shape[-1]) if w.ndim > 1 else w[:, None]
        turned = [len(shape) > 1 and n <= largest for n in w.shape]
        factors = [np.zeros((n, n)) for n in w.shape]
        q = [np.eye(n) for n in w.shape]
        m, v = np.zeros_like(w), np.zeros_like(w)
        for t in range(steps):
            g = ask(w.reshape(shape), t + 1).reshape(w.shape)
            if t > 0:
                g_turned = q[0].T @ g @ q[1]
                m = b1 * m + (1 - b1) * g
                v = b2 * v + (1 - b2) * g_turned**2
                step = np.sqrt(1 - b2**t) / (1 - b1**t) * (q[0].T @ m @ q[1]) / (np.sqrt(v) + eps)
                w = w - a * (q[0] @ step @ q[1].T + decay * w)
            for side, gram in enumerate((g @ g.T, g.T @ g)):
                if not turned[side]:
                    continue
                factors[side] = beta * factors[side] + (1 - beta) * gram
                if t == 0:
                    q[side] = np.linalg.eigh(factors[side])[1][:, ::-1]
                elif t % frequency == 0:
                    order = np.argsort(-np.diag(q[side].T @ factors[side] @ q[side]))
                    v = np.take(v, order, axis=side)
                    q[side] = np.linalg.qr(factors[side] @ q[side][:, order])[0]
        return w.reshape(shape)

    def reference(gradient: Gradient, params: Params, steps: int) -> Params:
        def ask(name: str) -> Callable[[np.ndarray, int], np.ndarray]:
            return lambda w, t: gradient({name: w}, t)[name]

        return {name: leaf(ask(name), w, steps) for name, w in params.items()}

    return reference


def schedule_free_sgd(gamma: float, beta: float, decay: float, warmup: int) -> Reference:
    """Defazio et al. 2024, equations 3–5, with their weights γ²."""

    def reference(gradient: Gradient, params: Params, steps: int) -> Params:
        z, x, total = dict(params), dict(params), 0.0
        for t in range(1, steps + 1):
            rate = gamma * min(1, t / max(warmup, 1))
            total += rate**2
            y = {k: (1 - beta) * z[k] + beta * x[k] for k in x}
            for k, g in gradient(y, t).items():
                z[k] = z[k] - rate * (g + decay * y[k])
                x[k] = (1 - rate**2 / total) * x[k] + rate**2 / total * z[k]
        return x

    return reference


def schedule_free_adamw(gamma: float, b1: float, b2: float, eps: float, decay: float, warmup: int) -> Reference:
    """Defazio et al. 2024, algorithm 1."""

    def reference(gradient: Gradient, params: Params, steps: int) -> Params:
        z, x, total = dict(params), dict(params), 0.0
        v = {k: np.zeros_like(w) for k, w in params.items()}
        for t in range(1, steps + 1):
            rate = gamma * np.sqrt(1 - b2**t) * min(1, t / max(warmup, 1))
            total += rate**2
            y = {k: (1 - b1) * z[k] + b1 * x[k] for k in x}
            for k, g in gradient(y, t).items():
                v[k] = b2 * v[k] + (1 - b2) * g**2
                z[k] = z[k] - rate * g / (np.sqrt(v[k]) + eps) - rate * decay * y[k]
                x[k] = (1 - rate**2 / total) * x[k] + rate**2 / total * z[k]
        return x

    return reference


class _Out(Exception):
    """All gradients that were allowed have been taken."""


def lbfgs(
    rate: float = 1.0, decrease: float = 0.1, curvature: float = 0.9, trials: int = 20, history: int = 10
) -> Reference:
    """Liu & Nocedal 1989 with H as a matrix, around a search that is a loop."""

    def reference(gradient: Gradient, params: Params, steps: int) -> Params:
        names, sizes = list(params), np.cumsum([w.size for w in params.values()])[:-1]
        x = np.concatenate([w.ravel() for w in params.values()])
        asked = 0

        def tree(flat: np.ndarray) -> Params:
            return {k: part.reshape(params[k].shape) for k, part in zip(names, np.split(flat, sizes), strict=True)}

        def ask(at: np.ndarray) -> np.ndarray:
            nonlocal asked
            if asked == steps:
                raise _Out
            asked += 1
            grads = gradient(tree(at), asked)
            return np.concatenate([grads[k].ravel() for k in names])

        def search(x: np.ndarray, p: np.ndarray, alpha: float, start: float) -> tuple[Any, Any, float]:
            """The point and its gradient, or None and how far the search had come."""
            low, low_slope, high, high_slope = 0.0, start, np.inf, np.inf
            for n in range(1, trials + 1):
                g = ask(x + alpha * p)
                finite = bool(np.all(np.isfinite(g)))
                slope = float(g @ p) if finite else np.inf
                if slope > (2 * decrease - 1) * start:
                    high, high_slope = alpha, slope
                elif slope < curvature * start:
                    low, low_slope = alpha, slope
                else:
                    return x + alpha * p, g, alpha
                if np.isinf(high):
                    crossing = -start / (slope - start) if slope > start else 10.0
                    alpha = alpha * min(max(crossing, 2.0), 10.0)
                elif n % 2 == 0:
                    alpha = (low + high) / 2
                else:
                    alpha = low + (high - low) * min(max(-low_slope / (high_slope - low_slope), 0.1), 0.9)
            if low > 0:
                return x + low * p, ask(x + low * p), low
            return None, None, high

        def newton(g: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
            s, y = pairs[-1]
            h = (s @ y) / (y @ y) * np.eye(g.size)
            for s, y in pairs:
                v = np.eye(g.size) - np.outer(y, s) / (s @ y)
                h = v.T @ h @ v + np.outer(s, s) / (s @ y)
            return -h @ g

        try:
            pairs: list[tuple[np.ndarray, np.ndarray]] = []
            g = ask(x)
            p, alpha = -g, rate / max(1, np.linalg.norm(g))
            while True:
                at, now, alpha = search(x, p, alpha, float(g @ p))
                if at is None:
                    length, pairs = float(np.linalg.norm(g)), []
                    alpha = min(rate / max(1, length), alpha * float(np.linalg.norm(p)) / length)
                    p = -g
                    continue
                s, y = at - x, now - g
                x, g = at, now
                if s @ y > np.finfo(np.float64).eps * np.linalg.norm(s) * np.linalg.norm(y):
                    pairs = [*pairs, (s, y)][-history:]
                p = newton(g, pairs) if pairs else -g
                if g @ p >= 0:
                    p, pairs = -g, []
                alpha = rate if pairs else rate / max(1, np.linalg.norm(g))
        except _Out:
            return tree(x)

    return reference
