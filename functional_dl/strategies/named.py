"""The strategies by their names in a config."""

from __future__ import annotations

from functional_dl.strategies.asha import Asha
from functional_dl.strategies.coarse_to_fine import CoarseToFine
from functional_dl.strategies.grid import Grid
from functional_dl.strategies.halving import Halving
from functional_dl.strategies.hyperband import Hyperband
from functional_dl.strategies.median import MedianStopping
from functional_dl.strategies.sampling import Random

__all__ = ["STRATEGIES"]

STRATEGIES: dict[str, type] = {
    "grid": Grid,
    "random": Random,
    "coarse_to_fine": CoarseToFine,
    "halving": Halving,
    "hyperband": Hyperband,
    "asha": Asha,
    "median_stopping": MedianStopping,
}
