"""Tuning: a population of trainings as one program, its members promoted and dropped by a strategy."""

from functional_dl.strategies import (
    Asha,
    CoarseToFine,
    Grid,
    Halving,
    Hyperband,
    MedianStopping,
    Random,
    choice,
    integer,
    log_uniform,
    uniform,
)
from functional_dl.tuning.functions import search
from functional_dl.tuning.search import Finalist, Found, Progress

__all__ = [
    "Asha",
    "CoarseToFine",
    "Finalist",
    "Found",
    "Grid",
    "Halving",
    "Hyperband",
    "MedianStopping",
    "Progress",
    "Random",
    "choice",
    "integer",
    "log_uniform",
    "search",
    "uniform",
]
