"""Turn the contents of a data set (encoded images, arrays, tensors, PIL images) into model inputs, and back into PNG.

An input is a numpy array: an image (C, H, W), uint8 when its source has 8 bits (or 16: the upper 8 are kept) and
float32 otherwise, or a vector (d,) float32. PIL is imported on first use.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "CHANNELS", "GRAY_MODES", "SUFFIX_OF_FORMAT", "as_batch", "as_input", "decode_image", "encode_png", "fit",
    "read_header",
]  # fmt: skip

GRAY_MODES = frozenset({"1", "L", "I", "I;16", "I;16L", "I;16B"})
SUFFIX_OF_FORMAT = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}
CHANNELS = (1, 3, 4)


def read_header(blob: bytes) -> tuple[str, str, int, int]:
    """The format, mode, height and width of an encoded image, without decoding its pixels.

    Raises:
        DataError: the bytes are not an image that Pillow knows.
    """
    image = _open(blob)
    return image.format or "", image.mode, image.height, image.width


def decode_image(blob: bytes, gray: bool) -> np.ndarray:
    """Encoded bytes as an image: uint8 (1, H, W) if `gray`, else (3, H, W).

    Raises:
        DataError: the bytes are not an image, are cut short, or hold floating-point pixels.
    """
    return _pixels(_open(blob), gray)


def as_batch(array: np.ndarray) -> np.ndarray:
    """A stack of examples (n, …) in the layout and type of inputs.

    Args:
        array: (n,) or (n, d) numbers become float32 vectors; (n, H, W) gains one channel; (n, H, W, C) with 1, 3 or
            4 channels becomes (n, C, H, W); other layouts stay as they are.

    Returns:
        (n, …) contiguous; uint8 only for images of uint8.

    Raises:
        DataError: the values are not real numbers.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"values of type {array.dtype} are not numbers that a model can read: give real numbers.")
    if array.ndim in (1, 3):
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in CHANNELS and array.shape[3] in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    keep = array.dtype == np.uint8 and array.ndim > 2
    return np.ascontiguousarray(array, dtype=np.uint8 if keep else np.float32)


def as_input(value: Any) -> np.ndarray:
    """An array, tensor, nested list, number or PIL image as one model input.

    Raises:
        DataError: it is none of these.
    """
    if hasattr(value, "getbands"):
        return _pixels(value, value.mode in GRAY_MODES)
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(
            f"an input of type {type(value).__name__} is ragged ({error}): give rows of equal length."
        ) from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"an input of type {type(value).__name__} is neither an image nor an array of numbers: give one of these."
        )
    one: np.ndarray = as_batch(array[None])[0]
    return one


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """Resize the short side of an image (C, H, W) to `size` (bilinear, antialiased) and cut out its centre.

    Raises:
        DataError: the input has no height and width.
    """
    from PIL import Image

    if image.ndim != 3:
        raise DataError(
            f"an input of shape {image.shape} has no height and width, so it cannot be resized: give images."
        )
    height, width = image.shape[1:]
    if (height, width) == (size, size):
        return image
    short = min(height, width)
    tall, wide = max(size, round(height * size / short)), max(size, round(width * size / short))
    top, left = (tall - size) // 2, (wide - size) // 2
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((wide, tall), Image.Resampling.BILINEAR))
        for plane in image
    ]
    return np.stack([plane[top : top + size, left : left + size] for plane in planes])


def encode_png(image: np.ndarray) -> bytes:
    """A uint8 image (C, H, W) with 1, 3 or 4 channels as the bytes of a PNG file.

    Raises:
        DataError: PNG cannot hold it without loss.
    """
    from PIL import Image

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in CHANNELS:
        raise DataError(f"{image.dtype} of shape {image.shape} is not an 8-bit image: export it as parquet or hf.")
    flat = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, format="PNG")
    return buffer.getvalue()


def _open(blob: bytes) -> Image:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(blob))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        kind = "is empty" if not blob else f"starts with {blob[:8]!r}"
        raise DataError(f"this is not an image that Pillow can read (it {kind}).") from error


def _pixels(image: Image, gray: bool) -> np.ndarray:
    from PIL import Image

    if image.mode == "F":
        raise DataError("an image of floating-point pixels has no 8-bit form: give the values as arrays instead.")
    try:
        if image.mode.startswith("I"):
            # Pillow clips 16-bit values at 255 when it converts to 8 bits.
            plane = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(plane[None], 1 if gray else 3, axis=0)
        pixels = np.asarray(image.convert("L" if gray else "RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"the image is damaged ({error}).") from error
    return pixels[None] if gray else np.ascontiguousarray(pixels.transpose(2, 0, 1))
