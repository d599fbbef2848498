"""Preprocessing against its formulas written out in NumPy, and what holds of any data."""

from __future__ import annotations

import io
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from functional_dl.data import (
    PREPROCESSORS,
    DataError,
    Dataset,
    Fitted,
    Preprocessor,
    center,
    chain,
    digits,
    min_max,
    nonnegative,
    one_hot,
    pca_whiten,
    preprocess,
    standardize,
    whitening,
    wine,
    zca_whiten,
)

SCALINGS = [center(), standardize(), nonnegative(), min_max()]
ALL = [*SCALINGS, pca_whiten(), zca_whiten(), chain(standardize(), zca_whiten()), chain(nonnegative(), min_max())]


def name(preprocessor: Preprocessor) -> str:
    return "+".join(step for step, _ in preprocessor.steps)


def made(n: int, d: int, seed: int = 0, rank: int | None = None) -> np.ndarray:
    """Correlated columns of different scales around different places."""
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(n, rank or d)) @ generator.normal(size=(rank or d, d))
    return mixed * generator.uniform(0.5, 2, d) + generator.normal(size=d) * 3


tables = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 8), st.integers(1, 5)),
    elements=st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 1.0, 0.1]),
)


REFERENCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "center": lambda x, new: new - x.mean(0),
    "standardize": lambda x, new: (new - x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).sum(0) / len(x)),
    "nonnegative": lambda x, new: new + np.array([abs(min(0.0, *column)) for column in x.T]),
    "min_max": lambda x, new: (new - x.min(0)) / (x.max(0) - x.min(0)),
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_scalings_are_their_formulas(kind: str) -> None:
    x, new = made(50, 4), made(20, 4, seed=1)
    x[:, 0] = np.abs(x[:, 0]) + 1  # nothing to shift
    fitted = PREPROCESSORS[kind]().fit(x)
    np.testing.assert_allclose(fitted.apply(new), REFERENCES[kind](x, new), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(fitted.invert(fitted.apply(new)), new, rtol=1e-12, atol=1e-13)
    assert fitted.kind == kind and not fitted.notes


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
@pytest.mark.parametrize(("n", "d"), [(60, 5), (5, 60)])
def test_pca_whitening_is_its_formula(n: int, d: int, epsilon: float) -> None:
    x, new, k = made(n, d), made(7, d, seed=1), 3
    centred = x - x.mean(0)
    eigenvalues, eigenvectors = np.linalg.eigh(centred.T @ centred / n)
    top = np.argsort(eigenvalues)[::-1][:k]
    due = (new - x.mean(0)) @ eigenvectors[:, top] / np.sqrt(eigenvalues[top] + epsilon)
    got = pca_whiten(k, epsilon=epsilon).fit(x).apply(new)
    signs = np.sign(np.sum(got * due, axis=0))  # those of eigenvectors are free
    np.testing.assert_allclose(got, due * signs, rtol=1e-8, atol=1e-9)


def test_the_column_of_the_product_is_scaled_and_not_that_of_the_eigenvectors() -> None:
    # The notes divide each column of P by *its* standard deviation; that leaves the products' variances at λ/var(P).
    x = made(40, 6)
    y = pca_whiten(3, epsilon=0).fit(x).apply(x)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-10)
    p = pca_whiten(3, epsilon=0).fit(x).values["0.components"]
    assert not np.allclose(((x - x.mean(0)) @ (p / p.std(axis=0))).std(axis=0), 1, rtol=0.1)


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_zca_whitening_is_its_formula(epsilon: float) -> None:
    x, new = made(60, 5), made(7, 5, seed=1)
    centred = x - x.mean(0)
    eigenvalues, p = np.linalg.eigh(centred.T @ centred / len(x))
    due = (new - x.mean(0)) @ p @ np.diag(1 / np.sqrt(eigenvalues + epsilon)) @ p.T
    np.testing.assert_allclose(zca_whiten(epsilon=epsilon).fit(x).apply(new), due, rtol=1e-9, atol=1e-10)


