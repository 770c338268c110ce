"""Matrix: which vectors are accepted, and how they are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datadiet.errors import BadVector, DataError
from datadiet.geometry import Matrix


class Counted:
    """Rows that record how many were read at once."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        part = self.array[rows]
        self.most = max(self.most, len(part))
        return part


def test_rows_are_read_in_float32_and_scaled_to_length_one():
    # (3, 4) has length 5, (0, -2) length 2.
    matrix = Matrix.open(np.array([[3, 4], [0, -2]], dtype=np.float16), unit=True)
    np.testing.assert_allclose(matrix.take(slice(None)), [[0.6, 0.8], [0, -1]], rtol=1e-7)
    assert matrix.take(np.array([1, 1, 0])).dtype == np.float32
    assert (len(matrix), matrix.dim) == (2, 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_type_and_layout_comes_out_contiguous(dtype, order):
    array = np.asarray(np.arange(12).reshape(4, 3) + 1, dtype=dtype, order=order)
    for unit in (False, True):
        part = Matrix.open(array, unit=unit).take(slice(1, 3))
        assert part.dtype == np.float32 and part.flags.c_contiguous
        want = array[1:3].astype(float)
        want = want / np.linalg.norm(want, axis=1, keepdims=True) if unit else want
        np.testing.assert_allclose(part, want, rtol=1e-6)


@pytest.mark.parametrize("unit", [True, False])
def test_large_float16_files_are_widened_exactly(unit, tmp_path):
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].reshape(-1, 64)[:-1]
    np.save(tmp_path / "v.npy", np.concatenate([every, every])[1:])  # larger than what numpy converts itself
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    matrix = Matrix.open(mapped, unit=unit)
    want = np.asarray(mapped).astype(np.float32)
    want = want * matrix.scale[:, None] if unit else want
    for rows in (slice(None), slice(0, None, 2), np.arange(len(mapped))[::-1]):
        np.testing.assert_array_equal(matrix.take(rows), want[rows])
    np.testing.assert_array_equal(matrix.part(np.arange(5)).take(slice(None)), want[:5])
    assert mapped.dtype == np.float16


def test_reading_does_not_change_the_vectors():
    array = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    before, matrix = array.copy(), Matrix.open(array, unit=True)
    matrix.take(slice(None)), matrix.take(np.arange(50)), matrix.part(np.arange(3)).take(slice(None))
    np.testing.assert_array_equal(array, before)


def test_lists_and_tensors_are_taken_as_arrays():
    assert Matrix.open([[1.0, 2.0]]).take(slice(None)).tolist() == [[1, 2]]
    assert Matrix.open(torch.tensor([[1.0, 2.0]])).take(slice(None)).tolist() == [[1, 2]]


def test_a_part_reads_its_rows_and_blocks_cover_all():
    array = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    matrix = Matrix.open(array, unit=True)
    part = matrix.part(np.array([7, 2, 2]))
    np.testing.assert_array_equal(part.take(slice(None)), matrix.take(np.array([7, 2, 2])))
    np.testing.assert_array_equal(part.part(np.array([1])).take(slice(None)), matrix.take(np.array([2])))
    spans = list(matrix.blocks(4))
    assert [span for span, _ in spans] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    np.testing.assert_array_equal(np.concatenate([block for _, block in spans]), matrix.take(slice(None)))


@pytest.mark.parametrize(
    ("value", "unit", "problem"),
    [
        (np.nan, False, "not finite"),
        (np.inf, True, "not finite"),
        (0, True, "all zeros"),
        (1e-40, True, "all zeros"),
        (1e30, False, "too large for float32"),
        (1e300, True, "too large for float32|not finite"),
    ],
)
def test_a_bad_vector_is_named_wherever_it_is(value, unit, problem, monkeypatch):
    monkeypatch.setattr("datadiet.geometry.matrix._CHECKED_AT_ONCE", 8)  # four rows at a time
    array = np.ones((11, 2))
    array[9] = value
    with pytest.raises(BadVector, match=f"row 9 is ({problem})") as caught:
        Matrix.open(array, unit=unit)
    assert caught.value.row == 9


def test_zeros_are_vectors_where_no_direction_is_needed():
    assert Matrix.open(np.zeros((2, 2))).take(slice(None)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "vectors", [np.ones(3), np.ones((0, 3)), np.ones((3, 0)), np.array([["a"]]), np.ones((2, 2), dtype=bool), 5.0]
)
def test_anything_but_a_matrix_of_numbers_is_refused(vectors):
    with pytest.raises(DataError, match=r"give one vector of numbers per example"):
        Matrix.open(vectors)


def test_checking_reads_a_file_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("datadiet.geometry.matrix._CHECKED_AT_ONCE", 300)
    rows = Counted(np.ones((1000, 3), dtype=np.float16))
    Matrix.open(rows, unit=True)
    assert rows.most == 100


def test_a_matrix_is_not_checked_again_and_keeps_its_lengths():
    matrix = Matrix.open(np.array([[2.0, 0.0]]), unit=True)
    assert Matrix.open(matrix) is matrix and Matrix.open(matrix, unit=True) is matrix
    assert Matrix.open(Matrix.open(np.array([[2.0, 0.0]])), unit=True).take(slice(None)).tolist() == [[1, 0]]
