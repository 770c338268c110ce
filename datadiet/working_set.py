"""How much to work on at once: what stays in a processor's caches, and what keeps an accelerator busy.

Every size that is about a cache is asked here, by the type of the device ("cpu", "cuda", "mps" …), never written down
where it is used. A processor wants temporaries that its caches hold; an accelerator wants launches so wide that their
fixed cost disappears.
"""

from __future__ import annotations

__all__ = ["working_set"]

_CACHED = 1 << 20  # numbers; 4 MiB of float32
_WIDE = 1 << 25


def working_set(device: str) -> int:
    """The numbers of temporary memory that a piece of work should take on a device.

    Args:
        device: its type, `torch.device.type`.

    >>> working_set("cpu"), working_set("cuda")
    (1048576, 33554432)
    """
    return _CACHED if device == "cpu" else _WIDE
