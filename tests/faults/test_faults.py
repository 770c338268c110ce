"""A sample of the faults; `python tests/faults/run.py` runs all of them.

Each sample runs in a process of its own: its children are forked, and must not find threads of other tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SAMPLE, SLOW = {"kills": 14, "inputs": 18, "calls": 18}, {"kills": 200, "inputs": 1000, "calls": 1000}


def check(name: str, number: int, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, HERE / "run.py", f"--{name}", str(number), "--seed", str(seed)],
        capture_output=True, text=True, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = json.loads(done.stdout.partition(": ")[2].partition(" in ")[0].replace("'", '"'))
    assert sum(found.values()) == number and found["traceback"] == found["wrong"] == found["hang"] == 0


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="children are forked")
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample(name: str) -> None:
    check(name, SAMPLE[name], seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_many(name: str) -> None:
    check(name, SLOW[name], seed=2)
