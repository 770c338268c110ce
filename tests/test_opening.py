"""Opening files: whatever is damaged gets one sentence, and no file makes the process allocate far more than it is."""

from __future__ import annotations

import ast
import gzip
import io
import os
import resource
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datadiet
from datadiet.data import open_data
from datadiet.errors import DataError, OptionError
from datadiet.files import opening, read_json, read_parquet, write_parquet
from datadiet.files.tables import _Nesting, parquet_table, read_csv, read_json_lines
from datadiet.runtime.tensors import load_weights
from datadiet.runtime.vectors import open_vectors
from datadiet.table import Scores, Selection
from datadiet.workflow.selecting.inspect import inspect

TABLE = pa.table({"index": np.arange(2000), "score": np.random.default_rng(0).normal(size=2000).astype("f4")})
IDENTITY = {"format": "datadiet.scores", "version": 1, "columns": {"score": {"hardness": 1}}}


def npy(path, array, shape=None):
    buffer = io.BytesIO()
    np.save(buffer, array)
    text = buffer.getvalue()
    if shape is not None:
        text = text.replace(str(array.shape).encode(), shape.encode() + b" " * (len(str(array.shape)) - len(shape)), 1)
    path.write_bytes(text)
    return path


def npz(path, content, compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("x.npy", content)
    return path


HEADERS = {
    "no array": b"text",
    "no header": b"\x93NUMPY\x01\x00v\x00{'descr'",
    "unclosed": b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4',",
    "tokens": b"\x93NUMPY\x01\x00\x10\x00'''''''''''''''\n",
    "indented": b"\x93NUMPY\x01\x00\x10\x00  \n     x\n y\n   \n",
    "nested": b"\x93NUMPY\x01\x00\x00\x10" + b"(" * 4095 + b"\n",
    "null": b"\x93NUMPY\x01\x00\x10\x00" + bytes(16),
    "latin": b"\x93NUMPY\x03\x00\x10\x00\x00\x00" + b"\xff" * 16,
    "version": b"\x93NUMPY\x09\x00\x10\x00{}",
}


@pytest.mark.parametrize("header", HEADERS)
def test_every_damaged_header_of_an_array_is_one_sentence(tmp_path, header):
    (tmp_path / "v.npy").write_bytes(HEADERS[header])
    npz(tmp_path / "v.npz", HEADERS[header])
    for read in (open_vectors, Scores.read):
        with pytest.raises(DataError, match=r"v.npy is not a complete .npy file \(.*\): ") as caught:
            read(tmp_path / "v.npy")
        assert "\n" not in str(caught.value)
    for read in (Scores.read, lambda path: open_data(f"npz:{path}")):
        with pytest.raises(DataError, match=r"v.npz is not a readable .npz file"):
            read(tmp_path / "v.npz")


@pytest.mark.parametrize("shape", ["(99999999999,)", "(4, 10**9)", "(-5,)"])
def test_a_header_that_declares_more_than_there_is(tmp_path, shape):
    array = np.arange(1000.0, dtype=np.float32).reshape(1, 1, 1, 1, 1000)
    with pytest.raises(DataError, match=r"v.npy is not a complete .npy file"):
        open_vectors(npy(tmp_path / "v.npy", array, shape))
    buffer = (tmp_path / "v.npy").read_bytes()
    with pytest.raises(DataError, match=r"v.npz is not a readable"):
        Scores.read(npz(tmp_path / "v.npz", buffer))


def peak(run, added):
    """Run with a limit on the address space that it may add."""
    before = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (before + added, hard))
    try:
        run()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", b"a\xe4,label\n1,2\n"), ("d.csv", b"x,label\n1,a\xe4\n"),
        ("d.jsonl", b'{"a\xe4": 1}\n'), ("d.jsonl", b'{"a": {"b\xe4": 1}}\n'), ("d.jsonl", b'{"a": "\xe4"}\n'),
    ],
)  # fmt: skip
def test_texts_of_another_encoding_are_refused(tmp_path, name, content):
    """In Latin-1, say: as names of columns and fields, and as values."""
    (tmp_path / name).write_bytes(content)
    for read in (open_data, Scores.read, lambda path: datadiet.select(path, "top_k", keep=1, prefer="hardest")):
        with pytest.raises(DataError) as refused:
            read(tmp_path / name)
        assert name in str(refused.value) and "\n" not in str(refused.value)


