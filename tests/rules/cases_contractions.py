"""Cases of dot_general: every arrangement of batch, contracted and kept axes, mixed dtypes, precisions, empty axes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.oracles import complex_normal, normal
from tests.rules.contract import Case, case

__all__ = ["CASES"]


def _dot(contract, batch=((), ()), **how):
    return lambda a, b: lax.dot_general(a, b, (contract, batch), **how)


def _mixed(a_dtype, b_dtype, **how):
    """Operands of two dtypes: their cotangents go back through the conversions."""
    return lambda a, b: lax.dot_general(a.astype(a_dtype), b.astype(b_dtype), (((1,), (0,)), ((), ())), **how)


_A, _B = normal(3, 5), normal(5, 4)
_HIGH = (lax.Precision.HIGHEST, lax.Precision.DEFAULT)

CASES: list[Case] = [
    case("dot_general", lambda a, b: a @ b, _A, _B, label="matrix matrix"),
    case("dot_general", lambda a, b: a @ b, _A, normal(5), label="matrix vector"),
    case("dot_general", lambda a, b: a @ b, normal(3), _A, label="vector matrix"),
    case("dot_general", lambda a, b: a @ b, normal(3), normal(3, seed=1), label="vector vector"),
    case("dot_general", lambda a: a.T @ a, _A, label="with itself"),
    case("dot_general", _dot(((0,), (0,))), _A, normal(3, 4), label="both first"),
    case("dot_general", _dot(((1,), (1,))), _A, normal(4, 5), label="both last"),
    case("dot_general", _dot(((0,), (1,))), _A, normal(4, 3), label="first and last"),
    case("dot_general", _dot(((), ())), _A, normal(2, 4), label="outer"),
    case("dot_general", _dot(((2,), (1,)), ((0,), (0,))), normal(2, 3, 5), normal(2, 5, 4), label="batch"),
    case("dot_general", _dot(((0,), (2,)), ((2,), (1,))), normal(5, 3, 2), normal(4, 2, 5), label="batch last"),
    case(
        "dot_general",
        _dot(((3, 1), (0, 2)), ((0, 2), (3, 1))),
        normal(2, 3, 4, 5),
        normal(5, 4, 3, 2, 6),
        label="two batch, two contracted, crossed",
    ),
    case("dot_general", _dot(((2, 0), (1, 2))), normal(2, 3, 4), normal(5, 4, 2), label="two contracted, crossed"),
    case("dot_general", _dot(((0, 1), (1, 0))), _A, normal(5, 3), label="all contracted"),
    case("dot_general", _dot(((), ()), ((0, 1), (1, 0))), _A, normal(5, 3), label="all batch"),
    case("dot_general", lambda a, b: jnp.einsum("bthd,bshd->bhts", a, b), normal(2, 3, 4, 5), normal(2, 6, 4, 5)),
    case("dot_general", lambda a, b: jnp.einsum("bhts,bshd->bthd", a, b), normal(2, 4, 3, 6), normal(2, 6, 4, 5)),
    case("dot_general", _dot(((1,), (0,)), precision=_HIGH), _A, _B, label="two precisions"),
    case("dot_general", _dot(((1,), (1,)), precision=_HIGH), _A, normal(4, 5), label="two precisions, swapped"),
    case("dot_general", _dot(((1,), (0,)), precision="highest"), _A, _B, label="precision"),
    case(
        "dot_general",
        _mixed(np.float32, np.float32, preferred_element_type=np.float64),
        _A,
        _B,
        label="wider result",
        numeric=False,
    ),
    case("dot_general", _mixed(np.float32, np.float64), _A, _B, label="mixed dtypes", numeric=False),
    case(
        "dot_general",
        _mixed(jnp.bfloat16, np.float32, preferred_element_type=np.float32),
        _A,
        _B,
        label="bfloat16 and float32",
        numeric=False,
    ),
    case(
        "dot_general",
        _mixed(np.float64, np.float64, preferred_element_type=np.float32),
        _A,
        _B,
        label="narrower result",
        numeric=False,
    ),
    case("dot_general", _dot(((1,), (0,))), _A, complex_normal(5, 4), label="real and complex"),
    case("dot_general", _dot(((1,), (0,))), complex_normal(3, 5), complex_normal(5, 4), label="complex"),
    case("dot_general", lambda b: lax.dot(np.arange(15).reshape(3, 5), b), _B, label="integers"),
    case("dot_general", _dot(((1,), (0,))), normal(3, 0), normal(0, 4), label="empty contracted"),
    case("dot_general", _dot(((1,), (0,))), normal(0, 5), _B, label="empty kept"),
    case("dot_general", _dot(((2,), (1,)), ((0,), (0,))), normal(0, 3, 5), normal(0, 5, 4), label="empty batch"),
]
