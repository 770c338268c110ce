"""HTML and SVG elements in which all text is escaped by construction.

A string is escaped unless it is already `Markup`, which only this package makes, so text from a data set can reach a
page only as text.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

__all__ = ["clean", "number", "tag"]

# Characters that XML 1.0 cannot hold even when escaped; lone surrogates cannot be written as UTF-8 either.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """The text with every character that XML cannot hold replaced by U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def number(value: float) -> str:
    """A coordinate, to a hundredth of a pixel.

    >>> number(12.5), number(3.0), number(-0.001)
    ('12.5', '3', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def tag(name: str, /, *children: str, **attributes: object) -> Markup:
    """One element with its attributes and children.

    Args:
        name: The element's name.
        children: Text, which is escaped, or Markup, which is not. Without children the element is self-closing.
        attributes: A trailing underscore is dropped (`class_`), other underscores become hyphens; numbers are
            coordinates, and None leaves the attribute out.

    >>> print(tag("text", "a < b", x=1.5, text_anchor="end"))
    <text x="1.5" text-anchor="end">a &lt; b</text>
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is not None:
            shown = number(value) if isinstance(value, (int, float)) else clean(str(value))
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(shown)}"')
    if not children:
        return Markup("".join(parts) + "/>")
    inner = "".join(child if isinstance(child, Markup) else str(escape(clean(child))) for child in children)
    return Markup(f"{''.join(parts)}>{inner}</{name}>")
