"""Optimizers: pure functions of a state that holds the parameters and, as arrays, every hyperparameter."""

from functional_dl.optim import schedules
from functional_dl.optim.adam import adam
from functional_dl.optim.clipping import clip_by_global_norm
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.sgd import sgd

__all__ = ["Optimizer", "State", "adam", "clip_by_global_norm", "schedules", "sgd"]
