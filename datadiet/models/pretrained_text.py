"""Pretrained encoders by spec: `hf:`, and those that pool by themselves, sentence-transformers and model2vec."""

from __future__ import annotations

import numpy as np
import torch

from datadiet.errors import DataError, OptionError, require
from datadiet.files import array_digest
from datadiet.models.encoders import Encoder
from datadiet.models.transformer import LOADING, cannot_load, image_encoder, quiet, text_encoder

__all__ = ["open_text_encoder"]


def open_text_encoder(spec: str, *, texts: bool, pool: str | None, device: torch.device) -> Encoder:
    """Open `hf:`, `sentence-transformers:` or `model2vec:`.

    Args:
        spec: scheme:folder, or scheme:name on the hub.
        texts: whether the data holds texts; `hf:` reads images otherwise.
        pool: how a transformer's outputs become one vector: "mean" (over the tokens of the text), "cls" (the first
            token), or None for the mean.
        device: where to run it.

    Raises:
        OptionError: it reads something else, or it pools by itself and `pool` is given.
        DataError: no such folder or name, or missing or damaged files.
        MissingExtra: the library behind it is not installed.
    """
    scheme, _, name = spec.rstrip("/").partition(":")  # a folder with and without the slash is the same run
    if scheme == "hf":
        return (text_encoder if texts else image_encoder)(name, pool, device)
    if pool is not None:
        raise OptionError(f"{spec} pools by itself, and pool={pool!r} was given: leave it out.")
    if scheme == "model2vec":
        return _static(name)
    return _sentence(name, device)


def _static(name: str) -> Encoder:
    """model2vec: the mean of the vectors of a text's tokens; the vectors may be of int8."""
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


def _sentence(name: str, device: torch.device) -> Encoder:
    """sentence-transformers: the output of its modules for a text."""
    spec, library = f"sentence-transformers:{name}", require("sentence_transformers", "text")
    try:
        with quiet(require("transformers", "text")):
            model = library.SentenceTransformer(name, device=str(device))
    except LOADING as error:
        if "floating point" in str(error):  # it makes static vectors parameters, which int8 ones cannot be
            raise DataError(f"{spec} has integer vectors: read them with model2vec:{name}.") from None
        raise cannot_load(spec, name, error) from None

    def encode(texts: list[str]) -> torch.Tensor:
        return model.encode(texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False).float()

    about = {"modules": str(model), "max_length": model.max_seq_length}
    return Encoder(spec, "texts", encode, about, model.eval(), batch=64)
