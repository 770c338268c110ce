"""Is the GPU used well? Every piece of work beside its physical floor and a plain peer, on one CUDA device.

Per-example gradients in units of a training step, VoG, k-means, nearest neighbours, SemDeDup, scoring from nothing,
what recording, a teacher, a schedule, compiling and deterministic kernels do to a step, and the tests marked `gpu`.

`python benchmarks/gpu.py` runs the rows one after another, the most important first, each in a process of its own with
a time limit: an error, a lack of memory or a broken device costs one row. The JSON is written after every row, and a
row that was stopped keeps what it had measured. Rows that no longer fit into `--seconds` are skipped, and the JSON says
so; a second run at the same commit measures those that are missing. `python benchmarks/gpu.py ROW` runs one row in
this process and prints it.

It needs torch, numpy, pandas and pyarrow. faiss-gpu is compared if it is there; CIFAR-10 is read from `$DATADIET_DATA`
if that holds it, and made up otherwise. The JSON goes to `$OUT`, or to `results/gpu`; `$DATADIET_COMMIT` names the
commit where there is no git. Without a CUDA device tiny sizes run on the processor, to see that everything works, and
the JSON is written only to `$OUT`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bench import RESULTS, commit, provenance
from gpu_gradients import BATCHES, gradients, one_call, peers, windows
from gpu_networks import NETS
from gpu_timing import CUDA, ran
from gpu_training import at_once, compiled, deterministic, from_nothing, recording, teaching
from gpu_vectors import clusters, duplicates, neighbours

ROOT = Path(__file__).parents[1]
DEVICE = torch.cuda.get_device_name() if CUDA else "a processor, tiny sizes"


class Row(NamedTuple):
    """What is measured in one process.

    Attributes:
        measure: gives its figures as it gets them.
        expected: seconds on an H100, with the start of the process; it is stopped after three times as many.
    """

    measure: Callable[[], Iterator[dict[str, Any]]]
    expected: float


def tests() -> Iterator[dict[str, Any]]:
    """The tests marked gpu, with whatever of pytest's plugins is there."""
    files = [str(path) for path in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-m", "gpu", "--import-mode=importlib", "-rfE", "-q"]
    try:
        import pytest_timeout  # noqa: F401
    except ImportError:  # the settings of the project name its options, and would be refused
        command += ["-c", os.devnull, "--rootdir", str(ROOT)]
    limit = float(os.environ.get("ROW_SECONDS", 180)) - 10
    found = ran([*command, "-p", "no:cacheprovider", *files], limit)
    yield {"exit_code": found.code, "tail": found.out[-3000:], "stderr": found.err[-1500:]}


def rows() -> dict[str, Row]:
    """All rows, the most important first."""
    small, large = BATCHES[0], BATCHES[-1]

    def cells(batch: int, *precisions: str) -> dict[str, Row]:
        names = [(net, precision) for precision in precisions for net in NETS]
        return {f"{net}_{batch}_{p}": Row(partial(gradients, net, batch, p), 9) for net, p in names}

    return {
        **cells(small, "fp32"),
        "clusters": Row(clusters, 30),
        "neighbours": Row(neighbours, 12),
        "duplicates": Row(duplicates, 15),
        "from_nothing": Row(from_nothing, 90),
        "recording": Row(recording, 45),
        **{f"one_call_{net}": Row(partial(one_call, net), 8) for net in NETS},
        "tests": Row(tests, 60),
        **cells(small, "tf32"),
        "windows": Row(windows, 15),
        **cells(large, "fp32", "tf32"),
        **{f"peers_{net}": Row(partial(peers, net), 10) for net in NETS},
        **cells(large, "bf16"),
        "deterministic": Row(deterministic, 8),
        "four_at_once": Row(at_once, 80),
        "teaching": Row(teaching, 40),
        "compile": Row(compiled, 40),
    }


ROWS = rows()


def measure_here(name: str) -> None:
    """Print a row as a line of JSON, again with each further figure."""
    begun, found = time.perf_counter(), {"device": DEVICE, **provenance()}
    try:
        for part in ROWS[name].measure():
            found |= part
            print(json.dumps(found), flush=True)
    except Exception as error:
        found |= {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-2000:]}
    found["row_seconds"] = round(time.perf_counter() - begun, 1)
    print(json.dumps(found), flush=True)


def measured_apart(name: str, limit: float) -> dict[str, Any]:
    """A row from a process of its own: its figures so far if it failed or was stopped."""
    done = ran([sys.executable, str(Path(__file__)), name], limit)
    lines = [line for line in done.out.splitlines() if line.startswith("{") and line.endswith("}")]
    found = json.loads(lines[-1]) if lines else {}
    if done.code is None:
        found["error"] = f"stopped after {limit:.0f} s"
    elif done.code:
        found["error"] = f"ended with exit code {done.code}"
    return found | ({"stderr": done.err[-2000:]} if done.code != 0 else {})


def run_all(seconds: float, path: Path | None) -> dict[str, Any]:
    """Every row that is missing and fits, written as it comes.

    Args:
        seconds: for all of them.
        path: of the JSON.
    """
    begun = time.monotonic()
    found: dict[str, Any] = json.loads(path.read_text()) if path is not None and path.exists() else {}
    for name, row in ROWS.items():
        if _is_done(found.get(name, {})):
            continue
        left = seconds - (time.monotonic() - begun)
        if left < row.expected:
            found[name] = {"skipped": f"{max(left, 0):.0f} s of {seconds:.0f} were left for {row.expected:.0f}"}
        else:
            found[name] = measured_apart(name, min(left, 3 * row.expected))
        shown = {key: value for key, value in found[name].items() if key not in ("trace", *provenance())}
        print(name, json.dumps(shown), flush=True)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(found, indent=2) + "\n")
            temporary.rename(path)
    return found


def _is_done(row: dict[str, Any]) -> bool:
    here = row.get("commit") == commit() and row.get("device") == DEVICE
    return here and commit() != "unknown" and "row_seconds" in row and "error" not in row


def main() -> None:
    """Measure one row here, or all."""
    asked = argparse.ArgumentParser(description="Is the GPU used well?")
    asked.add_argument("row", nargs="?", choices=list(ROWS), help="measure this row in this process")
    asked.add_argument("--seconds", type=float, default=440, help="for all rows together")
    given = asked.parse_args()
    if given.row:
        measure_here(given.row)
        return
    folder = Path(os.environ["OUT"]) if "OUT" in os.environ else RESULTS / "gpu" if CUDA else None
    run_all(given.seconds, folder and folder / f"{DEVICE.split(',')[0].replace(' ', '_')}.json")


if __name__ == "__main__":
    main()
