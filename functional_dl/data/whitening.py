"""Whitening: rotate centred data onto its principal components and scale each to unit variance (PCA), or back (ZCA).

D is centred (n×d), P the top-k eigenvectors of DᵀD/n with eigenvalues λ, D' = DP, and each column of D' is divided by
√(λ+ε): its own standard deviation.  The eigenvectors come from the singular values of D, D = U S Pᵀ and λ = S²/n:
forming DᵀD squares the condition number and loses every direction below 1e-8 of the largest.  That is done only where
it costs nothing that the data has: for many rows of float32, whose own rounding is coarser.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from functional_dl.data.dataset import DataError
from functional_dl.data.scaling import Form, Values, mean_of, note_constant

__all__ = ["PCA_WHITEN", "ZCA_WHITEN"]

_DOUBLE = float(np.finfo(np.float64).eps)
# Multiplications of DᵀD from which on it is formed: below it takes a second either way, above QR takes ten times longer
# (60 000×784 on two busy cores: 2.5 s against 16 to 50 s).
_MANY = 2e9


def _spectrum(centred: np.ndarray, rounding: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Singular values in falling order, right singular vectors as rows, and the arithmetic's noise in the values."""
    n, d = centred.shape
    if n > d and rounding > _DOUBLE and n * d**2 > _MANY:
        squares, vectors = np.linalg.eigh(centred.T @ centred)
        singular = np.sqrt(np.maximum(squares[::-1], 0.0))
        return singular, vectors[:, ::-1].T, np.sqrt(d * _DOUBLE) * singular[0]
    # Tall data is first reduced to the d×d triangle R of D = QR, which has D's singular values; wide data is taken as
    # it is, since no more than n directions can vary.
    factor = np.linalg.qr(centred, mode="r") if n > d else centred
    _, singular, rows = np.linalg.svd(factor, full_matrices=False)
    return singular, rows, max(n, d) * _DOUBLE * singular[0]


def _principal(
    name: str, x: np.ndarray, names: Callable[[np.ndarray], str], rounding: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Mean (d,), components (d, rank), standard deviations along them (rank,) in falling order, notes."""
    n, d = x.shape
    mean = mean_of(x)
    centred = x - mean
    extent = np.abs(centred).max()
    if not np.isfinite(extent):
        raise DataError(f"{name}: the data is beyond float64; scale it down first")
    # At most 1, so that nothing that is squared on the way is too large or too small.
    centred = centred / (extent if extent > 0 else 1.0)
    singular, rows, noise = _spectrum(centred, rounding)
    # Rounding each entry to its dtype moves singular values by no more than the norm of these roundings (Weyl): what is
    # below that, or below the noise of the arithmetic, is no variance.
    largest = np.abs(x).max()
    norm = largest / extent * np.linalg.norm(x / largest) if extent > 0 else 0.0
    threshold = rounding * norm + noise
    rank = int(np.sum(singular > threshold))
    if rank == 0:
        raise DataError(f"{name}: nothing varies in {n} rows; due are at least two that differ")
    components = rows[:rank].T
    # An eigenvector's sign is free; its largest entry positive, so that all machines agree.
    at = np.argmax(np.abs(components), axis=0)
    components = components * np.where(components[at, np.arange(rank)] < 0, -1.0, 1.0)
    notes = note_constant(x, names)
    if rank < d:
        notes.append(f"the training data varies in {rank} of {d} directions (its rank)")
    return mean, components, extent * (singular[:rank] / np.sqrt(n)), notes


def _fit_pca(
    x: np.ndarray, names: Callable[[np.ndarray], str], rounding: float, components: int | None, epsilon: float
) -> tuple[Values, list[str]]:
    d = x.shape[1]
    if components is not None and components > d:
        raise DataError(f"pca_whiten: {components} components of {d} columns; due are 1 to {d}")
    mean, found, deviation, notes = _principal("pca_whiten", x, names, rounding)
    rank = len(deviation)
    kept = rank if components is None else min(components, rank)
    if components is not None and rank < components:
        notes.append(f"{rank} components are kept, not {components}: the others would be noise scaled to variance 1")
    # hypot is √(σ² + ε) without the square of something tiny or huge.
    scale = np.hypot(deviation[:kept], np.sqrt(epsilon))
    return {"mean": mean, "components": found[:, :kept], "scale": scale}, notes


def _fit_zca(
    x: np.ndarray, names: Callable[[np.ndarray], str], rounding: float, epsilon: float
) -> tuple[Values, list[str]]:
    mean, components, deviation, notes = _principal("zca_whiten", x, names, rounding)
    if len(deviation) < x.shape[1]:
        notes.append("the other directions are scaled like the one that varies most")
    return {"mean": mean, "components": components, "scale": np.hypot(deviation, np.sqrt(epsilon))}, notes


def _apply_zca(values: Values, x: np.ndarray) -> np.ndarray:
    # P diag(1/scale) Pᵀ on the span of P and 1/largest beside it, without the d×d matrix, which wide data (d ≫ n) has
    # no room for.  Beside it the largest scale serves because then the unit of the data does not matter, and because
    # the roundings that are all there is come out as small as they went in.
    unit = (x - values["mean"]) / values["scale"][0]
    along = unit @ values["components"]
    return unit + (along * (values["scale"][0] / values["scale"]) - along) @ values["components"].T


def _invert_zca(values: Values, y: np.ndarray) -> np.ndarray:
    along = y @ values["components"]
    unit = y + (along * (values["scale"] / values["scale"][0]) - along) @ values["components"].T
    return unit * values["scale"][0] + values["mean"]


PCA_WHITEN = Form(
    _fit_pca,
    lambda v, x: (x - v["mean"]) @ v["components"] / v["scale"],
    lambda v, y: (y * v["scale"]) @ v["components"].T + v["mean"],
    lambda v: v["components"].shape[1],
)
ZCA_WHITEN = Form(_fit_zca, _apply_zca, _invert_zca)
