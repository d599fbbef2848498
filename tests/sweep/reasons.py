"""Why entries are not as usual and why functions are left out, for the reasons that recur."""

from __future__ import annotations

from typing import Any

Settings = dict[str, Any]

# Where JAX raises: settings of an entry.
NEVER: Settings = {"refused": 1, "why": "JAX has no derivative of it, or of what it is made of"}
LATE: Settings = {"refused": 1, "why": "before 0.12 JAX had no derivative of nextafter"}
REPEATED: Settings = {"refused": 1, "why": "JAX differentiates products at indices that may repeat in the operand only"}
BETAINC: Settings = {"refused": 1, "why": "JAX differentiates the incomplete beta function in x only"}
EIGENVECTORS: Settings = {"refused": 1, "why": "JAX differentiates the eigenvalues of a general matrix only"}
FULL_SVD: Settings = {"refused": 1, "why": "JAX refuses the full matrices of a singular value decomposition"}
EIGENVALUES: Settings = {"refused": 2, "why": "JAX differentiates the eigenvalues of a general matrix once only"}
IGAMMA: Settings = {"refused": 2, "why": "JAX differentiates the incomplete gamma function in its shape once only"}

# What is left out.
INTEGERS = "integer operands only"
SHAPES = "made of a shape or of counts, without a floating operand"
QUESTIONS = "asks about types, shapes or printing; takes or gives no arrays"
DRAWS = "draws from a key and a shape, without a floating operand"
LOOP = "a loop whose length only the run knows, which neither JAX nor the engine reverses"
