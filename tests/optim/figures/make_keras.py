"""Write keras.json: ``KERAS_BACKEND=torch python tests/optim/figures/make_keras.py`` where keras is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from course import CHANGE, RATE, STEPS, gradient, record, start
from keras import optimizers as theirs

B, RHO, EPS, DECAY = 0.875, 0.96875, 2**-6, 0.125
MOMENTS = {"beta_1": B, "beta_2": RHO, "epsilon": EPS}

RUNS: dict[str, Any] = {
    "SGD momentum": (lambda: theirs.SGD(RATE, momentum=B), "sgd", {"momentum": B}),
    "SGD nesterov": (lambda: theirs.SGD(RATE, momentum=B, nesterov=True), "nesterov", {"momentum": B}),
    "Adagrad": (
        lambda: theirs.Adagrad(RATE, initial_accumulator_value=0.5, epsilon=EPS),
        "adagrad",
        {"initial": 0.5, "epsilon": EPS},
    ),
    "RMSprop": (lambda: theirs.RMSprop(RATE, rho=RHO, epsilon=EPS), "rmsprop", {"rho": RHO, "epsilon": EPS}),
    "RMSprop momentum centered": (
        lambda: theirs.RMSprop(RATE, rho=RHO, epsilon=EPS, momentum=B, centered=True),
        "rmsprop",
        {"rho": RHO, "epsilon": EPS, "momentum": B, "centered": True},
    ),
    "Adadelta": (lambda: theirs.Adadelta(RATE, rho=RHO, epsilon=EPS), "adadelta", {"rho": RHO, "epsilon": EPS}),
    "Adam": (lambda: theirs.Adam(RATE, **MOMENTS), "adam", MOMENTS),
    "AdamW": (
        lambda: theirs.AdamW(RATE, weight_decay=DECAY, **MOMENTS),
        "adamw",
        {**MOMENTS, "weight_decay": DECAY},
    ),
    "Nadam": (lambda: theirs.Nadam(RATE, **MOMENTS), "nadam", MOMENTS),
    "Adam amsgrad": (lambda: theirs.Adam(RATE, amsgrad=True, **MOMENTS), "amsgrad", MOMENTS),
    "Lion": (
        lambda: theirs.Lion(RATE, B, RHO, weight_decay=DECAY),
        "lion",
        {"beta_1": B, "beta_2": RHO, "weight_decay": DECAY},
    ),
    "Lamb": (lambda: theirs.Lamb(RATE, weight_decay=DECAY, **MOMENTS), "lamb", {**MOMENTS, "weight_decay": DECAY}),
    "Adafactor": (
        lambda: theirs.Adafactor(RATE, -0.75, 2**-10, 2**-4, clip_threshold=0.75),
        "adafactor",
        {"decay_power": 0.75, "epsilon": 2**-10, "smallest_scale": 2**-4, "update_clip": 0.75},
    ),
}


def walk(make: Any) -> list[Any]:
    """The parameters at the end."""
    params = [keras.Variable(x, dtype="float64") for x in start().values()]
    optimizer = make()
    optimizer.build(params)
    for t in range(1, STEPS + 1):
        optimizer.learning_rate = RATE if t <= CHANGE else RATE / 2
        grads = [gradient(keras.ops.convert_to_numpy(w), t) for w in params]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in grads], params)
    return [np.array(keras.ops.convert_to_numpy(w)) for w in params]


if __name__ == "__main__":
    keras.config.set_floatx("float64")
    record(Path(__file__).with_name("keras.json"), {"keras": keras.__version__}, RUNS, walk)
