"""From the figures of a backward pass to findings in words: where a gradient vanishes, explodes or does not get by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from functional_dl.diagnostics.flow import Flow
from functional_dl.diagnostics.flow_figures import SATURATED, Figures, figures
from functional_dl.diagnostics.stretches import Stretch, steepest_stretch

__all__ = ["Finding", "Kind", "diagnose"]

Kind = Literal[
    "nonfinite", "vanishing", "exploding", "dead", "saturated", "step_too_large", "step_too_small", "healthy"
]

# A fall matters by how much of it there is in all: under one learning rate the lowest layer learns so many times more
# slowly than the highest.  A hundredth is what the widths of layers and the two ends do not explain; a sigmoid network
# of 12 layers falls to a millionth.
FALL, RISE = 1e-2, 1e2
# Within these, a step is what chance and widths make of one.  0.9 over 44 layers makes a hundredth.
LEVEL, CLIMB = 0.9, 1.1
# One layer may be narrow, pooled or normalised: a rate takes several, and this is what they make without the largest.
FALL_OF_OTHERS, RISE_OF_OTHERS = 1e-1, 1e1
# Updates should be about 10⁻³ of the weights, to within about an order of magnitude (Hinton 2010, "A practical guide to
# training restricted Boltzmann machines", section 7).  First steps of Adam are an order above that, so it takes two.
USUAL, LARGE, SMALL = 1e-3, 1e-1, 1e-5
# Some saturated units are what a trained classifier lives by; of a quarter it is said.
SATURATED_SHARE = 0.25
# Single dead units are usual in a trained network; from a tenth of a layer on it is said what helps.
DEAD_SHARE = 0.1
LISTED, LAYERS = 12, 3  # units, and layers, that are named one by one

_SQUASHING = {"logistic", "sigmoid", "tanh", "hard_tanh", "soft_sign"}
_ONE_SIDED = {"relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "swish", "softplus"}


@dataclass(frozen=True)
class Finding:
    """Something seen in a backward pass.

    Attributes:
      kind: what.
      places: names of the places concerned, in the order in which the backward pass comes to them; of parameters where
        it is about steps.
      text: a sentence or two with figures.
      remedies: what helps, by name in `functional_dl.diagnostics.remedies.REMEDIES`, the most likely first.
      figure: the number that it rests on: the rate per layer or time step, the share of units, the ratio.
    """

    kind: Kind
    places: tuple[str, ...]
    text: str
    remedies: tuple[str, ...] = ()
    figure: float | None = None


def diagnose(flow: Flow) -> tuple[Finding, ...]:
    """What is wrong with a backward pass, the worst first, and ``"healthy"`` if nothing calls for a remedy.

    The rate per layer is the geometric mean of δ[l]/δ[l+1] over the stretch of layers where it falls, or rises, most
    (see `functional_dl.diagnostics.stretches`), δ being ‖δ‖/√units (`functional_dl.diagnostics.flow_figures`).  It is
    that of the stretch's two ends, and no regression, which layers that stand level beside the stretch would flatten.
    The output layer is no part of a fall: its width is the data's, and no activation follows it.  The rate over time is
    that of the iterations of a loop whose parameters are shared, in the same way.

    Args:
      flow: what `functional_dl.diagnostics.gradient_flow` measured.

    Example:
      >>> from functional_dl.diagnostics.diagnosis import diagnose
      >>> from functional_dl.diagnostics.flow import Flow, Measures, Place, Share
      >>> names = ["dense_0", "dense_1", "dense_2", "dense_3", "dense_4"]
      >>> flow = Flow.of(
      ...     1.0, None, {}, tuple(Place(n, "layer", (), "", "sigmoid", (8, 4)) for n in names),
      ...     tuple(Measures(1.0, 1.0, delta) for delta in (1e-6, 1e-5, 1e-4, 1e-3, 1e-3)), {},
      ... )
      >>> [(finding.kind, finding.places, round(finding.figure, 3)) for finding in diagnose(flow)]
      [('vanishing', ('dense_3', 'dense_0'), 0.1)]
    """
    found = figures(flow)
    broken = _nonfinite(flow, found)
    if broken:  # what is measured beyond it says nothing
        return (broken,)
    chain = [x for x in found if x.place.kind == "layer"]
    findings = [
        *_layers(chain), *_times(chain), *_dead(found), *_saturated(found), *_steps(chain),
    ]  # fmt: skip
    notes_only = not any(finding.remedies for finding in findings)
    return (*findings, *([_healthy(chain, found)] if notes_only else []))


def _nonfinite(flow: Flow, found: Sequence[Figures]) -> Finding | None:
    remedies = ("lower_rate", "clip", "skip_nonfinite")
    for x in found:
        if not np.isfinite([x.value, x.activation]).all():
            text = f"The forward pass is not finite, first at {x.name}: no gradient below says anything."
            return Finding("nonfinite", (x.name,), text, remedies, x.value)
    for x in reversed(found):
        if not x.finite:
            text = f"The forward pass is finite, the gradient is not: first, on the way down, at {x.name}."
            return Finding("nonfinite", (x.name,), text, remedies, x.delta)
    if not np.isfinite(float(flow.loss)):
        return Finding("nonfinite", (), f"The loss is {float(flow.loss)}; all layers are finite.", remedies)
    return None


def _layers(chain: Sequence[Figures]) -> list[Finding]:
    """Vanishing and exploding from layer to layer."""
    deltas = [x.delta for x in chain]
    top = max((i for i, delta in enumerate(deltas) if delta > 0), default=None)
    if top is None:
        return [Finding("vanishing", (), "No gradient reaches any layer: δ is exactly 0 everywhere.", ("relu",), 0.0)]
    chain, deltas = chain[: top + 1], deltas[: top + 1]  # what comes after it, the loss does not depend on
    findings = []
    bottom = next(i for i, delta in enumerate(deltas) if delta > 0)
    if bottom:
        lost, last = chain[bottom - 1], chain[bottom]
        text = (
            f"No gradient at all gets below {last.name}: δ is exactly 0 from {lost.name} down, in {bottom} layers. "
            "Either it is stopped there on purpose, or no unit lets anything through."
        )
        findings.append(Finding("vanishing", (last.name, lost.name), text, _for_fall([lost]), 0.0))
    # A branch that is switched off is no link of the chain.
    chain = [x for x in chain if x.delta > 0]
    hidden = chain[:-1] if chain and not chain[-1].place.activation else chain
    if fall := _fall([x.delta for x in hidden]):
        part = hidden[fall.first : fall.last + 1]
        text = (
            f"The gradient vanishes: from {part[-1].name} down to {part[0].name} each layer leaves {fall.rate:.2g} of δ"
            f", {fall.change:.1e} in all over {fall.steps} layers.{_why(part[:-1])}"
        )
        findings.append(Finding("vanishing", (part[-1].name, part[0].name), text, _for_fall(part), fall.rate))
    if rise := _rise([x.delta for x in chain]):
        above, below = chain[rise.last], chain[rise.first]
        text = (
            f"The gradient explodes from {above.name} on: each layer down to {below.name} multiplies δ by "
            f"{rise.rate:.3g}, by {rise.change:.1e} in all over {rise.steps} layers."
        )
        remedies = ("scale", "he_init", "glorot_init", "batch_norm", "clip", "lower_rate")
        findings.append(Finding("exploding", (above.name, below.name), text, remedies, rise.rate))
    return findings


def _fall(deltas: Sequence[float]) -> Stretch | None:
    """The stretch over which δ vanishes."""
    found = steepest_stretch(deltas, LEVEL)
    return found if found and found.change < FALL and found.without_largest < FALL_OF_OTHERS else None


def _rise(deltas: Sequence[float]) -> Stretch | None:
    """The stretch over which δ explodes."""
    found = steepest_stretch(deltas, CLIMB)
    return found if found and found.change > RISE and found.without_largest > RISE_OF_OTHERS else None


def _why(part: Sequence[Figures]) -> str:
    """What the activations of a fall have to do with it."""
    names = set().union(*(_activations(x) for x in part))
    if names and names <= {"logistic", "sigmoid"}:
        return (
            " A sigmoid's slope is 0.25 at most, which with weights no larger than one is the most that a layer leaves."
        )
    if names == {"relu"}:
        return " ReLU lets half of it through: weights have to make up for that, √(2/fan-in) (He et al. 2015)."
    return ""


def _activations(x: Figures) -> set[str]:
    """What is applied to a layer: of gates, several."""
    return set(x.place.activation.split(", ")) - {""}


def _for_fall(part: Sequence[Figures]) -> tuple[str, ...]:
    squashing = sum(_activations(x) <= _SQUASHING for x in part if x.place.activation) * 2 > len(part)
    return ("scale", *(("relu",) if squashing else ("he_init",)), "batch_norm", "glorot_init", "residual")


def _times(chain: Sequence[Figures]) -> list[Finding]:
    """Vanishing and exploding from time step to time step."""
    findings = []
    for x in chain:
        if x.over_time is None or not (deltas := [float(d) for d in x.over_time if d > 0]):
            continue
        if fall := _fall(deltas):
            text = (
                f"The gradient vanishes over time: in {x.name} each step back leaves {fall.rate:.2g} of δ, "
                f"{fall.change:.1e} in all over {fall.steps} of {len(x.over_time)} steps."
            )
            findings.append(Finding("vanishing", (x.name,), text, ("gated_cell", "fewer_steps"), fall.rate))
        if rise := _rise(deltas):
            text = (
                f"The gradient explodes over time: in {x.name} each step back multiplies δ by {rise.rate:.3g}, by "
                f"{rise.change:.1e} in all over {rise.steps} of {len(x.over_time)} steps."
            )
            findings.append(Finding("exploding", (x.name,), text, ("clip", "gated_cell", "lower_rate"), rise.rate))
    return findings


def _dead(found: Sequence[Figures]) -> list[Finding]:
    """Layers with dead units: each by itself if they are few, else all together."""
    layers = [(x, x.dead, x.dead_share) for x in found if x.dead and x.dead_share is not None]
    findings = []
    if len(layers) <= LAYERS:
        for x, dead, share in layers:
            are = "is" if len(dead) == 1 else "are"
            text = f"{_some(dead, share)} of layer {x.name} {are} dead on these data: {_listed(dead)}."
            findings.append(Finding("dead", (x.name,), text, _for_dead(share), share))
    else:
        order = sorted(layers, key=lambda layer: -layer[2])
        count = sum(len(dead) for _, dead, _ in layers)
        worst, dead, share = order[0]
        others = ", ".join(f"{share:.0%} of {x.name}" for x, _, share in order[1 : 1 + LAYERS])
        text = (
            f"{count} units in {len(layers)} layers are dead on these data: {_some(dead, share)} of {worst.name}, "
            f"which are {_listed(dead)}; {others}{', …' if len(order) > 1 + LAYERS else ''}."
        )
        findings.append(Finding("dead", tuple(x.name for x, _, _ in order), text, _for_dead(share), share))
    return findings


def _for_dead(share: float) -> tuple[str, ...]:
    return ("leaky_relu", "he_init", "batch_norm", "lower_rate") if share >= DEAD_SHARE else ()


def _some(units: Sequence[int], share: float) -> str:
    return f"{len(units)} {'unit' if len(units) == 1 else 'units'} ({share:.0%})"


def _listed(units: Sequence[int]) -> str:
    return ", ".join(map(str, units[:LISTED])) + (", …" if len(units) > LISTED else "")


def _saturated(found: Sequence[Figures]) -> list[Finding]:
    """Layers of which a good part lets hardly anything through."""
    layers = [(x, share) for x in found if (share := x.saturated_share or 0.0) >= SATURATED_SHARE]
    if not layers:
        return []
    layers.sort(key=lambda layer: -layer[1])
    one_sided = sum(_activations(x) <= _ONE_SIDED for x, _ in layers) * 2 > len(layers)
    listed = ", ".join(f"{share:.0%} in {x.name}" for x, share in layers[:LAYERS])
    more = f", and as many in {len(layers) - LAYERS} other layers" if len(layers) > LAYERS else ""
    text = (
        f"Many units are {'nearly always off' if one_sided else 'saturated'}, {listed}{more}: on average over these "
        f"data they let through less than {SATURATED:.0%} of the steepest slope."
    )
    remedies = ("scale", "batch_norm", "glorot_init", "standardize", "relu", "leaky_relu")
    return [Finding("saturated", tuple(x.name for x, _ in layers), text, remedies, layers[0][1])]


def _steps(chain: Sequence[Figures]) -> list[Finding]:
    """Steps that are far from a thousandth of what they change."""
    # What does not move at all is frozen on purpose, or gets no gradient, of which it is said above.
    kernels = {x.kernel.path: x.kernel.ratio for x in chain if x.kernel is not None and x.kernel.ratio}
    large = {path: ratio for path, ratio in kernels.items() if ratio > LARGE}
    small = {path: ratio for path, ratio in kernels.items() if ratio < SMALL}
    findings = []
    if large:
        findings.append(
            _step("step_too_large", large, len(kernels), max(large.values()), ("lower_rate", "clip", "warmup"))
        )
    if small:
        findings.append(_step("step_too_small", small, len(kernels), min(small.values()), ("higher_rate", "adam")))
    return findings


def _step(kind: Kind, ratios: dict[str, float], of: int, worst: float, remedies: tuple[str, ...]) -> Finding:
    order = sorted(ratios, key=lambda path: -abs(np.log(ratios[path] / USUAL)))
    listed = ", ".join(order[:3]) + (", …" if len(order) > 3 else "")
    size, far = ("large", "up") if kind == "step_too_large" else ("small", "down")
    text = (
        f"A step is {size} for {len(ratios)} of {of} kernels: {far} to {worst:.1e} of the weights where about "
        f"{USUAL:.0e} is customary ({listed})."
    )
    return Finding(kind, tuple(order), text, remedies, worst)


def _healthy(chain: Sequence[Figures], found: Sequence[Figures]) -> Finding:
    deltas = [x.delta for x in chain if x.delta > 0]
    words, rate = [], None
    if len(deltas) > 1:
        change = deltas[0] / deltas[-1]
        rate = change ** (1 / (len(deltas) - 1))
        words.append(
            f"from {chain[-1].name} down to {chain[0].name} δ changes by {rate:.2g} per layer, {change:.2g} in all"
        )
    if any(x.steepest is not None for x in found):
        words.append(f"{'few units are' if any(x.dead for x in found) else 'no unit is'} dead on these data")
    if ratios := [x.kernel.ratio for x in chain if x.kernel is not None and x.kernel.ratio]:
        words.append(f"steps are {min(ratios):.1e} to {max(ratios):.1e} of the weights")
    return Finding("healthy", (), f"The gradient gets through: {'; '.join(words)}.", (), rate)
