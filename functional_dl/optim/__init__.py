"""Optimizers: pure functions of a state that holds the parameters and, as arrays, every hyperparameter."""

from functional_dl.optim import schedules
from functional_dl.optim.adam import adam, adamw
from functional_dl.optim.clipping import clip_by_global_norm
from functional_dl.optim.layout import Packed
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.sgd import nesterov, sgd
from functional_dl.optim.wrapping import scheduled

__all__ = [
    "Optimizer",
    "Packed",
    "State",
    "adam",
    "adamw",
    "clip_by_global_norm",
    "nesterov",
    "scheduled",
    "schedules",
    "sgd",
]