@given(
    n=st.integers(2, 30), d=st.integers(1, 10), seed=st.integers(0, 99), k=st.integers(1, 10), scale=st.integers(-9, 9)
)
def test_whitened_training_data_has_unit_covariance(n: int, d: int, seed: int, k: int, scale: int) -> None:
    x = made(n, d, seed) * 10.0**scale
    k = min(k, d)
    fitted = pca_whiten(k, epsilon=0).fit(x)
    y = fitted.apply(x)
    assert y.shape == (n, min(k, n - 1))
    np.testing.assert_allclose(y.T @ y / n, np.eye(y.shape[1]), atol=1e-7)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-7)
    assert bool(fitted.notes) == (d > n - 1)
    z = zca_whiten(epsilon=0).fit(x).apply(x)
    eigenvalues = np.linalg.eigvalsh(z.T @ z / n)
    rank = min(d, n - 1)
    np.testing.assert_allclose(eigenvalues, [0.0] * (d - rank) + [1.0] * rank, atol=1e-7)


@given(x=tables)
def test_invert_undoes_apply_and_everything_stays_finite(x: np.ndarray) -> None:
    spread = np.ptp(x.astype(np.float64), axis=0)
    new = x[::-1] + 0.25 * np.where(spread == 0, 1, spread)
    for preprocessor in ALL:
        if "whiten" in name(preprocessor) and np.all(x == x[0]):
            with pytest.raises(DataError, match="nothing varies"):
                preprocessor.fit(x)
            continue
        fitted = preprocessor.fit(x)
        y = fitted.apply(x)
        assert y.dtype == np.float32 and np.all(np.isfinite(y))
        # Rounding to float32 happens on the preprocessed side, whose unit is as large as the data's extent.
        extent = np.abs(x.astype(np.float64)).max() + 1
        np.testing.assert_allclose(fitted.invert(y), x, atol=float(4e-6 * extent), rtol=0)
        if name(preprocessor) != "pca_whiten":  # which leaves out directions that training data did not vary in
            np.testing.assert_allclose(fitted.invert(fitted.apply(new)), new, atol=float(1e-9 * extent * 2), rtol=0)
        constant = x.min(axis=0) == x.max(axis=0)
        if constant.any() and name(preprocessor) in ("center", "standardize", "min_max"):
            assert np.all(y[:, constant] == 0) and "constant" in fitted.notes[0]
        if name(preprocessor) == "standardize":
            np.testing.assert_allclose(y[:, ~constant].astype(np.float64).std(axis=0), 1, rtol=1e-5)
        if "nonnegative" in name(preprocessor):
            assert y.min() >= 0
        if "min_max" in name(preprocessor):
            assert y.min() == 0 and y.max() <= 1 and np.all(y.max(axis=0)[~constant] == 1)


def test_fewer_components_invert_to_the_nearest_point_of_their_plane() -> None:
    x = made(50, 6)
    fitted = pca_whiten(2).fit(x)
    back = fitted.invert(fitted.apply(x))
    centred = x - x.mean(0)
    singular = np.linalg.svd(centred, compute_uv=False)
    # Eckart and Young: no plane of two dimensions leaves less.
    assert np.sum((x - back) ** 2) == pytest.approx(np.sum(singular[2:] ** 2))
    np.testing.assert_allclose((x - back) @ fitted.values["0.components"], 0, atol=1e-10)


def test_more_components_than_the_rank_are_said_and_left_out() -> None:
    x = made(40, 8, rank=3)
    for data in (x, x.astype(np.float32)):  # float32 rounding must not pass for variance
        fitted = pca_whiten(6).fit(data)
        assert fitted.apply(data).shape == (40, 3)
        assert fitted.notes == (
            "pca_whiten: the training data varies in 3 of 8 directions (its rank)",
            "pca_whiten: 3 components are kept, not 6: the others would be noise scaled to variance 1",
        )
        np.testing.assert_allclose(fitted.invert(fitted.apply(data)), data, atol=1e-4)
        assert "the other directions are scaled like the one that varies most" in zca_whiten().fit(data).notes[-1]
    assert pca_whiten().fit(made(300, 300, rank=5)).values["0.scale"].shape == (5,)  # nor that of the arithmetic
    with pytest.raises(DataError, match="9 components of 8 columns; due are 1 to 8"):
        pca_whiten(9).fit(x)


def test_faint_directions_count_if_they_are_more_than_rounding() -> None:
    # Through DᵀD they would drown: 1e-10 of the largest deviation is 1e-20 of its variance.
    x = np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 1e-10]
    y = pca_whiten(2, epsilon=0).fit(x).apply(x)
    np.testing.assert_allclose(y.T @ y / 50, np.eye(2), atol=1e-5)


