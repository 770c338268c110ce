"""Turn the contents of a data set (encoded images, arrays, tensors, PIL images) into model inputs, and back into PNG.

An input is a numpy array: an image (C, H, W), uint8 when its source has 8 bits (or 16: the upper 8 are kept) and
float32 otherwise; a vector (d,) float32; or whole numbers that are not an image, such as token ids, int64. Images are
turned as their EXIF orientation says, and transparent ones are laid on white. PIL is imported on first use.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.errors import DataError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "CHANNELS", "DECODER", "GRAY_MODES", "SUFFIX_OF_FORMAT", "as_batch", "as_input", "decode_image", "encode_png",
    "fit", "read_header",
]  # fmt: skip

DECODER = 2
"""Changes with every change of the pixels that an image file gives, so that no run mixes two readings."""

GRAY_MODES = frozenset({"1", "L", "I", "I;16", "I;16L", "I;16B"})
SUFFIX_OF_FORMAT = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "AVIF": ".avif",
    "PNG": ".png",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "WEBP": ".webp",
}
CHANNELS = (1, 3, 4)
_FLOAT, _INTEGER = np.dtype(np.float32), np.dtype(np.int64)
_ORIENTATION, _TURNED = 0x112, (5, 6, 7, 8)  # the EXIF tag, and its values that exchange height and width
_WIDTH, _HEIGHT, _SAMPLE_FORMAT = 0x100, 0x101, 0x153  # tags of a TIFF
_SIGNED = 2  # of which Pillow reads 8 bits as if they were unsigned
_HINTS = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}  # entries of an image that may hold it
_log = logging.getLogger("datadiet")


def read_header(blob: bytes) -> tuple[str, str, int, int]:
    """The format, mode, and the height and width as seen, of an encoded image, without decoding its pixels.

    Raises:
        DataError: the bytes are not an image that Pillow knows.
    """
    with _reading():
        image = _open(blob)
        tags = getattr(image, "tag_v2", None)  # of a TIFF, whose size Pillow may have turned by itself
        width, height = image.size if tags is None else (tags[_WIDTH], tags[_HEIGHT])
        if _orientation(image) in _TURNED:
            width, height = height, width
        return image.format or "", image.mode, height, width


def decode_image(blob: bytes, gray: bool) -> np.ndarray:
    """Encoded bytes as an image: uint8 (1, H, W) if `gray`, else (3, H, W), as a view of memory with channels last.

    Raises:
        DataError: the bytes are not an image, are cut short, or hold pixels other than integers from 0 to 65535.
    """
    with _reading():
        return _pixels(_open(blob), gray)


def as_batch(array: np.ndarray) -> np.ndarray:
    """A stack of examples (n, …) in the layout and type of inputs.

    Args:
        array: (n,) or (n, d) numbers become vectors; (n, H, W) gains one channel; (n, H, W, C) with 1, 3 or 4 channels
            becomes (n, C, H, W); other layouts stay as they are.

    Returns:
        (n, …) contiguous: uint8 for images of uint8, int64 for integers that are not images, otherwise float32.

    Raises:
        DataError: the values are not real numbers, or an example has no values.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"values of type {array.dtype} are not numbers that a model can read: give real numbers.")
    if 0 in array.shape[1:]:
        raise DataError(f"examples of shape {array.shape[1:]} hold no values: give inputs that have some.")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise DataError("integers of 2^63 or more are not token ids: give smaller ones, or floats.")
    if array.ndim in (1, 3):
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in CHANNELS and array.shape[3] in CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    kind: np.dtype[Any] = _FLOAT
    if array.dtype.kind in "iu":
        kind = (array.dtype if array.dtype == np.uint8 else _FLOAT) if array.ndim > 2 else _INTEGER
    if array.dtype == kind:
        return np.ascontiguousarray(array)
    if array.dtype.kind in "iu" and array.dtype != np.uint16 and array.ndim > 2:
        _note_integers(str(array.dtype), array.shape[1:])
    with np.errstate(over="ignore"):  # infinite values are refused, by example, when inputs are read
        return np.ascontiguousarray(array, dtype=kind)


def as_input(value: Any) -> np.ndarray:
    """An array, tensor, nested list, number or PIL image as one model input.

    Raises:
        DataError: it is none of these.
    """
    if hasattr(value, "getbands"):
        with _reading():
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


@contextmanager
def _reading() -> Iterator[None]:
    """One sentence for whatever Pillow raises on a damaged image."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError("the image needs more memory than there is.") from error
    except Exception as error:
        raise DataError(f"the image is damaged ({first_line(error)}).") from error


def _open(blob: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(blob))
    except UnidentifiedImageError as error:
        kind = "is empty" if not blob else f"starts with {blob[:8]!r}"
        raise DataError(f"this is not an image that Pillow can read (it {kind}).") from error


def _pixels(image: Image, gray: bool) -> np.ndarray:
    from PIL import ImageOps

    if image.mode == "F":
        raise DataError("an image of floating-point pixels has no 8-bit form: give the values as arrays instead.")
    if image.format == "TIFF" and image.mode[0] != "I" and _SIGNED in np.atleast_1d(_tag(image, _SAMPLE_FORMAT)):
        raise DataError("an image of signed 8-bit pixels has no unsigned form: give the values as arrays instead.")
    if image.format == "PNG":
        image.load()  # what it says after its pixels is known from here on
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        plane = _upper_bits(image)
        return np.repeat(plane[None], 1 if gray else 3, axis=0)
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        image = _on_white(image)
    pixels = np.asarray(image.convert("L" if gray else "RGB"))
    return pixels[None] if gray else pixels.transpose(2, 0, 1)


def _orientation(image: Image) -> int:
    """The EXIF orientation, 1 = as stored; where there is nothing to read, Pillow is not asked, which takes long."""
    if hasattr(image, "tag_v2"):
        return int(_tag(image, _ORIENTATION))
    return int(image.getexif().get(_ORIENTATION, 1)) if _HINTS & image.info.keys() else 1


def _tag(image: Image, tag: int) -> Any:
    """A tag of a TIFF whose default is 1."""
    return image.tag_v2.get(tag, 1)  # type: ignore[attr-defined]


def _upper_bits(image: Image) -> np.ndarray:
    """The upper 8 of 16 bits; Pillow itself would clip at 255."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise DataError(
            f"its pixels go from {low} to {high}, but an image of integers must stay within 0 to 65535: shift and "
            "scale them, or give the values as arrays."
        )
    clear = image.info.get("transparency")
    plane: np.ndarray = (values >> 8).astype(np.uint8)
    return np.where(values == clear, np.uint8(255), plane) if isinstance(clear, int) else plane


def _on_white(image: Image) -> Image:
    from PIL import Image

    _note_transparency()
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


@cache
def _note_integers(kind: str, shape: tuple[int, ...]) -> None:
    _log.warning(
        "inputs of %s and shape %s are read as images, in float32: for token ids give one dimension per example",
        kind, shape,
    )  # fmt: skip


@cache
def _note_transparency() -> None:
    _log.warning("some images are partly transparent: they are laid on white")
