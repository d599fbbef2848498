"""The minimum cut against trying every subset."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from functional_dl.planner.min_cut import smallest_keep


def can_make(made_of: Any, at_hand: set[int], needed: Any) -> bool:
    """Whether all needed values are at hand or can be made; values are in the order of their making."""
    have = set(at_hand)
    for v, parts in enumerate(made_of):
        if v not in have and parts is not None and set(parts) <= have:
            have.add(v)
    return set(needed) <= have


def spent(sizes: Any, made_of: Any, free: Any, needed: Any, prices: Any, kept: set[int]) -> int:
    """The bytes kept and the prices of all that has to be made again."""
    made, stack = set(), [v for v in needed if v not in kept and v not in free]
    while stack:
        v = stack.pop()
        if v not in made:
            made.add(v)
            stack += [u for u in made_of[v] if u not in kept and u not in free]
    return sum(sizes[v] for v in kept) + sum(prices[v] for v in made)


def exhaustive(sizes: Any, made_of: Any, free: Any, needed: Any, prices: Any) -> int:
    count = range(len(sizes))
    return min(
        spent(sizes, made_of, free, needed, prices, set(kept))
        for n in range(len(sizes) + 1)
        for kept in itertools.combinations(count, n)
        if can_make(made_of, set(kept) | set(free), needed)
    )


@st.composite
def programs(draw: st.DrawFn) -> Any:
    count = draw(st.integers(1, 9))
    sizes = draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))
    made_of = [
        None if v == 0 or draw(st.integers(0, 3)) == 0 else sorted(draw(st.sets(st.integers(0, v - 1), max_size=3)))
        for v in range(count)
    ]
    subset = st.sets(st.integers(0, count - 1))
    prices = draw(st.lists(st.sampled_from([0, 0, 1, 5, 30]), min_size=count, max_size=count))
    return sizes, made_of, draw(subset), draw(subset), prices


@given(programs())
def test_smallest(program: Any) -> None:
    kept = smallest_keep(*program)
    _, made_of, free, needed, _ = program
    assert can_make(made_of, kept | free, needed), "what is kept does not suffice"
    assert not kept & free
    assert spent(*program, kept) == exhaustive(*program)


def test_sizes_beyond_32_bits() -> None:
    """Values of many gigabytes: 10 GiB from 1 GiB, which is made of something that must not be made again."""
    gigabyte = 2**30
    kept = smallest_keep([0, 3 * gigabyte, gigabyte, 10 * gigabyte], [None, None, [1], [2]], free=[0], needed=[3])
    assert kept == {2}


def test_thousands_of_values() -> None:
    """A chain of blocks, each with one small value in the middle: those are kept."""
    sizes, made_of = [1], [None]
    for _ in range(1000):
        last = len(sizes) - 1
        sizes += [64, 8, 64, 64, 64]
        made_of += [[last], None, [last + 2], [last + 3, last + 1], [last + 4]]
    needed = [v for v in range(len(sizes)) if sizes[v] == 64]
    kept = smallest_keep(sizes, made_of, free=[0], needed=needed)
    assert {sizes[v] for v in kept} == {8} and len(kept) == 1000
    assert np.isscalar(len(kept))
