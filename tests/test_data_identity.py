"""Identity: what changes it, what does not, and how a mismatch is reported."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadiet.data import check_identity, hash_ids, open_data
from datadiet.data.identity import evenly_spaced
from datadiet.errors import FingerprintMismatch


@given(st.lists(st.text(max_size=4), max_size=12), st.data())
def test_hash_of_ids_ignores_chunks_and_slices(ids, data):
    whole = pa.array(ids, pa.string())
    cut = data.draw(st.integers(0, len(ids)))
    sliced = pa.array(["extra", *ids, "more"], pa.string())[1 : 1 + len(ids)]
    expected = hash_ids(whole)
    assert hash_ids(pa.chunked_array([whole[:cut], whole[cut:]], pa.string())) == expected
    assert hash_ids(sliced) == expected and hash_ids(whole.cast(pa.large_string())) == expected
    assert hash_ids(pa.array([*ids, ""], pa.string())) != expected


def test_hash_of_a_million_ids_is_fast():
    ids = pa.array(np.arange(1_000_000)).cast(pa.string())
    start = time.perf_counter()
    hash_ids(ids)
    assert time.perf_counter() - start < 2


def test_evenly_spaced_is_fixed():
    assert evenly_spaced(0, 64).tolist() == [] and evenly_spaced(3, 64).tolist() == [0, 1, 2]
    spaced = evenly_spaced(1000, 64)
    assert len(set(spaced.tolist())) == 64 and spaced[0] == 0 and spaced[-1] == 984


def test_identity_notices_each_change(tmp_path):
    def opened(x, y, **extra):
        np.savez(tmp_path / "a.npz", x=x, y=y, **extra)
        return open_data(tmp_path / "a.npz").identity()

    x, y = np.arange(24, dtype=np.float32).reshape(8, 3), np.arange(8) % 3
    base = opened(x, y)
    assert base == opened(x.copy(), y.astype(np.int8)) and base["n"] == 8 and base["positional_ids"]
    assert opened(x + 1, y)["content"] != base["content"]
    assert opened(x.reshape(8, 1, 3), y)["content"] != base["content"]
    assert opened(x, y[::-1])["labels"] != base["labels"]
    assert opened(x, y, ids=np.arange(8) + 1)["ids"] != base["ids"]
    assert open_data(tmp_path / "a.npz").subset([0, 1, 2]).identity()["positional_ids"] is False


def test_identity_ignores_files_and_chunks(tmp_path):
    table = pa.table({"text": [f"line {i}" for i in range(100)], "label": [i % 2 for i in range(100)]})
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=7)
    pq.write_table(table[:40], tmp_path / "two-0.parquet")
    pq.write_table(table[40:], tmp_path / "two-1.parquet")
    one, two = open_data(tmp_path / "one.parquet"), open_data(f"parquet:{tmp_path}/two-*.parquet")
    assert one.identity() == two.identity() and one.identity()["content_kind"] == "bytes"


FULL = {"n": 4, "ids": "a", "labels": "b", "content": "c", "content_kind": "bytes", "positional_ids": False}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 5, "ids": "z"}, "number of examples .4 there, 5"),
        ({"ids": "z", "labels": "z"}, "ids or their order"),
        ({"labels": "z", "content": "z"}, "labels"),
        ({"content": "z"}, "content of the examples"),
    ],
)
def test_the_first_difference_is_named(change, words):
    with pytest.raises(FingerprintMismatch, match=rf"^mine\.parquet.*{words}"):
        check_identity(FULL, {**FULL, **change}, "mine.parquet")


def test_ids_that_differ_completely_are_shown():
    there, here = pa.array(["cat/1.png", "dog/2.png"]), pa.array(["/d/1.png", "/d/2.png"], pa.large_string())
    words = (
        "its ids look like 'cat/1.png', those of the data at hand like '/d/1.png'.*repeat the image=, label= and id="
    )
    with pytest.raises(FingerprintMismatch, match=words):
        check_identity(FULL, {**FULL, "ids": "z"}, "mine.parquet", (there, here))
    for reordered in (there[::-1], pa.array(["cat/1.png", "cow/3.png"])):
        with pytest.raises(FingerprintMismatch, match="ids or their order"):
            check_identity(FULL, {**FULL, "ids": "z"}, "mine.parquet", (there, reordered))


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (FULL, FULL),
        ({"n": 4}, FULL),
        ({}, FULL),
        ({**FULL, "labels": None}, FULL),
        (FULL, {**FULL, "labels": None}),
        (FULL, {**FULL, "content": "z", "content_kind": "array"}),
        ({**FULL, "positional_ids": True}, {**FULL, "positional_ids": True, "ids": "z"}),
    ],
)
def test_unknown_or_incomparable_parts_are_not_compared(expected, found):
    check_identity(expected, found, "mine")
    with pytest.raises(FingerprintMismatch, match="5"):  # and yet what both know is
        check_identity({**expected, "n": 4}, {**found, "n": 5}, "mine")


def test_one_side_with_real_ids_is_compared():
    with pytest.raises(FingerprintMismatch, match="ids"):
        check_identity({**FULL, "positional_ids": True}, {**FULL, "ids": "z"}, "mine")


def test_checking_needs_no_torch():
    code = "import sys, datadiet.data.identity; assert not {'torch', 'datasets', 'PIL', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
