"""How far are single methods from the plain code that they cannot do without?

Each row is timed beside its peer, interleaved, with one thread; the median of the ratios of a round is reported.

* `knn_shapley` on given distances, beside one np.argsort of them.
* `datainf`, beside its products on the same float32 gradients: the squares, two with a vector and one with the shares.
* `graph_cut` and `k_center` over all pairs, beside greedy in six lines of numpy that check nothing.
* `dd.grad_norms` of an MLP in one call, beside the engine whose plan is made.
* `datadiet select ccs` on a million rows, beside a process that reads the column with pyarrow, calls argpartition and
  writes the ids that stay.

`python benchmarks/peer_speed.py`: two minutes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import cell
from torch import nn

import datadiet as dd
from datadiet.scorers import datainf, knn_shapley
from datadiet.selectors import graph_cut, k_center
from datadiet.signals.gradients import PerExample, layer_norms

ROUNDS = 9
TARGETS = {"knn_shapley": 2, "datainf": 2, "graph_cut": 1.3, "k_center": 1.3, "grad_norms": 1.1, "select ccs": 1.1}

Work = Callable[[], Any]


def main() -> None:
    """Measure, or read what was measured."""
    print(cell("speed/peers", measure))


def measure() -> dict[str, Any]:
    """Seconds and ratio of every row."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"rounds": ROUNDS}
    with tempfile.TemporaryDirectory() as folder:
        rows = {**shapley(), **influence(), **greedy(), **norms(), **process(Path(folder))}
        for name, (what, ours, peer) in rows.items():
            found[name] = {"what": what, "target": TARGETS[name], **beside(ours, peer)}
            print(name, found[name], file=sys.stderr)
    return found


def beside(ours: Work, peer: Work) -> dict[str, float]:
    """Interleaved; the first round is left out."""
    times: list[tuple[float, float]] = []
    for number in range(ROUNDS + 1):
        pair = (seconds(ours), seconds(peer)) if number % 2 else (seconds(peer), seconds(ours))[::-1]
        times.append(pair)
    of_ours, of_peer = zip(*times[1:], strict=True)
    ratio = statistics.median(a / b for a, b in zip(of_ours, of_peer, strict=True))
    return {"seconds": statistics.median(of_ours), "peer_seconds": statistics.median(of_peer), "ratio": ratio}


def seconds(work: Work) -> float:
    """Of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def shapley() -> dict[str, tuple[str, Work, Work]]:
    """200 reference examples and 20,000 training examples."""
    rng = np.random.default_rng(0)
    away, labels, asked = rng.random((200, 20_000)), rng.integers(0, 10, 20_000), rng.integers(0, 10, 200)
    return {
        "knn_shapley": (
            "np.argsort of the distances",
            lambda: knn_shapley(away, labels, None, asked),
            lambda: np.argsort(away, axis=1),
        )
    }


def influence() -> dict[str, tuple[str, Work, Work]]:
    """50,000 gradients of 512 numbers."""
    rng = np.random.default_rng(0)
    rows, asked = (rng.standard_normal((n, 512), dtype=np.float32) for n in (50_000, 100))

    def products() -> np.ndarray:
        mean = asked.mean(axis=0)
        shares = (rows @ mean) / (1 + np.einsum("ij,ij->i", rows, rows)) / len(rows)
        return rows @ (mean - shares @ rows)

    return {"datainf": ("its products alone", lambda: datainf(rows, asked), products)}


def greedy() -> dict[str, tuple[str, Work, Work]]:
    """400 of 4,000 vectors of 64 numbers."""
    x, k = np.random.default_rng(0).standard_normal((4000, 64), dtype=np.float32), 400

    def plain_cut() -> list[int]:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        alike = (1 + unit @ unit.T) / 2
        gain, chosen = alike.sum(axis=1) - alike.diagonal(), []
        for _ in range(k):
            chosen.append(int(gain.argmax()))
            gain -= 2 * alike[chosen[-1]]
            gain[chosen] = -np.inf
        return chosen

    def plain_centers() -> list[int]:
        chosen = [int(np.linalg.norm(x - x.mean(axis=0), axis=1).argmin())]
        away = np.square(x - x[chosen[0]]).sum(axis=1)
        for _ in range(k - 1):
            chosen.append(int(away.argmax()))
            np.minimum(away, np.square(x - x[chosen[-1]]).sum(axis=1), out=away)
        return chosen

    return {
        "graph_cut": ("greedy in plain numpy", lambda: graph_cut(x, k), plain_cut),
        "k_center": ("greedy in plain numpy", lambda: k_center(x, k), plain_centers),
    }


def norms() -> dict[str, tuple[str, Work, Work]]:
    """An MLP and 512 examples."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)).eval()
    x, y = torch.randn(512, 784), torch.randint(0, 10, (512,))
    engine = PerExample(model)
    return {
        "grad_norms": (
            "the engine, planned before",
            lambda: dd.grad_norms(model, x, y),
            lambda: layer_norms(engine, x, y),
        )
    }


def process(folder: Path) -> dict[str, tuple[str, Work, Work]]:
    """A million rows of a score file."""
    scores, out = folder / "scores.parquet", folder / "kept.parquet"
    dd.Scores.from_arrays({"el2n": np.random.default_rng(1).standard_normal(1_000_000, dtype=np.float32)}).write(scores)
    plain = f"""
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
table = pq.read_table({str(scores)!r})
values = table["el2n"].to_numpy()
kept = np.sort(np.argpartition(values, 700_000)[700_000:])
pq.write_table(table.select(["id"]).take(pa.array(kept)), {str(out)!r})
"""
    ours = [
        sys.executable,
        "-m",
        "datadiet",
        "select",
        str(scores),
        "--method",
        "ccs",
        "--keep",
        "30%",
        "--out",
        str(out),
    ]

    def run(words: list[str]) -> None:
        out.unlink(missing_ok=True)
        subprocess.run(words, check=True, capture_output=True)

    return {"select ccs": ("pyarrow and argpartition", lambda: run(ours), lambda: run([sys.executable, "-c", plain]))}


if __name__ == "__main__":
    main()
