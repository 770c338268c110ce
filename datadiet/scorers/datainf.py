"""DataInf: influence on the reference loss with an inverse curvature in closed form.

Kwon, Wu, Wu, Zou: DataInf: Efficiently Estimating Data Influence in LoRA-tuned LLMs and Diffusion Models, ICLR 2024
(arXiv 2310.00902), equation 5. The inverse of a layer's damped empirical Fisher matrix, (1/n) sum_i g_i g_i' +
lambda I, is approximated by the mean of the inverses, (1/n) sum_i (g_i g_i' + lambda I)^-1, each of which has a closed
form. With v the mean gradient of the reference losses,
score_j = sum over layers of (1/lambda) [<g_j, v> - (1/n) sum_i <v, g_i> / (lambda + ||g_i||^2) <g_i, g_j>],
lambda = 0.1 times the mean square of the entries of the g_i in that layer.

Deviations: the sign; a mean over networks, where the paper has one; gradients may be projected, and all layers may form
one block. Replacing the inverse of the mean by the mean of the inverses is the method, not a deviation: the two are
close only if lambda is large compared with ||g_i||^2, and the published lambda is not.

Cost: a backward pass per example and network; then three passes over the gradients, and no matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from datadiet.arrays import as_array, check_range
from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.scorers.projected import as_models, mean_row
from datadiet.scorers.spec import ScorerSpec, vectors
from datadiet.working_set import working_set

__all__ = ["SPEC", "datainf", "datainf_projected"]

_IN_RANGE = float(np.finfo(np.float32).max) ** 2


def datainf(
    projected: np.ndarray, val_projected: np.ndarray, *, blocks: Sequence[int] | None = None, damping: float = 0.1
) -> np.ndarray:
    """The sum over blocks of DataInf's influence, mean over networks.

    Args:
        projected: (models, n, k), or (n, k) for one network: gradients of the loss, whole or projected; memory maps
            are read in pieces.
        val_projected: (models, m, k) or (m, k), of the reference examples.
        blocks: the columns at which the layers begin and end, rising from 0 to k: [0, 64, 192] is two layers of 64 and
            128 columns. None = one block.
        damping: lambda as a multiple of the block's mean square, above 0. Paper: 0.1.

    Returns:
        (n,) float32, positive = keeping the example lowers the reference loss.

    Raises:
        OptionError: shapes or blocks that do not fit, NaN or infinity, damping not above 0, or a block of zeros.

    References:
        Kwon et al. 2024.

    >>> datainf(np.array([[1.0], [-1.0]]), np.array([[1.0]]), damping=1.0).tolist()
    [0.5, -0.5]
    """
    train, val = as_models("projected", projected, "n k"), as_models("val_projected", val_projected, "m k")
    if (val.shape[0], val.shape[2]) != (train.shape[0], train.shape[2]):
        raise OptionError(
            f"projected and val_projected have shapes {train.shape} and {val.shape}: give (models, n, k) and (models, "
            "m, k) of the same networks."
        )
    if not (np.isfinite(damping) and damping > 0):
        raise OptionError(f"damping={damping}: give a multiple of the mean squared gradient above 0, such as 0.1.")
    edges = _edges(blocks, train.shape[2])
    total = np.zeros(train.shape[1])
    for gradients, asked in zip(train, val, strict=True):
        for low, high in pairwise(edges):
            total += _influence(gradients[:, low:high], asked[:, low:high], damping, f"columns {low} to {high}")
    return (total / len(train)).astype(np.float32)


@checked
def datainf_projected(projected: np.ndarray, val_projected: np.ndarray, *, damping: float = 0.1) -> np.ndarray:
    """DataInf on gradients projected as a whole, as a run records them: all layers form one block.

    Args:
        projected: (models, n, k) or (n, k), projected gradients of the loss.
        val_projected: (models, m, k) or (m, k), of the reference examples.
        damping: lambda as a multiple of the mean square, above 0. Paper: 0.1, layer by layer.

    Returns:
        (n,) float32, positive = keeping the example lowers the reference loss.

    Raises:
        OptionError: as for `datainf`.

    >>> datainf_projected(np.array([[1.0], [-1.0]]), np.array([[1.0]]), damping=1.0).tolist()
    [0.5, -0.5]
    """
    return datainf(projected, val_projected, damping=damping)


def _edges(blocks: Sequence[int] | None, k: int) -> list[int]:
    given = np.array([0, k]) if blocks is None else as_array("blocks", blocks, "edges*")
    edges = given.tolist()
    whole = given.dtype.kind in "iu"
    if not whole or len(edges) < 2 or (edges[0], edges[-1]) != (0, k) or any(a >= b for a, b in pairwise(edges)):
        raise OptionError(f"blocks={edges}: give the columns at which layers begin and end, rising from 0 to {k}.")
    return edges


def _influence(gradients: np.ndarray, asked: np.ndarray, damping: float, where: str) -> np.ndarray:
    """(n,): the bracket in the module docstring over lambda, for one network and one block of columns."""
    n = len(gradients)
    asked_for = mean_row("val_projected", asked)
    squares, along, out = (np.empty(n) for _ in range(3))
    for rows, part in _pieces(gradients):
        with np.errstate(invalid="ignore", over="ignore"):  # refused below
            squares[rows] = (part[:, None] @ part[..., None])[:, 0, 0]  # einsum takes twice as long
        if not (squares[rows] < _IN_RANGE).all():  # else no entry can be NaN, infinite or out of range
            check_range("projected", part, at=(rows.start,))
        along[rows] = part @ asked_for
    total = float(squares.sum())
    if total == 0:
        raise OptionError(f"every gradient in {where} is 0, so there is no curvature: leave those columns out.")
    weight = damping * total / gradients.size
    shares, pull = along / (weight + squares) / n, asked_for.copy()
    for rows, part in _pieces(gradients):
        pull -= shares[rows] @ part
    for rows, part in _pieces(gradients):
        out[rows] = part @ pull / weight
    return out


def _pieces(matrix: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Consecutive rows as float64, so few that they stay in the cache of one core from conversion to product."""
    step = max(1, working_set("cpu") // 8 // matrix.shape[1])
    for start in range(0, len(matrix), step):
        rows = slice(start, start + step)
        yield rows, np.asarray(matrix[rows], dtype=np.float64)


SPEC = ScorerSpec(
    datainf_projected,
    (vectors("projected"), vectors("projected", "reference")),
    name="datainf",
    reference="Kwon et al. 2024",
)
