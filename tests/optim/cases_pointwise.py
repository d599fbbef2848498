"""Cases of the optimizers that move each entry, or each leaf, by a formula of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functional_dl import optim
from tests.optim import references
from tests.optim.case import Case, Descent, each_leaf

__all__ = ["CASES"]

# Numbers that float32 holds exactly, and an ε so large that where it is added shows.
A, B, RHO, EPS = 2**-6, 0.875, 0.96875, 2**-6
ADAM: dict[str, Any] = {"beta_1": B, "beta_2": RHO, "epsilon": EPS}
MOMENTS = {"b1": B, "b2": RHO, "eps": EPS}


def of(reference: Callable[..., Any], **numbers: Any) -> Callable[..., Any]:
    """The reference for pytrees."""
    return each_leaf(lambda gradient, w, steps: reference(gradient, w, steps, **numbers))


def rates(parabola: float, rosenbrock: float, digits: float, bound: float = 0.1) -> dict[str, Descent]:
    """Learning rates of the three descents, and the bound of Rosenbrock's function."""
    return {
        "parabola": Descent(1e-3, 500, {"learning_rate": parabola}),
        "rosenbrock": Descent(bound, 2000, {"learning_rate": rosenbrock}),
        "digits": Descent(0.2, 100, {"learning_rate": digits}),
    }


