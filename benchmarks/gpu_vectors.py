"""The rows of `gpu.py` about vectors: k-means, nearest neighbours, SemDeDup."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from gpu_timing import CUDA, ON, seconds, wait
from torch import Tensor
from torch.nn import functional

import datadiet as dd
from datadiet.geometry import Matrix, kmeans, nearest
from datadiet.geometry.device import Device
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.geometry.matrix import CHUNK

__all__ = ["clusters", "duplicates", "neighbours"]


def vectors(n: int, d: int, bunches: int) -> Tensor:
    """Vectors of length 1 in overlapping bunches, on the device, float16."""
    torch.manual_seed(0)
    centres = torch.randn(bunches, d, device=ON)
    made = centres[torch.randint(bunches, (n,), device=ON)] + torch.randn(n, d, device=ON)
    return functional.normalize(made, dim=1).half()


def clusters() -> Iterator[dict[str, Any]]:
    """k-means: a round on vectors that are there, beside bare products and plain torch; opening and copying apart."""
    n, d, k = (1_000_000, 384, 1000) if CUDA else (3000, 16, 10)
    there = vectors(n, d, 2 * k)
    here, first = there.cpu().numpy(), there[:k].float()
    begun = time.perf_counter()
    matrix = Matrix.open(here, unit=True)
    opened = time.perf_counter()
    placed = DeviceVectors(matrix, Device.named(ON), CHUNK)
    wait()
    copied = time.perf_counter()
    yield {"n": n, "d": d, "k": k, "opening": opened - begun, "copying": copied - opened}

    def rounds(number: int) -> Callable[[], Any]:
        return lambda: kmeans(placed, k, iterations=number, tolerance=0, seed=0, device=ON)

    def products() -> None:
        for lo in range(0, n, 1 << 16):
            (there[lo : lo + (1 << 16)].float() @ first.T).max(1)

    def plain() -> None:
        sums = torch.zeros(k, d, device=ON)
        for lo in range(0, n, 1 << 16):
            rows = there[lo : lo + (1 << 16)].float()
            sums.index_add_(0, (rows @ first.T).argmax(1), rows)

    times = seconds({"one": rounds(1), "six": rounds(6), "products": products, "plain": plain}, 5)
    more = len(rounds(6)().objective) - len(rounds(1)().objective)  # a round that lowers nothing is the last
    of_one = (times["six"] - times["one"]) / more
    yield {**times, "round": of_one, "round_to_products": of_one / times["products"]}
    with contextlib.suppress(ImportError):
        import faiss

        if getattr(faiss, "get_num_gpus", lambda: 0)():
            wide = here.astype(np.float32)
            model = faiss.Kmeans(d, k, niter=5, gpu=True, max_points_per_centroid=n)
            yield {"faiss_round": seconds({"faiss": lambda: model.train(wide)}, 1)["faiss"] / 5}


def neighbours() -> Iterator[dict[str, Any]]:
    """The ten nearest of each vector, beside a plain product and top-k on the device."""
    n, d = (100_000, 384) if CUDA else (2000, 16)
    there = vectors(n, d, 1000)
    here = there.float().cpu().numpy()

    def plain() -> None:
        wide = there.float()
        for lo in range(0, n, 4096):
            (wide[lo : lo + 4096] @ wide.T).topk(11, 1)

    times = seconds({"ours": lambda: nearest(here, 10, device=ON), "plain": plain}, 3)
    yield {"n": n, "d": d, **times, "target_seconds": 0.5}


def duplicates() -> Iterator[dict[str, Any]]:
    """SemDeDup of vectors with 10 % noisy copies and 1 % exact ones, beside the products within its clusters."""
    n, d = (200_000, 384) if CUDA else (2000, 16)
    there = vectors(n, d, 1000).float()
    copies, originals = torch.randperm(n, device=ON).split(n // 10 + n // 100)[:2]
    there[copies] = there[originals]
    noise = 0.1 / d**0.5 * torch.randn(n // 10, d, device=ON)  # a cosine of about 0.995
    there[copies[: n // 10]] += noise
    there = functional.normalize(there, dim=1)
    here = there.cpu().numpy()
    number = 1 if n <= 1 << 14 else round((n / 50) ** 0.5)  # as semdedup chooses it
    found = kmeans(here, number, seed=0, device=ON)
    members = [torch.from_numpy(np.flatnonzero(found.labels == label)).to(ON) for label in range(number)]

    def plain() -> list[Tensor]:
        most = []
        for rows in members:
            some = there[rows]
            for lo in range(0, len(rows), 4096):
                most.append((some[lo : lo + 4096] @ some.T).triu_(lo + 1).amax(0))
        return most

    work: dict[str, Callable[[], Any]] = {
        "ours": lambda: dd.select(here, "semdedup", epsilon=0.05, seed=0),
        "with clusters": lambda: dd.select(here, "semdedup", epsilon=0.05, clusters=found, seed=0),
        "floor": plain,
    }
    removed = n - len(work["ours"]().indices)
    yield {"n": n, "d": d, "clusters": number, "removed": removed, **seconds(work, 3), "target_seconds": 0.5}
