"""jax.scipy.stats: densities, distribution functions and their inverses, differentiated in value and parameters."""

from __future__ import annotations

import functools
from typing import Any

import jax.scipy.stats as stats
import numpy as np

from tests.sweep.arguments import MASK, SIMPLEX, SPD, A, B, C, P, Q, U, V, W, X, Y
from tests.sweep.entries import Table
from tests.sweep.reasons import BETAINC, IGAMMA

__all__ = ["TABLES"]

TABLES: list[Table] = []
COUNTS = np.array([[0.0, 2.0, 1.0], [3.0, 1.0, 2.0]])


def _distribution(name: str, *args: Any, **settings: Any) -> None:
    """What JAX has of one distribution at ``args``, inverses at a probability; ``settings`` are for its integrals."""
    table, module = Table(f"jax.scipy.stats.{name}"), getattr(stats, name)
    for each in [each for each in ("pdf", "logpdf", "ppf", "isf") if hasattr(module, each)]:
        table.each(each, *((P, *args[1:]) if each in ("ppf", "isf") else args))
    for each in [each for each in ("cdf", "logcdf", "sf", "logsf") if hasattr(module, each)]:
        table.one(each, getattr(module, each), *args, **settings)
    TABLES.append(table)


for name in ["cauchy", "expon", "laplace", "logistic", "norm"]:
    _distribution(name, A, U, B)
for name in ["gumbel_l", "gumbel_r"]:
    gumbel = Table(f"jax.scipy.stats.{name}")
    gumbel.each("cdf logcdf sf logsf", A, U, B)
    gumbel.exclude("hands the integer -1 to xlogy, whose rule (JAX's own) then fails in JAX too", "pdf logpdf ppf")
    TABLES.append(gumbel)
_distribution("uniform", A, U, B + 3)
_distribution("pareto", A + 1, B, P, Q)
_distribution("t", X, A, Y, B)
_distribution("truncnorm", U, -A, B, P / 8, C)
_distribution("vonmises", X, A)
_distribution("wrapcauchy", A, P)
_distribution("beta", P, A, B, Q / 8, A, **BETAINC)
_distribution("chi2", A, B, P, C, **IGAMMA)
_distribution("gamma", A, B, P, C, **IGAMMA)
_distribution("gennorm", X, A, **IGAMMA)


def _counts(name: str, *parameters: Any) -> None:
    """A distribution of counts: the count is fixed, the parameters are differentiated."""
    table, module = Table(f"jax.scipy.stats.{name}"), getattr(stats, name)
    for each in [each for each in ("pmf", "logpmf", "cdf") if hasattr(module, each)]:
        table.one(each, functools.partial(getattr(module, each), COUNTS), *parameters)
    TABLES.append(table)


_counts("poisson", A)
TABLES[-1].each("entropy", A)
_counts("geom", P)
_counts("nbinom", A, P)
_counts("binom", A + 3, P)
_counts("betabinom", A + 3, B, C)

bernoulli = Table("jax.scipy.stats.bernoulli")
for each in ("pmf", "logpmf", "cdf"):
    bernoulli.one(each, lambda p, each=each: getattr(stats.bernoulli, each)(MASK.astype(int), p), P)
bernoulli.each("ppf", P, Q)

dirichlet = Table("jax.scipy.stats.dirichlet")
dirichlet.each("pdf logpdf", SIMPLEX, A[0])
multinomial = Table("jax.scipy.stats.multinomial")
multinomial.one("pmf", lambda p: stats.multinomial.pmf(np.array([1, 0, 2]), 3, p), SIMPLEX)
multinomial.one("logpmf", lambda p: stats.multinomial.logpmf(np.array([1, 0, 2]), 3, p), SIMPLEX)
multivariate_normal = Table("jax.scipy.stats.multivariate_normal")
multivariate_normal.each("pdf logpdf", X, V[:3], SPD)

top = Table("jax.scipy.stats")
top.each("mode rankdata sem", X)
top.one("gaussian_kde", lambda data, x: stats.gaussian_kde(data)(x), V, W[:3])
top.one(
    "gaussian_kde", lambda data, w: stats.gaussian_kde(data, weights=w).logpdf(W[:3]), V, P.ravel()[:5], label="log"
)

TABLES += [bernoulli, dirichlet, multinomial, multivariate_normal, top]
