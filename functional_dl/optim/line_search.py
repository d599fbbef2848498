"""A line search by slopes alone, one trial at a time: a state machine on a handful of scalars."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

__all__ = ["Search", "begin", "judge"]

# How many times longer the next trial may be while none was too far, and how near it may be to an end of its bracket.
SHORTEST, LONGEST = 2.0, 10.0
SHARE = 0.1


class Search(NamedTuple):
    """Where a search along φ(α) = f(x + α p) has come to.

    Attributes:
      alpha: the next trial.
      slope: φ'(0).
      low, low_slope: the farthest α that was not far enough, from 0, and φ' there.
      high, high_slope: the nearest that was too far, and φ' there; infinite if there is none.
      tried: trials so far, int32.
    """

    alpha: Any
    slope: Any
    low: Any
    low_slope: Any
    high: Any
    high_slope: Any
    tried: Any


def begin(alpha: Any, slope: Any) -> Search:
    """A search that has tried nothing."""
    zero, infinite = jnp.zeros_like(alpha), jnp.full_like(alpha, jnp.inf)
    return Search(alpha, slope, zero, slope, infinite, infinite, jnp.zeros((), jnp.int32))


def judge(
    search: Search, slope: Any, finite: Any, decrease: Any, curvature: Any, trials: Any
) -> tuple[Any, Any, Search]:
    """Whether (2δ − 1) φ'(0) ≥ φ'(α) ≥ σ φ'(0)  (Hager & Zhang 2005, eq. 4.1), and what to try if not.

    Args:
      search: the search, with the trial α.
      slope: φ'(α).
      finite: whether the gradient there is.
      decrease, curvature: δ and σ.
      trials: after how many the farthest that was not far enough is tried again, to be taken as it is.

    Returns:
      Whether α is accepted; whether the search has failed; the search with its next trial.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_dl.optim.line_search import begin, judge
      >>> search = begin(jnp.float32(1), jnp.float32(-8))  # φ = (α − 4)²
      >>> accepted, failed, search = judge(search, jnp.float32(-6), True, 0.1, 0.5, 20)
      >>> print(accepted, failed, search.alpha)
      False False 4.0
    """
    tried = search.tried + 1
    far = ~(finite & (slope <= (2 * decrease - 1) * search.slope))
    near = ~far & (slope < curvature * search.slope)
    settled = tried > trials
    accepted = finite & (settled | ~(far | near))
    low, low_slope = jnp.where(near, search.alpha, search.low), jnp.where(near, slope, search.low_slope)
    high = jnp.where(far, search.alpha, search.high)
    high_slope = jnp.where(far, jnp.where(finite, slope, jnp.inf), search.high_slope)
    settle = (tried >= trials) & (low > 0) & ~settled
    failed = ~accepted & (tried >= trials) & ~settle

    # Nothing too far yet: where the line through φ'(0) and φ'(α) crosses zero.
    rise = slope - search.slope
    crossing = -search.slope / jnp.where(rise > 0, rise, 1)
    longer = search.alpha * jnp.clip(jnp.where(rise > 0, crossing, LONGEST), SHORTEST, LONGEST)
    # In a bracket: the same between its ends, and every other time the middle, so that it is halved at least.
    width = jnp.where(jnp.isfinite(high), high - low, 0)
    share = jnp.clip(-low_slope / jnp.where(high_slope > low_slope, high_slope - low_slope, 1), SHARE, 1 - SHARE)
    within = low + width * jnp.where(tried % 2 == 0, 0.5, share)
    alpha = jnp.where(settle, low, jnp.where(jnp.isfinite(high), within, longer))
    following = Search(alpha, search.slope, low, low_slope, high, high_slope, tried)
    return accepted, failed, following
