"""Data sets: known figures of those that ship, and of the real ones where they are."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pytest

from functional_dl.data import (
    DATASETS,
    Dataset,
    MissingDataError,
    breast_cancer,
    diabetes,
    fashion_mnist,
    japanese_vowels,
    mnist_subset,
    wine,
)
from tests.data.small_files import both, consistent

# What ships.


def test_breast_cancer_is_all_there() -> None:
    data = breast_cancer()
    consistent(data)
    x, y = both(data)
    assert x.shape == (569, 30) and np.bincount(y).tolist() == [212, 357]
    assert data.facts["labels"] == ("malignant", "benign") and data.facts["features"][20] == "worst radius"
    # scikit-learn's description of the data has these extremes.
    np.testing.assert_allclose(x.min(0)[[0, 3, 23]], [6.981, 143.5, 185.2], rtol=1e-6)
    np.testing.assert_allclose(x.max(0)[[0, 3, 23]], [28.11, 2501.0, 4254.0], rtol=1e-6)
    assert float(x.astype(np.float64).sum()) == pytest.approx(1056474.4596, rel=1e-8)  # awk's sum of the source
    malignant = x[y == 0, 0].mean()
    assert malignant > x[y == 1, 0].mean()  # malignant nuclei are the larger ones


def test_wine_is_all_there() -> None:
    data = wine()
    consistent(data)
    x, y = both(data)
    assert x.shape == (178, 13) and np.bincount(y).tolist() == [59, 71, 48]
    np.testing.assert_allclose(x.mean(0)[[0, 4, 12]], [13.0, 99.7, 746], rtol=2e-3)
    assert float(x.astype(np.float64).sum()) == pytest.approx(159975.2960, rel=1e-7)
    assert (x[:, 12].min(), x[:, 12].max()) == (278, 1680) and data.facts["features"][12] == "proline"


def test_diabetes_is_all_there_and_raw() -> None:
    data = diabetes()
    consistent(data)
    x, y = both(data)
    assert x.shape == (442, 10) and y.shape == (442, 1)
    assert (y.min(), y.max(), float(y.mean())) == (25, 346, pytest.approx(152.1335, abs=1e-4))
    assert set(x[:, 1].tolist()) == {1, 2} and (x[:, 0].min(), x[:, 0].max()) == (19, 79)  # years, not z-scores
    assert float(x.astype(np.float64).sum()) == pytest.approx(276404.2336, rel=1e-7)
    bmi = np.corrcoef(x[:, 2], y[:, 0])[0, 1]
    assert bmi == pytest.approx(0.5865, abs=1e-3)  # Efron et al.: the first to enter the model
    # The same row is features and target: the first of the source.
    at = np.flatnonzero((x[:, 0] == 59) & (x[:, 9] == 87) & (x[:, 4] == 157))
    assert y[at, 0].tolist() == [151]


def test_all_that_ships_has_a_notice() -> None:
    folder = files("functional_dl.data").joinpath("files")
    notice = folder.joinpath("NOTICE").read_text(encoding="utf-8")
    names = [file.name for file in folder.iterdir() if file.name != "NOTICE"]
    assert len(names) == 5 and all(name in notice for name in names)
    assert notice.count("CC BY 4.0") == 3 and "REDISTRIBUTION" in notice.upper()


@pytest.mark.parametrize("name", ["digits", "stdlib", "breast_cancer", "wine", "diabetes"])
def test_facts_are_those_of_the_arrays(name: str) -> None:
    data = DATASETS[name]()
    consistent(data)
    again = DATASETS[name]()
    np.testing.assert_array_equal(data.test[0], again.test[0])


def test_names_are_those_of_configs() -> None:
    assert sorted(DATASETS) == [
        "breast_cancer", "diabetes", "digits", "fashion_mnist", "japanese_vowels", "mnist_subset", "stdlib", "table",
        "wine",
    ]  # fmt: skip


@pytest.mark.parametrize("load", [breast_cancer, wine, diabetes])
def test_splits_depend_on_share_and_seed(load: Callable[..., Dataset]) -> None:
    size = sum(len(part[0]) for part in (load().train, load().test))
    assert len(load(test_share=0.5).test[0]) == round(size / 2)
    assert np.any(load(split_seed=1).test[0] != load().test[0])
    whole = [{row.tobytes() for row in part[0]} for part in (load().train, load().test)]
    assert not whole[0] & whole[1] or load is wine


# The real ones, where they are.


def real(load: Callable[[], Dataset]) -> Dataset:
    try:
        return load()
    except MissingDataError as error:
        pytest.skip(f"not installed here: {str(error).rpartition(': ')[2]}")


def test_the_real_mnist_subset() -> None:
    data = real(mnist_subset)
    consistent(data)
    x, y = both(data)
    assert x.shape == (5000, 28, 28) and np.bincount(y).tolist() == [500] * 10
    assert (x.min(), x.max()) == (0, 1) and float(x.astype(np.float64).mean()) == pytest.approx(0.1314, abs=2e-3)


def test_the_real_fashion_mnist() -> None:
    data = real(fashion_mnist)
    consistent(data)
    assert data.train[0].shape == (60_000, 28, 28) and data.test[0].shape == (10_000, 28, 28)
    assert np.bincount(data.train[1]).tolist() == [6000] * 10 and np.bincount(data.test[1]).tolist() == [1000] * 10
    # The mean and deviation that everybody normalises by.
    assert float(data.train[0].mean(dtype=np.float64)) == pytest.approx(0.2860, abs=1e-4)
    assert float(data.train[0].std(dtype=np.float64)) == pytest.approx(0.3530, abs=1e-4)


def test_the_real_japanese_vowels() -> None:
    data = real(japanese_vowels)
    consistent(data)
    assert data.train[0].shape == (270, 29, 12) and data.test[0].shape == (370, 29, 12)
    assert np.bincount(data.train[1]).tolist() == [30] * 9
    assert np.bincount(data.test[1]).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]  # the archive's description
    train, test = data.facts["lengths"]
    assert (train.min(), train.max(), test.min(), test.max()) == (7, 26, 7, 29)
    for (inputs, _), lengths in zip((data.train, data.test), (train, test), strict=True):
        assert all(not row[: 29 - n].any() and row[29 - n].all() for row, n in zip(inputs, lengths, strict=True))
    np.testing.assert_array_equal(data.train[0][0, -20:, 0][:2], np.float32([1.860936, 1.891651]))
