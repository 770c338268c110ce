"""How many optimizer steps training takes: always stated explicitly, because published comparisons differ in it."""

from __future__ import annotations

from datadiet.errors import OptionError

__all__ = ["even_batches", "training_steps"]


def even_batches(k: int, batch_size: int) -> list[int]:
    """The sizes of the ceil(k / batch_size) batches of an epoch, as equal as possible, the larger ones first.

    A last batch of a few leftover examples would count as a full step and, worse, skew the running statistics of
    BatchNorm just before the network is evaluated.

    >>> even_batches(10, 4)
    [4, 3, 3]
    """
    number = -(-k // batch_size)
    return [k // number + (place < k % number) for place in range(number)]


def training_steps(
    k: int,
    n_full: int,
    batch_size: int,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    match: str | None = None,
) -> int:
    """The number of steps.

    Args:
        k: examples per epoch.
        n_full: examples of the full data set.
        batch_size: examples per step.
        epochs: E passes over the k examples: E * ceil(k / batch_size) steps.
        steps: the number itself.
        match: "full-steps" with epochs=E: the E * ceil(n_full / batch_size) steps that E epochs of the full data take.

    Raises:
        OptionError: not exactly one of epochs and steps, a number below 1, or an unknown match.

    >>> training_steps(100, 1000, 32, epochs=3), training_steps(100, 1000, 32, epochs=3, match="full-steps")
    (12, 96)
    """
    if (epochs is None) == (steps is None):
        raise OptionError(
            "say how long to train: give exactly one of epochs=E (passes over the kept examples) and steps=S."
        )
    if match not in (None, "full-steps") or (match and epochs is None):
        raise OptionError(
            f"match={match!r}: the only form is match='full-steps' together with epochs=E of the full data."
        )
    if (epochs or steps or 0) < 1:
        raise OptionError(f"epochs={epochs}, steps={steps}: train for at least 1.")
    if steps is not None:
        return steps
    assert epochs is not None
    return epochs * -(-(n_full if match else k) // batch_size)
