"""The authors' code of Wanda on one layer, which stands for a language model."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, member

D, P, LENGTH = 256, 128, 20


def inputs(n: int) -> Arrays:
    """Inputs whose columns differ in size, and a weight."""
    rng = np.random.default_rng(0)
    return {
        "x": (rng.normal(size=(n, D)) * np.exp(rng.normal(size=D))).astype(np.float32),
        "weight": rng.normal(size=(P, D)).astype(np.float32),
    }


def layer(data: Arrays) -> Any:
    """A linear layer with the weight."""
    import torch

    linear = torch.nn.Linear(D, P, bias=False)
    linear.weight = torch.nn.Parameter(torch.from_numpy(data["weight"]).clone())
    return linear


def ours(data: Arrays, *, sparsity: float) -> Arrays:
    """The mask of `dd.sparsify`."""
    import torch

    import datadiet as dd

    model = torch.nn.Sequential(layer(data))
    x = torch.from_numpy(data["x"])
    masks = dd.sparsify(model, "wanda", sparsity, batches=[(x, torch.zeros(len(x), dtype=torch.int64))], examples=0)
    return {"kept": masks.state_dict()["0.weight"].numpy()}


def theirs(data: Arrays, *, sparsity: float) -> Arrays:
    """What their function leaves of the layer, the only one of a model whose tokens are the inputs."""
    import torch

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = layer(data)

        def forward(self, x: Any, **unused: Any) -> tuple[Any]:
            out = self.linear(x)
            return (torch.cat([out, out], dim=2),)  # as wide as the input, as theirs expects

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Module()
            self.model.layers = torch.nn.ModuleList([Block()])
            self.config = SimpleNamespace(use_cache=False, hidden_size=D)
            self.seqlen, self.hf_device_map = LENGTH, {}

        def forward(self, x: Any) -> Any:
            return self.model.layers[0](x, attention_mask=None, position_ids=None)

    unused = {"data": {"get_loaders": None}, "sparsegpt": {"SparseGPT": None}, "ablate": {"AblateGPT": None}}
    code, model = member("lib/prune.py", **unused), Model()
    texts = torch.from_numpy(data["x"]).view(-1, 1, LENGTH, D)
    code.get_loaders = lambda *_, **__: ([(text,) for text in texts], None)
    how = SimpleNamespace(nsamples=len(texts), seed=0, sparsity_ratio=sparsity, use_variant=False)
    code.prune_wanda(how, model, None, torch.device("cpu"))
    return {"kept": (model.model.layers[0].linear.weight != 0).numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The share of weights on which both agree, how many a row keeps, and how many of ours they keep."""
    return {
        "equal entries of the mask": float((a["kept"] == b["kept"]).mean()),
        "kept by ours of each row": float(a["kept"].sum(1).mean()),
        "kept by theirs of each row": float(b["kept"].sum(1).mean()),
        "ours in theirs": float(b["kept"][a["kept"]].mean()),
    }


def case(what: str, sparsity: float, counts: tuple[int, int], equal: tuple[float, float], why: str = "") -> Case:
    """A layer, of whose rows ours and theirs keep these counts."""
    expected = {
        "equal entries of the mask": equal, "kept by ours of each row": (counts[0],) * 2,
        "kept by theirs of each row": (counts[1],) * 2, "ours in theirs": (0.9999, 1),
    }  # fmt: skip
    sides = (partial(side, sparsity=sparsity) for side in (ours, theirs))
    return Case("wanda", what, 2000, inputs, *sides, agreement, expected, why)


PEER = Peer(
    "wanda",
    (
        case("a layer of 128 x 256, 2,000 inputs, half pruned", 0.5, (128, 128), (0.9999, 1)),
        case("the same, 55 % pruned, which is 140.8 of a row", 0.55, (115, 116), (0.99, 0.9999),
             "how many weights of a row are pruned is rounded down there, and how many stay half up here"),
    ),
    repository="locuslab/wanda",
)  # fmt: skip
