"""Cases for shard_map, collectives and placement, on eight devices that are one CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.interpreters import mlir
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.oracles import normal
from tests.rules.contract import Case, case

if jax.__version_info__ < (0, 11):
    from jax.experimental.shard_alike import shard_alike

__all__ = ["CASES", "MESH", "across", "ragged"]

MESH = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
EXPLICIT = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Explicit,) * 2)
SECOND = 2 if jax.__version_info__ >= (0, 11) else 1
GROUPS = [[0, 2], [1, 3]]


def across(fun: Callable[..., Any], ins: Any, outs: Any, checked: bool = True, **how: Any) -> Callable[..., Any]:
    """``fun`` on each device of the mesh, compiled: JAX runs an uncompiled shard_map one primitive at a time."""
    return jax.jit(jax.shard_map(fun, mesh=MESH, in_specs=ins, out_specs=outs, check_vma=checked, **how))


def both(
    primitive: tuple[str, str], fun: Callable[..., Any], ins: Any, outs: Any, *args: Any, label: str = "", **how: Any
) -> list[Case]:
    """A case with varying-axes types and one without, where the primitive may be another."""
    return [
        case(name, across(fun, ins, outs, checked), *args, label=f"{label} {kind}".strip(), **how)
        for name, kind, checked in zip(primitive, ("checked", "unchecked"), (True, False), strict=True)
    ]


# --- stand-ins for what JAX does not lower to a CPU --------------------------------------------------------------


def _pbroadcast(x: Any, source: Any, axis_name: Any) -> Any:
    mine = lax.axis_index(axis_name) == source
    return lax.psum(lax.select(jnp.broadcast_to(mine, x.shape), x, jnp.zeros_like(x)), axis_name)


def _ragged(x: Any, base: Any, starts: Any, sizes: Any, ends: Any, _: Any, axis_name: Any, **groups: Any) -> Any:
    here, row = lax.axis_index(axis_name), jnp.arange(base.shape[0])
    parts = [lax.all_gather(a, axis_name) for a in (x, starts, sizes, ends)]
    for part, start, size, end in zip(*parts, strict=True):
        row_there = jnp.clip(row - end[here] + start[here], 0, len(x) - 1)
        came = (row >= end[here]) & (row < end[here] + size[here])
        base = jnp.where(came[:, None], part[row_there], base)
    return base


def _primitive(fun: Callable[..., Any], *args: Any) -> Any:
    (outer,) = jax.make_jaxpr(across(fun, P("x"), P("x"), checked=False).__wrapped__)(*args).jaxpr.eqns
    return getattr(outer.params["jaxpr"], "jaxpr", outer.params["jaxpr"]).eqns[-1].primitive


def _lower(primitive: Any, fun: Callable[..., Any]) -> None:
    mlir.register_lowering(primitive, mlir.lower_fun(fun, multiple_results=False), platform="cpu")


ROWS = np.zeros((16, 3), np.float32)
_lower(
    _primitive(lambda x: lax.pbroadcast(x, "x", 1), ROWS),
    lambda x, *, axis_name, source: _pbroadcast(x, source, axis_name),
)
_lower(
    _primitive(lambda x: lax.ragged_all_to_all(x, x, *[np.arange(4, dtype=np.int32)] * 4, axis_name="x"), ROWS),
    _ragged,
)
if jax.__version_info__ >= (0, 12):
    _lower(_primitive(lambda x: lax.pbroadcast(x, "x", np.int32(1)), ROWS), _pbroadcast)

# Device e sends SIZES[e, d] rows, one device after the other, and they follow one another where they come to.
SIZES = np.array([[2, 1, 1, 1], [1, 2, 1, 1], [1, 1, 1, 1], [1, 1, 2, 1]], np.int32)


def ragged(x: Any, base: Any, sizes: Any = SIZES) -> Any:
    starts, ends = (np.cumsum(sizes, axis, dtype=np.int32) - sizes for axis in (1, 0))
    mine = [jnp.asarray(table)[lax.axis_index("x")] for table in (starts, sizes, ends, sizes.T)]
    return lax.ragged_all_to_all(jnp.sin(x), base**2, *mine, axis_name="x")


# --- cases -------------------------------------------------------------------------------------------------------

A, B, W, W2 = normal(8, 4), normal(16, 3), 0.5 * normal(4, 3), normal(4, 2)
SPLIT = P("x", "y")


def loss(w: Any, a: Any) -> Any:
    return lax.pmean(jnp.sum(jnp.tanh(a @ w) ** 2), "x")


def layer(w: Any, a: Any) -> Any:
    return jnp.tanh(lax.psum(jnp.sin(a @ w), "y")) * a[:, :1]


def scalars(a: Any) -> Any:
    s = jnp.sum(jnp.sin(a))  # one residual per device
    return jnp.exp(s) * jnp.cos(s) * a


def looped(w: Any, a: Any) -> Any:
    def step(c: Any, x: Any) -> Any:
        c = jnp.tanh(c + lax.psum(x @ w, "y") * x)
        return c, c * lax.axis_index("x")

    return lax.scan(step, jnp.zeros_like(a[0]), a)[1]


def rotated(a: Any) -> Any:
    return lax.ppermute(jnp.sin(a), "x", [(0, 1), (1, 3), (3, 0)]) * a


def wide(w: Any, a: Any) -> Any:
    return jnp.sin(a @ w)  # the rows of a are split along x, which the compiler sees to


def gathered(a: Any, tiled: bool = False) -> Any:
    return jnp.sin(lax.all_gather(a**2, "x", tiled=tiled, to="invarying"))


def in_groups(name: str, collective: Callable[..., Any], a: Any, **how: Any) -> Case:
    fun = across(lambda a: collective(a**2, "x", axis_index_groups=GROUPS), P("x"), P("x"), checked=False)
    return case(name, fun, a, label="groups", **how)


def late_sum(b: Any) -> Any:
    return jnp.sin(lax.psum(lax.pcast(b**2, "x", to="unreduced"), "x"))


def late_scatter(b: Any) -> Any:
    return lax.psum_scatter(lax.pcast(b**2, "x", to="unreduced"), "x", tiled=True)


def gathered_reduced(b: Any) -> Any:
    return jnp.sin(lax.pcast(lax.all_gather(b, "x", to="reduced", tiled=True), "x", to="varying"))


def resharded(b: Any) -> Any:
    b = jax.reshard(b, NamedSharding(EXPLICIT, P()))
    with jax.sharding.use_abstract_mesh(EXPLICIT.abstract_mesh):
        return jnp.sin(jax.reshard(b**2, P("x", None)))


def alike(a: Any, b: Any) -> Any:
    return shard_alike(jnp.sin(a), b**2)


CASES: list[Case] = [
    *both(("shard_map", "shard_map"), loss, (P(), P("x")), P(), W, A, label="data-parallel"),
    *both(("shard_map", "shard_map"), layer, (P("y"), SPLIT), SPLIT, W, A, label="tensor-parallel"),
    *both(("shard_map", "shard_map"), scalars, SPLIT, SPLIT, A, label="scalar residuals"),
    case("shard_map", across(looped, (P("y"), SPLIT), SPLIT), W[:, :2], A, label="loop"),
    case("shard_map", across(wide, (P(None, "y"), P()), P(None, "y"), axis_names={"y"}), W2, A, label="partial"),
    *both(("psum_invariant", "psum"), lambda a: lax.psum(jnp.sin(a), "x") * 2, SPLIT, P(None, "y"), A),
    case("pvary", across(lambda w, a: jnp.sin(w) * a, (P(None, "y"), SPLIT), SPLIT), normal(2, 4), A),
    case("psum", lambda a: jax.vmap(lambda r: lax.psum(jnp.sin(r), "i") * r, axis_name="i")(a), A, label="in vmap"),
    case("pmax", lambda a: jax.vmap(lambda r: lax.pmax(r, "i") * r, axis_name="i")(a), A, label="in vmap", refused=1),
    *both(("pmax", "pmax"), lambda a: lax.pmax(jnp.sin(a), "x") * a, SPLIT, SPLIT, A, refused=1),
    *both(("pmin", "pmin"), lambda a: lax.pmin(jnp.sin(a), ("x", "y")) * a, SPLIT, SPLIT, A, refused=1),
    case("ppermute", across(rotated, SPLIT, SPLIT), A),
    case("all_gather", across(lambda a: lax.all_gather(a**2, "x"), SPLIT, P("x", None, "y")), A),
    case("all_gather_invariant", across(gathered, SPLIT, P(None, None, "y")), A),
    case("all_gather_invariant", across(partial(gathered, tiled=True), SPLIT, P(None, "y")), A, label="tiled"),
    case("reduce_scatter", across(lambda b: lax.psum_scatter(b**2, "x"), P("x"), P("x")), B),
    case("all_to_all", across(lambda b: lax.all_to_all(b**2, "x", 0, 0), P("x"), P("x")), B),
    # JAX's transpose of an all_to_all between different axes has the wrong shape unless it is tiled.
    case("all_to_all", across(lambda b: lax.all_to_all(b**2, "x", 0, 1), P("x"), P("x")), B, label="moved", refused=1),
    # JAX's transpose of pbroadcast fills an array with an array, which fails but for scalars.
    *both(("pbroadcast",) * 2, lambda b: lax.pbroadcast(b**2, "x", 2) * b, P("x"), P("x"), B, refused=1),
    case("ragged_all_to_all", across(ragged, (P("x"), P("x")), P("x"), False), normal(20, 3), normal(24, 3)),
    # Among groups of devices.
    in_groups("psum", lax.psum, B),
    in_groups("pmin", lax.pmin, B, refused=1),
    in_groups("all_gather", partial(lax.all_gather, tiled=True), B),
    in_groups("reduce_scatter", partial(lax.psum_scatter, tiled=True), B),
    in_groups("all_to_all", partial(lax.all_to_all, split_axis=1, concat_axis=0, tiled=True), A),
    # Sums put off: their types exist with ``check_vma`` alone.
    case("unreduced_psum", across(late_sum, P("x"), P()), B),
    case("unreduced_reduce_scatter", across(late_scatter, P("x"), P("x")), B),
    case("preduced", across(lambda b: lax.pcast(lax.pcast(b, "x", to="reduced"), "x", to="varying"), P(), P("x")), B),
    case("all_gather_reduced", across(gathered_reduced, P("x"), P("x")), B),
    # Placement.
    case("device_put", jax.jit(lambda b: jnp.sin(jax.device_put(b**2, NamedSharding(MESH, P("x"))))), B),
    case("device_put", lambda b: jnp.sin(jax.device_put(b**2, jax.devices()[1])), B, label="eager"),
    case(
        "sharding_constraint",
        jax.jit(lambda b: jnp.sin(lax.with_sharding_constraint(b**2, NamedSharding(MESH, P("x", None))))),
        B,
    ),
    case("layout_constraint", jax.jit(lambda b: with_layout_constraint(jnp.sin(b), Layout((0, 1)))), B),
    # JAX 0.10 cannot make zeros of an explicit sharding outside a mesh context; with one, see test_sharding.py.
    case("reshard", jax.jit(resharded, in_shardings=NamedSharding(EXPLICIT, P())), B, order=SECOND),
]

UNREDUCED = "vary_unreduced_cast" if jax.__version_info__ >= (0, 12) else "vary_unreduced_cast_p"
REDUCED = "reduced_vary_cast" if jax.__version_info__ >= (0, 12) else "reduced_vary_cast_p"
CASES += [
    case(UNREDUCED, across(late_sum, P("x"), P()), B[:8]),
    case(REDUCED, across(gathered_reduced, P("x"), P("x")), B[:8]),
]
if jax.__version_info__ >= (0, 12):
    CASES += [
        case(
            "pbroadcast_dynamic",
            across(lambda b: lax.pbroadcast(b**2, "x", jnp.int32(3)), P("x"), P("x")),
            B,
            refused=1,
        )
    ]
if jax.__version_info__ < (0, 11):
    CASES += [case("shard_alike", jax.jit(alike), B, normal(16, 3, seed=1))]
