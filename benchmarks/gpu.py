"""Is an accelerator used as one? Every piece of work beside its physical floor and a plain peer, on one CUDA device.

Per-example gradients in units of a training step, VoG, k-means, nearest neighbours, SemDeDup, scoring from nothing,
what recording and deterministic kernels add to a step, and the tests marked `gpu`. Each row is measured in interleaved
rounds and written to the JSON at once, so that a row that fails, or a machine that is taken away, loses nothing else.

`python benchmarks/gpu.py [ROW…]`: 8 minutes. It needs torch, numpy, pandas and pyarrow; faiss-gpu is compared if it is
there, and CIFAR-10 is read from `$DATADIET_DATA` if that holds it, and made up otherwise. Without a CUDA device tiny
sizes run on the processor, to see that everything works, and nothing is written.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import RESULTS, provenance
from gpu_networks import NETS, one_gradient, opacus_like
from torch import Tensor, nn
from torch.nn import functional

import datadiet as dd
from datadiet.signals.gradients import PerExample, layer_norms
from datadiet.signals.input_gradients import input_gradient_maps

CUDA = torch.cuda.is_available()
ON = "cuda" if CUDA else "cpu"
ROUNDS = 7 if CUDA else 1
BATCHES = (128, 512) if CUDA else (8,)
TARGETS = {"resnet18": 1.15, "resnet20": 1.5, "vit": 1.15}
TARGETS_TF32 = {"resnet18": 1.5, "resnet20": 1.5, "vit": 1.5}
SIDE = 32 if CUDA else 8


def main() -> None:
    """Measure the rows that are asked for, or all."""
    asked = sys.argv[1:] or list(ROWS)
    path = RESULTS / "gpu" / f"{torch.cuda.get_device_name().replace(' ', '_') if CUDA else 'processor'}.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found |= {"device": torch.cuda.get_device_name() if CUDA else "a processor, tiny sizes", **provenance()}
    for name in asked:
        begun = time.perf_counter()
        try:
            found[name] = ROWS[name]()
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-2000:]}
        found[name]["row_seconds"] = round(time.perf_counter() - begun, 1)
        print(name, json.dumps({key: value for key, value in found[name].items() if key != "trace"}), flush=True)
        gc.collect()
        if CUDA:
            torch.cuda.empty_cache()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


def seconds(work: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each, in interleaved rounds after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, function in work.items():
            wait()
            begun = time.perf_counter()
            function()
            wait()
            if number:
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in times.items()}


def wait() -> None:
    """Until the device is done."""
    if CUDA:
        torch.cuda.synchronize()


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Products and convolutions with or without TF32."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = allowed
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def made(name: str, batch: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, images and labels."""
    torch.manual_seed(0)
    model = NETS[name](SIDE).to(ON, memory_format=torch.channels_last)
    x = torch.randn(batch, 3, SIDE, SIDE, device=ON).to(memory_format=torch.channels_last)
    return model, x, torch.randint(0, 10, (batch,), device=ON)


def gradients() -> dict[str, Any]:
    """All-layer GraNd and VoG in training steps, the peers, and the memory."""
    found: dict[str, Any] = {}
    for name in NETS:
        for batch in BATCHES:
            for precision, allowed in (("fp32", False), ("tf32", True)):
                with tf32(allowed):
                    found[f"{name}_{batch}_{precision}"] = steps(name, batch, peers=not allowed and batch == BATCHES[0])
    return {**found, "targets": TARGETS, "targets_tf32": TARGETS_TF32, "target_vog": 0.80}


def steps(name: str, batch: int, peers: bool) -> dict[str, float]:
    """Ratios to a training step of the same network and batch."""
    model, x, y = made(name, batch)
    engine, few = PerExample(model.eval()), min(batch, 16)
    parameters = {key: p.detach() for key, p in model.named_parameters()}

    def step() -> None:
        model.train()
        model.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        model.eval()

    work: dict[str, Callable[[], Any]] = {
        "step": step,
        "grand": lambda: layer_norms(engine, x, y),
        "vog": lambda: input_gradient_maps(model, x, y),
    }
    if peers:
        work["vmap"] = lambda: torch.func.vmap(one_gradient(model), in_dims=(None, 0, 0))(parameters, x[:few], y[:few])
        work["opacus_like"] = lambda: opacus_like(model, x[:few], y[:few])
    times = seconds(work)
    ratios = {key: value / times["step"] * (batch / few if key in ("vmap", "opacus_like") else 1)
              for key, value in times.items() if key != "step"}  # fmt: skip
    return ratios | {"step_ms": 1e3 * times["step"], "grand_memory": peak(work["grand"]) / peak(step)}


