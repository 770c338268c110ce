"""Does a folder of 200,000 JPEGs go through `score` and `embed` with flat memory, and as fast as it can be decoded?

Made-up photographs of 224 x 224 pixels, about 13 kB each; a network of one small layer, so that decoding is what takes
the time. The bare rate is that of a DataLoader that does nothing but open and decode with Pillow, in batches of the
same size, with the same number of processes: with all cores but one, since the process that takes the images needs one
too, and with all. It is measured before, between and after the two commands, since other work on the machine changes
it; each command is compared with the mean of its neighbours. Memory is the most that the process and its loaders hold
(proportional set size), for 20,000 of the images and for all. Target: 0.8 of the bare rate where a core is left.

`python benchmarks/large_folder.py [FOLDER]`: 40 minutes with two cores, and 3 GB in the folder (default: a temporary
one).
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from bench import cell
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

import datadiet as dd

N, FEW, SIDE, BATCH, IMAGENET = 200_000, 20_000, 224, 128, 1_281_167
CORES = os.cpu_count() or 1
LOADERS = (max(1, CORES - 1), CORES)


def main() -> None:
    """Measure, or read what was measured."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        print(cell("speed/large_folder", lambda: measure(folder)))


class Small(nn.Module):
    """A network that takes next to no time."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 49, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 10)."""
        return self.head(x[:, :, ::32, ::32].flatten(1))


def measure(folder: Path) -> dict[str, Any]:
    """Images per second, bare and in both commands, and the memory that they hold."""
    make(folder)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Small().eval()
    found: dict[str, Any] = {"n": N, "side": SIDE, "batch": BATCH, "target_to_bare": 0.8}
    for name, n, loaders in (("few", FEW, LOADERS[0]), ("all", N, LOADERS[0]), ("crowded", N, LOADERS[1])):
        found[name] = {
            "n": n,
            "loader_processes": loaders,
            **passes(folder / ("few" if n == FEW else "all"), model, loaders),
        }
    for title in ("score", "embed"):
        found[f"{title}_memory_growth"] = found["all"][title]["bytes"] / found["few"][title]["bytes"]
    return found


def passes(folder: Path, model: nn.Module, loaders: int) -> dict[str, Any]:
    """One folder, with some loader processes."""
    opening = time.perf_counter()
    source = dd.open_data(f"imagefolder:{folder}")
    found: dict[str, Any] = {"opening_seconds": time.perf_counter() - opening}
    paths, recipe = sorted(folder.rglob("*.jpg")), {"workers": loaders, "threads": 1, "batch_size": BATCH}
    work: dict[str, Callable[[], Any]] = {
        "bare": lambda: bare(paths, loaders),
        "score": lambda: dd.score(source, model, "el2n", recipe=recipe),
        "embed": lambda: dd.embed(source, model, batch_size=BATCH, workers=loaders),
    }
    work["bare"]()  # so that the files are in memory
    measured = [(title, *watched(work[title])) for title in ("bare", "score", "bare", "embed", "bare")]
    bares = [seconds for title, seconds, _ in measured if title == "bare"]
    beside = {"bare": fmean(bares), "score": fmean(bares[:2]), "embed": fmean(bares[1:])}
    for title, seconds, memory in measured:
        seconds = beside["bare"] if title == "bare" else seconds
        rate = len(paths) / seconds
        found[title] = {
            "seconds": seconds,
            "per_second": rate,
            "bytes": memory,
            "imagenet_minutes": IMAGENET / rate / 60,
            "to_bare": beside[title] / seconds,
        }
        print(folder.name, loaders, title, found[title], file=sys.stderr)
    found["bare"]["each_seconds"] = bares
    return found


def make(folder: Path) -> None:
    """The photographs, in ten classes; `few` are links to some of them."""
    if (folder / "few").exists():
        return
    for name in ("all", "few"):
        for label in range(10):
            (folder / name / f"class{label}").mkdir(parents=True, exist_ok=True)
    with Pool() as pool:
        pool.map(partial(draw, folder), range(N), chunksize=500)


def draw(folder: Path, number: int) -> None:
    """One photograph: smooth shapes with some noise, so that it takes as many bytes as a real one."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)).resize((SIDE, SIDE), Image.BICUBIC)
    pixels = np.asarray(coarse, dtype=np.int16) + rng.integers(-12, 13, (SIDE, SIDE, 1), dtype=np.int16)
    place = folder / "all" / f"class{number % 10}" / f"{number}.jpg"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place, quality=75)
    if number < FEW:
        os.link(place, folder / "few" / place.relative_to(folder / "all"))


class Decoded(Dataset[torch.Tensor]):
    """Whole batches of decoded images."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = [str(path) for path in paths]

    def __len__(self) -> int:
        return -(-len(self.paths) // BATCH)

    def __getitem__(self, number: int) -> torch.Tensor:
        batch = []
        for path in self.paths[number * BATCH : (number + 1) * BATCH]:
            with open(path, "rb") as file:
                batch.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
        return torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)


def bare(paths: list[Path], loaders: int) -> None:
    """Decode everything and do nothing with it."""
    for _ in DataLoader(Decoded(paths), batch_size=None, num_workers=loaders):
        pass


def watched(work: Callable[[], Any]) -> tuple[float, int]:
    """The seconds of some work, and the most memory that this process and its children held."""
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            most[0] = max(most[0], sum(map(proportional, family())))

    thread = threading.Thread(target=look)
    thread.start()
    begun = time.perf_counter()
    try:
        work()
        return time.perf_counter() - begun, most[0]
    finally:
        over.set()
        thread.join()


def family() -> list[int]:
    """This process and its children."""
    me = os.getpid()
    tasks = Path(f"/proc/{me}/task").glob("*/children")
    return [me, *(int(pid) for task in tasks for pid in task.read_text().split())]


def proportional(pid: int) -> int:
    """Bytes of a process; those that several share are split among them."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1024 * int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])


if __name__ == "__main__":
    main()
