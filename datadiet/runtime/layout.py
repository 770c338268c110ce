"""Where everything is in a run folder, and how parts are named. No other file knows a path inside a run.

```
RUN/ manifest.json  run.json  log.jsonl  scores.parquet
     signals/<pass>/seed-S/epoch-E/part-LO-HI.parquet      columns
     embeddings/<pass>/seed-S/epoch-E/part-LO-HI.npy       vectors, with plan.json beside them
     embeddings/reference-<hash>.npy                       labels of reference data
     checkpoints/seed-S/epoch-E.safetensors
     state/                                                what resuming needs; removed when no longer needed
     cells/<name>  selections/  grid.json  grid.svg        of a grid of trainings; each cell is a run
```
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadiet.errors import OptionError

__all__ = [
    "Layout",
    "PartKey",
    "against_in",
    "checkpoint_place",
    "describe_pass",
    "options_in",
    "part_name",
    "part_span",
    "parts_in",
    "plan_beside",
    "reference_in",
    "vectors_name",
]

PartKey = tuple[str, int, int]  # pass, seed, epoch

_PART = r"part-(\d+)-(\d+)"
_REFERENCE = "[0-9a-f]{12}"
_AGAINST = "against-"


@dataclass(frozen=True)
class Layout:
    """The paths of one run."""

    path: Path

    @property
    def manifest(self) -> Path:
        """The plan, and what is known about the run."""
        return self.path / "manifest.json"

    @property
    def log(self) -> Path:
        """Times, hosts and costs."""
        return self.path / "run.json"

    @property
    def history(self) -> Path:
        """One line per epoch of training."""
        return self.path / "log.jsonl"

    @property
    def scores(self) -> Path:
        """The score table."""
        return self.path / "scores.parquet"

    @property
    def is_run(self) -> bool:
        """Whether the folder holds a run."""
        return os.path.exists(self.manifest)  # also False for a name that is too long

    def columns(self, name: str, seed: int, epoch: int, lo: int, hi: int) -> Path:
        """The signals of one range of rows."""
        return self.path / "signals" / name / f"seed-{seed}" / f"epoch-{epoch}" / f"part-{lo}-{hi}.parquet"

    def vectors(self, name: str, seed: int, epoch: int, lo: int, hi: int) -> Path:
        """The vectors of one range of rows."""
        return self.path / "embeddings" / name / f"seed-{seed}" / f"epoch-{epoch}" / f"part-{lo}-{hi}.npy"

    def reference_labels(self, reference: str) -> Path:
        """The labels of the reference data with this hash."""
        return self.path / "embeddings" / f"reference-{reference[:12]}.npy"

    def checkpoint(self, seed: int, epoch: int) -> Path:
        """The weights after an epoch."""
        return self.path / "checkpoints" / f"seed-{seed}" / f"epoch-{epoch}.safetensors"

    def state(self, seed: int) -> Path:
        """What unfinished training resumes from."""
        return self.path / "state" / f"seed-{seed}.safetensors"

    def evaluation(self, seed: int) -> Path:
        """What the trained network says of each held-out example."""
        return self.path / "evaluation" / f"seed-{seed}.parquet"

    @property
    def cells(self) -> Path:
        """The folder of the cells of a grid or a comparison, each of which is a run."""
        return self.path / "cells"

    def selection(self, name: str) -> Path:
        """What some cells train on."""
        return self.path / "selections" / f"{name}.parquet"

    @property
    def scored(self) -> Path:
        """The run of a comparison that records all seeds."""
        return self.path / "scored"

    @property
    def trainings(self) -> Path:
        """The run of a comparison that holds its cells."""
        return self.path / "trainings"

    def rung(self, number: int) -> Path:
        """The folder of a rung of the screening of a comparison, from 1, which holds runs as a comparison does."""
        return self.path / "screening" / f"rung-{number}"

    @property
    def comparison(self) -> Path:
        """The tables of a comparison."""
        return self.path / "comparison.json"

    @property
    def grid(self) -> Path:
        """The table of a grid."""
        return self.path / "grid.json"

    @property
    def grid_figure(self) -> Path:
        """The figure of a grid."""
        return self.path / "grid.svg"

    def prepared(self, name: str, seed: int, epoch: int) -> Path:
        """What a pass has prepared on the whole data, kept until the run is complete."""
        return self.path / "state" / "prepared" / name / f"seed-{seed}" / f"epoch-{epoch}.safetensors"

    def relative(self, path: Path) -> str:
        """A path inside the run, as text that is the same on every machine."""
        return path.relative_to(self.path).as_posix()

    def parts(self) -> dict[PartKey, list[Path]]:
        """All part files, by pass, seed and epoch, in the order of their rows."""
        files = [*self.path.glob("signals/*/*/*/part-*.parquet"), *self.path.glob("embeddings/*/*/*/part-*.npy")]
        out: dict[PartKey, list[Path]] = {}
        for path in sorted(files, key=part_span):
            name, seed, epoch = path.parts[-4:-1]
            out.setdefault((name, int(seed[5:]), int(epoch[6:])), []).append(path)
        return out

    def vector_folders(self) -> list[Path]:
        """The folders of features, by ascending seed and then by descending epoch."""
        found = {path.parent for path in self.path.glob("embeddings/features/seed-*/epoch-*/part-*.npy")}
        return sorted(found, key=lambda folder: (int(folder.parent.name[5:]), -int(folder.name[6:])))

    def checkpoints(self) -> list[tuple[int, int, Path]]:
        """(seed, epoch, file) of all checkpoints, ascending."""
        files = self.path.glob("checkpoints/seed-*/epoch-*.safetensors")
        return sorted((int(path.parent.name[5:]), int(path.stem[6:]), path) for path in files)

    def unfinished(self) -> list[str]:
        """The files from which something can be resumed."""
        return sorted(self.relative(path) for path in (self.path / "state").rglob("*") if path.is_file())

    @classmethod
    def of_checkpoint(cls, path: Path) -> Layout | None:
        """The run that a checkpoint is in; None if it is in none."""
        folders = path.resolve().parents
        inside = len(folders) > 2 and folders[1].name == "checkpoints"
        return cls(folders[2]) if inside and cls(folders[2]).is_run else None

    @classmethod
    def around(cls, path: Path) -> Layout | None:
        """The run that a folder is, or is in; None if there is none."""
        folders = (path, *path.resolve().parents[:4])
        return next((layout for layout in map(cls, folders) if layout.is_run), None)


def checkpoint_place(path: Path) -> tuple[int, int] | None:
    """The seed and epoch that a checkpoint is named after; None if its name has another form."""
    found = re.fullmatch(r"seed-(\d+)/epoch-(\d+)", f"{path.parent.name}/{path.stem}")
    return None if found is None else (int(found[1]), int(found[2]))


def vectors_name(folder: Path) -> str:
    """What to call the vectors in a folder; within a run "features/seed-0/epoch-10"."""
    parts = folder.resolve().parts
    return "/".join(parts[-3:]) if parts[-4:-3] == ("embeddings",) else folder.resolve().name


def parts_in(folder: Path) -> list[Path]:
    """The parts of vectors in a folder, in the order of their rows."""
    return sorted(folder.glob("part-*.npy"), key=part_span)


def plan_beside(part: Path) -> Path:
    """The file that says which plan the vectors in a folder belong to."""
    return part.with_name("plan.json")


def part_span(path: Path) -> tuple[int, int]:
    """The range of rows that a part is named after.

    Raises:
        OptionError: its name has another form.
    """
    found = re.fullmatch(_PART, path.stem)
    if found is None:
        raise OptionError(f"{path} is not named part-LO-HI: give vectors as one .npy file, or rename the parts.")
    return int(found[1]), int(found[2])


def part_name(
    name: str,
    epochs: Sequence[int] = (),
    reference: str = "",
    options: Mapping[str, Any] | None = None,
    against: str = "",
) -> str:
    """The name under which the parts of a pass are stored: what determines their content besides seed and epoch.

    Args:
        name: of the pass.
        epochs: those seen together, without a gap.
        reference: hash of the reference data, if the pass depends on it or runs over it.
        options: those that differ from the defaults.
        against: hash of the network that the pass sees beside that of the run, if any.

    >>> part_name("eval"), part_name("vog", [1, 2, 3]), part_name("grad", options={"per_layer": True})
    ('eval', 'vog@1-3', 'grad@per_layer=True')
    """
    words = [f"{epochs[0]}-{epochs[-1]}"] if epochs else []
    words += [reference[:12]] if reference else []
    words += [f"{_AGAINST}{against[:12]}"] if against else []
    words += [f"{key}={value}" for key, value in sorted((options or {}).items())]
    return "@".join([name, *words])


def options_in(name: str) -> dict[str, int]:
    """The options in the name of parts that are whole numbers.

    >>> options_in("logits@top=10@views=4")
    {'top': 10, 'views': 4}
    """
    found = re.findall(r"@(\w+)=(\d+)", name)
    return {key: int(value) for key, value in found}


def reference_in(name: str) -> str:
    """The hash in the name of parts that depend on reference data; empty for others."""
    return next((word for word in name.split("@")[1:] if re.fullmatch(_REFERENCE, word)), "")


def against_in(name: str) -> str:
    """The hash in the name of parts for which a second network was seen; empty for others.

    >>> against_in("divergence@against-0123456789ab"), against_in("eval")
    ('0123456789ab', '')
    """
    found = (word for word in name.split("@")[1:] if word.startswith(_AGAINST))
    return next(found, "").removeprefix(_AGAINST)


def describe_pass(name: str) -> str:
    """What measured the parts stored under a name, for messages.

    >>> describe_pass("eval"), describe_pass("vog@1-3"), describe_pass("projected@0123456789ab@dim=64")
    ('eval mode', 'the pass vog over the epochs 1-3', 'the pass projected with dim=64, for this reference data')
    """
    pass_name, *words = name.split("@")
    if pass_name in ("train", "eval"):
        return f"{pass_name} mode"
    options = " and ".join(word.replace("True", "true") for word in words if "=" in word)
    over = "".join(f" over the epochs {word}" for word in words if re.fullmatch(r"\d+-\d+", word))
    reference = ", for this reference data" if reference_in(name) else ""
    against = ", against this network" if against_in(name) else ""
    return f"the pass {pass_name}{over}{f' with {options}' if options else ''}{reference}{against}"
