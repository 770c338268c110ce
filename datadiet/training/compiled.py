"""A network compiled by torch.compile."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError, first_line

__all__ = ["Compiled"]

_log = logging.getLogger("datadiet")


class Compiled(nn.Module):
    """Runs a network compiled at the first call; its weights stay those of the network.

    The batch size is dynamic: compiling for each size would be slow, and a resumed training, which meets the sizes in
    another order, would round differently.

    Args:
        model: the network; hooks that it has already are kept.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = torch.compile(model)
        self._ran = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns.

        Raises:
            OptionError: torch cannot compile it, or not here.
        """
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor):
                torch._dynamo.maybe_mark_dynamic(value, 0)
        begun = time.monotonic()
        try:
            outputs = self.model(*args, **kwargs)
        except RuntimeError as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise OptionError(
                f"torch.compile failed ({first_line(error)}): install a C++ compiler (and Triton, for a GPU), or leave "
                "compile out of the recipe."
            ) from error
        if not self._ran:
            self._ran = True
            _log.info("compiling the network took %.0f s", time.monotonic() - begun)
        return outputs
