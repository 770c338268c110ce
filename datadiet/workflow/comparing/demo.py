"""demo: on bundled images, from nothing to an honest comparison and its page."""

from __future__ import annotations

from pathlib import Path

from datadiet.workflow.comparing.compare import compare
from datadiet.workflow.comparing.compared import Compared
from datadiet.workflow.reporting.report import make_report

__all__ = ["COMMANDS", "commands_text", "demo"]

MODEL, EPOCHS, SEEDS = "datadiet:mlp", 20, 5
METHODS, KEEPS = ("ccs", "el2n+top_k:prefer=hardest"), ("10%", "30%", "50%")
RECIPE = {"batch_size": 64}

COMMANDS = (
    (
        "Score every image, with a tenth held out",
        "datadiet score imagefolder:photos --model datadiet:cnn --scorer aum,el2n --eval 10% --out runs/photos",
    ),
    ("Keep 30 % of them", "datadiet select runs/photos --method ccs --keep 30% --out kept.parquet"),
    (
        "See what is kept, and which labels may be wrong",
        "datadiet report kept.parquet --scores runs/photos --data imagefolder:photos",
    ),
    (
        "Train on the kept ones for as many steps as on all",
        "datadiet train imagefolder:photos --model datadiet:cnn --selection kept.parquet --eval 10% \\\n"
        "    --epochs 10 --match full-steps --out runs/kept",
    ),
)
"""What each command does, and the command: the demo on images of one's own, one folder per class."""


def demo(out: str | Path = "datadiet-demo", *, seed: int = 0) -> Compared:
    """Compare ways of choosing digits, and write a page about it.

    Args:
        out: folder for the comparison (see `compare`), and `index.html`, its report.
        seed: the first of the training seeds.

    Returns:
        The comparison.
    """
    out = Path(out)
    found = compare(
        "digits", MODEL, METHODS, keep=KEEPS, epochs=EPOCHS, seeds=SEEDS, seed=seed, budget="both",
        recipe=RECIPE, out=out,
    )  # fmt: skip
    make_report(out, data="digits").write(out / "index.html")
    return found


def commands_text() -> str:
    """The commands, for a terminal."""
    lines = [
        line for about, command in COMMANDS for line in (f"  # {about}", *(f"  {x}" for x in command.splitlines()))
    ]
    return "\n".join(["On your own images (one folder per class):", "", *lines])
