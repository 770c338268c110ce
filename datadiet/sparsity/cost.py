"""What a network costs: its parameters, its multiply-adds, and how long a batch takes.

Multiply-adds are counted by torch's own formulas where the products happen, below the modules, so that those of a
functional call or of `nn.MultiheadAttention` count too. They are the products of convolutions, linear layers and
attention, for which a causal mask is ignored; sums, activations, normalisation and recurrent layers are left out. A
product with a weight is the layer's, and the share of that weight that is not zero gives the sparse count.

Weights at zero save no time by themselves: the latency is therefore measured, never derived from the counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from datadiet.data.batch import Batch
from datadiet.errors import OptionError, unknown_name
from datadiet.models.running import call, evaluating, ordinary_attention

__all__ = ["ModelCost", "cost_of", "costs_of", "latencies"]

Example = Batch | Tensor | Mapping[str, Any] | Sequence[Any]

_WARM_UP = 3
_ROUNDS = (5, 200)  # the fewest for a median, and the most


@dataclass(frozen=True)
class ModelCost:
    """What one network costs.

    Attributes:
        parameters: how many it has; a shared one counts once.
        nonzero: how many of them are not zero.
        macs: multiply-adds for one example.
        sparse_macs: those whose weight is not zero, which is what an engine that skips zeros would need.
        latency: milliseconds for a batch, measured.
        batch_size: examples in that batch.
    """

    parameters: int
    nonzero: int
    macs: int
    sparse_macs: int
    latency: float
    batch_size: int

    def as_dict(self) -> dict[str, int | float]:
        """Its attributes, for a table or a JSON file."""
        return asdict(self)

    def __str__(self) -> str:
        """The costs in a line.

        >>> print(ModelCost(11_173_962, 1_117_396, 556_000_000, 60_200_000, 12.3456, 64))
        11.2 M parameters (1.12 M not zero), 556 M multiply-adds (60.2 M without zeros), 12.3 ms for a batch of 64
        """
        parameters = _beside(self.parameters, "parameters", self.nonzero, "not zero")
        macs = _beside(self.macs, "multiply-adds", self.sparse_macs, "without zeros")
        return f"{parameters}, {macs}, {_three_digits(self.latency)} ms for a batch of {self.batch_size}"


def cost_of(model: nn.Module, inputs: Example, *, masks: Mapping[str, Tensor] | None = None) -> ModelCost:
    """What a network costs on a batch; it runs in evaluation mode, and is left in its own.

    Args:
        model: any network.
        inputs: a batch on its device, or the inputs of one: a tensor (B, …), keyword arguments or positional ones, the
            first of which has B rows.
        masks: name of a parameter -> bool tensor of its shape, False where the weight counts as zero; None = the
            weights as they are.

    Raises:
        OptionError: an empty batch, no logits in the output, or a mask of another network.
    """
    return costs_of([model], inputs, masks=[masks])[0]


def costs_of(
    models: Sequence[nn.Module],
    inputs: Example,
    *,
    masks: Sequence[Mapping[str, Tensor] | None] | None = None,
    seconds: float = 1.0,
) -> list[ModelCost]:
    """What several networks cost on the same batch, their latencies measured in turn.

    Args:
        models: the networks, such as one before and after pruning.
        inputs: see `cost_of`.
        masks: of each network; None = none has any.
        seconds: how long to measure each network.

    Raises:
        OptionError: as in `cost_of`.
    """
    size = _batch_size(inputs)
    times = latencies(models, inputs, seconds=seconds)
    costs = []
    for model, masked, latency in zip(models, masks or [None] * len(models), times, strict=True):
        nonzero = _nonzero(model, masked or {})
        macs, sparse = _macs(model, inputs, nonzero)
        count = sum(parameter.numel() for parameter in model.parameters())
        costs.append(ModelCost(count, sum(nonzero.values()), round(macs / size), round(sparse / size), latency, size))
    return costs


def latencies(models: Sequence[nn.Module], inputs: Example, *, seconds: float = 1.0) -> list[float]:
    """How long networks take for a batch, measured in turn: A, B, A, B, …

    Since they take turns, what else the machine does slows all of them alike, so that their ratios can be trusted on a
    busy machine. A call ends when the device has finished its work.

    Args:
        models: networks on the device of the inputs.
        inputs: see `cost_of`.
        seconds: how long to measure each network after the warm-up; at least 5 calls, at most 200.

    Returns:
        Milliseconds for each network, the median of its calls.

    Raises:
        OptionError: no logits in an output.
    """
    device = _device(inputs)
    times: list[list[float]] = [[] for _ in models]
    with ExitStack() as stack, torch.inference_mode():
        for model in models:
            stack.enter_context(evaluating(model))
            for _ in range(_WARM_UP):
                call(model, inputs)
        end = time.perf_counter() + seconds * len(models)
        for turn in range(_ROUNDS[1]):
            if turn >= _ROUNDS[0] and time.perf_counter() >= end:
                break
            for model, taken in zip(models, times, strict=True):
                taken.append(_time_of_call(model, inputs, device))
    return [1e3 * statistics.median(taken) for taken in times]


def _time_of_call(model: nn.Module, inputs: Example, device: torch.device) -> float:
    _finish(device)
    start = time.perf_counter()
    call(model, inputs)
    _finish(device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    """Wait for the work of a device: only a processor has done it when the call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _tensors(inputs: Example) -> list[Tensor]:
    given = inputs.inputs if isinstance(inputs, Batch) else inputs
    values = [given] if isinstance(given, Tensor) else given.values() if isinstance(given, Mapping) else given
    return [value for value in values if isinstance(value, Tensor)]


