"""Cases of the special functions with parameters, most of whose derivatives in the parameters JAX refuses."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import lax

from tests.oracles import uniform
from tests.rules.contract import Case, case

__all__ = ["CASES", "KINKS"]

A, B = uniform(0.4, 3.0, 3, 4), uniform(0.5, 2.0, 3, 4, seed=1)
X = uniform(0.2, 4.0, 3, 4, seed=2)  # on both sides of A, where the integrals turn round
P = uniform(0.1, 0.9, 3, 4, seed=3)


def _sample(log_space: bool) -> Any:
    draw = jax.random.loggamma if log_space else jax.random.gamma
    return lambda a: draw(jax.random.key(0), a)


CASES: list[Case] = [
    case("igamma", lambda x: lax.igamma(A, x), X),
    case("igamma", lambda a, x: lax.igamma(a, x), A, X, label="both", refused=2),
    case("igammac", lambda x: lax.igammac(A, x), X),
    case("igammac", lambda a, x: lax.igammac(a, x), A, X, label="both", refused=2),
    case("igamma_grad_a", lambda a, x: lax.igamma_grad_a(a, x), A, X, refused=1),
    # Samples do not move with a as their derivative says (only their distribution does): see test_special_functions.
    case("random_gamma", _sample(False), A, numeric=False, order=1),
    case("random_gamma", _sample(True), A, label="log", numeric=False, order=1),
    case("random_gamma", _sample(True), 1e-3 * A, label="log, underflowing", numeric=False, order=1),
    case("regularized_incomplete_beta", lambda x: lax.betainc(A, B, x), P),
    case("regularized_incomplete_beta", lambda a, b, x: lax.betainc(a, b, x), A, B, P, label="all", refused=1),
    case("zeta", lambda x, q: lax.zeta(x, q), 1.5 + A, B, refused=1),
    case("zeta", lambda q: lax.zeta(np.full((3, 4), 2.0), q), B, label="in q", refused=1),
    case("polygamma", lambda x: lax.polygamma(np.full((3, 4), 2.0), x), B),
]

_ENDS = np.array([0.0, 1.0])

KINKS: list[Case] = [
    case("igamma", lambda x: lax.igamma(2.0 + _ENDS, x), np.array([0.0, np.inf]), label="ends", numeric=False),
    case("regularized_incomplete_beta", lambda x: lax.betainc(2.0 + _ENDS, 2.5, x), _ENDS, label="ends", numeric=False),
]
