"""How fast are selecting, recording, loading, gradients and vectors beside another checkout of datadiet?

`python benchmarks/against.py OTHER` runs each piece of work in fresh processes, in turn of this tree and of OTHER, a
folder with its `datadiet`. It reports the ratio of seconds: the geometric mean over the pairs and its 95 % interval
(Student's t over the logarithms). A piece repeats its work within a process and gives the fastest repetition, so that
starting Python does not count. Target: the upper end of the interval below 1.05.

`python benchmarks/against.py OTHER --pairs 30`: about forty minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bench import cell

HERE = Path(__file__).parents[1]
T95 = {10: 2.262, 20: 2.093, 30: 2.045, 40: 2.023}

DRAWN = "drawn = lambda n: np.random.default_rng(0).standard_normal((n, 128), dtype='f4')\n"
PIECES = {
    "select top_k of 10 million": "scores = np.random.default_rng(0).random(10_000_000, dtype='f4')\n"
    "run = lambda: dd.select(scores, 'top_k', keep=0.3, prefer='hardest')",
    "select ccs of 10 million": "scores = np.random.default_rng(0).random(10_000_000, dtype='f4')\n"
    "run = lambda: dd.select(scores, 'ccs', keep=0.3)",
    "read a score file of 2 million": "run = lambda: dd.Scores.read(folder / 'scores.parquet')",
    "record a training": "import torch; torch.set_num_threads(1)\n"
    "run = lambda: dd.score('digits', 'datadiet:mlp', 'el2n,aum,forgetting', epochs=10)",
    "open Parquet of 40,000 vectors": "source = lambda: dd.open_data(folder / 'vectors.parquet')\n"
    "run = lambda: source().take(np.arange(40_000))",
    "open CSV of 40,000 rows": "run = lambda: dd.open_data(folder / 'rows.csv').take(np.arange(40_000))",
    "decode 2,000 PNG": "run = lambda: dd.open_data(f'imagefolder:{folder}/images').look_through()",
    "decode 500 JPEG": "run = lambda: dd.open_data(f'imagefolder:{folder}/photos').look_through()",
    "record a ResNet-8 on 1,000 images": "import torch; torch.set_num_threads(1)\n"
    "x = np.random.default_rng(0).integers(0, 256, (1000, 3, 32, 32), dtype='u1'), np.arange(1000) % 10\n"
    "run = lambda: dd.score(x, 'datadiet:resnet8', 'el2n,aum', epochs=1)",
    "norms and projections of a ResNet-20": "import torch\n"
    "from datadiet.models import networks\n"
    "from datadiet.signals.gradients import PerExample, layer_norms\n"
    "from datadiet.signals.gradients.projection import Projector, projected\n"
    "torch.manual_seed(0); model = networks.resnet20((3, 32, 32), 10).eval().to(memory_format=torch.channels_last)\n"
    "x, y = torch.randn(128, 3, 32, 32).to(memory_format=torch.channels_last), torch.arange(128) % 10\n"
    "engine, projector = PerExample(model), Projector(256)\n"
    "run = lambda: (layer_norms(engine, x, y), projected(engine, projector, x, y))",
    "projections of a transformer": "import torch\n"
    "from torch import nn\n"
    "from datadiet.signals.gradients import PerExample\n"
    "from datadiet.signals.gradients.projection import Projector, projected\n"
    "torch.manual_seed(0)\n"
    "class Net(nn.Module):\n"
    "    def __init__(self):\n"
    "        super().__init__()\n"
    "        layer = nn.TransformerEncoderLayer(128, 4, 512, 0.0, batch_first=True)\n"
    "        self.body, self.head = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), nn.Linear(128, 10)\n"
    "    def forward(self, x):\n"
    "        return self.head(self.body(x).mean(1))\n"
    "engine, projector = PerExample(Net().eval()), Projector(256)\n"
    "run = lambda: projected(engine, projector, torch.ones(64, 65, 128), torch.arange(64) % 10)",
    "k-means of 50,000 vectors, 100 clusters": DRAWN
    + "run = lambda: dd.kmeans(drawn(50000), 100, iterations=5, tolerance=0)",
    "k-means of 20,000 vectors, 2,000 clusters": DRAWN
    + "run = lambda: dd.kmeans(drawn(20000), 2000, iterations=3, tolerance=0)",
    "10 nearest of 10,000 vectors": DRAWN + "from datadiet.geometry import nearest\n"
    "run = lambda: nearest(drawn(10_000), 10)",
    "semdedup of 10,000 vectors": DRAWN + "v = drawn(10_000)\n"
    "run = lambda: dd.select(v, 'semdedup', keep=0.9, clusters=20)",
    "open npz": "run = lambda: dd.open_data(f'npz:{folder}/d.npz').take(np.arange(40_000))",
}
PROLOGUE = """
import sys, time, logging, warnings
from pathlib import Path
import numpy as np
import datadiet as dd
warnings.simplefilter('ignore'); logging.getLogger('datadiet').setLevel(logging.ERROR)
folder = Path(sys.argv[1])
assert Path(dd.__file__).is_relative_to(Path(sys.argv[2]).resolve()), dd.__file__  # not what is installed
"""
EPILOGUE = """
run(); best = float('inf')
for _ in range(5):
    begun = time.perf_counter(); run(); best = min(best, time.perf_counter() - begun)
