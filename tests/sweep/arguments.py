"""The arguments that most entries share: small, never square unless they must be, away from kinks and poles."""

from __future__ import annotations

import numpy as np

from tests.oracles import complex_normal, normal, uniform

X, Y, Z = (normal(2, 3, seed=i) for i in (11, 12, 13))  # any real numbers
P, Q, R = (uniform(0.2, 0.8, 2, 3, seed=i) for i in (14, 15, 16))  # inside (0, 1)
U = uniform(-0.8, 0.8, 2, 3, seed=17)  # inside (-1, 1)
A, B, C = (uniform(1.2, 3.0, 2, 3, seed=i) for i in (18, 19, 20))  # above 1
CX, CY = complex_normal(2, 3, seed=21), complex_normal(2, 3, seed=23)
V, W = normal(5, seed=25), normal(5, seed=26)
M, N = normal(3, 3, seed=27), normal(3, 3, seed=28)
CM = complex_normal(3, 3, seed=29)
SPD = M @ M.T + 2 * np.eye(3)  # symmetric, positive definite
T = normal(2, 3, 4, seed=30)
SIMPLEX = np.array([0.2, 0.5, 0.3])
ROWS = np.array([[0, 2, 1], [1, 0, 2]])  # indices along an axis of three
MASK = np.array([[True, False, True], [True, True, False]])
HOLES = np.where(MASK, X, np.nan)  # for the functions that pass over NaN
