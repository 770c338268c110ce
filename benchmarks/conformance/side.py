"""One side of one comparison, in a process of its own: `python side.py MODULE CASE ours|theirs FOLDER`.

Reads `small.npz` and `full.npz` from FOLDER, and writes `SIDE.npz` and `SIDE.json` there.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

LONG = 5.0  # seconds of calls, after which there are no more
CALLS = 3


def main(module: str, case: str, side: str, folder: Path) -> None:
    """Call once with few examples, so that everything is loaded and compiled, then measure."""
    warnings.simplefilter("ignore")
    found = importlib.import_module(f"conformance.{module}").PEER.cases[int(case)]
    work = getattr(found, side)
    small, full = (dict(np.load(folder / f"{name}.npz", allow_pickle=False)) for name in ("small", "full"))
    work(small)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    seconds: list[float] = []
    while not seconds or (len(seconds) < CALLS and sum(seconds) < LONG):
        begun = time.process_time()  # of the processor: other programs on the machine do not count
        result = work(full)
        seconds.append(time.process_time() - begun)
        if len(seconds) == 1:
            peak = memory("VmHWM")
    np.savez(folder / f"{side}.npz", **result)
    measured = {"seconds": min(seconds), "megabytes": (peak - before) / 1e6, "process_megabytes": peak / 1e6}
    (folder / f"{side}.json").write_text(json.dumps(measured))


def memory(field: str) -> int:
    """Bytes: what is resident now (VmRSS), or the most that was (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1]))  # last, so that no name of ours hides a package
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
