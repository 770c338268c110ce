"""The hardware that work is done on, as far as it determines the last bits of results: for the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Hardware", "versions"]


def versions() -> dict[str, str]:
    """The versions of what else determines the bytes of files."""
    import numpy
    import pyarrow

    from datadiet.version import __version__

    return {"datadiet": __version__, "numpy": numpy.__version__, "pyarrow": pyarrow.__version__}


@dataclass(frozen=True)
class Hardware:
    """What does the work, in one process.

    Attributes:
        device: the type of the torch device, "cpu" or "cuda".
        model: of the accelerator, or the instructions that torch uses on a processor.
        threads: how many torch uses if nothing else is said. It is not part of the plan; the recipe's threads are.
        torch: its version, which may differ in its build between machines.
    """

    device: str
    model: str
    threads: int
    torch: str

    @classmethod
    def here(cls, device: Any = "auto") -> Hardware:
        """That of this process.

        Raises:
            OptionError: the device cannot be used here.
        """
        import torch

        from datadiet.runtime.process import pick_device

        found = pick_device(device)
        model = torch.cuda.get_device_name(found) if found.type == "cuda" else torch.backends.cpu.get_cpu_capability()
        return cls(found.type, model, torch.get_num_threads(), torch.__version__)

    def __str__(self) -> str:
        return f"{self.device} ({self.model})"

    def for_plan(self, precision: str = "fp32") -> dict[str, Any]:
        """The entries of a plan; on CUDA, where products may be rounded, also whether TF32 is used."""
        found = {"device": self.device, "device_model": self.model, "torch": self.torch}
        return found | ({"tf32": precision == "tf32"} if self.device == "cuda" else {})
