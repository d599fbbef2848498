"""Search spaces, and strategies that say who trains how far: algorithms on numbers."""

from functional_dl.strategies.asha import Asha
from functional_dl.strategies.coarse_to_fine import CoarseToFine
from functional_dl.strategies.grid import Grid
from functional_dl.strategies.halving import Halving
from functional_dl.strategies.hyperband import Hyperband
from functional_dl.strategies.median import MedianStopping
from functional_dl.strategies.named import STRATEGIES
from functional_dl.strategies.sampling import Random
from functional_dl.strategies.space import Space, choice, integer, log_uniform, uniform

__all__ = [
    "STRATEGIES",
    "Asha",
    "CoarseToFine",
    "Grid",
    "Halving",
    "Hyperband",
    "MedianStopping",
    "Random",
    "Space",
    "choice",
    "integer",
    "log_uniform",
    "uniform",
]