def test_names_of_another_encoding_are_refused_in_parquet(tmp_path):
    inner = pa.struct([pa.field("other", pa.int64())])
    for kind, value in ((inner, None), (pa.list_(inner), [])):
        pq.write_table(pa.table([pa.array([value], kind)], ["a"]), tmp_path / "d.parquet", store_schema=False)
        written = (tmp_path / "d.parquet").read_bytes()
        (tmp_path / "d.parquet").write_bytes(written.replace(b"other", b"oth\xe4r"))
        for read in (open_data, Scores.read):
            with pytest.raises(DataError, match=r"d\.parquet is not a complete Parquet file"):
                read(tmp_path / "d.parquet")


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
@pytest.mark.parametrize("depth", [700, 100_000])
def test_lines_that_nest_deeply_are_refused(tmp_path, name, opening, closing, depth):
    """Arrow's reader would end the process at about 17,000."""
    line = '{"s": 1, "z": ' + opening * depth + "1" + closing * depth + "}\n"
    content = ('{"s": 2}\n' + line).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for read in (open_data, Scores.read, lambda path: open_data(path, text="z")):
        with pytest.raises(DataError, match=r"a line nests more than 500 brackets"):
            read(tmp_path / name)


def test_many_lists_in_a_line_are_not_deep_ones(tmp_path):
    content = ('{"x": [' + ", ".join(["[1, 2]"] * 2000) + '], "t": "a [ {"}\n') * 3
    (tmp_path / "d.jsonl").write_text(content)
    assert read_json_lines(tmp_path / "d.jsonl").num_rows == 3
    nesting = _Nesting()
    for at in range(0, len(content), 1000):  # lines that begin in one block and end in another
        nesting.look(content[at : at + 1000].encode())


COPIES = {
    "keep": lambda: datadiet.select(np.arange(9.0), "top_k", keep=3, prefer="hardest"),
    "score": lambda: Scores.from_arrays({"score": np.arange(9.0)}),
}


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize(("name", "kind"), [("keep", Selection), ("index", Selection), ("id", Selection),
                                            ("score", Scores), ("index", Scores)])  # fmt: skip
def test_two_columns_of_one_name_are_refused(tmp_path, name, kind, described):
    path = COPIES["keep" if kind is Selection else "score"]().write(tmp_path / "d.parquet")
    table = pq.read_table(path)
    (tmp_path / "d.json").unlink()
    twice = table.append_column(name, table[name])
    pq.write_table(twice if described else twice.replace_schema_metadata(), path)
    for read in (kind.read, inspect):
        with pytest.raises(DataError, match=f"two columns are named '{name}': rename one"):
            read(path)


def test_tables_are_read_without_python(tmp_path, monkeypatch):
    """Threads of Arrow that still hold buffers of a Python file when the interpreter ends would end the process."""
    pq.write_table(TABLE, tmp_path / "d.parquet")
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    (tmp_path / "d.jsonl").write_text('{"a": 1}\n')
    with monkeypatch.context() as patch:
        for opener in ("pathlib.Path.open", "builtins.open", "pyarrow.PythonFile"):
            patch.setattr(opener, None)
        found = [
            parquet_table(tmp_path / "d.parquet"), read_csv(tmp_path / "d.csv"),
            read_json_lines(tmp_path / "d.jsonl"),
        ]  # fmt: skip
    assert [table.num_rows for table in found] == [2000, 1, 1]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setenv("DATADIET_READ_LIMIT", "64MiB")
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1))
    content = buffer.getvalue()[:-8].replace(b"(1,)", b"(9,)") + bytes(72)
    path = npz(tmp_path / "v.npz", content + bytes(256 << 20), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match=r"v.npz would take 0\.\d GiB in memory.*DATADIET_READ_LIMIT=1GiB"):
        peak(lambda: Scores.read(path), 128 << 20)


