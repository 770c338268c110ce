"""Text encoders that pool by themselves: sentence-transformers, and model2vec's static token vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datadiet.errors import DataError, first_line, require
from datadiet.files import array_digest
from datadiet.models.encoders import Encoder

__all__ = ["LOADING", "cannot_load", "quiet", "sentence_encoder", "static_encoder"]

LOADING = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
"""What the libraries raise for a folder that is missing, incomplete or of another kind."""


def static_encoder(name: str) -> Encoder:
    """model2vec: the mean of the vectors of a text's tokens.

    Args:
        name: a folder with tokenizer.json and model.safetensors (also of int8), or a name on the hub.

    Raises:
        DataError: it cannot be loaded.
    """
    spec, model2vec = f"model2vec:{name}", require("model2vec", "text")
    try:
        model = model2vec.StaticModel.from_pretrained(name)
    except LOADING as error:
        raise cannot_load(spec, name, error) from None
    tables = (model.embedding, getattr(model, "weights", None), getattr(model, "token_mapping", None))
    about = {
        "vectors": [None if t is None else array_digest(np.ascontiguousarray(t)) for t in tables],
        "tokenizer": array_digest(model.tokenizer.to_str().encode()),
        "normalize": bool(model.normalize),
        "max_length": getattr(model, "max_length", None),
    }
    return Encoder(spec, "texts", lambda texts: model.encode(texts, use_multiprocessing=False), about)


def sentence_encoder(name: str, device: torch.device) -> Encoder:
    """sentence-transformers: whatever its modules make of a text.

    Args:
        name: a folder or a name on the hub.
        device: where to run it.

    Raises:
        DataError: it cannot be loaded.
    """
    spec, library = f"sentence-transformers:{name}", require("sentence_transformers", "text")
    try:
        with quiet(require("transformers", "text")):
            model = library.SentenceTransformer(name, device=str(device))
    except LOADING as error:
        if "floating point" in str(error):  # it makes parameters of static vectors, and int8 ones cannot be that
            raise DataError(f"{spec} has vectors of whole numbers: read them with model2vec:{name}.") from None
        raise cannot_load(spec, name, error) from None

    def encode(texts: list[str]) -> torch.Tensor:
        return model.encode(texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False).float()

    about = {"modules": str(model), "max_length": model.max_seq_length}
    return Encoder(spec, "texts", encode, about, model.eval(), batch=64)


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without the library's reports and bars, which say of a pooler that nobody uses that it must be trained."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def cannot_load(spec: str, name: str, error: BaseException) -> DataError:
    """The error for weights that cannot be loaded."""
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        return DataError(f"there is no folder {name}: give {spec.partition(':')[0]}: a folder, or a name on the hub.")
    return DataError(
        f"{spec} cannot be loaded ({first_line(error)}): give a folder with all of its files, or a name on the hub."
    )
