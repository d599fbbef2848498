"""Every shipped config can be tuned: members of it train and are measured side by side, with their numbers traced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from functional_dl import config
from functional_dl.data import MissingDataError
from functional_dl.strategies.space import draw
from functional_dl.tuning.configured import configured, space_of, validated
from functional_dl.tuning.members import begun, measured, trained
from functional_dl.tuning.pool import as_number
from functional_dl.tuning.problem import numbers_among

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted(FOLDER.rglob("*.toml"))
SMALL = ["model.depth=2", "model.width=32", "data.characters=20000", "training.batch=4"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(FOLDER).with_suffix("")))
def test_config(path: Path) -> None:
    """A round of it as it is for the compiler, which is what can go wrong; compiling all of them takes too long."""
    resolved = config.load(path, SMALL if "charlm" in path.stem else [])
    space = space_of(resolved)
    validated(resolved, space)
    try:
        problem = configured(resolved)
    except MissingDataError as error:
        pytest.skip(str(error))
    values = draw(space, seed=0, member=0)
    traced = numbers_among(problem, values, list(space))
    if resolved.tuning is None:
        assert traced == set(space)  # so all members of a search are one program
    ready = problem.prepare({key: x for key, x in values.items() if key not in traced})
    seeds = jnp.arange(2, dtype=jnp.uint32)
    numbers = {key: jnp.stack([as_number(values[key])] * 2) for key in traced}

    def round_(seed: Any, own: Any, steps: Any, train: Any, validation: Any) -> tuple[Any, Any, Any]:
        member = begun(ready, seed, own)
        after = trained(ready, member, train, steps)
        return member, after, problem.score(measured(ready, after, validation))

    operands = (seeds, numbers, jnp.int32(3), ready.parts.train, ready.parts.validation)
    before, after, score = jax.eval_shape(jax.vmap(round_, in_axes=(0, 0, None, None, None)), *operands)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(lambda x: (x.shape, x.dtype), after)
    assert score.shape == (2,) and problem.steps == ready.steps > 0
