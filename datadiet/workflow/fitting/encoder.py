"""Opening an encoder, and fitting it and the data to each other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datadiet.data import Feed, Source
from datadiet.data.rows import Unusable
from datadiet.errors import DataError, OptionError, named
from datadiet.models import evaluating
from datadiet.models.catalog import ENCODERS, check_encoder
from datadiet.models.encoders import Encoder, function_encoder, function_of
from datadiet.models.features import Features, pretrained_encoder, trained_network
from datadiet.models.pretrained_text import open_text_encoder
from datadiet.models.running import placed
from datadiet.workflow.checkpoints import (
    image_size,
    inputs_of_runs,
    last_checkpoint,
    normalisation_for,
    removed_in_runs,
)

__all__ = ["open_encoder"]

_log = logging.getLogger("datadiet")


def open_encoder(
    source: Source,
    model: str | nn.Module | Callable[..., Any],
    checkpoint: str | Path | None,
    pool: str | None,
    head: str | None,
    device: torch.device,
    strip_prefix: str = "",
) -> tuple[Source, Encoder, Feed]:
    """The data in the size that the encoder takes, the encoder, and what prepares its inputs; arguments as in `embed`.

    Raises:
        OptionError: options that mean nothing for this encoder, or an encoder for other data.
        DataError: files that are missing or do not fit.
    """
    if isinstance(model, str):
        check_encoder(model)
    feed = Feed(source, None, device)
    scheme = model.partition(":")[0] if isinstance(model, str) else ""
    if scheme in ENCODERS:
        _refuse(f"{model} brings its own weights", checkpoint=checkpoint, head=head)
        if scheme != "hf" or isinstance(source.inputs.rows, Unusable):
            _fits(source, str(model), texts=True)
        encoder = open_text_encoder(str(model), texts=source.holds_texts, pool=pool, device=device)
        return source, encoder, feed
    function = function_of(model)
    if function is not None:
        _refuse("a function of a batch is used as it is", checkpoint=checkpoint, head=head, pool=pool)
        return source, function_encoder(model, function), feed
    if checkpoint == "pretrained":
        if not isinstance(model, str):
            raise OptionError("checkpoint='pretrained' needs the name of a model, such as timm:resnet18.")
        _fits(source, model, texts=False)
        return source, pretrained_encoder(model, head, pool, device), feed
    _fits(source, model if isinstance(model, str) else "this network", texts=False)
    return _classifier(source, model, checkpoint, pool, head, device, strip_prefix)


def _classifier(
    source: Source, model: Any, checkpoint: str | Path | None, pool: str | None, head: str | None,
    device: torch.device, strip_prefix: str,
) -> tuple[Source, Encoder, Feed]:  # fmt: skip
    file = None if checkpoint is None else last_checkpoint(checkpoint, "checkpoint")
    if file is not None and file != Path(str(checkpoint)):
        _log.info("weights: %s", file)
    trained_on = inputs_of_runs([file])
    if not source.uniform:
        size = image_size(model, trained_on)
        source = source.resized(size)
        _log.info("images of several sizes are resized to %d pixels", size)
    found, network = trained_network(model, file, source.shape, strip_prefix, removed_in_runs([file]))
    network = placed(network, device) if network is model else network.to(device)
    feed = Feed(source, normalisation_for(source, trained_on), device)
    batch = feed.first(2)
    try:
        with evaluating(network):
            features = Features(found.spec, network, batch.inputs, head, pool)
    except (OptionError, DataError):
        raise
    except Exception as error:  # the network may be the user's own
        raise OptionError(
            f"{found.spec} cannot take inputs of shape {source.shape} ({named(error)}): choose another model, or "
            "convert the data."
        ) from error
    where = "the output" if features.layer is None else f"the input of the layer {features.layer!r}"
    _log.info("the vector is %s", where)
    about = {"layer": features.layer, "pool": features.pool}
    return source, Encoder(found.spec, "inputs", features, about, network, close=features.close), feed


def _fits(source: Source, name: str, texts: bool) -> None:
    """Refuse an encoder of texts for other data, and vice versa."""
    if texts == source.holds_texts:
        return
    if not texts:
        raise OptionError(
            f"{name} reads images or numbers, but {source.spec} holds texts: give a text encoder, model2vec:FOLDER, "
            "sentence-transformers:NAME or hf:NAME."
        )
    columns = [] if source.origin is None else source.origin.column_names
    if columns:
        raise OptionError(
            f"{name} reads texts, but no column of {source.spec} was named: choose one of "
            f"{', '.join(map(repr, columns))} with --text COLUMN (text=)."
        )
    raise OptionError(f"{name} reads texts, but {source.spec} holds images or numbers: give it data with texts.")


def _refuse(because: str, **given: Any) -> None:
    for option, value in given.items():
        if value is not None:
            raise OptionError(f"{because}, but {option}={str(value)!r} was given: leave it out.")
