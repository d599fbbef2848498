"""Optimizers and wrappers by the name that configs use."""

from __future__ import annotations

from collections.abc import Callable

from functional_dl.optim.accumulation import accumulate
from functional_dl.optim.adadelta import adadelta
from functional_dl.optim.adafactor import adafactor
from functional_dl.optim.adagrad import adagrad
from functional_dl.optim.adam import adam, adamw
from functional_dl.optim.amsgrad import amsgrad
from functional_dl.optim.averaging import average, swa
from functional_dl.optim.clipping import clip_adaptively, clip_by_global_norm, clip_by_leaf_norm, clip_by_value
from functional_dl.optim.guards import scale_loss, skip_nonfinite
from functional_dl.optim.lamb import lamb
from functional_dl.optim.lbfgs import lbfgs
from functional_dl.optim.lion import lion
from functional_dl.optim.muon import muon
from functional_dl.optim.nadam import nadam
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.precision import master_weights, stochastic_rounding
from functional_dl.optim.rmsprop import rmsprop, rmsprop_nesterov
from functional_dl.optim.schedule_free import schedule_free_adamw, schedule_free_sgd
from functional_dl.optim.sgd import nesterov, sgd
from functional_dl.optim.soap import soap
from functional_dl.optim.weight_decay import decay_weights

__all__ = ["OPTIMIZERS", "WRAPPERS"]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    f.__name__: f
    for f in (
        sgd, nesterov, adagrad, rmsprop, rmsprop_nesterov, adadelta, adam, adamw, nadam, amsgrad, adafactor, lion, lamb,
        muon, soap, schedule_free_sgd, schedule_free_adamw, lbfgs,
    )
}  # fmt: skip

WRAPPERS: dict[str, Callable[..., Optimizer]] = {
    f.__name__: f
    for f in (
        clip_by_value, clip_by_global_norm, clip_by_leaf_norm, clip_adaptively, decay_weights, accumulate, average, swa,
        skip_nonfinite, scale_loss, master_weights, stochastic_rounding,
    )
}  # fmt: skip