print(best)
"""


def main() -> None:
    """Measure what is not measured yet, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--pairs", type=int, default=20, choices=sorted(T95))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="against-") as folder:
        _prepare(Path(folder))
        for name, code in PIECES.items():
            measure = partial(_compared, code, Path(folder), asked.other, asked.pairs)
            found = cell(f"against/{name.replace(' ', '_').replace(',', '')}", measure)
            print(f"{name}: {found['ratio']:.3f} ({found['low']:.3f} to {found['high']:.3f})")


def _compared(code: str, folder: Path, other: Path, pairs: int) -> dict[str, Any]:
    logs = []
    for pair in range(pairs):
        trees = (HERE, other) if pair % 2 else (other, HERE)
        seconds = {tree: _seconds(code, folder, tree) for tree in trees}
        logs.append(math.log(seconds[HERE] / seconds[other]))
    mean, margin = statistics.mean(logs), T95[pairs] * statistics.stdev(logs) / math.sqrt(pairs)
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=other)
    return {
        "other": commit.stdout.strip(),
        "pairs": pairs,
        "ratio": math.exp(mean),
        "low": math.exp(mean - margin),
        "high": math.exp(mean + margin),
    }


def _seconds(code: str, folder: Path, tree: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROLOGUE + code + EPILOGUE, folder, tree],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(tree)},
    )  # fmt: skip
    return float(done.stdout.strip().splitlines()[-1])


def _prepare(folder: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    import datadiet as dd

    rng = np.random.default_rng(0)
    n = 2_000_000
    dd.Scores.from_arrays({"a": rng.random(n), "b": rng.random(n)}).write(folder / "scores.parquet")
    x, y = rng.normal(size=(40_000, 16)).astype(np.float32), rng.integers(0, 10, 40_000)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 16)
    pq.write_table(pa.table({"x": vectors, "label": y}), folder / "vectors.parquet")
    rows = "\n".join(",".join([*map(str, row), str(label)]) for row, label in zip(x.tolist(), y.tolist(), strict=True))
    (folder / "rows.csv").write_text(",".join([*(f"f{i}" for i in range(16)), "label"]) + "\n" + rows + "\n")
    np.savez(folder / "d.npz", x=x, y=y)
    for number in range(2000):
        path = folder / "images" / str(number % 4) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    for number in range(500):
        path = folder / "photos" / str(number % 4) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)).save(path)


if __name__ == "__main__":
    main()
