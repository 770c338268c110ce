"""What a Parquet file takes in memory is known before it is read, and files that take ordinary amounts are read."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datadiet import Scores, Selection
from datadiet.data import open_data
from datadiet.errors import DataError
from datadiet.files.parquet_sizes import decoded_size
from datadiet.files.tables import parquet_table

TEXT = "x" * (1 << 20)
BOMBS = {
    "list": {"x": pa.array([np.zeros(10_000_000, np.int8)], pa.list_(pa.int8()))},
    "fixed list": {"x": pa.FixedSizeListArray.from_arrays(np.zeros(10_000_000, np.int8), 5_000_000)},
    "list of lists": {"x": pa.array([[np.zeros(10_000_000, np.int8)]], pa.list_(pa.list_(pa.int8())))},
    "struct of lists": {"x": [{"a": np.zeros(10_000_000, np.int8)}]},
    "numbers": {"x": np.zeros(10_000_000)},
    "text": {"x": [TEXT] * 100},
    "large text": {"x": pa.array([TEXT] * 100, pa.large_string())},
    "bytes": {"x": [TEXT.encode()] * 100},
    "categories": {"x": pa.array([TEXT] * 100).dictionary_encode()},
    "texts after none": {"x": [None] * 5000 + [TEXT] * 100},
    "list of texts": {"x": [[TEXT, TEXT, None]] * 50},
    "struct of texts": {"x": [{"a": {"b": TEXT}}] * 100},
    "one long text of many": {"x": [str(i) for i in range(1000)] + [TEXT] * 100},
}


@pytest.fixture
def small(monkeypatch):
    """A limit of 64 MiB, and of 512 MiB of address space more than now."""
    monkeypatch.setenv("DATADIET_READ_LIMIT", "64MiB")
    before = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (before + (512 << 20), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    for name, columns in BOMBS.items():
        for version in ("1.0", "2.0"):
            pq.write_table(
                pa.table(columns), folder / f"{name} {version}.parquet", compression="zstd",
                dictionary_pagesize_limit=4 << 20, data_page_version=version,
            )  # fmt: skip
    return folder


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_of_large_rows_is_refused_before_it_is_read(bombs, small, name, version):
    path = bombs / f"{name} {version}.parquet"
    assert path.stat().st_size < 1 << 17
    for read in (parquet_table, Scores.read, Selection.read, open_data):
        with pytest.raises(DataError, match=r"parquet would take 0\.\d GiB in memory.*DATADIET_READ_LIMIT=1GiB"):
            read(path)


TABLES = {
    "ids": {"x": [f"row {i}" for i in range(200_000)], "y": np.arange(200_000)},
    "labels": {"x": [f"class {i % 10}" for i in range(200_000)]},
    "captions": {"x": [f"{i} " + "word " * (i % 50) for i in range(20_000)]},
    "few long texts": {"x": ["a" * 100_000, *map(str, range(50_000))] * 2},
    "nested": {"x": [[{"a": f"{i}", "b": [i, i + 1]}] * (i % 3) for i in range(20_000)]},
    "empty": {"x": pa.array([], pa.string()), "y": pa.array([], pa.list_(pa.string()))},
    "nulls": {"x": pa.array([None] * 10, pa.string()), "y": pa.array([None] * 10, pa.list_(pa.string()))},
    "decimals": {"x": pa.array([1, 2], pa.decimal128(30, 2))},
    "map": {"x": pa.array([[("a", "b")], []], pa.map_(pa.string(), pa.string()))},
}


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"compression": "gzip", "row_group_size": 9999}])
@pytest.mark.parametrize("name", TABLES)
def test_ordinary_files_are_read_and_their_size_is_about_right(tmp_path, monkeypatch, name, options):
    monkeypatch.setenv("DATADIET_READ_LIMIT", "16MiB")
    table, path = pa.table(TABLES[name]), tmp_path / "d.parquet"
    pq.write_table(table, path, **options)
    assert parquet_table(path).equals(table)
    with path.open("rb") as opened:
        exact = decoded_size(opened, pq.read_metadata(path), table.nbytes // 2)
    assert 0.4 * table.nbytes - 1000 <= exact <= 2 * table.nbytes + 100_000


def test_a_damaged_footer_or_header_of_a_page_is_one_sentence(tmp_path):
    path, rng = tmp_path / "d.parquet", np.random.default_rng(0)
    pq.write_table(pa.table({"x": [["a", "b"], ["c"]] * 50, "y": ["d"] * 100}), path)
    whole = path.read_bytes()
    for _ in range(300):
        at, noise = int(rng.integers(4, len(whole) - 8)), rng.bytes(int(rng.integers(1, 9)))
        path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
        try:
            parquet_table(path)
        except DataError as error:
            assert "\n" not in str(error)
