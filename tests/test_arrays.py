"""The door for arrays: what is read as numbers, and what is refused, in which words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from datadiet import scorers
from datadiet.arrays import ANY, Range, as_array, check_range, class_numbers, in_numpy, natural_numbers, numbers
from datadiet.errors import DataError, OptionError
from datadiet.geometry import Clusters, Matrix
from datadiet.scorers.influence_last_layer import influence_last_layer
from datadiet.scorers.presentations import RANGES, as_runs
from datadiet.scorers.refit_head import refit_head
from datadiet.selectors import SELECTORS, Column, ccs, class_quota, random, top_k
from datadiet.testing.array_kinds import not_class_numbers, not_numbers, same_numbers

ONE = np.array([0.5, 0.25, 1.0], dtype=np.float32)


def test_numbers_stay_as_they_are_stored() -> None:
    assert numbers("x", ONE, "n") is ONE
    for dtype in (np.float16, np.float64, np.int8, np.uint8, bool):
        assert numbers("x", ONE.astype(dtype), "n").dtype == dtype
    assert numbers("x", ONE.astype(np.longdouble), "n").dtype == np.float64
    assert numbers("x", ONE.astype(">f4"), "n").dtype == np.dtype(np.float32)


def test_other_containers_are_read() -> None:
    for said, values in same_numbers(ONE):
        np.testing.assert_array_equal(numbers("x", values, "n"), ONE, err_msg=said)
    for values in (
        pd.Series(ONE, index=[2, 1, 0]),
        pd.Series(ONE, dtype="Float64"),
        pa.chunked_array([ONE[:1], ONE[1:]]),
    ):
        np.testing.assert_array_equal(numbers("x", values, "n"), ONE)
    assert numbers("x", pd.DataFrame({"a": ONE, "b": ONE}), "n d").shape == (3, 2)
    assert numbers("x", [torch.tensor(ONE, requires_grad=True), ONE], "seeds n").tolist() == [ONE.tolist()] * 2
    assert numbers("x", torch.tensor(ONE).to(torch.float8_e4m3fn), "n").tolist() == ONE.tolist()


def test_what_is_no_array_of_numbers_is_refused_in_one_sentence() -> None:
    half_hidden = [[ONE], [np.ma.masked_array(ONE, mask=[False, True, False])]]
    others = [
        None,
        {},
        "0.5",
        {"a": 1},
        half_hidden,
        pd.Series([1, None], dtype="Int64"),
        torch.eye(3).to_sparse(),
        [10**30],
    ]
    for values in (*(values for _, values in not_numbers(ONE)), *others):
        with pytest.raises(OptionError, match=r"^x[ ,].*: (give|fill|record) [^\n]*\.$"):
            numbers("x", values, "n")


def test_the_words() -> None:
    for values, axes, words in (
        (np.ma.masked_array(ONE, mask=[0, 1, 1]), "n", "x has 2 masked entries: fill them in, or leave"),
        (ONE + 1j, "n", r"x has the type complex64 and shape \(3,\): give real numbers, \(n,\), with no empty axis\.$"),
        (
            ONE,
            "seeds epochs n* | epochs n*",
            r"shape \(3,\): give \(seeds, epochs, n\) or \(epochs, n\), with at least one",
        ),
        (np.zeros((0, 3)), "seeds n*", r"shape \(0, 3\): give \(seeds, n\), with at least one seed\.$"),
        ([ONE[:1], ONE[:2]], "seeds n", "x, a list, cannot be read as an array .*: give an array of numbers"),
        (ONE * np.nan, "n", "x has 3 NaN or infinite entries, the first at position 0: record it again"),
        (ONE * np.float32(np.inf), "n", "x has 3 NaN or infinite"),
        (ONE.astype(float) * 1e60, "n", "x goes from .* to .*: give numbers from -3.4028e"),
    ):
        with pytest.raises(OptionError, match=words):
            numbers("x", values, axes)


def test_any_number_of_further_axes() -> None:
    assert as_array("maps", np.zeros((2, 0)), "checkpoints n* ...").shape == (2, 0)
    assert as_array("maps", np.zeros((2, 0, 4, 4)), "checkpoints n* ...").shape == (2, 0, 4, 4)
    for shape in ((2,), (0, 3), (2, 3, 0)):
        with pytest.raises(OptionError, match=r"give \(checkpoints, n, \.\.\.\), with at least one checkpoint"):
            as_array("maps", np.zeros(shape), "checkpoints n* ...")


def test_bounds_are_included_and_may_be_passed_by_rounding() -> None:
    for value in (0.0, 1.0, -1e-7, 1 + 1e-7, np.nextafter(np.float32(1), np.float32(2))):
        assert numbers("p", [value], "n", low=0, high=1).tolist() == [value]
    for value in (-1e-5, 1.00001, 2.0):
        with pytest.raises(OptionError, match=r"p goes from .*: give numbers from 0 to 1\."):
            numbers("p", [value], "n", low=0, high=1)
    assert not Range(0, 1, binary=True).holds(np.array([0.0, np.nextafter(1, 2)]))
    assert Range(0, 1, binary=True).holds(np.array([[0, 1], [1, 1]], dtype=np.int8).T)


def test_entries_that_were_not_seen_do_not_count() -> None:
    values, seen = np.array([[0.5, np.nan], [7.0, 1.0]]), np.array([[True, False], [False, True]])
    check_range("x", values, Range(0, 1), seen)
    with pytest.raises(OptionError, match="the first at position 0, 1"):
        check_range("x", values, Range(0, 1))
    with pytest.raises(OptionError, match="the first at position 8, 1"):
        check_range("x", values, ANY, at=(8,))
    with pytest.raises(OptionError, match=r"x goes from 0\.5 to 7: give numbers from 0 to 1"):
        check_range("x", values, Range(0, 1), np.array([[True, False], [True, True]]))


def test_labels() -> None:
    for values in ([2.0, 0.0, 1.0], torch.tensor([2, 0, 1]), np.array([2, 0, 1], dtype=np.uint64), pa.array([2, 0, 1])):
        found = class_numbers("labels", values, 3)
        assert found.dtype == np.int64 and found.tolist() == [2, 0, 1]
    for said, values in not_class_numbers(np.array([2, 0, 1])):
        with pytest.raises(OptionError, match=r": [^\n]*[.…]$"):
            pytest.fail(f"{said}: {class_numbers('labels', values, 3)}")
    with pytest.raises(OptionError, match="labels has class numbers from 0 to 2: number the classes from 0 to 1"):
        class_numbers("labels", [2, 0, 1], 3, classes=2)
    assert natural_numbers("labels", [], "n*").tolist() == []


def test_what_a_fuzzer_found() -> None:
    """Each of these once passed silently, lost something, or ended in another library's words."""
    with pytest.raises(OptionError, match="correct has 1 NaN"):
        scorers.forgetting([[1.0], [np.nan]])
    with pytest.raises(OptionError, match=r"p_true goes from 0\.5 to 2: give numbers from 0 to 1"):
        scorers.cartography(np.array([[0.5], [2.0]]), np.ones((2, 1)))
    with pytest.raises(OptionError, match="shift goes from -1 to 2"):
        scorers.tdds(np.array([[-1.0], [2.0]]), window=3)
    for last in (10**11, 2**63 - 1):
        with pytest.raises(OptionError, match=r"2 recalls for \d+ classes"):
            class_quota([0, 1, last], 2, recall=[0.5, 0.5])
        with pytest.raises(OptionError, match=r"labels has class numbers up to \d+: number the classes from 0"):
            refit_head(np.eye(3), [0, 1, last])
        assert len(random(3, 2, labels=[0, 1, last])) == 2
    with pytest.raises(OptionError, match="labels has class numbers from"):
        influence_last_layer(np.eye(2), np.eye(2), [0, 10**11], np.eye(2), np.eye(2), [0, 1])
    assert len(ccs(np.array([0.0, 5e-324, 0.0]), 2)) == 2
    with pytest.raises(OptionError, match=r"above 2\^53, which floats cannot tell apart"):
        top_k([2**60, 2**60 + 1], 1, prefer="hardest")


