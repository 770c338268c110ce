"""The rows of `gpu.py` about training: recording, scoring from nothing, several at once, compiled and deterministic."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_gradients import computing_in, made, training_step
from gpu_timing import CUDA, ON, seconds, wait
from torch.nn import functional

import datadiet as dd
from datadiet.runtime import settings
from datadiet.training.compiled import Compiled

__all__ = ["at_once", "compiled", "deterministic", "from_nothing", "recording", "teaching"]

MODEL, EPOCHS = ("datadiet:resnet20", 12) if CUDA else ("datadiet:resnet8", 2)
FAST = {"batch_size": 512, "lr": 0.4, "precision": "bf16"}
STEPS = 100 if CUDA else 2
TOGETHER = 4 if CUDA else 2
CIFAR = Path(os.environ.get("DATADIET_DATA", "")) / "cifar10" / ("train.parquet" if CUDA else "mini_train.parquet")
C_SCORES = CIFAR.with_name("cifar10-cscores-orig-order.npz")  # Jiang et al. 2021, as they published them


def pictures() -> tuple[Any, bool]:
    """CIFAR-10's training images, not decoded yet, or made-up ones; and which."""
    if CIFAR.exists():
        source = dd.open_data(f"parquet:{CIFAR}", image="jpeg", label="label")
        return source if CUDA else source.subset(np.arange(0, len(source), 25)), True
    n, rng = (50_000, np.random.default_rng(0)) if CUDA else (200, np.random.default_rng(0))
    y = rng.integers(0, 10, n)
    x = rng.integers(0, 128, (n, 3, 32, 32)) + 12 * y[:, None, None, None]
    return (x.astype(np.uint8), y), False


