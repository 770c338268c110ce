"""Stop every verb at every rename: the same command, run again, ends with the bytes of an undisturbed run.

A command changes the disk by renames alone. It is killed before a rename, when the new file stands there under its
temporary name; after it; or before the file was flushed, when it is half as long. Or it is told to end (SIGTERM), or
finds the disk full: then it ends by itself, with exit code 5, and leaves nothing half-written.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from outcomes import Ended, forked

from datadiet.cli import main
from datadiet.files import writing

__all__ = ["MOMENTS", "VERBS", "kills"]

MOMENTS = ("before the rename", "after the rename", "half written", "SIGTERM", "disk full")
BY_ITSELF = MOMENTS[3:]
VERBS: dict[str, list[str]] = {
    "score": "score data.npz --model datadiet:mlp --scorer el2n,forgetting,grand,prototypes --epochs 2 --seeds 2 "
    "--eval 20% --out RUN",
    "score at checkpoints": "score data.npz --model datadiet:mlp --scorer self_influence,loss --checkpoints trained "
    "--out RUN",
    "score with reference": "score data.npz --model datadiet:mlp --scorer grad_dot --reference 20% --epochs 2 "
    "--out RUN",
    "rescore": "rescore RUN --scorer aum,entropy",
    "embed": "embed data.npz --model datadiet:mlp --checkpoint trained --out RUN",
    "train": "train data.npz --model datadiet:mlp --epochs 3 --eval 20% --out RUN",
    "train on a selection": "train data.npz --model datadiet:mlp --selection kept.parquet --epochs 2 --out RUN",
    "select": "select scored --method ccs --score el2n --keep 30% --out RUN/s.parquet --overwrite",
    "export parquet": "export kept.parquet RUN/out.parquet --data data.npz --to parquet --overwrite",
    "export jsonl": "export kept.parquet RUN/out.jsonl --data vectors.npz --to jsonl --overwrite",
    "export indices": "export kept.parquet RUN/out.npy --data data.npz --to indices --overwrite",
    "export imagefolder": "export kept.parquet RUN/out --data data.npz --to imagefolder --overwrite",
    "demo": "demo --out RUN",
    "export hf": "export kept.parquet RUN/out --data data.npz --to hf --overwrite",
}
VERBS = {name: line.split() if isinstance(line, str) else line for name, line in VERBS.items()}


@dataclass(frozen=True)
class Prepared:
    """A folder with what the verbs read, and what each of them makes there when nobody disturbs it."""

    root: Path
    wanted: dict[str, dict[str, bytes]]
    renames: dict[str, int]


def kills(number: int, seed: int = 0, progress: Callable[[], Any] = lambda: None) -> list[tuple[Any, Ended]]:
    """Kill and run again, `number` times, spread over all renames of all verbs."""
    draw, results = random.Random(seed), []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        prepared = _prepare(Path(folder))
        places = [(verb, at) for verb, count in prepared.renames.items() for at in range(count)]
        for turn in range(number):
            verb, at = places[turn % len(places)] if number >= len(places) else draw.choice(places)
            moment = MOMENTS[(turn // len(places)) % len(MOMENTS)] if number >= len(places) else draw.choice(MOMENTS)
            results.append(((verb, at, moment), _once(prepared, verb, at, moment)))
            progress()
    return results


def _prepare(root: Path) -> Prepared:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (60, 1, 6, 6), dtype=np.uint8)
    np.savez(root / "data.npz", x=x, y=np.arange(60) % 3)
    np.savez(root / "vectors.npz", x=rng.normal(size=(60, 3)), y=np.arange(60) % 3)
    np.save(root / "scores.npy", rng.normal(size=60))
    for line in (
        "score data.npz --model datadiet:mlp --scorer el2n,loss --epochs 2 --out scored",
        "train data.npz --model datadiet:mlp --epochs 2 --out trained",
        "select scores.npy --method random --keep 30% --out kept.parquet",
    ):
        ended = _run(root, line.split(), root / "nowhere")
        assert ended.kind == "right", f"{line}: {ended.text}"
    _warm(root)
    wanted, renames = {}, {}
    for verb in VERBS:
        out = _place(root, verb, "whole")
        counted = root / "count"
        ended = _run(root, VERBS[verb], out, count=counted)
        assert ended.kind == "right", f"{verb}: {ended.text}"
        wanted[verb], renames[verb] = _files(out), int(counted.read_text())
    return Prepared(root, wanted, renames)


def _warm(root: Path) -> None:
    """Run every verb in this process, so that no child has anything left to import."""
    here = os.getcwd()
    os.chdir(root)
    _make_short()
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        for verb in VERBS:
            out = _place(root, verb, "warm")
            try:
                main([part.replace("RUN", str(out)) for part in VERBS[verb]])
            except SystemExit as stop:
                assert not stop.code, verb
    os.chdir(here)


def _place(root: Path, verb: str, name: str) -> Path:
    """A folder for what a verb makes; a rescored run is there before."""
    out = root / "out" / name
    shutil.rmtree(out, ignore_errors=True)
    if verb == "rescore":
        shutil.copytree(root / "scored", out)
    elif "RUN/" in " ".join(VERBS[verb]):
        out.mkdir(parents=True)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
    return out


def _once(prepared: Prepared, verb: str, at: int, moment: str) -> Ended:
    out = _place(prepared.root, verb, "killed")
    killed = _run(prepared.root, VERBS[verb], out, kill=(at, moment))
    if moment in BY_ITSELF:
        half = [path.name for path in out.rglob("*") if writing.is_temporary(path)]
        if killed.kind != "wrong" or "exit code 5" not in killed.text or half:
            return Ended("wrong", f"{moment}: {killed.kind} {half} {killed.text}")
    elif killed.kind != "killed":
        return Ended("wrong", f"not killed: {killed.kind} {killed.text}")
    again = _run(prepared.root, VERBS[verb], out)
    if again.kind != "right":
        return again if again.kind != "killed" else Ended("wrong", "killed twice")
    found, wanted = _files(out), prepared.wanted[verb]
    other = sorted(name for name in {**found, **wanted} if found.get(name) != wanted.get(name))
    return Ended("right") if not other else Ended("wrong", f"other bytes, or only there once: {other}")


def _run(
    root: Path, line: list[str], out: Path, kill: tuple[int, str] | None = None, count: Path | None = None
) -> Ended:
    def run() -> str | None:
        os.chdir(root)
        _make_short()
        seen = _watch(kill)
        try:
            main([part.replace("RUN", str(out)) for part in line])
        except SystemExit as stop:
            if count is not None:
                count.write_text(str(seen()))
            return None if not stop.code else f"exit code {stop.code}"
        return "no exit"

    return forked(run, seconds=120)


def _make_short() -> None:
    """Save the state of a training after each step, and compare less in the demo."""
    import datadiet.training.loop as loop
    import datadiet.workflow.comparing.demo as demo

    loop._SAVE_EVERY, loop._SAVE_SHARE = 0.0, float("inf")
    demo.EPOCHS, demo.SEEDS, demo.KEEPS, demo.RECIPE = 1, 2, ("30%",), {"batch_size": 720}


def _watch(kill: tuple[int, str] | None) -> Callable[[], int]:
    """Count renames, and die at one of them."""
    renames, rename, flush = [0], os.replace, writing._flush

    def watched(source: Any, target: Any) -> None:
        moment = kill[1] if kill is not None and renames[0] == kill[0] else ""
        if moment == "before the rename":
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        rename(source, target)
        renames[0] += 1
        if moment == "after the rename":
            os.kill(os.getpid(), signal.SIGKILL)

    def flushed(path: Path) -> None:
        moment = kill[1] if kill is not None and renames[0] == kill[0] and writing.is_temporary(path) else ""
        if moment == "half written":
            if path.is_file():
                os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "disk full":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        flush(path)

    os.replace, writing._flush = watched, flushed
    return lambda: renames[0]


def _files(folder: Path) -> dict[str, bytes]:
    """Relative name -> bytes; of logs only what does not tell the time."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: _untimed(name, path.read_bytes()) for name, path in found.items()}


def _untimed(name: str, content: bytes) -> bytes:
    if name.endswith("run.json"):
        return b"" if not json.loads(content) else b"log"
    if name == "comparison.json":
        found = json.loads(content)
        rows = [
            {key: value for key, value in row.items() if key not in ("costs", "pays_after")} for row in found["rows"]
        ]
        return json.dumps({**found, "rows": rows, "seconds": sorted(found["seconds"])}).encode()
    if name == "index.html":
        untimed = re.sub(rb"<section[^>]*>\s*<h2[^>]*>What does it cost\?.*?</section>", b"", content, flags=re.DOTALL)
        return re.sub(rb"[\d.e-]+ s\b", b"", untimed)
    if name.endswith("log.jsonl"):
        lines = [{**json.loads(line), "seconds": 0} for line in content.splitlines()]
        return json.dumps(lines).encode()
    return content
