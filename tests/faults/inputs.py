"""Damage every kind of file that is read: the answer is right, or one clear sentence.

Right means: what an independent reader makes of the damaged file, or, for files with checksums, what was in it before.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from outcomes import Ended, forked
from PIL import Image
from torch import nn

import datadiet as dd
from datadiet.models import load_checkpoint
from datadiet.runtime.vectors import open_vectors
from datadiet.training.state import state_about
from datadiet.workflow.selecting.inspect import inspect

__all__ = ["KINDS", "damaged_inputs"]

SECONDS, MEMORY = 30.0, 3 << 30

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
Y = np.arange(40) % 3
PIXELS = RNG.integers(0, 255, (8, 9, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: of the file.
        write: writes it into a folder.
        read: reads it from a path; returns what it read, as nested lists.
        independent: reads it in another way, or raises; None if `checked`.
        checked: whether damage is found by a checksum: what is read is then what was written.
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    independent: Callable[[Path], Any] | None = None
    checked: bool = False


def _texts(path: Path) -> str:
    return gzip.open(path, "rt").read() if path.suffix == ".gz" else path.read_text()


def _table(path: Path) -> Any:
    source = dd.open_data(path)
    return [source.take(range(len(source))).numpy().tolist(), None if source.labels is None else source.labels.tolist()]


def _by_csv(path: Path) -> Any:
    rows = list(csv.reader(io.StringIO(_texts(path))))
    if not rows or rows[0] != ["p", "q", "r", "s", "label"]:
        return None  # which columns these are is for the library to say
    body = [row for row in rows[1:] if row]
    names = sorted({row[-1].strip() for row in body})
    return [np.array([row[:-1] for row in body], dtype=np.float32).tolist(), [names.index(r[-1].strip()) for r in body]]


def _by_json(path: Path) -> Any:
    rows = [json.loads(line) for line in _texts(path).splitlines() if line.strip()]
    names = sorted({row["label"].strip() for row in rows})
    return [
        np.array([row["x"] for row in rows], dtype=np.float32).tolist(),
        [names.index(r["label"].strip()) for r in rows],
    ]


def _scores(path: Path) -> Any:
    scores = dd.Scores.read(path)
    return [scores.index.tolist(), {name: np.asarray(scores[name]).tolist() for name in scores.columns}]


def _selection(path: Path) -> Any:
    found = dd.Selection.read(path)
    return [found.ranked.tolist(), found.weights.tolist()]


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def _weights(path: Path) -> Any:
    network = _network()
    return {name: value.tolist() for name, value in load_checkpoint(network, path).state_dict().items()}


def _tensors(path: Path) -> Any:
    from safetensors.torch import load_file

    state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return {name: value.tolist() for name, value in state.items()}


def _picture(kind: str) -> Kind:
    def write(folder: Path) -> None:
        (folder / "a").mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(folder / "a" / f"p.{kind}")

    def read(path: Path) -> Any:
        source = dd.open_data(f"imagefolder:{path.parent.parent}")
        source.look_through()
        return source.take([0]).numpy().tolist()

    def independent(path: Path) -> Any:
        image = Image.open(path)
        shown = np.asarray(image.convert("RGB"))
        return shown.transpose(2, 0, 1)[None].tolist() if image.mode == "RGB" else None

    return Kind(f"a/p.{kind}", write, read, independent)


def _run(folder: Path) -> None:
    dd.score((X, Y), "datadiet:mlp", "el2n,prototypes", epochs=1, out=folder)


def _of_run(path: Path) -> Any:
    run = path
    while not (run / "manifest.json").exists():
        run = run.parent
    inspect(run)
    scores = dd.rescore(run, "loss", save_as="again")
    return np.asarray(scores["again"]).tolist()


def _state(folder: Path) -> None:
    from datadiet.runtime.tensors import save_tensors

    save_tensors(folder / "s.safetensors", {"w": torch.from_numpy(X)}, {"clock": {"epoch": 3}, "hooks": []})


def _chosen(folder: Path) -> None:
    scores = dd.Scores.from_arrays({"s": np.arange(40.0)}, labels=Y)
    dd.select(scores, "top_k", keep=0.5, prefer="hardest").write(folder / "c.parquet")
    (folder / "c.json").unlink()


def _scored(folder: Path) -> None:
    dd.Scores.from_arrays({"s": X[:, 0], "t": X[:, 1]}, labels=Y).write(folder / "s.parquet")
    (folder / "s.json").unlink()


def _lines(folder: Path, name: str) -> None:
    rows = [json.dumps({"x": x.tolist(), "label": "abc"[y]}) for x, y in zip(X, Y, strict=True)]
    _write_text(folder / name, "\n".join(rows) + "\n")


def _csv(folder: Path, name: str) -> None:
    rows = [",".join([*map(str, x.tolist()), "abc"[y]]) for x, y in zip(X, Y, strict=True)]
    _write_text(folder / name, "\n".join(["p,q,r,s,label", *rows]) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def _parquet(folder: Path) -> None:
    table = pa.table({"x": list(X), "label": Y, "id": [f"row {i}" for i in range(40)]})
    pq.write_table(table, folder / "d.parquet", write_page_checksum=True)


def _by_pyarrow(path: Path) -> Any:
    table = pq.ParquetFile(path, page_checksum_verification=True).read()
    if table.column_names != ["x", "label", "id"]:
        return None  # no checksum covers the footer: these are other columns
    codes = np.unique(table["label"].to_pylist(), return_inverse=True)[1]
    return [np.array(table["x"].to_pylist(), dtype=np.float32).tolist(), codes.tolist()]


def _hf(folder: Path) -> None:
    import datasets

    datasets.Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()}).save_to_disk(str(folder / "hf"))


def _numbers(folder: Path, name: str) -> None:
    values = X[:, 0].tolist()
    lines = "index,s\n" + "".join(f"{i},{x}\n" for i, x in enumerate(values))
    _write_text(folder / name, lines if name.endswith(".csv") else json.dumps({"s": values}))


def _save(folder: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    state = _network().state_dict()
    (save_file if suffix == "safetensors" else torch.save)(state, folder / f"w.{suffix}")


def _unknown(path: Path) -> None:
    """No other reader knows this format."""


def _arrays(save: Callable[..., Any]) -> Kind:
    return Kind("d.npz", lambda folder: save(folder / "d.npz", x=X, y=Y), _table, checked=True)


def _vectors(path: Path) -> Any:
    return np.asarray(open_vectors(path)).tolist()


PICTURES = ("png", "jpg", "tif", "gif", "bmp", "webp")
KINDS = {
    "parquet": Kind("d.parquet", _parquet, _table, _by_pyarrow),
    "csv": Kind("d.csv", partial(_csv, name="d.csv"), _table, _by_csv),
    "csv.gz": Kind("d.csv.gz", partial(_csv, name="d.csv.gz"), _table, _by_csv),
    "jsonl": Kind("d.jsonl", partial(_lines, name="d.jsonl"), _table, _by_json),
    "jsonl.gz": Kind("d.jsonl.gz", partial(_lines, name="d.jsonl.gz"), _table, _by_json),
    "npy": Kind("v.npy", lambda f: np.save(f / "v.npy", X), _vectors, lambda p: np.load(p).tolist()),
    "npz": _arrays(np.savez),
    "npz, compressed": _arrays(np.savez_compressed),
    "hugging face": Kind("hf/data-00000-of-00001.arrow", _hf, lambda p: _table(p.parent), _unknown),
    "scores": Kind("s.parquet", _scored, _scores, checked=True),
    "selection": Kind("c.parquet", _chosen, _selection, checked=True),
    "scores.csv": Kind("s.csv", partial(_numbers, name="s.csv"), _scores, _unknown),
    "scores.json": Kind("s.json", partial(_numbers, name="s.json"), _scores, _unknown),
    "safetensors": Kind("w.safetensors", partial(_save, suffix="safetensors"), _weights, _tensors),
    "pt": Kind("w.pt", partial(_save, suffix="pt"), _weights, _unknown),
    "state": Kind("s.safetensors", _state, state_about, _unknown),
    "manifest": Kind("manifest.json", _run, _of_run, _unknown),
    "run.json": Kind("run.json", _run, _of_run, _unknown),
    "signals": Kind("signals/eval/seed-0/epoch-1/part-0-40.parquet", _run, _of_run, checked=True),
    **{f"image.{suffix}": _picture(suffix) for suffix in PICTURES},
}


def damaged_inputs(number: int, seed: int = 0, progress: Callable[[], Any] = lambda: None) -> list[tuple[Any, Ended]]:
    """Read `number` damaged files, in turn of every kind."""
    draw, results, names = random.Random(seed), [], list(KINDS)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wholes = {name: _whole(Path(folder) / name.replace(" ", "_"), KINDS[name]) for name in names}
        for turn in range(number):
            name = names[turn % len(names)]
            path, content, before = wholes[name]
            how, damaged = _damage(content, draw)
            path.write_bytes(damaged)
            results.append(((name, how), forked(lambda: _compare(KINDS[name], path, before), SECONDS, MEMORY)))  # noqa: B023
            path.write_bytes(content)
            progress()
    return results


def _whole(folder: Path, kind: Kind) -> tuple[Path, bytes, Any]:
    folder.mkdir(parents=True)
    kind.write(folder)
    path = folder / kind.name
    content = path.read_bytes()
    before = kind.read(path)
    path.write_bytes(content)
    return path, content, before


def _compare(kind: Kind, path: Path, before: Any) -> str | None:
    warnings.simplefilter("ignore")
    found = kind.read(path)
    if _same(found, before):
        return None
    if kind.checked:
        return "other values than those with the checksum"
    assert kind.independent is not None
    try:
        wanted = kind.independent(path)
    except Exception:
        return None  # the other reader refuses it: it is free to read what it can
    return None if wanted is None or _same(found, wanted) else f"another reader finds {str(wanted)[:200]}"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b or (isinstance(a, float) and isinstance(b, float) and np.isnan(a) and np.isnan(b))


def _damage(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Damage that files meet: flipped bits, lost ends, gaps, numbers too large, text of another kind."""
    data = bytearray(content)
    at, length = draw.randrange(len(data)), min(len(data), 1 << draw.randrange(8))
    how = draw.choice(sorted(_WAYS))
    _WAYS[how](data, at, length, draw)
    return f"{how} at {at}", bytes(data)


