"""Optimizers and wrappers by the name that configs use."""

from __future__ import annotations

from collections.abc import Callable

from functional_dl.optim.adam import adam, adamw
from functional_dl.optim.clipping import clip_by_global_norm
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.sgd import nesterov, sgd

__all__ = ["OPTIMIZERS", "WRAPPERS"]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {f.__name__: f for f in (sgd, nesterov, adam, adamw)}

WRAPPERS: dict[str, Callable[..., Optimizer]] = {f.__name__: f for f in (clip_by_global_norm,)}