def _device(inputs: Example) -> torch.device:
    return next((value.device for value in _tensors(inputs)), torch.device("cpu"))


def _batch_size(inputs: Example) -> int:
    rows = next((len(value) for value in _tensors(inputs) if value.ndim), 0)
    if not rows:
        raise OptionError("the inputs to measure a network on hold no example: give a batch of at least one.")
    return rows


@torch.no_grad()
def _nonzero(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, int]:
    """How many weights of each parameter are not zero."""
    named = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in named:
            raise unknown_name("parameter of the network", name, named)
        if mask.shape != named[name].shape:
            raise OptionError(
                f"the mask of {name!r} has shape {tuple(mask.shape)}, and the parameter {tuple(named[name].shape)}: "
                "give the masks of this network."
            )
    kept = (value * masks[name] if name in masks else value for name, value in named.items())
    counts = [torch.count_nonzero(value) for value in kept]
    return dict(zip(named, torch.stack(counts).tolist() if counts else [], strict=True))  # one wait for all of them


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiply-adds, and those whose weight is not zero.

    Args:
        density: the address of a weight's memory -> the share of the weight that is not zero. A layer sees its weight
            as a view, transposed or cut, whose memory is the same.
    """

    def __init__(self, density: Mapping[int, float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.density = density
        self.macs, self.sparse = 0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, operation = kwargs or {}, getattr(func, "overloadpacket", None)
        attention = str(operation).startswith("aten._scaled_dot_product")
        if not attention and operation not in flop_registry:
            with self:  # in inference mode a linear layer, say, arrives whole
                out = func.decompose(*args, **kwargs) if operation is not None else NotImplemented
            return func(*args, **kwargs) if out is NotImplemented else out
        out = func(*args, **kwargs)
        if attention:
            query, key, value = args[:3]  # torch's formula lacks the processor's kernel, and shared key heads
            macs = query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        else:
            macs = flop_registry[operation](*args, **kwargs, out_val=out) // 2  # it counts 2 for each
        self.macs += macs
        self.sparse += macs * min((self._density(value) for value in args if isinstance(value, Tensor)), default=1.0)
        return out

    def _density(self, value: Tensor) -> float:
        return self.density.get(value.untyped_storage().data_ptr(), 1.0)


def _macs(model: nn.Module, inputs: Example, nonzero: Mapping[str, int]) -> tuple[int, float]:
    density = {
        value.untyped_storage().data_ptr(): nonzero[name] / value.numel()
        for name, value in model.named_parameters()
        if value.ndim > 1 and value.numel()
    }
    with evaluating(model), torch.no_grad(), ordinary_attention(), _Products(density) as products:
        call(model, inputs)
    return products.macs, products.sparse


def _beside(total: int, things: str, part: int, which: str) -> str:
    whole, fewer = _three_digits(total), _three_digits(part)
    return f"{whole} {things}" if fewer == whole else f"{whole} {things} ({fewer} {which})"


def _three_digits(number: float) -> str:
    """A number to three digits, in units that people say.

    >>> _three_digits(999.7), _three_digits(26_122), _three_digits(556_000_000), _three_digits(12.3456)
    ('1,000', '26,100', '556 M', '12.3')
    """
    rounded = float(f"{number:.3g}")
    for unit, name in ((1e12, " T"), (1e9, " G"), (1e6, " M")):
        if rounded >= unit:
            return f"{rounded / unit:g}{name}"
    return f"{rounded:,g}"
