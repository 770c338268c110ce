"""Examples with captions, in named grids, as HTML: pictures, which it embeds, and excerpts of texts or rows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from datadiet.errors import OptionError
from datadiet.report.markup import tag

__all__ = ["Excerpt", "Picture", "grid", "thumbnail"]

Image: TypeAlias = NDArray[np.uint8]
SMALLEST, LARGEST = 96, 192


@dataclass(frozen=True)
class Picture:
    """A picture and what is said about it.

    Attributes:
        array: as in `thumbnail`.
        alt: what it shows, for readers who cannot see it.
        caption: one or more lines.
        stands_out: the line of the caption to emphasise, if any.
    """

    array: Image
    alt: str
    caption: Sequence[str]
    stands_out: int | None = None


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a text, or some fields of a row, and what is said about it.

    Attributes:
        text: as it is shown; lines stay lines.
        caption, stands_out: as in `Picture`.
    """

    text: str
    caption: Sequence[str]
    stands_out: int | None = None


def thumbnail(array: Image) -> str:
    """The picture as a PNG data URI.

    A small picture is enlarged by a whole factor until its longer side has at least 96 pixels; each pixel becomes a
    square, so you see what the model sees. A large picture is averaged down to at most 192 pixels.

    Args:
        array: uint8 (C, H, W) with one or three channels, or (H, W).

    Returns:
        `data:image/png;base64,…`.

    Raises:
        OptionError: The array is not a picture of this kind.
    """
    return _data_uri(_fit(_channels_last(array)))


def grid(groups: Sequence[tuple[str, str, Sequence[Picture | Excerpt]]]) -> Markup:
    """Named groups of examples, each example with its caption.

    Args:
        groups: (name, what the group is, examples) in order. An empty group shows "none".

    Returns:
        HTML with all text escaped and no external references.

    Raises:
        OptionError: An array is not a picture.
    """
    parts = []
    for name, about, examples in groups:
        shown = [_figure(example) for example in examples] or [tag("p", "none", class_="empty")]
        wide = " excerpts" if any(isinstance(example, Excerpt) for example in examples) else ""
        heading = tag("h3", name, " ", tag("small", about))
        parts.append(heading + tag("div", Markup("\n").join(shown), class_=f"grid{wide}"))
    return Markup("\n").join(parts)


def _figure(example: Picture | Excerpt) -> Markup:
    shown = _image(example) if isinstance(example, Picture) else tag("blockquote", example.text)
    lines = [
        tag("strong" if place == example.stands_out else "span", line) for place, line in enumerate(example.caption)
    ]
    return tag("figure", shown, tag("figcaption", Markup(" ").join(lines)))


def _image(picture: Picture) -> Markup:
    pixels = _fit(_channels_last(picture.array))
    height, width = pixels.shape[:2]
    enlarged = "pixels" if pixels.shape[1] > picture.array.shape[-1] else None
    return tag("img", src=_data_uri(pixels), width=width, height=height, alt=picture.alt, class_=enlarged)


def _channels_last(array: Image) -> Image:
    """(H, W) for grey, (H, W, 3) for colour: the layout for writing a PNG."""
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    elif array.ndim != 2:
        raise OptionError(
            f"a picture has shape {array.shape}: give (H, W), (1, H, W) or (3, H, W), selecting channels if needed."
        )
    if array.dtype != np.uint8 or not array.size:
        raise OptionError(f"a picture is {array.dtype} of shape {array.shape}: give uint8 pixels, scaled to 0..255.")
    return array


def _fit(pixels: Image) -> Image:
    """Bring the longer side to between 96 and 192 pixels."""
    longer = max(pixels.shape[:2])
    if longer < SMALLEST:
        times = -(-SMALLEST // longer)
        return pixels.repeat(times, axis=0).repeat(times, axis=1)
    if longer <= LARGEST:
        return pixels
    from PIL import Image as pillow

    height, width = (max(1, round(side * LARGEST / longer)) for side in pixels.shape[:2])
    return np.asarray(pillow.fromarray(pixels).resize((width, height), pillow.Resampling.BOX))


def _data_uri(pixels: NDArray[Any]) -> str:
    from PIL import Image as pillow

    buffer = io.BytesIO()
    pillow.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
