"""The rule of shard_map: the reverse pass of a program that runs on every device runs on every device as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
from jax import lax
from jax.extend import core
from jax.sharding import PartitionSpec

from functional_dl.jaxprs import close, evaluate, open_jaxpr
from functional_dl.rules.table import Augmented, Call, structural

__all__: list[str] = []


@structural("shard_map")
def shard_map(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = the parts f(x_d) of all devices d, put together.   x̄ = the parts of f's reverse pass, put together.

    Residuals leave the map.  One that may differ from device to device is concatenated along its first axis
    (scalars are given one), sharded over the mesh axes it varies along; inputs and outputs are at hand already.

    With ``check_vma`` types say which values are the same on all devices, and the rules of collectives respect
    that.  Without it an operand that all devices receive has a copy on each, so that its cotangent is the sum over
    devices; and an output of which one copy is taken shares its cotangent evenly among the devices.
    """
    params = call.params
    mesh, checked, manual = params["mesh"], params["check_vma"], params["newly_manual_axes"]
    in_specs, out_specs = params["in_specs"], params["out_specs"]
    body = close(open_jaxpr(params["jaxpr"]))
    axes = _axes_in_use(body, manual, [*in_specs, *out_specs])
    outs = len(out_specs)

    def mapped(fun: Callable[..., Any], ins: Sequence[Any], outs: Any) -> Callable[..., Any]:
        return jax.shard_map(
            fun, mesh=mesh, in_specs=tuple(ins), out_specs=outs, axis_names=set(manual), check_vma=checked
        )

    found: list[Any] = []

    def within() -> tuple[()]:
        found.append(differentiate(body, call.active, call.seeded))
        return ()

    # Rules that name an axis are traced where JAX knows the axis: inside the map.
    jax.make_jaxpr(mapped(within, (), ()))()
    (inner,) = found

    def own(aval: Any) -> Any:
        """The sharding of a residual of this type outside the map."""
        kind = aval.mat
        along = tuple(a for a in mesh.axis_names if a in (kind.varying & manual if checked else axes))
        untaken = {k: v for k in ("unreduced", "reduced") if (v := getattr(kind, k) & manual)}
        return PartitionSpec(*([along] if along else []), **untaken)

    stored_specs = [own(aval) for aval in inner.stored]
    lifted = [aval.shape == () and len(spec) > 0 for aval, spec in zip(inner.stored, stored_specs, strict=True)]

    def forward(*operands: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        def run(*xs: Any) -> tuple[list[Any], list[Any]]:
            values = evaluate(open_jaxpr(inner.forward), xs)
            kept = zip(values[outs:], lifted, strict=True)
            return values[:outs], [lax.expand_dims(r, (0,)) if up else r for r, up in kept]

        return mapped(run, in_specs, (list(out_specs), stored_specs))(*operands)

    def backward(cts: Sequence[Any], ys: Sequence[Any], stored: Sequence[Any], *operands: Any) -> Sequence[Any]:
        residuals = inner.residuals(operands, ys, stored)
        specs = inner.residuals(in_specs, out_specs, stored_specs)
        scalars = inner.residuals([False] * len(operands), [False] * outs, lifted)
        seeds = [_shared(cts[j], mesh, () if checked else _absent(axes, out_specs[j])) for j in inner.seeds]

        def run(*values: Any) -> list[Any]:
            read = zip(values[: len(residuals)], scalars, strict=True)
            local = [lax.squeeze(r, (0,)) if up else r for r, up in read]
            slopes = evaluate(open_jaxpr(inner.backward), [*local, *values[len(residuals) :]])
            if checked:
                return slopes
            sums = [_absent(axes, in_specs[i]) for i in inner.targets]
            return [lax.psum(g, along) if along else g for g, along in zip(slopes, sums, strict=True)]

        ins = [*specs, *[out_specs[j].to_ct_spec() for j in inner.seeds]]
        slopes = mapped(run, ins, [in_specs[i].to_ct_spec() for i in inner.targets])(*residuals, *seeds)
        return inner.spread(slopes, len(operands))

    return Augmented(forward, backward)


def _mentioned(spec: Any) -> set[Any]:
    """The mesh axes that a partition spec splits a value along, or that its cotangent is a sum along, not yet taken."""
    entries = [e if isinstance(e, tuple) else (e,) for e in spec.partitions if e is not None]
    return {a for entry in entries for a in entry} | set(spec.reduced)


def _absent(axes: Sequence[Any], spec: Any) -> tuple[Any, ...]:
    mentioned = _mentioned(spec)
    return tuple(a for a in axes if a not in mentioned)


def _shared(ct: Any, mesh: Any, axes: Sequence[Any]) -> Any:
    """The part of ``ct`` of each of the devices along ``axes``."""
    return ct / prod(mesh.shape[a] for a in axes) if axes else ct


def _axes_in_use(body: Any, manual: Any, specs: Sequence[Any]) -> tuple[Any, ...]:
    """The manual axes along which something may differ: those that a spec or a collective names.

    Along the others, such as an axis that `jax.vmap` has been given as ``spmd_axis_name``, all devices do the same.
    """
    names = {a for spec in specs for a in _mentioned(spec) | set(spec.unreduced)} | _named(getattr(body, "jaxpr", body))
    return tuple(a for a in manual if a in names)


def _named(jaxpr: Any) -> set[Any]:
    """The axes that the collectives of a jaxpr name, those of inner jaxprs included."""
    names: set[Any] = set()
    for eqn in jaxpr.eqns:
        for key in ("axes", "axis_name"):
            value = eqn.params.get(key, ())
            names |= set(value) if isinstance(value, (tuple, list)) else {value}
        for inner in core.jaxprs_in_params(eqn.params):
            names |= _named(inner)
    return names
