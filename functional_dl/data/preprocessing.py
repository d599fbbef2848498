"""Preprocessing as pure functions: fit on the training data alone, apply to all of it, invert to see it again.

    fitted = chain(standardize(), pca_whiten(components=10)).fit(train_inputs)
    train_inputs, test_inputs = fitted.apply(train_inputs), fitted.apply(test_inputs)

What was fitted is a kind and a flat dict of arrays, ``Fitted(kind, values)``, which any format can store.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from functional_dl.data.dataset import DataError, Dataset
from functional_dl.data.fitted import Fitted, Preprocessor

__all__ = [
    "PREPROCESSORS", "Fitted", "Preprocessor", "center", "chain", "min_max", "nonnegative", "one_hot", "pca_whiten",
    "preprocess", "standardize", "zca_whiten",
]  # fmt: skip


def center() -> Preprocessor:
    """x − μ, column by column.

    Example:
      >>> import numpy as np
      >>> center().fit(np.array([[1.0, 4.0], [3.0, 8.0]])).apply(np.array([[2.0, 7.0]])).tolist()
      [[0.0, 1.0]]
    """
    return Preprocessor((("center", {}),))


def standardize() -> Preprocessor:
    """(x − μ)/σ, σ² = Σ(x − μ)²/n, column by column; a constant column becomes 0 (σ is taken as 1) and is noted.

    Example:
      >>> import numpy as np
      >>> fitted = standardize().fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
      >>> fitted.apply(np.array([[1.0, 5.0], [4.0, 5.0]])).tolist(), fitted.notes
      ([[-1.0, 0.0], [2.0, 0.0]], ('standardize: column 1 is constant in the training data',))
    """
    return Preprocessor((("standardize", {}),))


def nonnegative() -> Preprocessor:
    """x + |m|, m the most negative entry of the column in the training data; a column without one stays as it is.

    Unseen data may have entries that are more negative still, and they stay below 0.

    Example:
      >>> import numpy as np
      >>> nonnegative().fit(np.array([[-2.0, 1.0], [3.0, 2.0]])).apply(np.array([[-2.0, 1.0], [-3.0, 0.0]])).tolist()
      [[0.0, 1.0], [-1.0, 0.0]]
    """
    return Preprocessor((("nonnegative", {}),))


def min_max() -> Preprocessor:
    """(x − min)/(max − min), column by column: [0, 1] on the training data; a constant column becomes 0 and is noted.

    Unseen data may leave [0, 1]: to cut it off there would hide that it differs.

    Example:
      >>> import numpy as np
      >>> min_max().fit(np.array([[2.0], [6.0]])).apply(np.array([[3.0], [8.0]])).tolist()
      [[0.25], [1.5]]
    """
    return Preprocessor((("min_max", {}),))


def pca_whiten(components: int | None = None, epsilon: float = 1e-12) -> Preprocessor:
    """D P / √(λ + ε): the k principal components of the centred examples D, each scaled to unit variance; (N, k).

    P are the top-k eigenvectors of DᵀD/n and λ their eigenvalues.  Where the training data's rank is below k, only
    that many components are kept and a note says so.  Columns of very different units are better standardised first.

    Args:
      components: k; without it, the training data's rank.
      epsilon: ε, in the square of the data's unit.  Directions of no variance are left out anyway; a larger one keeps
        directions of little variance little.

    Raises:
      DataError: components < 1, epsilon < 0; when fitted, more components than columns, or data that does not vary.

    Source: Aggarwal 2018, Neural Networks and Deep Learning, section 3.3.2; Kessy, Lewin and Strimmer 2018,
    arXiv:1512.00809.

    Example:
      >>> import numpy as np
      >>> x = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 1.0], [3.0, 5.0, 0.0], [4.0, 4.0, 2.0]])
      >>> y = pca_whiten(2, epsilon=0).fit(x).apply(x)
      >>> np.abs(y.T @ y / 4 - np.eye(2)).max() < 1e-12
      np.True_
    """
    if components is not None and components < 1:
        raise DataError(f"pca_whiten: {components} components; due is at least 1")
    return Preprocessor((("pca_whiten", {"components": components, "epsilon": _not_negative("pca_whiten", epsilon)}),))


def zca_whiten(epsilon: float = 1e-12) -> Preprocessor:
    """D P diag(1/√(λ + ε)) Pᵀ: whitened and rotated back, of all whitenings the nearest to the data; shape as before.

    Directions in which the training data does not vary are scaled like the one in which it varies most, so that
    `Fitted.invert` is exact for unseen data too; a note says how many there are.

    Args:
      epsilon: ε, in the square of the data's unit; images with faint detail want about 1e-2 (pixels in [0, 1]).

    Raises:
      DataError: epsilon < 0; when fitted, data that does not vary.

    Source: Bell and Sejnowski 1997, The "independent components" of natural scenes are edge filters; Kessy, Lewin and
    Strimmer 2018, arXiv:1512.00809.

    Example:
      >>> import numpy as np
      >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
      >>> np.round(zca_whiten(epsilon=0).fit(x).apply(x)[[0, 2]], 3).tolist()
      [[1.414, 0.0], [0.0, 1.414]]
    """
    return Preprocessor((("zca_whiten", {"epsilon": _not_negative("zca_whiten", epsilon)}),))


def one_hot(classes: int | None = None) -> Preprocessor:
    """Whole-number labels (N,) or (N, 1) to rows (N, C) with a 1 in the label's place.

    Args:
      classes: C, for labels 0 to C − 1; without it, the labels that the training data has, in order.

    Raises:
      DataError: classes < 1; when fitted, labels that are not whole or outside; when applied, an unknown label.

    Example:
      >>> import numpy as np
      >>> fitted = one_hot().fit(np.array([7, 3, 7]))
      >>> fitted.apply(np.array([3, 7])).tolist(), fitted.invert(np.array([[0.2, 0.8]])).tolist()
      ([[1.0, 0.0], [0.0, 1.0]], [7])
    """
    if classes is not None and classes < 1:
        raise DataError(f"one_hot: {classes} classes; due is at least 1")
    return Preprocessor((("one_hot", {"classes": classes}),))


def _not_negative(name: str, epsilon: float) -> float:
    if not 0 <= epsilon < np.inf:
        raise DataError(f"{name}: epsilon {epsilon}; due is a number from 0")
    return float(epsilon)


def chain(*preprocessors: Preprocessor) -> Preprocessor:
    """One after the other, each fitted on what those before it make of the training data.

    Raises:
      DataError: none given.

    Example:
      >>> import numpy as np
      >>> fitted = chain(nonnegative(), min_max()).fit(np.array([[-4.0], [4.0]]))
      >>> fitted.kind, fitted.apply(np.array([[0.0]])).tolist(), sorted(fitted.values)
      ('nonnegative+min_max', [[0.5]], ['0.shape', '0.shift', '1.minimum', '1.range', '1.shape'])
    """
    if not preprocessors:
        raise DataError("chain: nothing to chain; due is at least one preprocessor")
    return Preprocessor(tuple(step for preprocessor in preprocessors for step in preprocessor.steps))


def preprocess(data: Dataset, preprocessor: Preprocessor) -> tuple[Dataset, Fitted]:
    """Fit on the training inputs alone and apply to both parts; ``facts["shape"]`` follows.

    Raises:
      DataError: as `Preprocessor.fit` and `Fitted.apply`.

    Example:
      >>> from functional_dl.data import pca_whiten, preprocess, wine
      >>> preprocess(wine(), pca_whiten(5))[0].facts["shape"]
      (5,)
    """
    fitted = preprocessor.fit(data.train[0])
    train, test = fitted.apply(data.train[0]), fitted.apply(data.test[0])
    facts = {**data.facts, "shape": train.shape[1:]}
    if train.shape[1:] != data.train[0].shape[1:]:
        facts.pop("features", None)  # components are no columns of the source any more
    return Dataset((train, data.train[1]), (test, data.test[1]), facts), fitted


PREPROCESSORS: dict[str, Callable[..., Preprocessor]] = {
    "center": center, "standardize": standardize, "nonnegative": nonnegative, "min_max": min_max,
    "pca_whiten": pca_whiten, "zca_whiten": zca_whiten, "one_hot": one_hot,
}  # fmt: skip
