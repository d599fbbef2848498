"""Optimizers: pure functions of a state that holds the parameters and, as arrays, every hyperparameter."""

from functional_dl.optim import schedules
from functional_dl.optim.accumulation import accumulate
from functional_dl.optim.adadelta import adadelta
from functional_dl.optim.adafactor import adafactor
from functional_dl.optim.adagrad import adagrad
from functional_dl.optim.adam import adam, adamw
from functional_dl.optim.amsgrad import amsgrad
from functional_dl.optim.averaging import average, swa
from functional_dl.optim.clipping import clip_adaptively, clip_by_global_norm, clip_by_leaf_norm, clip_by_value
from functional_dl.optim.groups import frozen, groups
from functional_dl.optim.guards import scale_loss, skip_nonfinite
from functional_dl.optim.lamb import lamb
from functional_dl.optim.layout import Packed
from functional_dl.optim.lbfgs import lbfgs
from functional_dl.optim.lion import lion
from functional_dl.optim.muon import muon
from functional_dl.optim.nadam import nadam
from functional_dl.optim.named import OPTIMIZERS, WRAPPERS
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.precision import master_weights, stochastic_rounding
from functional_dl.optim.rmsprop import rmsprop, rmsprop_nesterov
from functional_dl.optim.schedule_free import schedule_free_adamw, schedule_free_sgd
from functional_dl.optim.sgd import nesterov, sgd
from functional_dl.optim.soap import soap
from functional_dl.optim.weight_decay import decay_weights
from functional_dl.optim.wrapping import scheduled

__all__ = [
    "OPTIMIZERS",
    "WRAPPERS",
    "Optimizer",
    "Packed",
    "State",
    "accumulate",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamw",
    "amsgrad",
    "average",
    "clip_adaptively",
    "clip_by_global_norm",
    "clip_by_leaf_norm",
    "clip_by_value",
    "decay_weights",
    "frozen",
    "groups",
    "lamb",
    "lbfgs",
    "lion",
    "master_weights",
    "muon",
    "nadam",
    "nesterov",
    "rmsprop",
    "rmsprop_nesterov",
    "scale_loss",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "scheduled",
    "schedules",
    "sgd",
    "skip_nonfinite",
    "soap",
    "stochastic_rounding",
    "swa",
]
