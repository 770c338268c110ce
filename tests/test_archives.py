"""Zip archives: a damaged one is refused or gives the same values; what other writers make is read."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch

from datadiet.errors import DataError
from datadiet.files.opening import array_names, load_arrays
from datadiet.runtime.tensors import load_weights

ARRAYS = {"x": np.arange(12.0).reshape(3, 4), "y": np.arange(3), "names": np.array(["a", "b", "c"])}
SAVES = {"savez": np.savez, "savez_compressed": np.savez_compressed}


class Pipe(io.BytesIO):
    """A stream that cannot seek: the sizes follow the data of each member."""

    def seekable(self):
        return False

    def tell(self):
        raise OSError


def same(found, wanted=ARRAYS):
    return found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)


def damages(content, rng):
    """Each byte inverted, and gaps, repeats, zeros and noise of all lengths."""
    for at in range(len(content)):
        yield content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
    for _ in range(100):
        at, length = int(rng.integers(len(content))), 1 << int(rng.integers(8))
        part = content[at : at + length]
        new = [b"", part * 2, bytes(length), rng.bytes(length), b"\xff" * length][int(rng.integers(5))]
        yield content[:at] + new + content[at + length :]


@pytest.mark.parametrize("save", SAVES)
def test_a_damaged_archive_of_arrays_is_refused_or_gives_the_same_values(tmp_path, save):
    SAVES[save](tmp_path / "d.npz", **ARRAYS)
    content = (tmp_path / "d.npz").read_bytes()
    refused = 0
    for damaged in damages(content, np.random.default_rng(0)):
        (tmp_path / "d.npz").write_bytes(damaged)
        try:
            assert same(load_arrays(tmp_path / "d.npz"))
        except DataError as error:
            assert "d.npz is not a readable .npz file" in str(error) or "would take" in str(error)
            refused += 1
    assert refused > len(content) / 2


def test_damaged_weights_are_refused_or_give_the_same_values(tmp_path):
    state = {"a": torch.arange(6.0), "b": torch.ones(2, 2)}
    torch.save(state, tmp_path / "w.pt")
    content, rng = (tmp_path / "w.pt").read_bytes(), np.random.default_rng(0)
    for at in rng.choice(len(content), 300, replace=False):
        (tmp_path / "w.pt").write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            found = load_weights(tmp_path / "w.pt")
        except DataError:
            continue
        assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_the_archives_of_other_writers_are_read(tmp_path):
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = Pipe()
        with zipfile.ZipFile(stream, "w", kind) as archive:
            for name, values in ARRAYS.items():
                with archive.open(f"{name}.npy", "w", force_zip64=name == "y") as member:
                    np.lib.format.write_array(member, values)
            archive.comment = b"a comment"
        (tmp_path / "d.npz").write_bytes(stream.getvalue())
        assert same(load_arrays(tmp_path / "d.npz"))
    with zipfile.ZipFile(tmp_path / "d.npz", "a") as archive:
        archive.writestr("größe.npy", b"")
    assert array_names(tmp_path / "d.npz") == [*ARRAYS, "größe"]


def test_weights_with_and_without_checksums_are_read(tmp_path):
    state = {f"layer.{i}": torch.full((i,), float(i)) for i in range(9)}
    for checksums in (True, False):
        torch.serialization.set_crc32_options(checksums)
        torch.save(state, tmp_path / "w.pt")
        torch.serialization.set_crc32_options(True)
        assert all(torch.equal(value, state[name]) for name, value in load_weights(tmp_path / "w.pt").items())
