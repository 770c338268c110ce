"""Docstrings end with a doctest that has no heading; the API reference shows it as the section Examples."""

from __future__ import annotations

import re
from typing import Any

import griffe


class DoctestSections(griffe.Extension):
    """Puts a doctest at the end of a docstring under the heading that docstrings in Google's style have for it."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Called by griffe for each object that it has read."""
        if obj.docstring is not None:
            text, start, doctest = obj.docstring.value.partition("\n>>> ")
            if start:
                examples = re.sub("^(?=.)", "    ", ">>> " + doctest, flags=re.MULTILINE)
                obj.docstring.value = f"{text.rstrip()}\n\nExamples:\n{examples}"
