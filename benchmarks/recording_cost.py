"""What does recording every output signal add to training?

datadiet:cnn at batch 128 on random 32x32 colour images, flip and translation, one CPU thread: blocks of 10 steps with
and without a Recorder in turn, the medians of all blocks and the median of the paired ratios. Target: at most 1.05.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from bench import cell

import datadiet as dd
from datadiet.data import Feed, open_data
from datadiet.models import HeadTap, open_model
from datadiet.tasks import Classification
from datadiet.training import Clock, Trainer
from datadiet.training.hooks import Record

STEPS, PAIRS, BATCH = 10, 24, 128


def main() -> None:
    """Measure, and print the ratio."""
    torch.set_num_threads(1)
    print(cell("speed/recording_cost", measure))


def measure() -> dict[str, Any]:
    """Interleaved blocks with and without recording."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (STEPS * BATCH, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, STEPS * BATCH)
    source = open_data(torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)))
    feed = Feed(source, None, torch.device("cpu"), "flip,translate:2")
    block(feed, record=True), block(feed, record=False)
    pairs = [(block(feed, record=True), block(feed, record=False)) for _ in range(PAIRS)]
    with_, without = map(statistics.median, zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return {
        "ratio": ratio,
        "target": 1.05,
        "ms_per_step": 1e3 * with_ / STEPS,
        "ms_without": 1e3 * without / STEPS,
        "pairs": PAIRS,
    }


def block(feed: Feed, record: bool) -> float:
    """Seconds for one epoch of STEPS steps, closing the epoch of the recorder included."""
    model = open_model("datadiet:cnn", (3, 32, 32), 10).fresh(0).to(memory_format=torch.channels_last)
    tap = HeadTap(model, torch.zeros(2, 3, 32, 32))
    hooks = [Record(dd.Recorder(len(feed)), tap.features)] if record else []
    order = dd.SubsetSampler(len(feed))
    trainer = Trainer(model, Classification(10), feed, order, dd.Recipe(), Clock(steps=STEPS), hooks=hooks)
    started = time.perf_counter()
    trainer.run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
