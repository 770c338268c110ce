"""The rows of `gpu.py` about gradients, in units of a training step of the same network, batch and precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from gpu_networks import NETS, one_gradient, opacus_like
from gpu_timing import CUDA, ON, memory, seconds
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

import datadiet as dd
from datadiet.float32_precision import float32_products
from datadiet.signals.gradients import PerExample, convolutions, layer_norms
from datadiet.signals.input_gradients import input_gradient_maps

__all__ = ["BATCHES", "gradients", "one_call", "peers", "windows"]

BATCHES = (128, 512) if CUDA else (8, 16)
SIDE = 32 if CUDA else 8
TARGETS = {"resnet18": 1.15, "resnet20": 1.5, "vit": 1.15}
TARGETS_TF32 = {"resnet18": 1.5, "resnet20": 1.5, "vit": 1.15}


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """With TF32 allowed or not, or under bfloat16 autocast."""
    with ExitStack() as stack:
        stack.enter_context(float32_products(tf32=precision == "tf32"))
        if precision == "bf16":
            stack.enter_context(torch.autocast(ON, torch.bfloat16))
        yield


def made(name: str, batch: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in evaluation mode, images and labels."""
    torch.manual_seed(0)
    model = NETS[name](SIDE).to(ON, memory_format=torch.channels_last).eval()
    x = torch.randn(batch, 3, SIDE, SIDE, device=ON).to(memory_format=torch.channels_last)
    return model, x, torch.randint(0, 10, (batch,), device=ON)


def training_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Forward and backward of a network of its own in training mode; without the optimizer."""
    net = copy.deepcopy(model).train()

    def step() -> None:
        net.zero_grad()
        functional.cross_entropy(net(x), y).backward()

    return step


def gradients(name: str, batch: int, precision: str) -> Iterator[dict[str, Any]]:
    """All-layer GraNd and VoG, what they take of memory, and the floor."""
    with computing_in(precision):
        model, x, y = made(name, batch)
        engine, step = PerExample(model), training_step(model, x, y)
        work: dict[str, Callable[[], Any]] = {
            "step": step,
            "grand": lambda: layer_norms(engine, x, y),
            "vog": lambda: input_gradient_maps(model, x, y),
        }
        times = seconds(work)
        yield {"step_ms": 1e3 * times["step"], "grand": times["grand"] / times["step"],
               "vog": times["vog"] / times["step"], "grand_memory": memory(work["grand"]) / memory(step)}  # fmt: skip
    target = (TARGETS if precision == "fp32" else TARGETS_TF32)[name]
    yield {"target_grand": target, "target_vog": 0.80, "floor_grand": floor(model, x)}


def floor(model: nn.Module, x: Tensor) -> float:
    """Multiplications of GraNd in those of a training step, by the cheaper way to the norm of each layer.

    A layer takes F = T p d in the forward pass, as much for the gradient of its input, and min(F, T^2 (d + p)) for the
    norm instead of F for the gradient of its weight.
    """
    layers: list[tuple[int, int, int]] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], out: Any) -> None:
        if isinstance(layer, nn.MultiheadAttention):
            _, t, d = given[0].shape
            layers.extend([(t, 3 * d, d), (t, d, d)])
        else:
            p = layer.weight.shape[0]
            layers.append((out[0].numel() // p, p, layer.weight[0].numel()))

    kinds = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)
    handles = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        model(x[:1])
    for handle in handles:
        handle.remove()
    forward = [t * p * d for t, p, d in layers]
    norms = [t * min(p * d, t * (p + d)) for t, p, d in layers]
    behind = sum(forward[1:])  # the gradient of the images is not needed
    return (sum(forward) + behind + sum(norms)) / (2 * sum(forward) + behind)


def peers(name: str) -> Iterator[dict[str, Any]]:
    """Norms by vmap(grad) and by hooks as in Opacus, at the full batch or the largest that fits."""
    batch = BATCHES[0]
    with float32_products(tf32=False):
        model, x, y = made(name, batch)
        parameters = {key: p.detach() for key, p in model.named_parameters()}
        step = training_step(model, x, y)
        mapped = torch.func.vmap(one_gradient(model), in_dims=(None, 0, 0))
        work = {"vmap": partial(mapped, parameters), "opacus_like": partial(opacus_like, model)}
        for kind, norms in work.items():
            of = batch
            while of:
                with sdpa_kernel(SDPBackend.MATH) if kind == "vmap" else nullcontext():  # no other way runs under vmap
                    try:
                        times = seconds({"step": step, kind: partial(norms, x[:of], y[:of])}, 3 if CUDA else 1)
                    except torch.cuda.OutOfMemoryError:
                        torch.cuda.empty_cache()
                        of //= 2
                        continue
                yield {kind: times[kind] / times["step"] * batch / of, f"{kind}_batch": of}
                break
        yield {"batch": batch, "step_ms": 1e3 * times["step"]}


def windows() -> Iterator[dict[str, Any]]:
    """GraNd with the windows of one row of a kernel copied, beside all windows copied."""
    shorter_way = convolutions.shorter_way
    for name in ("resnet18", "resnet20"):
        for precision in ("fp32", "tf32"):
            with computing_in(precision):
                model, x, y = made(name, BATCHES[0])
                engine = PerExample(model)

                def norms(way: Callable[..., Any], engine: PerExample = engine, x: Tensor = x, y: Tensor = y) -> None:
                    convolutions.shorter_way = way
                    try:
                        layer_norms(engine, x, y)
                    finally:
                        convolutions.shorter_way = shorter_way

                work = {"one row": partial(norms, shorter_way), "all": partial(norms, lambda *layer: None)}
                times = seconds(work)
            taken = memory(work["one row"]) / memory(work["all"])
            yield {f"{name}_{precision}": times["one row"] / times["all"], f"{name}_{precision}_memory": taken}


def one_call(name: str) -> Iterator[dict[str, Any]]:
    """`dd.grad_norms` in one call, beside the engine that is kept."""
    with float32_products(tf32=False):
        model, x, y = made(name, BATCHES[0])
        engine = PerExample(model)
        work: dict[str, Callable[[], Any]] = {
            "engine": lambda: layer_norms(engine, x, y),
            "call": lambda: dd.grad_norms(model, x, y),
        }
        times = seconds(work)
    yield {"call_to_engine": times["call"] / times["engine"], "target": 1.3}
