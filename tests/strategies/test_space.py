"""Search spaces: dimensions and [0, 1], draws, grids, narrowing, TOML."""

import math
import tomllib

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from functional_dl.strategies.space import (
    Choice,
    Integer,
    LogUniform,
    Uniform,
    choice,
    draw,
    grid,
    integer,
    log_uniform,
    member_seed,
    narrowed,
    read_space,
    uniform,
    write_space,
)  # fmt: skip

SPACE = {
    "optimizer.learning_rate": log_uniform(1e-4, 1e-1),
    "model.dropout": uniform(0.0, 0.5),
    "model.depth": integer(1, 4),
    "model.width": integer(16, 256, log=True),
    "model.activation": choice("relu", "tanh", "gelu"),
}

POSITIONS = st.floats(0, 1)
UNIFORMS = st.builds(lambda low, width: Uniform(low, low + width), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
LOG_UNIFORMS = st.builds(lambda low, ratio: LogUniform(low, low * ratio), st.floats(1e-9, 1e6), st.floats(1.01, 1e9))
INTEGERS = st.builds(lambda low, width, log: Integer(low, low + width, log),
                     st.integers(1, 1000), st.integers(1, 1000), st.booleans())  # fmt: skip
CHOICES = st.lists(st.integers(), min_size=1, max_size=6, unique=True).map(lambda values: Choice(tuple(values)))
DIMENSIONS = UNIFORMS | LOG_UNIFORMS | INTEGERS | CHOICES


def holds(dimension, value):
    if isinstance(dimension, Choice):
        return value in dimension.values
    return (
        type(value) is (int if isinstance(dimension, Integer) else float) and dimension.low <= value <= dimension.high
    )


@given(UNIFORMS | LOG_UNIFORMS, POSITIONS)
def test_position_is_the_inverse_of_at(dimension, u):
    # Values have twelve digits: where the interval is narrow beside them, positions have fewer.
    digits = 1e-11 * max(abs(dimension.low), abs(dimension.high))
    if isinstance(dimension, LogUniform):
        error = 1e-11 / math.log(dimension.high / dimension.low)
    else:
        error = digits / (dimension.high - dimension.low)
    assert dimension.position(dimension.at(u)) == pytest.approx(u, abs=error + 1e-12)


@given(DIMENSIONS, POSITIONS)
def test_at_is_the_inverse_of_position(dimension, u):
    value = dimension.at(u)
    assert holds(dimension, value)
    if isinstance(dimension, (Integer, Choice)):
        assert dimension.at(dimension.position(value)) == value
    else:
        assert dimension.at(dimension.position(value)) == pytest.approx(value, rel=1e-11, abs=1e-5)


@given(DIMENSIONS, POSITIONS, POSITIONS)
def test_at_rises(dimension, u, v):
    u, v = min(u, v), max(u, v)
    if isinstance(dimension, Choice):
        assert dimension.index(dimension.at(u)) <= dimension.index(dimension.at(v))
    else:
        assert dimension.at(u) <= dimension.at(v)


@pytest.mark.parametrize("dimension", SPACE.values(), ids=repr)
def test_ends(dimension):
    ends = (
        (dimension.values[0], dimension.values[-1])
        if isinstance(dimension, Choice)
        else (dimension.low, dimension.high)
    )
    assert (dimension.at(0.0), dimension.at(1.0)) == ends


@pytest.mark.parametrize("dimension", [integer(2, 6), choice("a", "b", "c", "d", "e")], ids=repr)
def test_each_is_equally_likely(dimension):
    found = [dimension.at((i + 0.5) / 1000) for i in range(1000)]
    assert [found.count(value) for value in dimension.grid(5)] == [200] * 5


def test_log_integer_shares():
    # n owns log(n + ½) − log(n − ½) of log(4.5) − log(0.5) = log 9: log 3, log 5/3, log 7/5, log 9/7.
    found = [integer(1, 4, log=True).at((i + 0.5) / 10_000) for i in range(10_000)]
    due = [math.log(x) / math.log(9) for x in (3, 5 / 3, 7 / 5, 9 / 7)]
    assert [found.count(n) / 10_000 for n in (1, 2, 3, 4)] == pytest.approx(due, abs=2e-4)


@pytest.mark.parametrize(("dimension", "points", "due"), [
    (uniform(0.0, 0.5), 6, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    (uniform(0.1, 0.7), 3, [0.1, 0.4, 0.7]),
    (uniform(-1, 1), 1, [0.0]),
    (log_uniform(1e-5, 1e-1), 5, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
    (log_uniform(1e-3, 1e-1), 1, [1e-2]),
    (integer(1, 4), 3, [1, 3, 4]),
    (integer(1, 4), 9, [1, 2, 3, 4]),
    (integer(1, 4), 4, [1, 2, 3, 4]),
    (integer(16, 256, log=True), 3, [16, 64, 256]),
    (integer(1, 4, log=True), 1, [2]),
    (integer(1, 100, log=True), 10, [1, 2, 3, 5, 8, 13, 22, 36, 60, 100]),
    (integer(1, 10, log=True), 9, [1, 2, 3, 4, 6, 7, 10]),  # 1.3 rounds to 1, 1.8 and 2.4 to 2
    (integer(1, 10, log=True), 10, list(range(1, 11))),
    (choice("relu", "tanh"), 1, ["relu", "tanh"]),
])  # fmt: skip
def test_grid_of_a_dimension(dimension, points, due):
    found = dimension.grid(points)
    assert found == due and all(holds(dimension, value) for value in found)


@given(DIMENSIONS, st.integers(1, 20))
def test_grids(dimension, points):
    found = dimension.grid(points)
    assert all(holds(dimension, value) for value in found) and len(set(found)) == len(found)
    if not isinstance(dimension, Choice):
        assert len(found) <= points and found == sorted(found)
        assert points == 1 or (found[0], found[-1]) == (dimension.low, dimension.high)


@pytest.mark.parametrize(("dimension", "center", "share", "due"), [
    (uniform(0.0, 1.0), 0.5, 0.2, Uniform(0.4, 0.6)),
    (uniform(0.0, 1.0), 0.05, 0.2, Uniform(0.0, 0.15)),
    (log_uniform(1e-4, 1e-0), 1e-2, 0.5, LogUniform(1e-3, 1e-1)),
    (log_uniform(1e-4, 1e-0), 1.0, 0.5, LogUniform(1e-1, 1.0)),
    (integer(1, 100), 50, 0.1, Integer(45, 55)),
    (integer(1, 8), 5, 0.01, Integer(4, 6)),
    (integer(1, 8), 8, 0.01, Integer(7, 8)),
    (integer(16, 256, log=True), 64, 0.5, Integer(32, 129, log=True)),  # the quarters of log(256.5/15.5)
    (choice(1, 2, 3), 2, 0.1, Choice((1, 2, 3))),
])  # fmt: skip
def test_narrowed(dimension, center, share, due):
    assert dimension.narrowed(center, share) == due


@given(DIMENSIONS, POSITIONS, st.floats(1e-9, 1))
def test_narrowed_lies_inside(dimension, u, share):
    center = dimension.at(u)
    inner = dimension.narrowed(center, share)
    assert type(inner) is type(dimension) and holds(inner, center)
    if not isinstance(dimension, Choice):
        assert dimension.low <= inner.low < inner.high <= dimension.high


def test_narrowed_space():
    best = [{"optimizer.learning_rate": x, "model.dropout": 0.25, "model.depth": 2, "model.width": 64,
             "model.activation": kind} for x, kind in [(1e-1, "tanh"), (1e-2, "relu"), (2e-2, "tanh")]]  # fmt: skip
    found = narrowed(SPACE, best, share=0.2)
    assert found["optimizer.learning_rate"] == SPACE["optimizer.learning_rate"].narrowed(2e-2, 0.2)
    assert found["model.dropout"] == Uniform(0.2, 0.3)
    assert found["model.activation"] == Choice(("relu", "tanh"))
    assert list(found) == list(SPACE)


@given(DIMENSIONS)
def test_ticks(dimension):
    found = dimension.ticks()
    assert len(found) >= (1 if isinstance(dimension, Choice) else 2) and len(set(found)) == len(found)
    if not isinstance(dimension, Choice):
        slack = 1e-9 * max(abs(dimension.low), abs(dimension.high), 1)
        assert all(dimension.low - slack <= x <= dimension.high + slack for x in found) and found == sorted(found)
        assert len(found) <= 20


@pytest.mark.parametrize(("dimension", "due"), [
    (uniform(0.0, 0.5), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    (uniform(-3, 17), [0.0, 5.0, 10.0, 15.0]),
    (log_uniform(1e-4, 1e-1), [1e-4, 1e-3, 1e-2, 1e-1]),
    (log_uniform(0.2, 0.8), [0.2, 0.4, 0.6, 0.8]),
    (integer(1, 4), [1, 2, 3, 4]),
    (integer(16, 256, log=True), [16, 32, 64, 128, 256]),
    (choice("b", "a"), ["b", "a"]),
])  # fmt: skip
def test_ticks_by_hand(dimension, due):
    assert dimension.ticks() == due


def test_draw_is_specified_bit_for_bit():
    assert draw(SPACE, 0, 5) == {
        "optimizer.learning_rate": 0.0337127709347, "model.dropout": 0.13335094276, "model.depth": 4, "model.width": 75,
        "model.activation": "tanh",
    }  # fmt: skip
    assert draw({"x": uniform(0, 1)}, 2**32 - 1, 10_000)["x"] == 0.558995237806


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_draw_depends_on_nothing_else(seed, member, shuffler):
    whole = draw(SPACE, seed, member)
    assert all(holds(SPACE[name], value) for name, value in whole.items())
    names = list(SPACE)
    shuffler.shuffle(names)
    assert draw({name: SPACE[name] for name in names}, seed, member) == whole
    alone = shuffler.choice(names)
    assert draw({alone: SPACE[alone]}, seed, member) == {alone: whole[alone]}


def test_distribution_of_draws():
    members, space = 2000, {"a": log_uniform(1e-4, 1e-1), "b": uniform(0, 1)}
    drawn = [draw(space, 7, member) for member in range(members)]
    u = np.array([[space[name].position(values[name]) for name in space] for values in drawn])
    # Kolmogorov and Smirnov: the distance from the uniform distribution passes 1.63/√n once in a hundred seeds.
    steps = np.arange(1, members + 1)[:, None] / members
    ordered = np.sort(u, axis=0)
    distance = np.maximum(steps - ordered, ordered - steps + 1 / members).max()
    assert distance < 1.63 / math.sqrt(members)
    assert abs(np.corrcoef(u.T)[0, 1]) < 3 / math.sqrt(members)
    # Members, and seeds, follow each other without a pattern.
    assert abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < 3 / math.sqrt(members)
    other = [space["b"].position(draw(space, 8, member)["b"]) for member in range(members)]
    assert abs(np.corrcoef(u[:, 1], other)[0, 1]) < 3 / math.sqrt(members)
    rates = np.array([values["a"] for values in drawn])
    assert ((rates >= 1e-4) & (rates < 1e-3)).mean() == pytest.approx(1 / 3, abs=0.03)


def test_grid_product():
    found = grid(SPACE, 3)
    assert len(found) == 3**5 and len({tuple(sorted(values.items())) for values in found}) == 3**5
    assert found[0] == {"model.activation": "relu", "model.depth": 1, "model.dropout": 0.0, "model.width": 16,
                        "optimizer.learning_rate": 1e-4}  # fmt: skip
    assert found[1] == {**found[0], "optimizer.learning_rate": 0.00316227766017}
    assert grid(dict(reversed(SPACE.items())), 3) == found
    assert len(grid(SPACE, 5)) == 5 * 5 * 4 * 5 * 3


TOML = """
"optimizer.learning_rate" = { log_uniform = [1e-4, 1e-1] }
model.dropout = { uniform = [0, 0.5] }
model.depth = { integer = [1, 4] }

[model.width]
log_integer = [16, 256]

[model."activation"]
choice = ["relu", "tanh", "gelu"]
"""


def test_read_space():
    assert read_space(tomllib.loads(TOML)) == SPACE


def test_round_trip():
    space = {**SPACE, "model.hidden": choice([64], [128, 128]), "optimizer.nesterov": choice(True, False)}
    assert read_space(tomllib.loads(tomli_w.dumps(write_space(space)))) == space


@given(st.dictionaries(st.text("abc", min_size=1), DIMENSIONS, min_size=1, max_size=4))
def test_round_trips(space):
    assert read_space(write_space(space)) == space


@pytest.mark.parametrize(("table", "sentence"), [
    ({}, "is empty"),
    ({"a": {"log_unifrom": [1e-4, 1e-1]}}, "search space, a: unknown kind log_unifrom; did you mean log_uniform"),
    ({"a": {"zipf": [1, 2]}}, "unknown kind zipf; known: uniform, log_uniform, integer"),
    ({"a": {"b": {"uniform": [1.0, 1.0]}}}, "search space, a.b: Uniform from 1.0 to 1.0; due is low < high"),
    ({"a": {"uniform": [1.0]}}, "1 values came; due are two"),
    ({"a": {"uniform": 3.0}}, "uniform = 3.0; due is a list"),
    ({"a": {"uniform": [1.0, "2"]}}, "due are two finite numbers"),
    ({"a": {"uniform": [0.0, math.inf]}}, "due are two finite numbers"),
    ({"a": {"uniform": [False, True]}}, "due are two finite numbers"),
    ({"a": {"log_uniform": [0.0, 1.0]}}, "LogUniform from 0.0 to 1.0.*due is low > 0"),
    ({"a": {"log_integer": [0, 8]}}, "Integer from 0 to 8.*due is low > 0"),
    ({"a": {"integer": [1.0, 8.0]}}, "due are two whole numbers"),
    ({"a": {"choice": []}}, "Choice of nothing"),
    ({"a": {"choice": ["x", "y", "x"]}}, "'x' comes twice"),
    ({"a": {"choice": [1.0, math.nan]}}, "nan"),
    ({"a": 3}, "search space, a: 3 came; due is one of"),
    ({"a": {"uniform": [0, 1], "choice": [1]}}, "search space, a: .* came; due is one of"),
    ({"a": {}}, "search space, a: {} came; due is one of"),
    ({"a.b": {"choice": [1]}, "a": {"b": {"choice": [2]}}}, "search space, a.b: it comes twice"),
])  # fmt: skip
def test_errors_of_tables(table, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_space(table)


def test_errors():
    with pytest.raises(ValueError, match="nan"):
        uniform(math.nan, 1.0)
    with pytest.raises(ValueError, match="-1e\\+308 to 1e\\+308"):
        uniform(-1e308, 1e308)
    with pytest.raises(ValueError, match="4 is none of the choices"):
        choice(1, 2).position(4)
    with pytest.raises(ValueError, match="0 points"):
        grid(SPACE, 0)
    with pytest.raises(ValueError, match="no members"):
        narrowed(SPACE, [], 0.5)
    with pytest.raises(ValueError, match="0 of its width"):
        narrowed(SPACE, [draw(SPACE, 0, 0)], 0)


def test_choices_of_different_types():
    dimension = choice(1, True, 1.0, "1")
    assert [dimension.index(x) for x in dimension.values] == [0, 1, 2, 3]


def test_member_seed():
    seeds = {
        member_seed(seed, member, replicate) for seed in range(5) for member in range(50) for replicate in range(4)
    }
    assert len(seeds) == 1000 and all(type(x) is int and 0 <= x < 2**32 for x in seeds)
    assert member_seed(0, 3) == member_seed(0, 3, replicate=0) == 2613022947
