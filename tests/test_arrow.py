"""Numbers between numpy and Arrow: the same as by pyarrow, without pandas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import datadiet as dd
from datadiet.arrow import from_arrow, to_arrow

KINDS = ("i1", "u1", "i4", "i8", "u8", "f2", "f4", "f8", "?")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 7, 8, 1000])
def test_arrays_are_what_pyarrow_makes_of_them(kind, n):
    values = np.random.default_rng(0).integers(0, 2 if kind == "?" else 100, n).astype(kind)
    for given in (values, values[::-1], values[n // 3 :]):
        assert to_arrow(given).equals(pa.array(given))
        array = pa.array(given)
        assert from_arrow(array).tolist() == given.tolist() and from_arrow(array).dtype == given.dtype
        part = array.slice(n // 2)
        assert from_arrow(part).tolist() == given[n // 2 :].tolist()


def test_missing_values_and_other_types_go_the_usual_way():
    assert np.isnan(from_arrow(pa.array([1, None]))).tolist() == [False, True]
    assert from_arrow(pa.array(["a", "b"])).tolist() == ["a", "b"]
    assert to_arrow(np.array(["a", "b"])).to_pylist() == ["a", "b"]
    swapped = np.arange(3, dtype=">i4")
    assert to_arrow(swapped.astype("i4")).equals(pa.array([0, 1, 2], pa.int32()))


def test_selecting_from_a_file_does_not_import_pandas(tmp_path):
    pytest.importorskip("pandas", reason="it is not here to be imported")
    dd.Scores.from_arrays({"el2n": np.arange(50, dtype="f4")}).write(tmp_path / "s.parquet")
    code = (
        "import sys; from datadiet.workflow.selecting.select import select\n"
        f"select({str(tmp_path / 's.parquet')!r}, 'ccs', keep='30%').write({str(tmp_path / 'k.parquet')!r})\n"
        "print({'pandas', 'torch'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "set()", found.stderr
    assert len(dd.Selection.read(tmp_path / "k.parquet")) == 15