def peak(work: Callable[[], Any]) -> float:
    """Bytes that some work takes at most; 1 on a processor."""
    if not CUDA:
        return 1.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return float(torch.cuda.max_memory_allocated())


def one_call() -> dict[str, Any]:
    """`dd.grad_norms` in one call, beside the engine that is kept."""
    found: dict[str, Any] = {"target": 1.3}
    for name in NETS:
        model, x, y = made(name, BATCHES[0])
        engine = PerExample(model.eval())
        times = seconds({"engine": lambda e=engine, x=x, y=y: layer_norms(e, x, y),
                         "call": lambda m=model, x=x, y=y: dd.grad_norms(m, x, y)})  # fmt: skip
        found[name] = times["call"] / times["engine"]
    return found


def vectors(n: int, d: int, bunches: int) -> Tensor:
    """Vectors of length 1 in overlapping bunches, on the device, float16."""
    torch.manual_seed(0)
    centres = torch.randn(bunches, d, device=ON)
    made = centres[torch.randint(bunches, (n,), device=ON)] + torch.randn(n, d, device=ON)
    return functional.normalize(made, dim=1).half()


def clusters() -> dict[str, Any]:
    """k-means: seconds of a round, beside the bare products, the copy of the vectors, and plain torch."""
    from datadiet.geometry import kmeans

    n, d, k = (1_000_000, 384, 1000) if CUDA else (3000, 16, 10)
    there = vectors(n, d, 2 * k)
    here = there.cpu().numpy()
    first = there[:k].float()

    def rounds(number: int) -> Callable[[], Any]:
        return lambda: kmeans(here, k, iterations=number, tolerance=0, seed=0, device=ON)

    def products() -> None:
        for lo in range(0, n, 1 << 16):
            (there[lo : lo + (1 << 16)].float() @ first.T).max(1)

    def plain() -> None:
        sums = torch.zeros(k, d, device=ON)
        for lo in range(0, n, 1 << 16):
            rows = there[lo : lo + (1 << 16)].float()
            sums.index_add_(0, (rows @ first.T).argmax(1), rows)

    work = {"one": rounds(1), "six": rounds(6), "products": products, "plain": plain,
            "copy": lambda: torch.from_numpy(here).to(ON)}  # fmt: skip
    times = seconds(work, 3)
    found: dict[str, Any] = {"n": n, "d": d, "k": k, "round": (times["six"] - times["one"]) / 5, **times}
    with contextlib.suppress(ImportError):
        import faiss

        if getattr(faiss, "get_num_gpus", lambda: 0)():
            wide = here.astype(np.float32)
            model = faiss.Kmeans(d, k, niter=5, gpu=True, max_points_per_centroid=n)
            found["faiss_round"] = seconds({"faiss": lambda: model.train(wide)}, 1)["faiss"] / 5
    return found | {"round_to_products": found["round"] / times["products"]}


def neighbours() -> dict[str, Any]:
    """The ten nearest of each vector, beside a plain product and top-k on the device."""
    from datadiet.geometry import nearest

    n, d = (100_000, 384) if CUDA else (2000, 16)
    there = vectors(n, d, 1000)
    here = there.float().cpu().numpy()

    def plain() -> None:
        wide = there.float()
        for lo in range(0, n, 4096):
            (wide[lo : lo + 4096] @ wide.T).topk(11, 1)

    times = seconds({"ours": lambda: nearest(here, 10, device=ON), "plain": plain}, 3)
    return {"n": n, "d": d, **times, "target_seconds": 0.5}


def duplicates() -> dict[str, Any]:
    """SemDeDup from vectors in memory."""
    n, d = (200_000, 384) if CUDA else (2000, 16)
    here = vectors(n, d, 1000).float().cpu().numpy()
    work = {"ours": lambda: dd.select(here, "semdedup", epsilon=0.05, seed=0)}
    return {"n": n, "d": d, **seconds(work, 3), "target_seconds": 0.5}


def pictures() -> tuple[np.ndarray, np.ndarray, str]:
    """CIFAR-10's training images and labels if they are there, or made-up ones."""
    path = Path(os.environ.get("DATADIET_DATA", "")) / "cifar10" / ("train.parquet" if CUDA else "mini_train.parquet")
    if path.exists():
        source = dd.open_data(f"parquet:{path}", image="jpeg", label="label")
        rows = np.arange(len(source) if CUDA else 200)
        return source.take(rows).numpy(), np.asarray(source.labels)[rows], "cifar10"
    n = 50_000 if CUDA else 200
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n)
    x = rng.integers(0, 128, (n, 3, 32, 32)) + 12 * y[:, None, None, None]
    return x.astype(np.uint8), y, "made up"


