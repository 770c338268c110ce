"""`hf:` encoders: a transformers model with its own tokenizer or image processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datadiet.errors import DataError, OptionError, first_line, require
from datadiet.files import digest, plain
from datadiet.models.encoders import Encoder, pooled
from datadiet.models.pretrained_text import LOADING, cannot_load, quiet
from datadiet.randomness import derive

__all__ = ["as_colour", "image_encoder", "text_encoder"]

_BATCH = 64
_PROJECTION = "projection"
_UNLIMITED = 1 << 20  # what tokenizers say when they know no limit is far above it


def text_encoder(name: str, pool: str | None, device: torch.device) -> Encoder:
    """A transformers model as an encoder of texts.

    Args:
        name: a folder or a name on the hub.
        pool: "mean" over the tokens of the text, padding left out, or "cls", the first token; None = the mean, or the
            projection of models that have one, such as CLIP.
        device: where to run it.

    Raises:
        OptionError: it has no tokenizer, or a projection of its own and `pool` is given.
        DataError: it cannot be loaded.
    """
    spec, library = f"hf:{name}", require("transformers", "text")
    model = _loaded(spec, name, library).to(device)
    how = _pooling(spec, model, "get_text_features", pool)
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(name)
    except LOADING as error:
        raise OptionError(
            f"{spec} has no tokenizer ({first_line(error)}), so it reads no texts: give a text model."
        ) from None
    tokenizer.padding_side = "right"  # so that the first token stands first
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise OptionError(f"the tokenizer of {spec} has no token to pad with: give another model.")
        tokenizer.pad_token = tokenizer.eos_token
    limit = _limit(tokenizer, model.config)
    cut = [0]

    def encode(texts: list[str]) -> Tensor:
        options = {"truncation": True, "max_length": limit} if limit else {}
        batch = tokenizer(texts, padding=True, return_tensors="pt", return_overflowing_tokens=False, **options)
        if limit and batch["input_ids"].shape[1] >= limit:  # only then can a text have been cut
            cut[0] += sum(len(ids) > limit for ids in tokenizer(texts, verbose=False)["input_ids"])
        batch = batch.to(device)
        if how == _PROJECTION:
            return _tensor(model.get_text_features(**batch))
        return pooled(model(**batch).last_hidden_state, how, batch["attention_mask"]).float()

    def notes() -> list[str]:
        return [f"{cut[0]} texts are longer than {limit} tokens: what follows was not read"] if cut[0] else []

    backend = getattr(tokenizer, "backend_tokenizer", None)
    about = {
        "pool": how,
        "max_length": limit,
        "tokenizer": digest(backend.to_str() if backend is not None else plain(tokenizer.init_kwargs)),
    }
    return Encoder(spec, "texts", encode, about, model, _BATCH, notes)


def image_encoder(name: str, pool: str | None, device: torch.device) -> Encoder:
    """A transformers model as an encoder of images, prepared by its own image processor.

    Args:
        name: a folder or a name on the hub.
        pool: "mean" over all tokens or positions, or "cls", the first token; None = the mean, or the projection of
            models that have one.
        device: where to run it.

    Raises:
        OptionError: it has no image processor, or a projection of its own and `pool` is given.
        DataError: it cannot be loaded.
    """
    spec, library = f"hf:{name}", require("transformers", "text")
    model = _loaded(spec, name, library).to(device)
    how = _pooling(spec, model, "get_image_features", pool)
    try:
        processor = library.AutoImageProcessor.from_pretrained(name)
    except LOADING as error:
        raise OptionError(
            f"{spec} has no image processor ({first_line(error)}), so it reads no images: give a vision model, or "
            "name a column of texts with --text COLUMN (text=)."
        ) from None

    def encode(images: list[np.ndarray]) -> Tensor:
        given = [torch.from_numpy(as_colour(image, spec)) for image in images]
        pixels = processor(images=given, return_tensors="pt", input_data_format="channels_first")["pixel_values"]
        if how == _PROJECTION:
            return _tensor(model.get_image_features(pixel_values=pixels.to(device)))
        return pooled(model(pixel_values=pixels.to(device)).last_hidden_state, how).float()

    return Encoder(spec, "images", encode, {"pool": how, "transform": digest(processor.to_dict())}, model, _BATCH)


def as_colour(image: np.ndarray, spec: str) -> np.ndarray:
    """An image (3, H, W); grey ones are repeated.

    Raises:
        OptionError: it is no 8-bit image.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[0] not in (1, 3):
        raise OptionError(
            f"{spec} takes 8-bit images in grey or colour, and an example is {image.dtype} of shape {image.shape}: "
            "convert them, or give another encoder."
        )
    return np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image


def _pooling(spec: str, model: Any, projection: str, pool: str | None) -> str:
    """How outputs become one vector."""
    if not hasattr(model, projection):
        return pool or "mean"
    if pool is not None:
        raise OptionError(f"{spec} has a projection of its own, and pool={pool!r} was given: leave it out.")
    return _PROJECTION


def _loaded(spec: str, name: str, library: Any) -> Any:
    """The model in evaluation mode and float32, every weight but that of an unused pooler from its file."""
    try:
        with quiet(library), torch.random.fork_rng(devices=[]):  # a pooler that has no weights is drawn, always alike
            torch.default_generator.manual_seed(derive(0, "init"))
            model, found = library.AutoModel.from_pretrained(name, output_loading_info=True)
    except LOADING as error:
        raise cannot_load(spec, name, error) from None
    missing = sorted(key for key in found["missing_keys"] if "pooler" not in key)
    if missing:
        raise DataError(f"{spec} has no weight {missing[0]!r}, which its model needs: its files are incomplete.")
    module: nn.Module = model.get_encoder() if model.config.is_encoder_decoder else model
    return module.float().eval()


def _limit(tokenizer: Any, config: Any) -> int | None:
    """How many tokens the model reads at most; None if nothing says."""
    if tokenizer.model_max_length < _UNLIMITED:
        return int(tokenizer.model_max_length)
    config = config.get_text_config()  # of models for images and texts
    places = getattr(config, "max_position_embeddings", None)
    if places is None:
        return None
    # The RoBERTa family begins to count positions after that of the padding.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    return int(places) - offset


def _tensor(output: Any) -> Tensor:
    """What get_…_features returns: a tensor, in newer versions inside an object."""
    found: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return found.float()
