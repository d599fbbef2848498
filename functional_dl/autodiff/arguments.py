"""Arguments of transforms: which are differentiated, and whether they and the outputs may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

__all__ = ["as_array", "check_array", "check_input", "check_output", "split_arguments"]


def check_array(who: str, x: Any) -> None:
    try:
        jax.typeof(x)
    except TypeError as error:
        raise TypeError(
            f"{who} differentiates arrays; an argument holds {x!r} of type {type(x).__name__}. "
            "Leave it out of argnums, or close over it."
        ) from error


def as_array(x: Any) -> Any:
    """``x``, which JAX takes for an array, as one: what is computed from it many times is then converted once."""
    return x if isinstance(x, (jax.Array, jax.core.Tracer)) else jax.numpy.asarray(x)


def check_input(who: str, holomorphic: bool, allow_int: bool, x: Any) -> None:
    check_array(who, x)
    dtype = jax.typeof(x).dtype
    if holomorphic and not jax.dtypes.issubdtype(dtype, np.complexfloating):
        raise TypeError(f"{who} with holomorphic=True requires inputs of complex dtype, but got {dtype.name}.")
    if not allow_int and not jax.dtypes.issubdtype(dtype, np.inexact):
        raise TypeError(
            f"{who} requires real- or complex-valued inputs (input dtype that is a sub-dtype of np.inexact), but "
            f"got {dtype.name}. If you want to use Boolean- or integer-valued inputs, use vjp or set allow_int to True."
        )


def check_output(who: str, holomorphic: bool, aval: Any) -> None:
    if holomorphic:
        if not jax.dtypes.issubdtype(aval.dtype, np.complexfloating):
            came = aval.dtype.name
            raise TypeError(f"{who} with holomorphic=True requires outputs of complex dtype, but got {came}.")
    elif not jax.dtypes.issubdtype(aval.dtype, np.floating):
        raise TypeError(
            f"{who} requires real-valued outputs (output dtype that is a sub-dtype of np.floating), but got "
            f"{aval.dtype.name}. For holomorphic differentiation, pass holomorphic=True. For differentiation of "
            "functions with integer or non-holomorphic complex outputs, use vjp directly."
        )


def split_arguments(
    who: str, fun: Callable[..., Any], argnums: int | Sequence[int], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], list[Any]]:
    """``fun`` as a function of the arguments in ``argnums``, and those arguments."""
    places = [argnums] if isinstance(argnums, int) else list(argnums)
    if not all(isinstance(i, (int, np.integer)) for i in places):
        raise TypeError(f"{who}: argnums must be an int or a sequence of ints, got {argnums!r}.")
    name = getattr(fun, "__name__", "the function")
    for i in places:
        if not -len(args) <= i < len(args):
            raise ValueError(
                f"{who}: argnums {argnums} names positional argument {i}, but {name} was called with {len(args)}."
            )
    places = [i % len(args) for i in places]

    def partial(*chosen: Any) -> Any:
        full = list(args)
        for i, x in zip(places, chosen, strict=True):
            full[i] = x
        return fun(*full, **kwargs)

    partial.__name__ = name
    return partial, [args[i] for i in places]
