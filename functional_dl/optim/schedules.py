"""Schedules: how the learning rate's factor goes with the step; their constants are arrays in the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

__all__ = [
    "SCHEDULES",
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "joined",
    "one_cycle",
    "one_cycle_momentum",
    "piecewise",
    "polynomial",
    "step",
    "warmup_cosine",
    "warmup_stable_decay",
]


class Schedule(NamedTuple):
    """A factor on the learning rate, or on another hyperparameter.

    Attributes:
      factor: ``factor(step, constants) -> scalar``, with steps counted from 0.
      constants: its constants, which an optimizer keeps in its state so that changing them never recompiles.
    """

    factor: Callable[[Any, Mapping[str, Any]], Any]
    constants: Mapping[str, float]


def constant() -> Schedule:
    """a_t = a₀."""
    return Schedule(lambda t, c: jnp.float32(1), {})


def exponential(k: float) -> Schedule:
    """a_t = a₀ e^(−k t); PyTorch's ``ExponentialLR(gamma)`` is k = −ln γ.

    Args:
      k: by what fraction the rate falls in a step, if it is small.
    """
    return Schedule(lambda t, c: jnp.exp(-c["k"] * t), {"k": k})


def inverse_time(k: float) -> Schedule:
    """a_t = a₀ / (1 + k t).

    Args:
      k: after 1/k steps the rate is half of a₀.
    """
    return Schedule(lambda t, c: 1 / (1 + c["k"] * t), {"k": k})


def step(every: int, gamma: float = 0.1) -> Schedule:
    """a_t = a₀ γ^⌊t/n⌋ (PyTorch's ``StepLR``).

    Args:
      every: n, after how many steps the rate falls.
      gamma: γ, to what fraction.
    """
    return Schedule(lambda t, c: c["gamma"] ** jnp.floor(t / c["every"]), {"every": every, "gamma": gamma})


def polynomial(steps: int, power: float = 1.0, end: float = 0.0) -> Schedule:
    """a_t = a₀ (e + (1 − e) (1 − t/T)^p), a₀ e after T (PyTorch's ``PolynomialLR``, which has e = 0).

    Args:
      steps: T.
      power: p; 1 is linear.
      end: e, the last factor.
    """

    def factor(t: Any, c: Mapping[str, Any]) -> Any:
        return c["end"] + (1 - c["end"]) * (1 - _part(t, c["steps"])) ** c["power"]

    return Schedule(factor, {"steps": steps, "power": power, "end": end})


def _part(t: Any, steps: Any) -> Any:
    """How much of the steps is over, in [0, 1]."""
    return jnp.clip(t / jnp.maximum(steps, 1), 0, 1)


def _cosine(start: Any, end: Any, part: Any) -> Any:
    """Half a cosine from ``start`` to ``end``."""
    return end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * part))


def cosine(steps: int, end: float = 0.0) -> Schedule:
    """a_t = a₀ (e + (1 − e) (1 + cos(π t/T))/2), a₀ e after T (Loshchilov & Hutter 2017, eq. 5, without restarts).

    Args:
      steps: T.
      end: e, the last factor.
    """
    return Schedule(lambda t, c: _cosine(1.0, c["end"], _part(t, c["steps"])), {"steps": steps, "end": end})


def _rising(t: Any, warmup: Any, then: Any) -> Any:
    """(t + 1)/w in the first w steps, none of which has the rate 0."""
    return jnp.where(t < warmup, (t + 1) / jnp.maximum(warmup, 1), then)


def warmup_cosine(steps: int, warmup: int, end: float = 0.0) -> Schedule:
    """a_t = a₀ (t + 1)/w for t < w, then half a cosine from a₀ down to a₀ e at T.

    Args:
      steps: T, warm-up included.
      warmup: w.
      end: e, the last factor.
    """

    def factor(t: Any, c: Mapping[str, Any]) -> Any:
        return _rising(t, c["warmup"], _cosine(1.0, c["end"], _part(t - c["warmup"], c["steps"] - c["warmup"])))

    return Schedule(factor, {"steps": steps, "warmup": warmup, "end": end})


def warmup_stable_decay(
    steps: int, warmup: int, decay: int, end: float = 0.0, shape: Literal["linear", "cosine", "sqrt"] = "linear"
) -> Schedule:
    """Linear up in w steps, a₀ until T − d, then down to a₀ e at T (Hu et al. 2024, section 4; Hägele et al. 2024).

    With x = (t − T + d)/d the decay is a₀ (e + (1 − e) f(x)).  A run can be lengthened in its stable part.

    Args:
      steps: T, all of them.
      warmup: w, whose steps have a₀ (t + 1)/w.
      decay: d.
      end: e, the last factor.
      shape: f: ``"linear"`` 1 − x; ``"cosine"`` (1 + cos π x)/2; ``"sqrt"`` 1 − √x, Hägele's best.

    Raises:
      ValueError: there is no such shape.
    """
    if shape not in ("linear", "cosine", "sqrt"):
        raise ValueError(f"warmup_stable_decay: shape {shape!r}; due is 'linear', 'cosine' or 'sqrt'.")

    def factor(t: Any, c: Mapping[str, Any]) -> Any:
        x = _part(t - c["steps"] + c["decay"], c["decay"])
        if shape == "sqrt":
            # The root has no derivative at 0, where all of the stable part lies; derivatives by d and T pass here.
            f = 1 - jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)
        else:
            f = 1 - x if shape == "linear" else _cosine(1.0, 0.0, x)
        return _rising(t, c["warmup"], c["end"] + (1 - c["end"]) * f)

    return Schedule(factor, {"steps": steps, "warmup": warmup, "decay": decay, "end": end})


Anneal = Literal["cosine", "linear"]


def _cycle(
    corners: Callable[[Mapping[str, Any]], Sequence[Any]],
    constants: Mapping[str, float],
    anneal: Anneal,
    three_phase: bool,
) -> Schedule:
    """From corner to corner; all cycles have theirs at the same steps."""
    if anneal not in ("cosine", "linear"):
        raise ValueError(f"one_cycle: anneal {anneal!r}; due is 'cosine' or 'linear'.")

    def factor(t: Any, c: Mapping[str, Any]) -> Any:
        # The steps of corners as PyTorch has them: they need not be whole.
        top, last = c["warmup"] * c["steps"] - 1, c["steps"] - 1
        ends = [top, 2 * top, last] if three_phase else [top, last]
        begins, values = [0.0, *ends[:-1]], corners(c)
        now = values[-1]
        for begin, end, a, b in reversed(list(zip(begins, ends, values, values[1:], strict=False))):
            # Not `_part`: corners may lie less than a step apart.
            x = jnp.clip((t - begin) / jnp.where(end > begin, end - begin, 1.0), 0, 1)
            now = jnp.where(t <= end, _cosine(a, b, x) if anneal == "cosine" else a + (b - a) * x, now)
        return now

    return Schedule(factor, constants)


def one_cycle(
    steps: int,
    warmup: float = 0.3,
    start: float = 25.0,
    end: float = 1e4,
    anneal: Anneal = "cosine",
    three_phase: bool = False,
) -> Schedule:
    """From a₀/s up to a₀ and down to a₀/(s e) (Smith 2018, section 3; PyTorch's ``OneCycleLR``, also its defaults).

    `one_cycle_momentum` is the other half: momentum falls while the rate rises.

    Args:
      steps: T; the lowest rate is that of step T − 1, and of all after.
      warmup: what fraction of the steps the rise takes, which ends at step ``warmup * T − 1``.
      start: s, by what a₀, the highest rate, is divided at first.
      end: e, by what the first rate is divided at last.
      anneal: ``"cosine"`` or ``"linear"``.
      three_phase: down to a₀/s in as many steps as up, then to a₀/(s e), as Smith has it; otherwise in one fall.

    Raises:
      ValueError: there is no such way to anneal.

    Example:
      >>> import functional_dl.optim as optim
      >>> from functional_dl.optim import schedules
      >>> both = {"learning_rate": schedules.one_cycle(100), "momentum": schedules.one_cycle_momentum(100)}
      >>> optimizer = optim.sgd(0.1, momentum=0.95, schedule=both)
    """

    def corners(c: Mapping[str, Any]) -> Sequence[Any]:
        low = 1 / c["start"]
        return [low, 1.0, low, low / c["end"]] if three_phase else [low, 1.0, low / c["end"]]

    return _cycle(corners, {"steps": steps, "warmup": warmup, "start": start, "end": end}, anneal, three_phase)


def one_cycle_momentum(
    steps: int,
    warmup: float = 0.3,
    lowest: float = 0.85 / 0.95,
    anneal: Anneal = "cosine",
    three_phase: bool = False,
) -> Schedule:
    """The momentum to `one_cycle`: β₀ down to l β₀ while the rate rises, and back while it falls.

    Args:
      steps, warmup, anneal, three_phase: as of `one_cycle`.
      lowest: l; PyTorch's lowest and highest momentum are 0.85 and 0.95.

    Raises:
      ValueError: there is no such way to anneal.
    """

    def corners(c: Mapping[str, Any]) -> Sequence[Any]:
        return [1.0, c["lowest"], 1.0, 1.0] if three_phase else [1.0, c["lowest"], 1.0]

    return _cycle(corners, {"steps": steps, "warmup": warmup, "lowest": lowest}, anneal, three_phase)


def piecewise(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """a_t = a₀ v_i for b_{i−1} ≤ t < b_i (PyTorch's ``MultiStepLR``; Keras counts t = b_i to what was before).

    Args:
      boundaries: b₀ < b₁ < …, the constants ``boundary_0``, …
      values: v₀, v₁, …, one more: the constants ``value_0``, …

    Raises:
      ValueError: there is not one value more than there are boundaries.
    """
    if len(values) != len(boundaries) + 1:
        raise ValueError(f"piecewise: {len(values)} values for {len(boundaries)} boundaries; due is one more.")

    def factor(t: Any, c: Mapping[str, Any]) -> Any:
        now = c["value_0"]
        for i in range(len(boundaries)):
            now = jnp.where(t >= c[f"boundary_{i}"], c[f"value_{i + 1}"], now)
        return now

    constants = {f"boundary_{i}": b for i, b in enumerate(boundaries)} | {f"value_{i}": v for i, v in enumerate(values)}
    return Schedule(factor, constants)


def joined(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after the other, each counting its steps from its own beginning (PyTorch's ``SequentialLR``).

    Args:
      schedules: in order.  The constants of the i-th, from 0, are called ``<i>_<constant>``.
      boundaries: the step at which each but the first begins: the constants ``boundary_0``, …

    Raises:
      ValueError: there is not one schedule more than there are boundaries.
    """
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(f"joined: {len(schedules)} schedules for {len(boundaries)} boundaries; due is one more.")

    def factor(t: Any, c: Mapping[str, Any]) -> Any:
        now: Any = None
        for i, schedule in enumerate(schedules):
            begin = c[f"boundary_{i - 1}"] if i else 0
            own = schedule.factor(jnp.maximum(t - begin, 0), {k: c[f"{i}_{k}"] for k in schedule.constants})
            now = jnp.where(t >= begin, own, now) if i else own
        return now

    constants = {f"{i}_{k}": x for i, schedule in enumerate(schedules) for k, x in schedule.constants.items()}
    return Schedule(factor, constants | {f"boundary_{i}": b for i, b in enumerate(boundaries)})


# By the name that configs use; `joined` is not among them, for it takes schedules.
SCHEDULES: dict[str, Callable[..., Schedule]] = {
    f.__name__: f
    for f in (
        constant,
        exponential,
        inverse_time,
        step,
        polynomial,
        cosine,
        warmup_cosine,
        warmup_stable_decay,
        one_cycle,
        one_cycle_momentum,
        piecewise,
    )
}
