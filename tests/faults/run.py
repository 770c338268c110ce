"""All faults: `python tests/faults/run.py` takes about twenty minutes and writes benchmarks/results/faults/*.json.

The three kinds of faults, each with its number, may be run alone: `python tests/faults/run.py --kills 100`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from bench import RESULTS, provenance
from calls import abused_calls
from inputs import damaged_inputs
from kills import kills
from outcomes import KINDS, tally

from datadiet.files import write_json

WORK: dict[str, tuple[int, Callable[..., list[tuple[Any, Any]]]]] = {
    "kills": (1000, kills),
    "inputs": (5000, damaged_inputs),
    "calls": (5000, abused_calls),
}


def main() -> int:
    """Run what is asked for, or all; the exit code says whether anything ended badly."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, (number, _) in WORK.items():
        parser.add_argument(f"--{name}", type=int, help=f"how many; {number} in a whole run")
    parser.add_argument("--seed", type=int, default=0)
    asked = vars(parser.parse_args())
    seed, every = asked.pop("seed"), all(value is None for value in asked.values())
    torch.set_num_threads(1)  # threads do not survive a fork
    warnings.simplefilter("ignore")
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    if Path("/dev/shm").is_dir():
        os.environ.setdefault("TMPDIR", "/dev/shm")
    bad = 0
    for name, (number, run) in WORK.items():
        count = number if every else asked[name] or 0
        if count:
            bad += _report(name, run, count, seed, whole=every or count == number)
    return int(bad > 0)


def _report(name: str, run: Callable[..., list[tuple[Any, Any]]], count: int, seed: int, whole: bool) -> int:
    started = time.monotonic()
    with tqdm(desc=name, disable=None) as bar:
        results = run(count, seed, bar.update)
    found = tally(results)
    sys.stdout.write(f"{name}: {found} in {time.monotonic() - started:.0f} s\n")
    for what, ended in results:
        if ended.kind not in KINDS[:2]:
            sys.stdout.write(f"{ended.kind}: {what}\n{ended.text[-2000:]}\n")
    if whole:
        about = {"number": count, "seed": seed, "seconds": round(time.monotonic() - started), **found}
        write_json(RESULTS / "faults" / f"{name}.json", {**about, **provenance()})
    return sum(found[kind] for kind in KINDS[2:])


if __name__ == "__main__":
    sys.exit(main())
