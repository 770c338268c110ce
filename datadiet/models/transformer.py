"""`hf:` encoders: a transformers model with its own tokenizer or image processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datadiet.errors import DataError, OptionError, first_line, require
from datadiet.files import digest, plain
from datadiet.models.encoders import Encoder, pooled
from datadiet.randomness import derive

__all__ = ["LOADING", "as_colour", "cannot_load", "image_encoder", "quiet", "text_encoder"]

LOADING = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
"""The errors that the libraries raise for a folder that is missing, incomplete or of another kind."""

_BATCH = 64
_PROJECTION = "projection"
_UNLIMITED = 1 << 20  # tokenizers without a limit report a number far above this one


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
    model, how = _loaded(name, library, device, "get_text_features", pool)
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(name)
    except LOADING as error:
        raise OptionError(
            f"{spec} has no tokenizer ({first_line(error)}), so it cannot read texts: give a text model."
        ) from None
    tokenizer.padding_side = "right"  # so that the first token comes first
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
        return [f"{cut[0]} texts are longer than {limit} tokens: the rest of each was not read"] if cut[0] else []

    backend = getattr(tokenizer, "backend_tokenizer", None)
    about = {
        "pool": how,
        "max_length": limit,
        "tokenizer": digest(backend.to_str() if backend is not None else plain(tokenizer.init_kwargs)),
    }
    return Encoder(spec, "texts", encode, about, model, _BATCH, notes)


def image_encoder(name: str, pool: str | None, device: torch.device) -> Encoder:
    """As `text_encoder`, for images, which the image processor of the model prepares.

    "mean" is over all tokens or positions.
    """
    spec, library = f"hf:{name}", require("transformers", "text")
    model, how = _loaded(name, library, device, "get_image_features", pool)
    try:
        processor = library.AutoImageProcessor.from_pretrained(name)
    except LOADING as error:
        raise OptionError(
            f"{spec} has no image processor ({first_line(error)}), so it cannot read images: give a vision model, or "
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
    """An image (3, H, W); a grey one is repeated.

    Raises:
        OptionError: it is not an 8-bit image.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[0] not in (1, 3):
        raise OptionError(
            f"{spec} takes 8-bit images in grey or colour, and an example is {image.dtype} of shape {image.shape}: "
            "convert them, or give another encoder."
        )
    return np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image


def _loaded(name: str, library: Any, device: torch.device, projection: str, pool: str | None) -> tuple[Any, str]:
    """The model in evaluation mode and float32, and how its outputs become one vector.

    Every weight is from its file, except those of an unused pooler.
    """
    spec = f"hf:{name}"
    try:
        with quiet(library), torch.random.fork_rng(devices=[]):  # a pooler without weights is drawn, always the same
            torch.default_generator.manual_seed(derive(0, "init"))
            model, found = library.AutoModel.from_pretrained(name, output_loading_info=True)
    except LOADING as error:
        raise cannot_load(spec, name, error) from None
    missing = sorted(key for key in found["missing_keys"] if "pooler" not in key)
    if missing:
        raise DataError(f"{spec} has no weight {missing[0]!r}, which its model needs: its files are incomplete.")
    module: nn.Module = model.get_encoder() if model.config.is_encoder_decoder else model
    projects = hasattr(module, projection)
    if projects and pool is not None:
        raise OptionError(f"{spec} has a projection of its own, and pool={pool!r} was given: leave it out.")
    return module.float().eval().to(device), _PROJECTION if projects else pool or "mean"


def _limit(tokenizer: Any, config: Any) -> int | None:
    """The most tokens that the model reads; None if nothing says."""
    if tokenizer.model_max_length < _UNLIMITED:
        return int(tokenizer.model_max_length)
    config = config.get_text_config()  # for models of images and texts
    places = getattr(config, "max_position_embeddings", None)
    if places is None:
        return None
    # The RoBERTa family counts positions from after the padding index.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    return int(places) - offset


def _tensor(output: Any) -> Tensor:
    """The tensor that get_…_features returns; newer versions put it inside an object."""
    found: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return found.float()


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Silence the library's reports and bars, which ask for training of a pooler that nobody uses."""
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
        return DataError(f"there is no folder {name}: give {spec.partition(':')[0]}:FOLDER, or a name on the hub.")
    return DataError(
        f"{spec} cannot be loaded ({first_line(error)}): give a folder with all of its files, or a name on the hub."
    )
