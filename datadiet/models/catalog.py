"""The names of models, for listing them without torch."""

from __future__ import annotations

from datadiet.errors import OptionError, unknown_name

__all__ = ["ENCODERS", "MODEL_SCHEMES", "NETWORKS", "check_encoder", "check_spec"]

NETWORKS = {
    "mlp": "two hidden layers of 128 units, for digits and feature vectors",
    "cnn": "six convolutions with BatchNorm, 16 to 64 channels, for images of about 32x32 (0.1 M parameters)",
    "resnet8": "ResNet with one block per stage, 16 to 64 channels (0.08 M parameters)",
    "resnet20": "the CIFAR ResNet-20 (0.27 M parameters)",
}

MODEL_SCHEMES = {
    "datadiet": "a small network of this package",
    "torchvision": "a torchvision model, random weights (extra: vision)",
    "timm": "a timm model, random weights (extra: timm)",
    "py": "py:package.module:make_model or py:file.py:make_model, your own",
}

ENCODERS = {
    "hf": "a transformers model and its tokenizer or image processor, from a folder or the hub (extra: text)",
    "sentence-transformers": "a sentence-transformers model, from a folder or the hub (extra: text)",
    "model2vec": "static token vectors, from a folder or the hub (extra: text)",
}


def check_encoder(spec: str) -> None:
    """Refuse an encoder spec with an unknown scheme or an unknown network of datadiet. No torch.

    Raises:
        OptionError: as in `check_spec`.
    """
    scheme, _, name = spec.partition(":")
    if scheme in ENCODERS and name:
        return
    if name and scheme not in MODEL_SCHEMES:
        raise unknown_name("model scheme", scheme, {**MODEL_SCHEMES, **ENCODERS})
    check_spec(spec)


def check_spec(spec: str) -> None:
    """Refuse a model spec with an unknown scheme or an unknown network of datadiet. No torch.

    Raises:
        OptionError: no scheme, or an unknown name; the message lists near names.
    """
    scheme, colon, name = spec.partition(":")
    if colon and not name:
        raise OptionError(f"model {spec!r} does not name a network: write {spec}NAME, see datadiet ls models.")
    if not colon:
        forms = ", ".join(f"{scheme}:{spec}" for scheme in ("datadiet", "timm", "torchvision"))
        raise OptionError(f"model {spec!r} has no scheme: write {forms}.")
    if scheme not in MODEL_SCHEMES:
        raise unknown_name("model scheme", scheme, MODEL_SCHEMES)
    if scheme == "datadiet" and name not in NETWORKS:
        raise unknown_name("network of datadiet", name, NETWORKS)
