"""Write torch.json: ``python tests/optim/figures/make_torch.py`` where torch is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from course import CHANGE, RATE, STEPS, gradient, record, start
from torch import optim

B, RHO, EPS, DECAY = 0.875, 0.96875, 2**-6, 0.125
MOMENTS = {"beta_1": B, "beta_2": RHO, "epsilon": EPS}

RUNS: dict[str, Any] = {
    "SGD": (lambda w: optim.SGD(w, RATE), "sgd", {}),
    "SGD momentum": (lambda w: optim.SGD(w, RATE, momentum=B), "sgd", {"momentum": B}),
    "SGD nesterov": (lambda w: optim.SGD(w, RATE, momentum=B, nesterov=True), "nesterov", {"momentum": B}),
    "Adagrad": (
        lambda w: optim.Adagrad(w, RATE, initial_accumulator_value=0.5, eps=EPS),
        "adagrad",
        {"initial": 0.5, "epsilon": EPS},
    ),
    "RMSprop": (lambda w: optim.RMSprop(w, RATE, RHO, EPS), "rmsprop", {"rho": RHO, "epsilon": EPS}),
    "RMSprop momentum": (
        lambda w: optim.RMSprop(w, RATE, RHO, EPS, momentum=B),
        "rmsprop",
        {"rho": RHO, "epsilon": EPS, "momentum": B},
    ),
    "RMSprop centered": (
        lambda w: optim.RMSprop(w, RATE, RHO, EPS, centered=True),
        "rmsprop",
        {"rho": RHO, "epsilon": EPS, "centered": True},
    ),
    "Adadelta": (lambda w: optim.Adadelta(w, RATE, RHO, EPS), "adadelta", {"rho": RHO, "epsilon": EPS}),
    "Adam": (lambda w: optim.Adam(w, RATE, (B, RHO), EPS), "adam", MOMENTS),
    "AdamW": (
        lambda w: optim.AdamW(w, RATE, (B, RHO), EPS, weight_decay=DECAY),
        "adamw",
        {**MOMENTS, "weight_decay": DECAY},
    ),
    "NAdam": (
        lambda w: optim.NAdam(w, RATE, (B, RHO), EPS, momentum_decay=2**-5),
        "nadam",
        {**MOMENTS, "momentum_decay": 2**-5},
    ),
    "Adam amsgrad": (lambda w: optim.Adam(w, RATE, (B, RHO), EPS, amsgrad=True), "amsgrad", MOMENTS),
    "Adafactor": (
        lambda w: optim.Adafactor(w, RATE, -0.75, (0.25, 2**-4), d=1.0),
        "adafactor",
        {"decay_power": 0.75, "epsilon": 0.25, "smallest_scale": 2**-4, "update_clip": 1.0},
    ),
}


def walk(make: Any) -> list[Any]:
    """The parameters at the end."""
    params = [torch.nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in start().values()]
    optimizer = make(params)
    for t in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = RATE if t <= CHANGE else RATE / 2
        for w in params:
            w.grad = torch.tensor(gradient(w.detach().numpy(), t))
        optimizer.step()
    return [w.detach().numpy() for w in params]


if __name__ == "__main__":
    record(Path(__file__).with_name("torch.json"), {"torch": torch.__version__}, RUNS, walk)
