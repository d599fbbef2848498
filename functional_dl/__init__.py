"""functional_dl: reverse-mode differentiation of JAX programs by hand-written rules, planned and explained."""

from functional_dl.autodiff.budget import BudgetError
from functional_dl.autodiff.check import GradientError, OperandCheck, check_vjp
from functional_dl.autodiff.transforms import Pullback, grad, hessian, hvp, jacrev, value_and_grad, vjp
from functional_dl.rules import RuleError, defvjp

__all__ = [
    "BudgetError",
    "GradientError",
    "OperandCheck",
    "Pullback",
    "RuleError",
    "check_vjp",
    "defvjp",
    "grad",
    "hessian",
    "hvp",
    "jacrev",
    "value_and_grad",
    "vjp",
]
