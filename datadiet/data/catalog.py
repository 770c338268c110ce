"""The names of data schemes and export forms, for listing them without torch."""

from __future__ import annotations

__all__ = ["EXPORT_FORMS", "SCHEMES"]

SCHEMES = {
    "digits": "1,797 images of 8x8 handwritten digits, bundled, with a fixed train/eval split",
    "parquet:GLOB": "Parquet files; images as encoded bytes, Hugging Face image structs or arrays",
    "jsonl:GLOB": "JSON lines, also .gz",
    "csv:GLOB": "comma-separated values, also .gz; image paths or numeric columns",
    "npz:FILE": "numpy arrays",
    "imagefolder:DIR": "one folder per class",
    "hf:NAME": "a Hugging Face data set: a saved folder, or a name on the hub",
    "torchvision:CLASS": "a torchvision data set (extra: vision)",
    "py:MODULE:ATTR": "your own map-style data set, or a function that returns one",
}

EXPORT_FORMS = {
    "parquet": "one Parquet file with the columns of the source",
    "jsonl": "one JSON object a line",
    "imagefolder": "one folder per class, image files unchanged",
    "hf": "a folder for datasets.load_from_disk",
    "indices": "positions, .npy or one a line",
}
