"""functional_dl: reverse-mode differentiation of JAX programs by hand-written rules, planned and explained."""

import importlib
from typing import Any

from functional_dl.autodiff.budget import BudgetError
from functional_dl.autodiff.check import GradientError, OperandCheck, check_vjp
from functional_dl.autodiff.fitting import Fitted, fit_memory
from functional_dl.autodiff.ledger import ledger
from functional_dl.autodiff.pathwise import Pathwise, PathwiseTable, pathwise, pathwise_table
from functional_dl.autodiff.transforms import Pullback, grad, hessian, hvp, jacrev, value_and_grad, vjp
from functional_dl.planner.ledger import Ledger
from functional_dl.rules import RuleError, defvjp

__all__ = [
    "BudgetError",
    "Fitted",
    "GradientError",
    "Ledger",
    "OperandCheck",
    "Pathwise",
    "PathwiseTable",
    "Pullback",
    "RuleError",
    "check_vjp",
    "defvjp",
    "fit_memory",
    "grad",
    "hessian",
    "hvp",
    "jacrev",
    "ledger",
    "pathwise",
    "pathwise_table",
    "value_and_grad",
    "vjp",
]

# Loaded when they are first used: differentiating needs none of them, nor the libraries that configs and tables need.
_ROOMS = ("config", "data", "diagnostics", "nn", "optim", "strategies", "training", "tuning")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"functional_dl.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