def some_pictures(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n, decoded."""
    source = dd.open_data(pictures()[0])
    rows = np.arange(min(n, len(source)))
    return source.take(rows).numpy(), np.asarray(source.labels)[rows]


def from_nothing() -> Iterator[dict[str, Any]]:
    """EL2N, forgetting and AUM of 50,000 images from a warm process, decoding included: a fast recipe, the slow one."""
    dd.score(some_pictures(2000), MODEL, "el2n,forgetting,aum", epochs=1, recipe=FAST, device=ON)
    aum = {}
    for name, recipe in (("fast", FAST), ("slow", {})):
        begun = time.perf_counter()
        data, real = pictures()
        scores = dd.score(data, MODEL, "el2n,forgetting,aum", epochs=EPOCHS, recipe=recipe, device=ON)
        aum[name] = scores["aum"]
        yield {f"{name}_seconds": time.perf_counter() - begun, "cifar10": real, "n": len(scores), "epochs": EPOCHS,
               "target_seconds": 30}  # fmt: skip
        if real and CUDA and C_SCORES.exists():
            import pyarrow.parquet as pq

            published = np.load(C_SCORES)["scores"][pq.read_table(CIFAR, columns=["index"])["index"].to_numpy()]
            yield {f"{name}_rank_to_c_scores": spearman(aum[name], published)}
    if real:  # of made-up images there is nothing to rank
        yield {"rank_correlation_of_aum": spearman(aum["fast"], aum["slow"]), "target_rank": 0.93}


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """The rank correlation; ties in order of position."""
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def bare_training(x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """An epoch of the same training in a few lines of torch, with everything on the device."""
    there, labels = torch.from_numpy(x).to(ON), torch.from_numpy(y).to(ON)
    net = dd.models.open_model(MODEL, x.shape[1:], 10).fresh(0).to(ON, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def epoch() -> None:
        for rows in torch.randperm(len(labels), device=ON).split(128):
            inputs = (there[rows].float() / 128 - 1).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(net(inputs), labels[rows]).backward()
            optimizer.step()

    return epoch


def trainings() -> dict[str, Callable[[], Any]]:
    """What `recording` compares, for one epoch and for six: opening and evaluating cost the same in both."""
    x, y = some_pictures(128 * STEPS)
    epoch, options = bare_training(x, y), {"recipe": {"augment": "none"}, "device": ON}

    def bare(epochs: int) -> None:
        with settings(torch.get_num_threads(), "fp32"):  # deterministic, as datadiet trains
            for _ in range(epochs):
                epoch()

    def usual(epochs: int) -> None:
        for _ in range(epochs):
            epoch()

    work = {
        "bare": bare,
        "bare, torch's defaults": usual,
        "trained": lambda epochs: dd.train((x, y), MODEL, epochs=epochs, **options),
        "recorded": lambda epochs: dd.score((x, y), MODEL, "aum", epochs=epochs, **options),
    }
    return {f"{name} {n}": lambda run=run, n=n: run(n) for name, run in work.items() for n in (1, 6)}


def recording() -> Iterator[dict[str, Any]]:
    """A recorded step of training beside the same without recording, and beside a bare loop in torch."""
    times = seconds(trainings(), 3 if CUDA else 1)
    names = [name.removesuffix(" 1") for name in times if name.endswith(" 1")]
    step_ms = {name: 1e3 * (times[f"{name} 6"] - times[f"{name} 1"]) / 5 / STEPS for name in names}
    yield {"step_ms": step_ms, "recorded_to_bare": step_ms["recorded"] / step_ms["bare"],
           "recorded_to_trained": step_ms["recorded"] / step_ms["trained"], "target": 1.05}  # fmt: skip


def teaching() -> Iterator[dict[str, Any]]:
    """A step with stored logits of a teacher, with a schedule that learns, and with masks, beside a plain step."""
    x, y = some_pictures(128 * STEPS)
    options: dict[str, Any] = {"recipe": {"augment": "none"}, "device": ON}
    kinds: dict[str, dict[str, Any]] = {
        "trained": {},
        "scheduled": {"sampler": "infobatch:ratio=0"},
        "pruned": {"sparsify": "random_weights:0.9"},
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        dd.score((x, y), MODEL, "el2n", epochs=2, logits=True, out=run, **options)
        kinds["taught"] = {"teacher": run}
        work = {
            f"{name} {n}": lambda kind=kind, n=n: dd.train((x, y), MODEL, epochs=n, **kind, **options)
            for name, kind in kinds.items() for n in (1, 6)
        }  # fmt: skip
        times = seconds(work, 2 if CUDA else 1)
    step_ms = {name: 1e3 * (times[f"{name} 6"] - times[f"{name} 1"]) / 5 / STEPS for name in kinds}
    yield {"step_ms": step_ms, "taught_to_trained": step_ms["taught"] / step_ms["trained"], "taught_target": 1.05,
           "scheduled_to_trained": step_ms["scheduled"] / step_ms["trained"], "scheduled_target": 1.02,
           "pruned_to_trained": step_ms["pruned"] / step_ms["trained"], "pruned_target": 1.03}  # fmt: skip


def at_once() -> Iterator[dict[str, Any]]:
    """Several processes on one device: recorded trainings beside bare loops, and scoring from nothing."""
    step_ms = {}
    for name in ("bare", "recorded"):
        one, six = (together(f"{name} {n}") for n in (1, 6))
        step_ms[name] = 1e3 * (six - one) / 5 / STEPS
        yield {"processes": TOGETHER, "step_ms": dict(step_ms)}
    yield {"recorded_to_bare": step_ms["recorded"] / step_ms["bare"], "target": 1.05}
    yield {"from_nothing_seconds": together("from nothing"), "epochs": EPOCHS, "cifar10": pictures()[1]}


def together(what: str) -> float:
    """Seconds until the last of several processes, all warm, has done a piece of work."""
    context = multiprocessing.get_context("spawn")
    ready, times = context.Barrier(TOGETHER), context.SimpleQueue()
    processes = [context.Process(target=one_of, args=(what, ready, times), daemon=True) for _ in range(TOGETHER)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"{what}: exit codes {[process.exitcode for process in processes]}")
    return max(times.get() for _ in processes)


def one_of(what: str, ready: Any, times: Any) -> None:
    """One of several processes: it warms up, waits for the others, and does its work."""
    work = trainings() if what != "from nothing" else {}
    fast = {"recipe": FAST, "device": ON}
    if work:
        work[f"{what[:-1]}1"]()
    else:
        dd.score(some_pictures(2000), MODEL, "el2n,forgetting,aum", epochs=1, **fast)
    wait()
    ready.wait(120)
    begun = time.perf_counter()
    if work:
        work[what]()
    else:
        dd.score(pictures()[0], MODEL, "el2n,forgetting,aum", epochs=EPOCHS, **fast)
    wait()
    times.put(time.perf_counter() - begun)


def deterministic() -> Iterator[dict[str, Any]]:
    """How many times as long a plain training step takes where cuDNN's kernels are deterministic."""

    def switched(step: Callable[[], None], to: bool) -> Callable[[], None]:
        def run() -> None:
            before = torch.backends.cudnn.deterministic
            torch.backends.cudnn.deterministic = to
            try:
                step()
            finally:
                torch.backends.cudnn.deterministic = before

        return run

    for net in ("resnet18", "resnet20"):
        with computing_in("fp32"):
            step = training_step(*made(net, 128 if CUDA else 8))
            times = seconds({"with": switched(step, True), "without": switched(step, False)}, 20 if CUDA else 1)
        yield {net: times["with"] / times["without"]}


def compiled() -> Iterator[dict[str, Any]]:
    """What torch.compile takes, and what a training step then takes of a plain one."""
    for net in ("resnet20", "resnet18"):
        with computing_in("fp32"):
            model, x, y = made(net, 128 if CUDA else 8)
            plain, fast = training_step(model, x, y), training_step(Compiled(model), x, y)
            begun = time.perf_counter()
            fast()
            wait()
            yield {f"{net}_compiling_seconds": time.perf_counter() - begun}
            times = seconds({"compiled": fast, "plain": plain})
        yield {f"{net}_compiled_to_plain": times["compiled"] / times["plain"]}
