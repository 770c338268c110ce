"""A part of a pass: what was measured of a range of rows, and the table in which it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from datadiet.data.batch import Batch
from datadiet.errors import DataError, NotFinite

__all__ = ["NameOf", "measured", "signal_table", "table_from", "tensors_of"]

NameOf = Callable[[int], str]

_BY_ROW = "the example at row {}".format


def signal_table(
    index: np.ndarray,
    columns: dict[str, np.ndarray],
    if_nan: str,
    name_of: NameOf = _BY_ROW,
) -> pa.Table:
    """One part: `index` and the signals, float32 or bool.

    Args:
        index: (m,) rows.
        columns: name -> (m,).
        if_nan: what a NaN means, for the message.
        name_of: row -> what to call the example.

    Raises:
        DataError: a NaN, except in the first `shift` of an example.
    """
    for name, values in columns.items():
        if name != "shift" and values.dtype != bool and np.isnan(values).any():
            row = index[int(np.isnan(values).argmax())]
            raise DataError(f"{name} is NaN for {name_of(row)}: {if_nan}.")
    return pa.table({"index": index.astype(np.int64), **columns})


def tensors_of(table: pa.Table) -> dict[str, Tensor]:
    """The columns of a part as tensors, for a saved state."""
    columns = zip(table.column_names, table.columns, strict=True)
    return {name: torch.from_numpy(np.array(column.to_numpy())) for name, column in columns}


def table_from(tensors: Mapping[str, Tensor]) -> pa.Table:
    """The part that `tensors_of` took apart."""
    return pa.table({name: values.numpy() for name, values in tensors.items()})


def measured(
    measure: Callable[[Batch], dict[str, Tensor]], batches: Iterable[Batch], name_of: NameOf = _BY_ROW
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One pass over a range of rows. Whether gradients are finite is checked once, after the last batch.

    Args:
        measure: batch -> name -> (B,) or (B, d).
        batches: with ascending rows.
        name_of: row -> what to call the example.

    Returns:
        rows (m,) int64, and name -> (m,) or (m, d).

    Raises:
        DataError: a gradient that is not finite; it names the example.
    """
    from datadiet.signals.gradients.checks import noted_together  # a recorder never needs the gradients

    rows, parts = [], []
    noted: list[Tensor] = []  # the rows of each call that `finite` is about
    with noted_together() as finite:
        for batch in batches:
            try:
                parts.append(measure(batch))
            except NotFinite as error:
                raise _without_gradient(name_of(int(batch.rows[error.row]))) from None
            rows.append(batch.rows)
            noted += [batch.rows] * (len(finite) - len(noted))
    if finite and not (good := torch.cat(finite)).all():
        raise _without_gradient(name_of(int(torch.cat(noted)[int(good.int().argmin())])))
    return torch.cat(rows).numpy(), {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}


def _without_gradient(name: str) -> DataError:
    return DataError(f"the gradient of {name} is not finite: check that input.")
