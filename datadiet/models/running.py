"""Running any network: a tensor or keyword arguments in, logits out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from datadiet.attributes import user_code
from datadiet.data.batch import Batch
from datadiet.errors import OptionError, first_line

__all__ = [
    "call",
    "call_in_run",
    "evaluating",
    "logits_of",
    "ordinary_attention",
    "brought_to_cpu",
    "placed",
    "refuse_lazy",
    "refuse_sharded",
    "run",
    "token_advice",
]

_ADVICE = "correct it, or take a smaller batch_size if it needs more memory (on the command line --debug shows where)"


def call(model: nn.Module, inputs: Batch | Tensor | Mapping[str, Any] | Sequence[Any]) -> Tensor:
    """The logits of a network on a batch.

    Args:
        model: any network.
        inputs: a batch, or its inputs: a tensor, positional arguments or keyword arguments.

    Returns:
        The output if it is a tensor; else what `logits_of` finds in it.

    Raises:
        OptionError: no logits in the output.
    """
    return logits_of(run(model, inputs.inputs if isinstance(inputs, Batch) else inputs))


def call_in_run(model: nn.Module, batch: Batch, through: nn.Module | None = None) -> Tensor:
    """The same in the middle of a run, where what the user's own network raises becomes one sentence.

    Args:
        model: the network.
        batch: what it is run on.
        through: what runs it, if it is wrapped.

    Raises:
        OptionError: no logits in the output, or the network fails.
    """
    with user_code(
        f"the network {type(model).__name__} fails on a batch",
        model,
        lambda error: token_advice(error, batch) or _ADVICE,
    ):
        return call(model if through is None else through, batch)


def token_advice(error: BaseException, batch: Batch) -> str:
    """What to do where the token ids of a batch go past the embedding of a network; "" for other errors."""
    values = batch.inputs.values() if isinstance(batch.inputs, Mapping) else [batch.inputs]
    whole = [value for value in values if isinstance(value, Tensor) and value.dtype == torch.int64 and value.numel()]
    if not isinstance(error, IndexError) or not whole:
        return ""
    low, high = min(int(value.min()) for value in whole), max(int(value.max()) for value in whole)
    if low < 0:
        return f"token ids in this batch go down to {low}, so count them from 0"
    return f"token ids in this batch go up to {high}, so give a network whose embedding has a row for each token id"


def run(model: nn.Module, inputs: Tensor | Mapping[str, Any] | Sequence[Any]) -> Any:
    """What a network returns: a tensor is its one argument, a mapping its keywords, a sequence its positions."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    return model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)


def logits_of(outputs: Any) -> Tensor:
    """The logits in an output: a tensor itself, `.logits` (transformers), ["logits"], or the first of a tuple.

    Raises:
        OptionError: none of these.
    """
    found = getattr(outputs, "logits", None)
    if isinstance(outputs, Tensor):
        found = outputs
    elif found is None and isinstance(outputs, Mapping):
        found = outputs.get("logits")
    elif found is None and isinstance(outputs, tuple) and outputs:
        found = outputs[0]
    if not isinstance(found, Tensor):
        raise OptionError(
            f"the model returns a {type(outputs).__name__} without logits: return a tensor, or an output with logits."
        )
    return found


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """A network on a device: a copy if it is elsewhere, so that the caller's own stays where it is.

    Raises:
        OptionError: it is elsewhere, and cannot be copied.
    """
    wanted = torch.empty(0, device=device).device  # with the number of the GPU
    there = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if there <= {wanted}:
        return model
    try:
        return copy.deepcopy(model).to(device)
    except Exception as error:  # of whatever the user's modules raise
        raise OptionError(
            f"the network {type(model).__name__} cannot be copied to {device} ({first_line(error)}): move it there "
            "first."
        ) from error


def brought_to_cpu(model: Any) -> Any:
    """A network on the CPU, from where any process can take it; other things unchanged."""
    return placed(model, torch.device("cpu")) if isinstance(model, nn.Module) else model


def refuse_sharded(model: nn.Module) -> None:
    """Refuse networks whose parameters are spread over processes: none of them holds the gradient of an example.

    Raises:
        OptionError: FSDP in either form, or parameters that are a DTensor.
    """
    parts = (type(part) for part in model.modules())
    fsdp = any("fsdp" in kind.__module__ or "FSDPModule" in {base.__name__ for base in kind.__mro__} for kind in parts)
    if fsdp or any(isinstance(p.data, Tensor) and type(p.data).__name__ == "DTensor" for p in model.parameters()):
        raise OptionError(
            f"this network is sharded ({'FSDP' if fsdp else 'DTensor'}), so no process holds all its weights: save a "
            "full state dict, and load it into the plain network, or score that with it as a checkpoint."
        )


def refuse_lazy(model: nn.Module) -> None:
    """Refuse networks with layers whose sizes follow from the first batch, as those of nn.LazyLinear do.

    Raises:
        OptionError: one that has not seen it.
    """
    lazy = next((name for name, one in model.named_parameters() if nn.parameter.is_lazy(one)), None)
    if lazy is not None:
        raise OptionError(
            f"the sizes of {type(model).__name__} are not known yet ({lazy} is lazy): run it on a batch first; a "
            "function that makes networks must do so itself."
        )


@contextmanager
def ordinary_attention() -> Iterator[None]:
    """Run torch's transformer layers through their modules, as in training: the fast path of inference goes past hooks,
    hides its products in one operation, and gives zeros at the padding."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model in evaluation mode, and every part of it back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training