def _flip(data: bytearray, at: int, length: int, draw: random.Random) -> None:
    data[at] ^= 1 << draw.randrange(8)


def _flips(data: bytearray, at: int, length: int, draw: random.Random) -> None:
    for _ in range(8):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _put(data: bytearray, at: int, length: int, new: bytes) -> None:
    data[at : at + length] = new


def _number(data: bytearray, at: int, length: int, draw: random.Random) -> None:
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57] or [at]
    numbers = [b"1e999", b"-1", b"NaN", b"99999999999999999999", b"", b"0x1", b"1.5", b"null"]
    _put(data, draw.choice(digits), 1, draw.choice(numbers))


_TEXTS = [b'"', b",", b"\n", b"\r", b"\x00", b"{", b"[" * 5000, "é".encode(), b"\xed\xa0\x80", b"="]
_WAYS: dict[str, Callable[[bytearray, int, int, random.Random], None]] = {
    "bit": _flip,
    "bits": _flips,
    "byte": lambda data, at, length, draw: _put(data, at, 1, draw.randbytes(1)),
    "cut": lambda data, at, length, draw: _put(data, at, len(data), b""),
    "zeros": lambda data, at, length, draw: _put(data, at, length, bytes(length)),
    "gap": lambda data, at, length, draw: _put(data, at, length, b""),
    "twice": lambda data, at, length, draw: _put(data, at, 0, bytes(data[at : at + length])),
    "full": lambda data, at, length, draw: _put(data, at, 8, b"\xff" * 8),
    "noise": lambda data, at, length, draw: _put(data, at, length, draw.randbytes(length)),
    "grown": lambda data, at, length, draw: _put(data, len(data), 0, draw.randbytes(length)),
    "number": _number,
    "text": lambda data, at, length, draw: _put(data, at, 0, draw.choice(_TEXTS)),
}