CASES: dict[str, Case] = {
    "sgd": Case(lambda: optim.sgd(A), of(references.sgd, a=A), **rates(0.1, 2e-3, 0.5, 0.03)),
    "momentum": Case(
        lambda: optim.sgd(A, momentum=B), of(references.sgd, a=A, beta=B), **rates(0.05, 5e-4, 0.1, 1e-3)
    ),
    "momentum-outside": Case(
        lambda: optim.sgd(A, momentum=B, convention="torch"), of(references.sgd, a=A, beta=B, inside=False)
    ),
    "nesterov": Case(
        lambda: optim.nesterov(A, momentum=B), of(references.nesterov, a=A, beta=B), **rates(0.05, 5e-4, 0.1, 1e-3)
    ),
    "nesterov-torch": Case(
        lambda: optim.nesterov(A, momentum=B, convention="torch"),
        of(references.nesterov_shifted, a=A, beta=B, keras=False),
    ),
    "nesterov-keras": Case(
        lambda: optim.nesterov(A, momentum=B, convention="keras"),
        of(references.nesterov_shifted, a=A, beta=B, keras=True),
    ),
    "adagrad": Case(
        lambda: optim.adagrad(A, initial=0.5, epsilon=EPS),
        of(references.adagrad, a=A, eps=EPS, first=0.5, inside=False),
        **rates(0.5, 0.2, 0.3, 0.05),
    ),
    "adagrad-keras": Case(
        lambda: optim.adagrad(A, initial=0.5, epsilon=EPS, convention="keras"),
        of(references.adagrad, a=A, eps=EPS, first=0.5, inside=True),
    ),
    "rmsprop": Case(
        lambda: optim.rmsprop(A, rho=RHO), of(references.rmsprop, a=A, rho=RHO, eps=0.0),
        **rates(0.01, 2e-3, 0.01, 0.02),
    ),
    "rmsprop-momentum": Case(
        lambda: optim.rmsprop(A, RHO, momentum=B, epsilon=EPS, centered=True),
        of(references.rmsprop, a=A, rho=RHO, beta=B, eps=EPS, centered=True),
    ),
    "rmsprop-torch": Case(
        lambda: optim.rmsprop(A, RHO, momentum=B, epsilon=EPS, convention="torch"),
        of(references.rmsprop, a=A, rho=RHO, beta=B, eps=EPS, torch=True),
    ),
    "rmsprop-torch-centered": Case(
        lambda: optim.rmsprop(A, RHO, epsilon=EPS, centered=True, convention="torch"),
        of(references.rmsprop, a=A, rho=RHO, eps=EPS, centered=True, torch=True),
    ),
    "rmsprop_nesterov": Case(
        lambda: optim.rmsprop_nesterov(A, RHO, B), of(references.rmsprop_nesterov, a=A, rho=RHO, beta=B, eps=0.0),
        **rates(1e-3, 2e-4, 2e-3, 1e-4),
    ),
    "rmsprop_nesterov-optax": Case(
        lambda: optim.rmsprop_nesterov(A, RHO, B, EPS, convention="optax"),
        of(references.rmsprop_nesterov, a=A, rho=RHO, beta=B, eps=EPS, shifted=True),
    ),
    "adadelta": Case(
        lambda: optim.adadelta(rho=RHO, epsilon=2**-10),
        of(references.adadelta, a=1.0, rho=RHO, eps=2**-10),
        parabola=Descent(1e-3, 500, {}),
        # Its steps are as long as those before: with a rate of 1 it comes into the valley and not to its end.
        rosenbrock=Descent(0.7, 2000, {"rho": 0.95, "epsilon": 1e-6}),
        digits=Descent(0.2, 100, {}),
    ),
    "adadelta-keras": Case(
        lambda: optim.adadelta(A, RHO, EPS, convention="keras"), of(references.adadelta, a=A, rho=RHO, eps=EPS)
    ),
    "adam": Case(lambda: optim.adam(A, **ADAM), of(references.adam, a=A, **MOMENTS), **rates(0.05, 0.02, 0.01, 1e-3)),
    "adam-keras": Case(
        lambda: optim.adam(A, **ADAM, convention="keras"), of(references.adam, a=A, **MOMENTS, keras=True)
    ),
    "adamw": Case(
        lambda: optim.adamw(A, **ADAM, weight_decay=0.125),
        of(references.adamw, a=A, **MOMENTS, decay=0.125),
        parabola=Descent(1e-3, 500, {"learning_rate": 0.05}),
        rosenbrock=Descent(0.1, 2000, {"learning_rate": 0.02, "weight_decay": 0}),
        digits=Descent(0.2, 100, {"learning_rate": 0.01, "weight_decay": 0.01}),
        rests=False,
    ),
    "adamw-paper": Case(
        lambda: optim.adamw(A, **ADAM, weight_decay=2**-8, convention="paper"),
        of(references.adamw, a=A, **MOMENTS, decay=2**-8, by_rate=False),
    ),
    "adamw-keras": Case(
        lambda: optim.adamw(A, **ADAM, weight_decay=0.125, convention="keras"),
        of(references.adamw, a=A, **MOMENTS, decay=0.125, keras=True),
    ),
    "nadam": Case(
        lambda: optim.nadam(A, **ADAM, momentum_decay=2**-6),
        of(references.nadam, a=A, **MOMENTS, psi=2**-6, paper=True),
        **rates(0.05, 0.02, 0.01),
    ),
    "nadam-torch": Case(
        lambda: optim.nadam(A, **ADAM, momentum_decay=2**-6, convention="torch"),
        of(references.nadam, a=A, **MOMENTS, psi=2**-6, paper=False),
    ),
    "nadam-keras": Case(
        lambda: optim.nadam(A, **ADAM, convention="keras"), of(references.nadam, a=A, **MOMENTS, psi=1.0, paper=False)
    ),
    "nadam-optax": Case(
        lambda: optim.nadam(A, **ADAM, convention="optax"), of(references.nadam, a=A, **MOMENTS, psi=None, paper=False)
    ),
    "amsgrad": Case(
        lambda: optim.amsgrad(A, B, RHO), of(references.amsgrad, a=A, b1=B, b2=RHO, eps=0.0, convention="paper"),
        **rates(0.05, 0.02, 0.01, 1e-6),
    ),
    **{
        f"amsgrad-{name}": Case(
            lambda name=name: optim.amsgrad(A, **ADAM, convention=name),  # type: ignore[misc]
            of(references.amsgrad, a=A, **MOMENTS, convention=name),
        )
        for name in ("torch", "optax", "keras")
    },
    "lion": Case(
        lambda: optim.lion(A, B, RHO, weight_decay=0.125),
        of(references.lion, a=A, b1=B, b2=RHO, decay=0.125),
        parabola=Descent(1e-3, 500, {"learning_rate": 0.01}),
        rosenbrock=Descent(0.1, 2000, {"learning_rate": 1e-3, "weight_decay": 0}),
        digits=Descent(0.2, 100, {"learning_rate": 0.005}),
        rests=False,
    ),
    "lamb": Case(
        lambda: optim.lamb(A, **ADAM, weight_decay=0.125, shortest=0.5, longest=3.0),
        of(references.lamb, a=A, **MOMENTS, decay=0.125, low=0.5, high=3.0),
        parabola=Descent(1e-3, 500, {"learning_rate": 0.05, "shortest": 0}),
        rosenbrock=Descent(0.1, 2000, {"learning_rate": 0.01, "weight_decay": 0}),
        digits=Descent(0.2, 100, {"learning_rate": 0.03}),
        rests=False,
    ),
    "lamb-keras": Case(
        lambda: optim.lamb(A, **ADAM, weight_decay=0.125, convention="keras"),
        of(references.lamb, a=A, **MOMENTS, decay=0.125, keras=True),
    ),
    "adafactor": Case(
        lambda: optim.adafactor(0.25, decay_power=0.75, epsilon=2**-10, smallest_scale=0.5, update_clip=0.75),
        of(references.adafactor, a=0.25, power=0.75, eps_1=2**-10, eps_2=0.5, d=0.75),
        parabola=Descent(1e-3, 500, {"learning_rate": 0.1, "smallest_scale": 1e-3}),
        rosenbrock=Descent(0.1, 2000, {"learning_rate": 0.05, "smallest_scale": 1e-3}),
        digits=Descent(0.2, 100, {"learning_rate": 0.1, "smallest_scale": 1e-2}),
    ),
    "adafactor-momentum": Case(
        lambda: optim.adafactor(A, momentum=B, relative=False, scaled=False),
        of(references.adafactor, a=A, eps_1=1e-30, eps_2=1e-3, beta=B, relative=False, scaled=False),
    ),
    "adafactor-torch": Case(
        lambda: optim.adafactor(0.25, epsilon=0.5, smallest_scale=2**-6, convention="torch"),
        of(references.adafactor, a=0.25, eps_1=0.5, eps_2=2**-6, convention="torch"),
    ),
    "adafactor-optax": Case(
        lambda: optim.adafactor(A, smallest_factored=3, convention="optax"),
        of(references.adafactor, a=A, eps_1=1e-30, eps_2=1e-3, relative=False, convention="optax", smallest=3),
    ),
}  # fmt: skip