def test_the_quick_way_for_large_data_is_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for x in (made(200, 6).astype(np.float32), made(200, 6, rank=3).astype(np.float32), np.ones((4, 2), np.float32)):
        x = np.vstack([x, x[:1] + 1])
        exact = [p.fit(x) for p in (pca_whiten(), zca_whiten())]
        with monkeypatch.context() as patch:
            patch.setattr(whitening, "_MANY", 0)
            quick = [p.fit(x) for p in (pca_whiten(), zca_whiten())]
        for a, b in zip(exact, quick, strict=True):
            assert a.notes == b.notes
            np.testing.assert_allclose(a.apply(x), b.apply(x), atol=2e-5)


def test_constant_columns_are_named_and_zero() -> None:
    x = np.full((7, 12), np.float32(0.1))
    x[:, 5] = np.arange(7)
    for preprocessor in (center(), standardize(), min_max(), zca_whiten()):
        fitted = preprocessor.fit(x)
        assert np.all(np.delete(fitted.apply(x), 5, axis=1) == 0)
        assert fitted.notes[0].endswith(
            "columns 0, 1, 2, 3, 4, 6, 7, 8 and 3 more are constant in the training data"
        ), fitted.notes
    # A mean of many 0.1 is not 0.1.
    many = np.full((1003, 2), 0.1)
    assert np.any(many.mean(axis=0) != 0.1)
    assert np.all(standardize().fit(many).apply(many) == 0)
    assert standardize().fit(digits().train[0]).notes == (
        "standardize: columns (0, 0), (4, 0), (4, 7) are constant in the training data",
    )


def test_missing_values_are_named() -> None:
    x = made(10, 4).astype(np.float32)
    x[3, 1] = x[3, 2] = x[8, 2] = np.nan
    x[0, 2] = np.inf
    for preprocessor in ALL:
        with pytest.raises(DataError, match="3 of 10 rows hold NaN or infinity, in columns 1, 2; remove these"):
            preprocessor.fit(x)
    fitted = standardize().fit(made(10, 4))
    with pytest.raises(DataError, match="standardize: 3 of 10 rows"):
        fitted.apply(x)
    with pytest.raises(DataError, match="standardize: 3 of 10 rows"):
        fitted.invert(x)


@pytest.mark.parametrize(
    ("fit", "says"),
    [
        (lambda: center().fit(np.zeros((0, 3))), "none empty"),
        (lambda: center().fit(np.float32(3)), "examples along the first axis"),
        (lambda: center().fit(np.array(["a"])), "due are real numbers"),
        (lambda: center().fit(np.zeros((2, 3))).apply(np.zeros((2, 4))), r"shape \(4,\); due is \(3,\)"),
        (lambda: pca_whiten(2).fit(made(9, 4)).invert(np.zeros((2, 4))), r"shape \(4,\); due is \(2,\)"),
        (lambda: pca_whiten(0), "at least 1"),
        (lambda: zca_whiten(epsilon=-1.0), "due is a number from 0"),
        (lambda: zca_whiten(epsilon=float("nan")), "due is a number from 0"),
        (lambda: pca_whiten().fit(np.ones((5, 2))), "nothing varies in 5 rows"),
        (lambda: chain(), "at least one preprocessor"),
        (lambda: one_hot(0), "at least 1"),
        (lambda: one_hot().fit(np.array([0.5, 1.0])), "no whole numbers"),
        (lambda: one_hot().fit(np.zeros((3, 2))), "2 columns; due is one label"),
        (lambda: one_hot(3).fit(np.array([0, 3])), "unknown label 3; 3 are known, from 0 to 2"),
        (lambda: one_hot().fit(np.array([4, 2])).apply(np.array([2, 3])), "unknown label 3; 2 are known, from 2 to 4"),
        (lambda: min_max().fit(np.array([[-1.5e308], [1.5e308]])), "beyond float64"),
        (lambda: pca_whiten().fit(np.array([[-1.5e308], [1.5e308], [1.7e308]])), "beyond float64"),
        (lambda: center().fit(np.float32([[-3e38], [-2e38]])).apply(np.float32([[3e38]])), "beyond float32"),
    ],
)
def test_what_cannot_be_is_said(fit: Callable[[], object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        fit()


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e150])
def test_tiny_and_huge_units_are_harmless(scale: float) -> None:
    x = made(20, 3)
    for preprocessor in (standardize(), min_max(), pca_whiten(epsilon=0), zca_whiten(epsilon=0)):
        np.testing.assert_allclose(
            preprocessor.fit(x * scale).apply(x * scale), preprocessor.fit(x).apply(x), rtol=1e-9, atol=1e-9
        )


