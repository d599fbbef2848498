"""jax.nn and its initializers, jax.image, jax.ops and jax.random: what the sweep calls, and what it leaves out."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import nn

from tests.oracles import normal
from tests.sweep.arguments import CX, MASK, SIMPLEX, SPD, A, B, P, Q, T, U, V, X, Y
from tests.sweep.entries import Table
from tests.sweep.reasons import DRAWS, INTEGERS, NEVER, QUESTIONS, REPEATED

__all__ = ["TABLES"]

KEY = np.array([0, 3], np.uint32)

t = Table("jax.nn")
t.each(
    "celu elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh identity leaky_relu log_sigmoid log_softmax "
    "logmeanexp logsumexp mish relu relu6 selu sigmoid silu soft_sign softmax softplus sparse_plus sparse_sigmoid "
    "squareplus standardize swish tanh",
    np.concatenate([X, X], 1),
)
t.each("log1mexp", P)
t.each("celu elu leaky_relu squareplus", X, A, label="parameter")
t.each("gelu", X, label="exact", approximate=False)
t.each("softmax log_softmax logsumexp", X, label="where", axis=1, where=MASK)
t.each("logsumexp", CX, label="complex", axis=1)
t.one("logsumexp", lambda x, b: nn.logsumexp(x, axis=0, b=b, return_sign=True), X, Y, label="weights")
t.one("standardize", lambda x, m, v: nn.standardize(x, mean=m, variance=v), X, Y, P, label="given")
HALF = {"tolerance": 1e-5, "why": "the softmax inside attention is taken in float32"}
QKV = [normal(1, 3, 2, 4, seed=i) for i in range(3)]
t.one("dot_product_attention", lambda q, k, v: nn.dot_product_attention(q, k, v), *QKV, **HALF)
t.one(
    "dot_product_attention", lambda q, k, v, b: nn.dot_product_attention(q, k, v, b, is_causal=True), *QKV,
    normal(1, 2, 3, 3), label="causal", **HALF,
)  # fmt: skip
t.one("scaled_dot_general", lambda a, b: nn.scaled_dot_general(a, b, (((1,), (1,)), ((), ()))), X, Y)
t.one(
    "scaled_matmul", lambda a, b, s, r: nn.scaled_matmul(a, b, s, r, preferred_element_type=np.float64),
    normal(1, 2, 4), normal(1, 3, 4), normal(1, 2, 2), normal(1, 3, 2),
    **NEVER, since=(0, 11),
)  # fmt: skip
t.exclude(INTEGERS, "one_hot")
t.exclude(QUESTIONS, "get_scaled_dot_general_config")

initializers = Table("jax.nn.initializers")
for name in ["constant", "normal", "orthogonal", "truncated_normal", "uniform", "delta_orthogonal"]:
    shape = (1, 2, 3) if name == "delta_orthogonal" else (2, 3)
    initializers.one(
        name,
        lambda scale, name=name, shape=shape: getattr(nn.initializers, name)(scale)(KEY, shape, float),
        A[0, 0],
    )
initializers.exclude(
    DRAWS,
    "glorot_normal glorot_uniform he_normal he_uniform kaiming_normal kaiming_uniform lecun_normal lecun_uniform ones "
    "xavier_normal xavier_uniform zeros",
)
initializers.exclude("its scale must be a number, not an array", "variance_scaling")

image = Table("jax.image")
for method in ("nearest", "linear", "cubic", "lanczos3"):
    image.each("resize", T, label=method, shape=(2, 5, 3), method=method)
image.one(
    "scale_and_translate",
    lambda x, s, d: jax.image.scale_and_translate(x, (3, 5), (0, 1), s, d, "linear"),
    X,
    np.array([1.3, 0.8]),
    np.array([0.2, -0.3]),
)

ops = Table("jax.ops")
SEGMENTS = np.array([0, 2, 2, 0, 1])
ops.each("segment_sum segment_max segment_min", V, segment_ids=SEGMENTS, num_segments=4)
ops.one(
    "segment_prod", lambda x: jax.ops.segment_prod(x, SEGMENTS, num_segments=4), V,
    **REPEATED,
)  # fmt: skip

random = Table("jax.random")


def _draw(name: str, *parameters: Any, label: str = "", settings: dict[str, Any] | None = None, **static: Any) -> None:
    """Enter a sampler as a function of its continuous parameters, at a fixed key."""
    sampler = getattr(jax.random, name)

    def fun(*values: Any) -> Any:
        return sampler(KEY, *values, **static)

    random.one(name, fun, *parameters, label=label, **(settings or {}))


# Draws are differentiated at a fixed quantile, which no difference of draws measures: where JAX stops, so does the
# sweep; the second derivatives of the quantile have cases of their own (tests/rules/cases_special.py).
GAMMA = {"order": 1, "why": "JAX stops at the first derivative of a gamma draw, and no difference measures ours"}
random.one("ball", lambda p: jax.random.ball(KEY, 3, p), A[0, 0], **GAMMA)
random.one("generalized_normal", lambda p: jax.random.generalized_normal(KEY, p, (3,)), A[0, 0], **GAMMA)
_draw("beta", A, B, settings=GAMMA)
_draw("chisquare", A, settings=GAMMA)
_draw("dirichlet", A, settings=GAMMA)
_draw("f", A, B, settings=GAMMA)
_draw(["gamma", "loggamma"][0], A, settings=GAMMA)
_draw("loggamma", A, settings=GAMMA)
_draw("t", A, settings=GAMMA)
_draw("binomial", A + 3, P)
random.one("multinomial", lambda p: jax.random.multinomial(KEY, 4.0, p), SIMPLEX)
_draw("choice", X, shape=(3,), axis=1)
_draw("double_sided_maxwell", X, P, shape=(2, 3))
_draw("lognormal", P)
_draw("multivariate_normal", V[:3], SPD)
_draw("multivariate_normal", V[:3], SPD, label="svd", method="svd")
_draw("pareto", A)
_draw("permutation", X, axis=1)
_draw("rayleigh", P)
_draw("triangular", -A, U, B)
_draw("truncated_normal", -P, Q)
random.one("uniform", lambda a, b: jax.random.uniform(KEY, (2, 3), minval=a, maxval=b), X, A + 3)
_draw("wald", A)
_draw("weibull_min", A, B, shape=(2, 3))
random.one("maxwell", lambda s: s * jax.random.maxwell(KEY, (2, 3)), P)
random.exclude(
    DRAWS,
    "bits cauchy exponential gumbel laplace logistic normal orthogonal rademacher randint",
)
random.integers("bernoulli geometric poisson", KEY, P)
random.integers("categorical", KEY, X)
random.exclude(
    "makes, splits or describes keys", "Key PRNGKey clone fold_in key key_data key_dtype key_impl split wrap_key_data"
)

TABLES = [t, initializers, image, ops, random]