FAST = {"batch_size": 512, "lr": 0.4, "precision": "bf16"}


def from_nothing() -> dict[str, Any]:
    """EL2N, forgetting and AUM of 50,000 images from a warm process, by the slow recipe and the fast one."""
    x, y, what = pictures()
    model, epochs = ("datadiet:resnet20", 12) if CUDA else ("datadiet:resnet8", 2)
    found: dict[str, Any] = {"data": what, "n": len(y), "epochs": epochs, "target_seconds": 30, "target_rank": 0.93}
    scores = {}
    for name, recipe in (("warm", FAST), ("fast", FAST), ("slow", {})):
        begun = time.perf_counter()
        some = slice(0, 2000) if name == "warm" else slice(None)
        length = 1 if name == "warm" else epochs
        scores[name] = dd.score(
            (x[some], y[some]), model, "el2n,forgetting,aum", epochs=length, recipe=recipe, device=ON
        )
        found[f"{name}_seconds"] = time.perf_counter() - begun
    found["rank_correlation_of_aum"] = spearman(scores["fast"]["aum"], scores["slow"]["aum"])
    return found


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """The rank correlation; ties in order of position."""
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def recording() -> dict[str, Any]:
    """A recorded step of training beside the same loop without, and beside a bare loop in torch."""
    x, y, _ = pictures()
    n = min(len(y), 12_800)
    x, y = x[:n], y[:n]
    found: dict[str, Any] = {"target": 1.05}
    model = "datadiet:resnet20" if CUDA else "datadiet:resnet8"
    there, labels = torch.from_numpy(x).to(ON), torch.from_numpy(y).to(ON)
    net = dd.models.open_model(model, (3, 32, 32), 10).fresh(0).to(ON, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def bare() -> None:
        for rows in torch.randperm(n, device=ON).split(128):
            inputs = (there[rows].float() / 128 - 1).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(net(inputs), labels[rows]).backward()
            optimizer.step()

    options = {"recipe": {"augment": "none"}, "device": ON}

    def trained(epochs: int) -> Callable[[], Any]:
        return lambda: dd.train((x, y), model, epochs=epochs, **options)

    def recorded(epochs: int) -> Callable[[], Any]:
        return lambda: dd.score((x, y), model, "aum", epochs=epochs, **options)

    work = {"bare": bare, "train 1": trained(1), "train 3": trained(3), "score 1": recorded(1), "score 3": recorded(3)}
    times, steps_of_one = seconds(work, 3), -(-n // 128)
    found["bare_step_ms"] = 1e3 * times["bare"] / steps_of_one
    for name in ("train", "score"):  # of the second and third epoch: opening and evaluating cost the same in both
        found[f"{name}_step_ms"] = 1e3 * (times[f"{name} 3"] - times[f"{name} 1"]) / 2 / steps_of_one
    found["recorded_to_bare"] = found["score_step_ms"] / found["bare_step_ms"]
    return found | {"deterministic": deterministic_cost(net, there[:128].float(), labels[:128])}


def deterministic_cost(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """How many times as long a step takes with deterministic convolutions."""

    def step(deterministic: bool) -> Callable[[], None]:
        def run() -> None:
            with torch.backends.cudnn.flags(enabled=True, benchmark=not deterministic, deterministic=deterministic):
                net.zero_grad()
                functional.cross_entropy(net(x), y).backward()

        return run

    times = seconds({"with": step(True), "without": step(False)}, 20 if CUDA else 1)
    return times["with"] / times["without"]


def tests() -> dict[str, Any]:
    """The tests marked gpu."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", str(root / "tests")]
    files = [str(path) for path in sorted((root / "tests").glob("test_*.py")) if "mark.gpu" in path.read_text()]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*command[:-1], *files], capture_output=True, text=True, cwd=root,
                              env={**os.environ, "PYTHONPATH": str(root), "TMPDIR": folder}, timeout=240)  # fmt: skip
    return {"exit_code": done.returncode, "tail": done.stdout[-1500:]}


ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "tests": tests,
    "gradients": gradients,
    "one_call": one_call,
    "clusters": clusters,
    "neighbours": neighbours,
    "duplicates": duplicates,
    "recording": recording,
    "from_nothing": from_nothing,
}

if __name__ == "__main__":
    main()
