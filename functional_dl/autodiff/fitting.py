"""A gradient compiled so that what the compiler says it takes is within a number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from functional_dl.autodiff.budget import BudgetError, shown
from functional_dl.autodiff.gradients import value_and_grad
from functional_dl.autodiff.pullback import Rules

__all__ = ["Attempt", "Fitted", "fit_memory"]

# How often the program is planned anew and compiled.
ATTEMPTS = 8


@dataclass(frozen=True)
class Attempt:
    """A plan that was compiled.

    Attributes:
      memory: the budget that was planned for, or the policy.
      temp_bytes: what the compiled program takes for intermediates, as the compiler says.
    """

    memory: str | int
    temp_bytes: int


@dataclass(frozen=True)
class Fitted:
    """A compiled value and gradient.

    Attributes:
      compiled: ``compiled(*args) -> (value, gradient)``, as `functional_dl.value_and_grad` gives them.
      memory: the budget or policy that it was planned with: ``value_and_grad(fun, memory=…)`` makes it again.
      temp_bytes: what it takes for intermediates, as the compiler says.
      peak_bytes: what was asked for.
      attempts: all that was compiled, in order.
    """

    compiled: Callable[..., Any]
    memory: str | int
    temp_bytes: int
    peak_bytes: int
    attempts: tuple[Attempt, ...]

    @property
    def within(self) -> bool:
        """Whether the promise is kept."""
        return self.temp_bytes <= self.peak_bytes

    def __str__(self) -> str:
        """One line: what was asked for, what was found, and with how many compilations."""
        verdict = "within" if self.within else "MORE THAN"
        return (
            f"{shown(self.temp_bytes)}, {verdict} the {shown(self.peak_bytes)} asked for, with memory={self.memory!r} "
            f"after {len(self.attempts)} compilation{'s' * (len(self.attempts) > 1)}"
        )


def fit_memory(
    fun: Callable[..., Any],
    *args: Any,
    peak_bytes: int,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    rules: Rules = None,
) -> Fitted:
    """Compile the value and gradient of ``fun`` so that intermediates take at most ``peak_bytes``.

    The plan's own count of bytes is an estimate: compilers fuse and reorder.  Here the compiled program is asked
    (`memory_analysis().temp_size_in_bytes`), and planned anew with a budget that is smaller, or larger, in proportion,
    until it keeps the promise and uses most of what is allowed.

    Args:
      fun: a function with a scalar output.
      *args: what it is called with; arrays may be given as `jax.ShapeDtypeStruct`.
      peak_bytes: the bytes that intermediates may take, arguments and results not counted.
      argnums, has_aux, rules: as for `functional_dl.value_and_grad`.

    Returns:
      The compiled function and what was found.  If the promise cannot be kept, ``within`` is false and the function is
      the one that takes least.

    Raises:
      ValueError: ``peak_bytes`` is not positive.
      NotImplementedError: the compiler of this backend does not say what a program takes.

    Example:
      >>> import jax.numpy as jnp, functional_dl as fdl
      >>> loss = lambda ws, x: jnp.sum(sum(jnp.tanh(x @ w) for w in ws))
      >>> found = fdl.fit_memory(loss, [jnp.ones((8, 64))] * 4, jnp.ones((128, 8)), peak_bytes=500_000)
      >>> value, gradient = found.compiled([jnp.ones((8, 64))] * 4, jnp.ones((128, 8)))
      >>> found.within
      True
    """
    if peak_bytes <= 0:
        raise ValueError(f"peak_bytes is a positive number of bytes; got {peak_bytes!r}.")
    tried: list[tuple[Any, Attempt]] = []

    def attempt(memory: str | int) -> Attempt:
        compiled = jax.jit(value_and_grad(fun, argnums, has_aux, rules=rules, memory=memory)).lower(*args).compile()
        tried.append((compiled, Attempt(memory, _temp_bytes(compiled))))
        return tried[-1][1]

    low, high, budget = 0, int(peak_bytes), int(peak_bytes)  # budgets between which the best one is
    while len(tried) < ATTEMPTS:
        same = tried[-1][1].temp_bytes if tried else None
        try:
            found = attempt(budget)
        except BudgetError:
            break
        low, high = (budget, high) if found.temp_bytes <= peak_bytes else (low, budget)
        guess = _next(budget, found, peak_bytes, low, high, found.temp_bytes == same)
        if guess is None:
            break
        budget = guess
    if not any(found.temp_bytes <= peak_bytes for _, found in tried):
        attempt("least")
    fitting = [pair for pair in tried if pair[1].temp_bytes <= peak_bytes]
    # Of those that fit, the one that takes most repeats least.
    compiled, best = (max if fitting else min)(fitting or tried, key=lambda pair: pair[1].temp_bytes)
    return Fitted(compiled, best.memory, best.temp_bytes, int(peak_bytes), tuple(attempt for _, attempt in tried))


def _next(budget: int, found: Attempt, peak_bytes: int, low: int, high: int, same: bool) -> int | None:
    """The budget to try next; ``None`` if what was found is good enough, or nothing is left to try."""
    if found.temp_bytes <= peak_bytes:
        guess = (budget + high) // 2
        return guess if found.temp_bytes < 0.9 * peak_bytes and guess - budget > 0.02 * high else None
    # In proportion; further if that gave the same plan as before.
    guess = int(0.8 * budget) if same else int(0.98 * budget * peak_bytes / found.temp_bytes)
    guess = guess if guess > low else (low + budget) // 2
    return guess if 0 < guess < 0.995 * budget else None


def _temp_bytes(compiled: Any) -> int:
    analysis = compiled.memory_analysis()
    if analysis is None:
        raise NotImplementedError(
            f"The compiler for {jax.default_backend()} does not say how much memory a program takes; "
            "use value_and_grad(fun, memory=…), which plans by its own count."
        )
    return int(analysis.temp_size_in_bytes)
