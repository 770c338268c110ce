"""What do our loop, recording and a teacher add to the step of a plain training loop?

datadiet:cnn at batch 128 on random 32x32 colour images, flip and translation, one CPU thread. An epoch of 10 steps is
timed for each of the following, in turn, 24 times; a ratio is the median over the rounds.

- plain: batches from the same feed, forward, cross-entropy, backward, SGD, and nothing else;
- loop: our Trainer (learning-rate schedule, seeds, loss and accuracy, progress bar), beside plain; target 1.03;
- recording: the loop with a Recorder, beside the loop; target 1.05;
- stored teacher: distillation from stored logits of 8 views, beside the loop; target 1.05;
- teacher beside: distillation from a network of the same kind, beside the loop; a forward pass is a third of a step;
- InfoBatch: a schedule that learns from the losses, in an epoch that presents all, beside the loop; target 1.02;
- masks: 90 % of the weights pruned, chosen once and applied after each step, beside the loop; target 1.03.
"""

from __future__ import annotations

import statistics
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
from datadiet.data import Feed, open_data
from datadiet.models import HeadTap, open_model
from datadiet.runtime.vectors import Parts
from datadiet.sparsity import Pace, global_magnitude
from datadiet.sparsity.prunable import prunable
from datadiet.tasks import Classification
from datadiet.training import Clock, Trainer
from datadiet.training.distill import Distillation, TeacherNetwork
from datadiet.training.hooks import Record
from datadiet.training.sparse import Sparse
from datadiet.training.stored_teacher import StoredLogits

STEPS, ROUNDS, BATCH, CLASSES, VIEWS = 10, 24, 128, 10, 8
TARGETS = {
    "loop": 1.03,
    "recording": 1.05,
    "stored teacher": 1.05,
    "teacher beside": 1.4,
    "InfoBatch": 1.02,
    "masks": 1.03,
}


def main() -> None:
    """Measure, and print the ratios."""
    torch.set_num_threads(1)
    print(cell("speed/training_cost", measure))


def measure() -> dict[str, Any]:
    """Interleaved epochs of all kinds."""
    rng, n = np.random.default_rng(0), STEPS * BATCH
    x, y = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), rng.integers(0, CLASSES, n)
    feed = Feed(open_data((x, y)), None, torch.device("cpu"), "flip,translate:2")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"part-0-{n}.npy"
        np.save(path, rng.standard_normal((n, VIEWS * CLASSES)).astype(np.float16))
        kinds = epochs(feed, StoredLogits(Parts([path]), np.arange(n), VIEWS, 0, CLASSES))
        for work in kinds.values():
            work()
        rounds = [{name: seconds(work) for name, work in kinds.items()} for _ in range(ROUNDS)]

    def ratio(name: str, beside: str) -> float:
        return statistics.median(one[name] / one[beside] for one in rounds)

    medians = {name: 1e3 * statistics.median(one[name] for one in rounds) / STEPS for name in kinds}
    ratios = {name: ratio(name, "plain" if name == "loop" else "loop") for name in TARGETS}
    return {"ms_per_step": medians, "ratio": ratios, "target": TARGETS, "rounds": ROUNDS}


def epochs(feed: Feed, stored: StoredLogits) -> dict[str, Callable[[], None]]:
    """name -> an epoch of training."""
    task, teacher = Classification(CLASSES), TeacherNetwork(network().eval())
    return {
        "plain": lambda: plain(feed),
        "loop": lambda: ours(feed),
        "recording": lambda: ours(feed, record=True),
        "stored teacher": lambda: ours(feed, Distillation(task, stored, 0.5, 4.0)),
        "teacher beside": lambda: ours(feed, Distillation(task, teacher, 0.5, 4.0)),
        "InfoBatch": lambda: ours(feed, order=dd.InfoBatchSampler(len(feed), epochs=1)),
        "masks": lambda: ours(feed, sparsity=0.9),
    }


def network() -> nn.Module:
    """A fresh network."""
    return open_model("datadiet:cnn", (3, 32, 32), CLASSES).fresh(0).to(memory_format=torch.channels_last)


def plain(feed: Feed) -> None:
    """The plainest loop."""
    model = network().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for batch in feed.batches(np.random.default_rng(0).permutation(len(feed)), BATCH, view=1):
        loss = nn.functional.cross_entropy(model(batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def ours(feed: Feed, objective: Any = None, record: bool = False, order: Any = None, sparsity: float = 0.0) -> None:
    """The same with our loop; with a Recorder, closing its epoch is included."""
    model = network()
    tap = HeadTap(model, torch.zeros(2, 3, 32, 32))
    hooks = [Record(dd.Recorder(len(feed)), tap.features)] if record else []
    order = order or dd.SubsetSampler(len(feed))
    clock = Clock(steps=STEPS)
    trainer = Trainer(model, Classification(CLASSES), feed, order, dd.Recipe(), clock, objective=objective, hooks=hooks)
    if sparsity:
        weights = prunable(model)
        trainer.hooks = [Sparse(trainer, lambda s: dd.Masks(global_magnitude(weights, s)), sparsity, Pace())]
    trainer.run()


def seconds(work: Callable[[], None]) -> float:
    """How long an epoch takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
