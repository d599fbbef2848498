"""Cases of the optimizers that see matrices, averages or a line search where others see entries."""

from __future__ import annotations

from functional_dl import optim
from tests.optim import references_matrix
from tests.optim.case import Case, Descent

__all__ = ["CASES"]

ADAM = {"adam_learning_rate": 2**-6, "adam_beta_1": 0.875, "adam_beta_2": 0.96875, "adam_epsilon": 2**-20}
SOAP = {"beta_1": 0.875, "beta_2": 0.96875, "epsilon": 2**-20}

CASES: dict[str, Case] = {
    "muon": Case(
        lambda: optim.muon(2**-6, momentum=0.875, weight_decay=2**-5, adam_weight_decay=2**-4, **ADAM),
        references_matrix.muon(2**-6, 0.875, 2**-5, (2**-6, 0.875, 0.96875, 2**-20, 2**-4), moonlight=False),
        # Rows of numbers are no matrices: they move by AdamW, at its rate.
        parabola=Descent(1e-3, 500, {"adam_learning_rate": 0.05, "adam_weight_decay": 0}),
        rosenbrock=Descent(1e-2, 2000, {"adam_learning_rate": 0.02, "adam_weight_decay": 0}),
        digits=Descent(0.2, 100, {"learning_rate": 0.02}),
        rests=False,
    ),
    "muon-moonlight": Case(
        lambda: optim.muon(2**-6, momentum=0.875, weight_decay=0, adam_weight_decay=0, convention="moonlight", **ADAM),
        references_matrix.muon(2**-6, 0.875, 0.0, (2**-6, 0.875, 0.96875, 2**-20, 0.0), moonlight=True),
    ),
    "soap": Case(
        lambda: optim.soap(2**-6, weight_decay=0, frequency=2, **SOAP),
        # The bases of a factor without full rank, as any gradient that is not square leaves one, are anybody's choice:
        # tests/optim/test_matrix.py compares where they are not.
        reference=None,
        digits=Descent(0.1, 100, {"learning_rate": 0.01}),
    ),
    "schedule_free_sgd": Case(
        lambda: optim.schedule_free_sgd(2**-4, beta=0.875, weight_decay=2**-6, warmup=8),
        references_matrix.schedule_free_sgd(2**-4, 0.875, 2**-6, 8),
        parabola=Descent(1e-3, 500, {"learning_rate": 0.25, "weight_decay": 0}),
        rosenbrock=Descent(5e-2, 2000, {"learning_rate": 3e-3, "weight_decay": 0}),
        digits=Descent(0.5, 100, {"learning_rate": 0.5, "weight_decay": 0}),
        rests=False,
    ),
    "schedule_free_adamw": Case(
        lambda: optim.schedule_free_adamw(2**-6, 0.875, 0.96875, 2**-20, weight_decay=2**-6, warmup=8),
        references_matrix.schedule_free_adamw(2**-6, 0.875, 0.96875, 2**-20, 2**-6, 8),
        parabola=Descent(1e-3, 500, {"learning_rate": 0.05, "weight_decay": 0}),
        rosenbrock=Descent(1e-2, 2000, {"learning_rate": 0.02, "weight_decay": 0}),
        digits=Descent(0.5, 100, {"learning_rate": 0.01, "weight_decay": 0}),
        rests=False,
    ),
    "lbfgs": Case(
        optim.lbfgs,
        # A search along gradients that belong to no function turns on their last digits: tests/optim/test_matrix.py
        # compares on functions.
        reference=None,
        parabola=Descent(1e-9, 10, {}),
        rosenbrock=Descent(1e-8, 100, {}),
        digits=Descent(0.05, 100, {}),
    ),
}
