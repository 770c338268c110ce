"""Do our methods agree with other implementations of them, and what does each cost?

Each file of `benchmarks/conformance/` is a peer: a package that pip installs into an environment of its own, which is
thrown away, or a public repository, of which a checkout is needed. Both sides get the same arrays and run in a process
of their own, with one thread: seconds are those of the processor in the fastest of up to three calls, after one with
few examples. Memory is the most that is resident during the first, beyond what is resident before it.

`python benchmarks/run_conformance.py --checkout DeepCore=PATH`: about twenty minutes for all. A peer that cannot be
installed is recorded with the error.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench import RESULTS, cell
from conformance.case import PEERS, Arrays, Case, Peer

SMALL = 100  # examples of the call that is not measured
LIMIT = 900  # seconds for one side of a case


def main() -> None:
    """Measure every peer that is not measured yet, and print the agreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="names of files in benchmarks/conformance")
    parser.add_argument("--environments", type=Path, help="a folder that keeps the environments for the next time")
    parser.add_argument("--checkout", nargs="*", default=[], metavar="NAME=PATH", help="where repositories are")
    asked = parser.parse_args()
    checkouts = {name: Path(path) for name, _, path in (text.partition("=") for text in asked.checkout)}
    for module in asked.only or peers():
        peer = importlib.import_module(f"conformance.{module}").PEER
        if peer.repository and peer.name not in checkouts and not (RESULTS / f"conformance/{module}.json").exists():
            print(f"{module}: not measured; give --checkout {peer.name}=PATH, a clone of {peer.repository}")
            continue
        measure = partial(measured, module, peer, checkouts.get(peer.name), asked.environments)
        found = cell(f"conformance/{module}", measure)
        for case in found.get("cases", []):
            print(module, case["method"], case["what"], case.get("agreement") or case["error"], sep=" | ")
        if "error" in found:
            print(module, found["error"], sep=" | ")


def peers() -> list[str]:
    """The names of the files that define a peer."""
    return sorted(path.stem for path in PEERS.glob("*.py") if "\nPEER = Peer(" in path.read_text(encoding="utf-8"))


def measured(module: str, peer: Peer, checkout: Path | None, environments: Path | None) -> dict[str, Any]:
    """All cases of a peer, in its environment, which is new unless it is there from another time."""
    found: dict[str, Any] = {"peer": peer.name}
    if checkout is not None:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
        found |= {"repository": peer.repository, "repository_commit": head.stdout.strip()}
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        try:
            python = environment((environments or Path(folder)) / module, peer.install)
        except subprocess.CalledProcessError as failed:
            return {**found, "error": last_line(failed.stderr)}
        found["installed"] = list(peer.install)
        places = {"ours": sys.executable, "theirs": str(python)}
        found["cases"] = [compared(module, number, case, places, checkout) for number, case in enumerate(peer.cases)]
    return found


def environment(folder: Path, install: tuple[str, ...]) -> Path:
    """A Python with these requirements, and beneath them what is installed here."""
    if (folder / "complete").exists():
        return folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, capture_output=True, text=True)
    python = folder / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    Path(where.stdout.strip(), "beneath.pth").write_text(sysconfig.get_path("purelib") + "\n")
    if install:
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *install]
        subprocess.run(pip, check=True, capture_output=True, text=True)
    (folder / "complete").touch()
    return python


def compared(module: str, number: int, case: Case, places: dict[str, str], checkout: Path | None) -> dict[str, Any]:
    """One case: agreement and cost, or the error of a side."""
    found: dict[str, Any] = {"method": case.method, "what": case.what, "n": case.n, "why": case.why}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, n in (("small", SMALL), ("full", case.n)):
            np.savez(folder / f"{size}.npz", **case.arrays(n))
        for side, python in places.items():
            try:
                found[side] = run_side(module, number, side, python, folder, checkout)
            except subprocess.CalledProcessError as failed:
                return {**found, "error": f"{side}: {last_line(failed.stderr)}"}
            except subprocess.TimeoutExpired:
                return {**found, "error": f"{side}: more than {LIMIT} s"}
        data, a, b = (read(folder / f"{part}.npz") for part in ("full", "ours", "theirs"))
    values = {name: float(value) for name, value in case.agreement(data, a, b).items()}
    found["agreement"] = values
    found["expected"] = {name: list(bounds) for name, bounds in case.expected.items()}
    found["as_expected"] = all(low <= values[name] <= high for name, (low, high) in case.expected.items())
    return found


def run_side(module: str, number: int, side: str, python: str, folder: Path, checkout: Path | None) -> dict[str, float]:
    """Seconds and megabytes of one side."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if side == "ours":
        surroundings["PYTHONPATH"] = str(PEERS.parents[1])
    surroundings |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    surroundings |= {"CONFORMANCE_CHECKOUT": str(checkout), "MPLBACKEND": "agg", "JAX_PLATFORMS": "cpu"}
    command = [python, "-P", PEERS / "side.py", module, str(number), side, folder]
    subprocess.run(command, check=True, capture_output=True, text=True, env=surroundings, cwd=folder, timeout=LIMIT)
    return json.loads((folder / f"{side}.json").read_text())


def read(path: Path) -> Arrays:
    """Named arrays."""
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def last_line(text: str) -> str:
    """What an error says."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("WARNING")]
    return lines[-1] if lines else "no message"


if __name__ == "__main__":
    main()
