"""`benchmarks/gpu.py` loses nothing: a row that fails, hangs or no longer fits costs that row alone."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


def test_a_process_that_hangs_is_stopped_with_all_it_started_and_keeps_what_it_wrote(gpu):
    child = "import time; time.sleep(60)"
    code = f"import subprocess, sys; print('so far', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
    assert gpu.ran([sys.executable, "-c", code], 1) == (None, "so far\n", "")


def test_a_process_finds_this_datadiet_before_what_the_caller_added(gpu, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    found = gpu.ran([sys.executable, "-c", "import sys; print(sys.path[1:3])"], 30)
    assert found.code == 0 and eval(found.out) == [str(BENCHMARKS.parent), "/elsewhere"]


@pytest.mark.parametrize("code,words", [(None, "stopped after 9 s"), (-11, "exit code -11")])
def test_figures_of_a_row_that_broke_are_kept_with_what_it_said(gpu, monkeypatch, code, words):
    out = 'a note\n{"step_ms": 1}\n{"step_ms": 1, "grand": 2}\n{"step_ms": 1, "gr'
    monkeypatch.setattr(gpu, "ran", lambda command, limit: ended(code, out))
    found = gpu.measured_apart("tests", 9)
    assert words in found.pop("error") and found == {"step_ms": 1, "grand": 2, "stderr": "said"}


def ended(code, out):
    return importlib.import_module("gpu_timing").Ended(code, out, "said")


def test_an_error_in_a_row_comes_with_what_was_measured_before(gpu, monkeypatch, capsys):
    def measure():
        yield {"first": 1}
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(gpu, "ROWS", {"one": gpu.Row(measure, 1)})
    gpu.measure_here("one")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["first"] == 1 and "illegal memory" in found["error"] and found["commit"] and found["torch"]


def test_rows_are_written_one_by_one_and_those_that_no_longer_fit_are_named(gpu, monkeypatch, tmp_path, capsys):
    path, order = tmp_path / "further" / "gpu.json", []

    def measured(name, limit):
        order.append((name, round(limit), json.loads(path.read_text()) if path.exists() else None))
        return {"error": "broke"} if name == "b" else {"row_seconds": 1, **gpu.provenance(), "device": gpu.DEVICE}

    monkeypatch.setattr(gpu, "ROWS", {name: gpu.Row(None, needs) for name, needs in (("a", 5), ("b", 30), ("c", 99))})
    monkeypatch.setattr(gpu, "measured_apart", measured)
    monkeypatch.setenv("DATADIET_COMMIT", "abc")
    gpu.run_all(80, path)
    found = json.loads(path.read_text())
    assert [(name, limit) for name, limit, _ in order] == [("a", 15), ("b", 80)]
    assert order[0][2] is None and set(order[1][2]) == {"a"}
    assert found["a"]["commit"] == "abc" and found["b"] == {"error": "broke"}
    assert found["c"] == {"skipped": "80 s of 80 were left for 99"}
    order.clear()
    gpu.run_all(300, path)  # what is there from this commit is not measured again
    assert [name for name, *_ in order] == ["b", "c"]


def test_the_commit_is_named_by_the_caller_or_by_git_or_unknown(gpu, monkeypatch):
    bench = importlib.import_module("bench")
    monkeypatch.setenv("DATADIET_COMMIT", "abc")
    assert bench.commit() == "abc"
    monkeypatch.delenv("DATADIET_COMMIT")
    monkeypatch.setenv("PATH", "")
    assert bench.commit() == "unknown"
    monkeypatch.undo()
    monkeypatch.delenv("DATADIET_COMMIT", raising=False)
    monkeypatch.setattr(bench, "RESULTS", Path("/tmp/nowhere/results"))
    assert bench.commit() == "unknown"


def test_the_floor_of_a_network_by_hand(gpu):
    """3 -> 4 -> 2 features at 5 positions: 60 and 40 multiplications for outputs, for inputs, and for norms."""
    gradients = importlib.import_module("gpu_gradients")
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).eval()
    assert gradients.floor(net, torch.zeros(1, 5, 3)) == pytest.approx((100 + 40 + 100) / (200 + 40))
    narrow = nn.Sequential(nn.Linear(30, 20)).eval()  # the norm by products of positions
    assert gradients.floor(narrow, torch.zeros(1, 2, 30)) == pytest.approx((1200 + 200) / 2400)