def test_one_hot() -> None:
    labels = np.array([3, 7, 3, 5], np.int32)
    fitted = one_hot().fit(labels)
    rows = fitted.apply(labels)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.eye(3)[[0, 2, 0, 1]])
    assert fitted.invert(rows).dtype == np.int32
    np.testing.assert_array_equal(fitted.invert(rows), labels)
    np.testing.assert_array_equal(fitted.invert(rows - 0.3 * rows[::-1]), labels)
    assert one_hot().fit(labels[:, None]).invert(rows).shape == (4, 1)
    ten = one_hot(10).fit(labels)
    assert ten.apply(np.array([9])).argmax() == 9
    assert ten.notes == ("one_hot: no example has the label 0, 1, 2, 4, 6, 8, 9",)


def test_images_keep_their_shape_and_components_have_their_own() -> None:
    images = digits().train[0]
    for preprocessor in ALL:
        fitted = preprocessor.fit(images)
        y = fitted.apply(images)
        assert y.shape[1:] == ((61,) if name(preprocessor) == "pca_whiten" else (8, 8))
        assert fitted.invert(y).shape == images.shape
        np.testing.assert_allclose(fitted.invert(y), images, atol=1e-5)


def test_a_chain_is_one_after_the_other() -> None:
    x, new = made(30, 4), made(9, 4, seed=1)
    first = standardize().fit(x)
    second = pca_whiten(2).fit(first.apply(x))
    both = chain(standardize(), pca_whiten(2)).fit(x)
    np.testing.assert_array_equal(both.apply(new), second.apply(first.apply(new)))
    np.testing.assert_array_equal(both.invert(both.apply(new)), first.invert(second.invert(both.apply(new))))
    notes = chain(center(), min_max(), pca_whiten(3)).fit(made(40, 8, rank=2)).notes
    assert [note.split(":")[0] for note in notes] == ["pca_whiten", "pca_whiten"]
    longer = chain(*[center()] * 11, nonnegative())  # step 10 is not step 1
    np.testing.assert_allclose(longer.fit(x).apply(x), x - x.min(0), atol=1e-12)


def test_what_is_fitted_can_be_stored() -> None:
    x = made(30, 4).astype(np.float32)
    fitted = chain(standardize(), pca_whiten(2)).fit(x)
    file = io.BytesIO()
    np.savez(file, **fitted.values)  # type: ignore[arg-type]
    file.seek(0)
    again = Fitted(fitted.kind, dict(np.load(file)))
    np.testing.assert_array_equal(again.apply(x), fitted.apply(x))


def test_dtypes_in_and_out() -> None:
    x = made(30, 4)
    fitted = standardize().fit(x.astype(np.float32))
    assert fitted.values["0.mean"].dtype == np.float64
    assert fitted.apply(x).dtype == np.float64
    for dtype in (np.float32, np.float16, np.int32, np.uint8, bool):
        assert fitted.apply(x.astype(dtype)).dtype == np.float32, dtype
    assert fitted.apply(jnp.asarray(x, jnp.bfloat16)).dtype == np.float32
    # A mean of float32 entries far from zero: summed in float32 it would be off by several.
    far = (1e6 + np.random.default_rng(0).normal(size=(100_000, 1))).astype(np.float32)
    assert abs(float(center().fit(far).apply(far).astype(np.float64).mean())) < 1e-6


def test_only_the_training_part_is_fitted() -> None:
    data = wine()
    spoilt = Dataset(data.train, (data.test[0] * 1000, data.test[1]), data.facts)
    a, fitted = preprocess(data, chain(standardize(), pca_whiten(5)))
    b, _ = preprocess(spoilt, chain(standardize(), pca_whiten(5)))
    np.testing.assert_array_equal(a.train[0], b.train[0])
    np.testing.assert_array_equal(a.test[0], fitted.apply(data.test[0]))
    assert a.facts["shape"] == (5,) and "features" not in a.facts and data.facts["shape"] == (13,)
    assert preprocess(data, standardize())[0].facts["features"] == data.facts["features"]
    np.testing.assert_allclose(a.train[0].astype(np.float64).std(axis=0), 1, rtol=1e-5)


def test_all_are_known_by_name() -> None:
    assert sorted(PREPROCESSORS) == [
        "center", "min_max", "nonnegative", "one_hot", "pca_whiten", "standardize", "zca_whiten",
    ]  # fmt: skip
    for kind, make in PREPROCESSORS.items():
        assert name(make()) == kind
