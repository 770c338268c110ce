"""Files: opening and writing them safely, and the artefacts that are made of them. No torch."""

from __future__ import annotations

from datadiet.files.artefacts import (
    array_digest,
    canonical,
    digest,
    hash_ids,
    parquet_identity,
    plain,
    read_json,
    read_parquet,
    sidecar,
    write_json,
    write_parquet,
)

__all__ = [
    "array_digest",
    "canonical",
    "digest",
    "hash_ids",
    "parquet_identity",
    "plain",
    "read_json",
    "read_parquet",
    "sidecar",
    "write_json",
    "write_parquet",
]