LINES = [
    ("d.csv.gz", b"1,2,3,4\n"), ("d.csv.gz", b"1\n"), ("d.csv.gz", b"1\r"), ("d.csv.gz", b"a,\n"),
    ("d.jsonl.gz", b'{"x": 1, "y": 2}\n'), ("d.jsonl.gz", b'{"x": [' + b"0," * 99_999 + b"0]}\n"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "line"), LINES)
def test_a_compressed_table_is_read_up_to_a_limit(tmp_path, monkeypatch, name, line):
    """The numbers take more than their text, which is 8 MiB."""
    monkeypatch.setenv("DATADIET_READ_LIMIT", "16MiB")
    with gzip.open(tmp_path / name, "wb", compresslevel=6) as file:
        file.write(b"" if "json" in name else b",".join([b"a", b"b", b"c", b"d"][: line.count(b",") + 1]) + line[-1:])
        file.write(line * ((8 << 20) // len(line)))
    for read in (open_data, Scores.read):
        with pytest.raises(DataError, match=r"would take \d\.\d GiB in memory.*set DATADIET_READ_LIMIT=1GiB"):
            read(tmp_path / name)
    monkeypatch.setenv("DATADIET_READ_LIMIT", "1GiB")
    reader = read_csv if "csv" in name else read_json_lines
    assert reader(tmp_path / name).num_rows == (8 << 20) // len(line)


def test_a_parquet_column_of_one_value_repeated_is_counted_by_its_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("DATADIET_READ_LIMIT", "8MiB")
    pq.write_table(pa.table({"x": np.zeros(2_000_000)}), tmp_path / "d.parquet")
    assert (tmp_path / "d.parquet").stat().st_size < 1 << 16
    with pytest.raises(DataError, match="would take"):
        open_data(tmp_path / "d.parquet")


@pytest.mark.parametrize("given", ["many", "-1", "4 parsecs", "nan"])
def test_a_limit_that_is_no_size_is_refused(monkeypatch, given):
    monkeypatch.setenv("DATADIET_READ_LIMIT", given)
    if given == "-1":
        assert opening.read_limit(100) == 1600
        return
    with pytest.raises(OptionError, match="is not a size: give one such as 4GiB"):
        opening.read_limit(100)


def test_an_encrypted_archive_is_refused(tmp_path):
    path = npz(tmp_path / "v.npz", b"")
    text = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        text[text.index(mark) + offset] |= 1
    path.write_bytes(text)
    with pytest.raises(DataError, match="encrypted"):
        Scores.read(path)


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("name", ["v.npy", "v.npz", "v.csv", "v.json", "v.jsonl", "v.parquet", "v.safetensors", "v.pt"])
def test_devices_and_pipes_are_never_opened(tmp_path, make, name):
    make(tmp_path / name)
    readers = [Scores.read, Selection.read, load_weights, open_vectors, read_json]
    for read in readers:
        with pytest.raises((DataError, OptionError), match=r"device|holds no vectors|Parquet"):
            read(tmp_path / name)


def test_a_flipped_bit_in_our_own_files_is_found_or_harmless(tmp_path):
    """Page checksums cover the numbers, a digest the description; what is left is padding and footer fields."""
    path = tmp_path / "s.parquet"
    write_parquet(path, TABLE, IDENTITY)
    (tmp_path / "s.json").unlink()
    whole = path.read_bytes()
    rng, found = np.random.default_rng(0), 0
    for place in rng.integers(4, len(whole) - 4, 400):
        text = bytearray(whole)
        text[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(text)
        try:
            table, identity = read_parquet(path)
        except DataError:
            found += 1
            continue
        assert table.equals(TABLE) or table.column_names != TABLE.column_names, place
        assert identity in (IDENTITY, None), place
    assert found > 300


def test_a_description_that_is_not_one_is_refused(tmp_path):
    for columns in ([1], {"score": 3}, {"score": {"hardness": 2}}, {"score": {"hardness": "1"}}):
        write_parquet(
            tmp_path / "s.parquet",
            TABLE.append_column("id", TABLE["index"].cast(pa.string())),
            {**IDENTITY, "columns": columns},
        )
        with pytest.raises(DataError, match="damaged description"):
            Scores.read(tmp_path / "s.parquet")


def test_a_nested_description_is_refused(tmp_path):
    for text in (b"[" * 100_000, b"\xff", b"1", b"{"):
        pq.write_table(TABLE.replace_schema_metadata({b"datadiet": text}), tmp_path / "s.parquet")
        with pytest.raises(DataError, match="damaged description"):
            read_parquet(tmp_path / "s.parquet")
    (tmp_path / "a.json").write_bytes(b"[" * 100_000)
    with pytest.raises(DataError, match="is not a JSON file"):
        read_json(tmp_path / "a.json")


OPENS = {
    "numpy": {"load", "fromfile", "memmap"},
    "parquet": {"ParquetFile", "read_metadata", "read_schema", "read_table"},
    "csv": {"read_csv"},
    "json": {"read_json"},
    "safetensors": {"safe_open", "load_file"},
    "torch": {"load"},
    "zipfile": {"ZipFile"},
}


def test_no_other_module_opens_these_formats():
    root = Path(datadiet.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.parent.name == "files" or "testing" in path.parts:
            continue
        elsewhere = {"safetensors", "torch"} if path.parts[-2:] == ("runtime", "tensors.py") else set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of = ast.unparse(node.func.value)
                name = {
                    "np": "numpy",
                    "pq": "parquet",
                    "pa.parquet": "parquet",
                    "pa.csv": "csv",
                    "pa.json": "json",
                }.get(of, of)
                assert name in elsewhere or node.func.attr not in OPENS.get(name, ()), f"{path}:{node.lineno}"


LONG = "n" * 300

LONG_NAMES = {
    "csv": lambda name: open_data(f"csv:{name}.csv"),
    "jsonl": lambda name: open_data(f"jsonl:{name}.jsonl"),
    "parquet": lambda name: open_data(f"parquet:{name}.parquet"),
    "npz": lambda name: open_data(f"npz:{name}.npz"),
    "imagefolder": lambda name: open_data(f"imagefolder:{name}"),
    "a split": lambda name: open_data("imagefolder:.", split=LONG),
    "run": lambda name: open_data(f"run:{name}"),
    "py": lambda name: open_data(f"py:{name}.py:f"),
    "a guess": lambda name: open_data(name),
    "a guess with a suffix": lambda name: open_data(f"{name}.csv"),
    "scores": Scores.read,
    "scores of elsewhere": lambda name: Scores.read(f"{name}.csv"),
    "a selection": lambda name: Selection.read(f"{name}.parquet"),
    "what to select from": lambda name: datadiet.select(name, "random", keep=0.5),
    "vectors to select from": lambda name: datadiet.select(f"{name}.npy", "random", keep=0.5),
    "vectors": open_vectors,
    "an array of vectors": lambda name: open_vectors(f"{name}.npy"),
    "weights": lambda name: load_weights(f"{name}.pt"),
    "JSON": lambda name: read_json(Path(name)),
    "a path in a table": lambda name: open_data(pa.table({"image": [f"{name}.png"]}).to_pandas(), image="image"),
}


@pytest.mark.parametrize("door", LONG_NAMES)
@pytest.mark.parametrize("name", [LONG, "d/" * 3000 + "n"])
def test_a_name_that_is_too_long_is_one_sentence(tmp_path, monkeypatch, door, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((DataError, OptionError)) as caught:
        source = LONG_NAMES[door](name)
        source.take([0])
    assert "\n" not in str(caught.value) and "Errno" not in str(caught.value)


def test_an_archive_without_arrays_is_one_sentence(tmp_path):
    np.savez(tmp_path / "v.npz")
    for read in (Scores.read, lambda path: open_data(f"npz:{path}")):
        with pytest.raises(DataError, match=r"v\.npz"):
            read(tmp_path / "v.npz")
