"""What a data spec opens: examples with ids, labels and an identity.

Modules that need torch load on first use, so that checking an identity needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.data.export import EXPORT_FORMS, files_read, write_examples
from datadiet.data.identity import check_identity, hash_ids, hash_labels, identity_of
from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.data.augment import Augment, apply, parse_augment
    from datadiet.data.feed import Feed, Normalisation, measure_normalisation, resolve_augment
    from datadiet.data.indexed import Indexed
    from datadiet.data.scheme import resolve_spec
    from datadiet.data.source import Source
    from datadiet.data.specs import open_data

__all__ = [
    "EXPORT_FORMS", "Augment", "Feed", "Indexed", "Normalisation", "Source", "apply", "check_identity",
    "files_read", "hash_ids", "hash_labels", "identity_of", "measure_normalisation", "open_data", "parse_augment",
    "resolve_augment", "resolve_spec", "write_examples",
]  # fmt: skip

__getattr__ = lazy(
    __name__,
    {
        "augment": ("Augment", "apply", "parse_augment"),
        "feed": ("Feed", "Normalisation", "measure_normalisation", "resolve_augment"),
        "indexed": ("Indexed",),
        "scheme": ("resolve_spec",),
        "source": ("Source",),
        "specs": ("open_data",),
    },
)