@pytest.mark.parametrize(
    "vectors",
    [
        None,
        5.0,
        [[1.0], [1.0, 2.0]],
        np.eye(2) + 1j,
        np.eye(2).astype(object),
        np.ma.masked_equal(np.eye(2), 0),
        "text",
    ],
)
def test_every_selector_of_vectors_refuses_what_is_no_matrix(vectors: object) -> None:
    for spec in SELECTORS.values():
        if spec.first == "embeddings":
            more = {"reference": np.eye(2)} if "reference" in spec.reads else {}
            more |= {name: np.ones(2) for name, column in spec.reading(Column).items() if not column.optional}
            with pytest.raises(DataError, match=r": [^\n]*\.$"):
                spec.fn(vectors, 1, **more)


def test_sparse_matrices_are_refused() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(DataError, match=r"is sparse, a csr_array: give X.toarray\(\)"):
        Matrix.open(sparse.eye_array(3, format="csr"))


def test_clusters_are_checked_when_they_are_made() -> None:
    for labels in ([0, -1], [0, 2], [0, 2**63 - 1], [0.5, 0], [0]):
        with pytest.raises(OptionError, match="labels has"):
            Clusters(np.eye(2), np.array(labels), np.zeros(2), True)
    with pytest.raises(OptionError, match="distance has 1 NaN"):
        Clusters(np.eye(2), np.array([0, 1]), np.array([0, np.nan]), True)
    assert Clusters(np.eye(2), [0, 1], [0.0, 0.5], True).sizes.tolist() == [1, 1]  # type: ignore[arg-type]


def test_arrays_in_memory_are_not_copied() -> None:
    stored = np.ones((4, 3), dtype=np.float16)
    assert np.shares_memory(in_numpy(stored), stored) and np.shares_memory(as_array("x", stored, "n d"), stored)
    assert np.shares_memory(in_numpy(np.ma.masked_array(stored)), stored)
    assert np.shares_memory(as_runs(stored)[0], stored)


def test_signals_have_ranges_that_hold_the_same_for_all_scorers() -> None:
    assert RANGES["error_norm"].high == pytest.approx(2**0.5)
    with pytest.raises(OptionError, match="loss goes from -1 to -1: give numbers from 0 to"):
        scorers.loss([-1.0])
