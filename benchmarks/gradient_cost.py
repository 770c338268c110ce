"""What do per-example gradients cost, in units of one plain training step?

A ResNet-9, the ResNet-20 of He et al. and a small ViT on 32x32 colour images, batch 128, all cores. In every round each
quantity is measured once, beside one training step (zero_grad, forward in training mode, backward; no optimizer), and
the median of the ratios of a round is reported. Targets: outputs (EL2N, margin, last-layer GraNd and embeddings, in one
pass) 0.40, VoG per checkpoint 0.80, all-layer GraNd 1.15, Kronecker-projected gradients 1.0; peak memory of GraNd 1.1.
`vmap(grad)` and one example at a time run on 16 examples and count 8 times. With a CUDA device the same is measured
there.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from bench import cell
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from datadiet.data.batch import Batch
from datadiet.models import HeadTap, networks
from datadiet.signals.gradients import PerExample, layer_norms
from datadiet.signals.gradients.projection import Projector, projected
from datadiet.signals.input_gradients import input_gradient_maps
from datadiet.signals.passes import PASSES, Examples, Setup
from datadiet.tasks import Classification

BATCH, FEW, ROUNDS = 128, 16, 7
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class ResNet9(nn.Module):
    """Eight 3x3 convolutions of 64 to 512 channels with BatchNorm, two residual pairs, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Sequential(block(3, 64), block(64, 128, pool=True))
        self.middle = nn.Sequential(block(128, 128), block(128, 128))
        self.deeper = nn.Sequential(block(128, 256, pool=True), block(256, 512, pool=True))
        self.end = nn.Sequential(block(512, 512), block(512, 512))
        self.head = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) -> (B, 10)."""
        x = self.start(x)
        x = self.deeper(x + self.middle(x))
        x = x + self.end(x)
        return self.head(functional.adaptive_max_pool2d(x, 1).flatten(1))


def block(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU, and pooling if asked for."""
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


def vit() -> nn.Module:
    """Six blocks of width 192 on 4x4 patches: 65 tokens."""
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 4, 6, 3, 192, 768, num_classes=10)
    nn.init.normal_(model.heads.head.weight, std=0.02)  # it starts at 0, which would stop all gradients below
    return model


NETS: dict[str, Callable[[], nn.Module]] = {
    "resnet9": ResNet9,
    "resnet20": lambda: networks.resnet20((3, 32, 32), 10),
    "vit": vit,
}


def main() -> None:
    """Measure what is not there yet, and print."""
    if len(sys.argv) == 4 and sys.argv[1] == "memory":
        print(peak_of(sys.argv[2], sys.argv[3]))
        return
    for name in NETS:
        found = cell(f"speed/gradients_{DEVICE}_{name}", lambda name=name: times(name) | memory(name))
        print(name, {key: value for key, value in found.items() if key.startswith("ratio")})


def made(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, inputs and labels."""
    torch.manual_seed(0)
    model = NETS[name]().to(DEVICE, memory_format=torch.channels_last)
    x = torch.randn(BATCH, 3, 32, 32, device=DEVICE).to(memory_format=torch.channels_last)
    return model, x, torch.randint(0, 10, (BATCH,), device=DEVICE)


def training_step(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """The unit of everything here."""
    model.train()
    model.zero_grad()
    functional.cross_entropy(model(x), y).backward()


def works(name: str) -> dict[str, Callable[[], Any]]:
    """What is measured; each leaves the model in training mode and without gradients again."""
    model, x, y = made(name)
    tap = HeadTap(model.eval(), x[:2])
    outputs = PASSES["eval"].begin(Setup([model], Classification(10), tap.features, Examples(list, str)))
    batch = Batch(x, y, torch.arange(len(x)))

    def everything() -> None:
        outputs(batch)
        tap.features()  # the embeddings, from the same pass

    engine, projector = PerExample(model), Projector(256)
    parameters = {key: p.detach() for key, p in model.named_parameters()}

    def one(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, parameters, (image[None],)), label[None])

    def by_vmap() -> None:
        found = vmap(grad(one), in_dims=(None, 0, 0))(parameters, x[:FEW], y[:FEW])
        sum(g.flatten(1).square().sum(1) for g in found.values())

    def one_by_one() -> None:
        for row in range(FEW):
            loss = functional.cross_entropy(model(x[row : row + 1]), y[row : row + 1])
            sum(g.square().sum() for g in torch.autograd.grad(loss, list(model.parameters())))

    work = {
        "outputs": everything,
        "vog": lambda: input_gradient_maps(model, x, y),
        "grand": lambda: layer_norms(engine, x, y),
        "projected": lambda: projected(engine, projector, x, y),
        "vmap": by_vmap,
        "one_by_one": one_by_one,
    }

    def evaluated(function: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> None:
            model.eval()
            function()

        return run

    return {"step": lambda: training_step(model, x, y)} | {key: evaluated(fn) for key, fn in work.items()}


def times(name: str) -> dict[str, Any]:
    """Median seconds and median ratios to the training step of the same round."""
    work = works(name)
    for function in work.values():
        function()
    seconds: dict[str, list[float]] = {key: [] for key in work}
    for _ in range(ROUNDS):
        for key, function in work.items():
            seconds[key].append(timed(function) * (BATCH / FEW if key in ("vmap", "one_by_one") else 1))
    found: dict[str, Any] = {f"seconds {key}": statistics.median(values) for key, values in seconds.items()}
    for key, values in seconds.items():
        found[f"ratio {key}"] = statistics.median(a / b for a, b in zip(values, seconds["step"], strict=True))
    return found | {"net": name, "batch": BATCH, "rounds": ROUNDS, "device": DEVICE}


def timed(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    function()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def memory(name: str) -> dict[str, Any]:
    """Peak memory beyond what the process had before its first step, each in a process of its own."""
    peaks = {}
    for what in ("step", "grand", "vmap"):
        words = [sys.executable, __file__, "memory", name, what]
        peaks[what] = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    found = {f"peak MB {what}": peak / 2**20 for what, peak in peaks.items()}
    return found | {
        "ratio memory grand": peaks["grand"] / peaks["step"],
        "ratio memory vmap": peaks["vmap"] / peaks["step"],
    }


def peak_of(name: str, what: str) -> int:
    """Bytes at the highest, beyond those before."""
    model, x, y = made(name)
    engine = PerExample(model.eval())
    parameters = {key: p.detach() for key, p in model.named_parameters()}

    def one(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, parameters, (image[None],)), label[None])

    runs = {
        "step": lambda: training_step(model, x, y),
        "grand": lambda: layer_norms(engine, x, y),
        "vmap": lambda: vmap(grad(one), in_dims=(None, 0, 0))(parameters, x, y),
    }
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        runs[what]()
        return torch.cuda.max_memory_allocated() - before
    before = resident("VmRSS")
    runs[what]()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """Bytes of this process in memory: now (VmRSS), or at the highest since it began (VmHWM)."""
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith(field))


if __name__ == "__main__":
    main()
