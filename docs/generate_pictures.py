"""Draw docs/figures/methods: which of a set of points each method keeps, or how hard each score finds them.

With --check, fail if a picture is stale. With --record, first train on the points again and write toy.json: the points
and their scores. Pictures are drawn from this file, so that they are the same wherever they are drawn.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

import datadiet as dd
from datadiet.randomness import generator
from datadiet.report.canvas import document
from datadiet.report.markup import number, tag

FOLDER = Path(__file__).parent / "figures" / "methods"
TOY = FOLDER / "toy.json"
BY_SCORES: dict[str, dict[str, Any]] = {
    "band": {"score": "el2n", "skip": 0.1},
    "beta": {},
    "ccs": {},
    "class_quota": {},
    "d2": {"score": "el2n"},
    "paser": {"score": "divergence"},
    "random": {},
    "top_k": {"score": "el2n", "prefer": "hardest"},
}
BY_VECTORS = ("craig", "d4", "dbp", "facility_location", "graph_cut", "herding", "k_center")
BY_VECTORS += ("prototypes_topk", "semdedup", "sensitivity")
INFLUENCE = ("datainf", "grad_cos", "grad_dot", "influence", "knn_shapley", "trak")
SCORERS = ("aum", "cartography", "density", "divergence", "dual", "dyn_unc", "ekfac_self_influence", "el2n", "entropy")
SCORERS += ("forgetting", "grand", "grand_last", "least_confidence", "loss", "margin", "moderate", "prototypes")
SCORERS += ("self_influence", "supervised_prototypes", "tdds", "vog", "zcore", *INFLUENCE)
COLUMN = {"cartography": "cartography.variability"}
PALE, LEVELS = 0.25, (0.18, 0.35, 0.55, 0.76, 1.0)
WIDTH, TOP, EDGE, LEGEND = 480.0, 30.0, 12.0, 30.0


class Toy(NamedTuple):
    """The points (n, 2), their labels (n,), their scores, the recall of each class, and test points (m, 2)."""

    points: np.ndarray
    labels: np.ndarray
    scores: dd.Scores
    recall: list[float]
    test: np.ndarray


def read_toy() -> Toy:
    """The recorded points."""
    found = json.loads(TOY.read_text(encoding="utf-8"))
    points, labels, test = (np.array(found[name]) for name in ("points", "labels", "test"))
    columns = {name: np.array(column["values"], dtype=np.float32) for name, column in found["scores"].items()}
    higher_is = {name: column["higher_is"] for name, column in found["scores"].items()}
    table = {"place": np.arange(len(labels)), "class": labels, **columns}
    scores = dd.Scores.from_table(table, higher_is=higher_is, index="place", label="class")
    return Toy(points, labels, scores, found["recall"], test)


def vectors(points: np.ndarray) -> np.ndarray:
    """Points as vectors. Their plane touches a sphere, so that cosines are high where distances are small."""
    return np.column_stack([points, np.full(len(points), 4.0)]).astype(np.float32)


def pictures() -> Iterator[tuple[str, str]]:
    """The name and the text of every picture."""
    toy = read_toy()
    also = {"d2": {"embeddings": vectors(toy.points)}, "class_quota": {"recall": toy.recall}}
    also["paser"] = also["d2"]
    for name, options in BY_SCORES.items():
        yield name, selected(toy, name, dd.select(toy.scores, name, keep=0.3, **options, **also.get(name, {})))
    yield "by_class", selected(toy, "ccs by class", dd.select(toy.scores, "ccs", keep=0.3, by_class=True))
    for name in BY_VECTORS:
        yield name, selected(toy, name, dd.select(vectors(toy.points), name, keep=0.3))
    clean = dd.select(vectors(toy.points), "decontaminate", reference=vectors(toy.test), epsilon=0.0002)
    yield "decontaminate", selected(toy, "decontaminate", clean, toy.test)
    for name in SCORERS:
        yield name, scored(toy, name, toy.scores.hardness(COLUMN.get(name, name)))


def selected(toy: Toy, name: str, kept: dd.Selection, test: np.ndarray | None = None) -> str:
    """Kept points solid, larger where they weigh more, and the others pale; test points as rings."""
    size = np.ones(len(toy.labels))
    size[kept.indices] = np.sqrt(np.clip(kept.weights, 0.25, 6.0))
    parts = [
        marks(toy, shown & (toy.labels == label), f"var(--dd-{label})", opacity, size)
        for shown, opacity in ((~kept.keep, PALE), (kept.keep, 1.0))
        for label in range(3)
    ]
    if test is not None:
        rings = "".join(f"M{number(x - 6)} {number(y)}a6 6 0 1 0 12 0a6 6 0 1 0-12 0" for x, y in placed(toy, test))
        parts.append(tag("path", d=rings, fill="none", stroke="currentColor", stroke_width=1.3))
    title = f"{name} keeps {len(kept)} of {len(toy.labels)} points"
    return drawing(toy, title, parts, [("kept", 1.0), ("left out", PALE)])


def scored(toy: Toy, name: str, hardness: np.ndarray) -> str:
    """Every point in the stronger a colour, the more points have a lower score."""
    below = np.searchsorted(np.sort(hardness), hardness) / len(hardness)
    level = (below * len(LEVELS)).astype(int)
    size = np.ones(len(hardness))
    parts = [marks(toy, level == at, "var(--dd-0)", opacity, size) for at, opacity in enumerate(LEVELS)]
    low, high, more = ("hurts", "helps", "more it helps") if name in INFLUENCE else ("easy", "hard", "harder")
    words = [low, "", "", "", high]
    return drawing(toy, f"{name}: the stronger the colour, the {more}", parts, list(zip(words, LEVELS, strict=True)))


def placed(toy: Toy, points: np.ndarray) -> np.ndarray:
    """Where points are in the drawing, to a tenth of a pixel."""
    low, high = toy.points.min(axis=0), toy.points.max(axis=0)
    scale = (WIDTH - 2 * EDGE) / (high[0] - low[0])
    x, y = EDGE + (points[:, 0] - low[0]) * scale, TOP + EDGE + (high[1] - points[:, 1]) * scale
    return np.round(np.column_stack([x, y]), 1)


def marks(toy: Toy, rows: np.ndarray, colour: str, opacity: float, size: np.ndarray) -> Markup:
    """Points of one look as one path: the first class is circles, the second squares, the third triangles."""
    d = []
    for (x, y), label, factor in zip(placed(toy, toy.points)[rows], toy.labels[rows], size[rows], strict=True):
        r = 3.6 * factor
        one, two = number(r), number(2 * r)
        if label == 0:
            d.append(f"M{number(x - r)} {number(y)}a{one} {one} 0 1 0 {two} 0a{one} {one} 0 1 0-{two} 0")
        elif label == 1:
            d.append(
                f"M{number(x - 0.9 * r)} {number(y - 0.9 * r)}h{number(1.8 * r)}v{number(1.8 * r)}h-{number(1.8 * r)}z"
            )
        else:
            d.append(f"M{number(x)} {number(y - 1.2 * r)}l{number(1.2 * r)} {two}h-{number(2.4 * r)}z")
    return tag("path", d="".join(d), fill=colour, opacity=opacity)


def drawing(toy: Toy, title: str, parts: Iterable[Markup], words: list[tuple[str, float]]) -> str:
    """The picture: a title, the points in a frame, and below them what solid and pale marks mean."""
    bottom = placed(toy, toy.points)[:, 1].max() + EDGE
    frame = tag("rect", class_="dd-grid", x=0.5, y=TOP, width=WIDTH - 1, height=bottom - TOP, rx=4)
    legend, x = [], 6.0
    for word, opacity in words:
        legend.append(tag("circle", cx=x, cy=bottom + 18, r=4, fill="var(--dd-0)", opacity=opacity))
        legend.append(tag("text", word, class_="dd-soft", x=x + 9, y=bottom + 22) if word else Markup(""))
        x += 14.0 + (12.0 + 7.0 * len(word) if word else 0.0)
    return str(document(title, bottom + LEGEND, [frame, *parts, *legend], WIDTH)) + "\n"


def record() -> None:
    """Draw the points, train networks on them, and write toy.json."""
    points, labels, test = draw_points()
    others = draw_class_points("reference")
    settings = {"epochs": 20, "recipe": {"batch_size": 32, "lr": 0.05}, "eval": others}
    names = [name for name in SCORERS if name != "divergence"]
    with tempfile.TemporaryDirectory() as folder:
        dense, pruned = f"{folder}/dense", f"{folder}/pruned"
        scores = dd.score((points, labels), "datadiet:mlp", names, seeds=3, reference=others, out=dense, **settings)
        sparse = {**settings, "epochs": 1, "sparsify": "global_magnitude:0.9", "start": dense}
        dd.train((points, labels), "datadiet:mlp", out=pruned, **sparse)
        hurt = dd.score((points, labels), "datadiet:mlp", "divergence", checkpoints=dense, against=pruned)
        seen = dd.train((points, labels), "datadiet:mlp", seed=0, **settings).evaluation
    shown = [*(COLUMN.get(name, name) for name in names), "dual.p_mean"]
    columns = {name: column(scores, name) for name in shown} | {"divergence": column(hurt, "divergence")}
    found = {"points": rounded(points), "labels": labels.tolist(), "test": rounded(test), "scores": columns}
    found["recall"] = rounded(np.array(seen.class_recall))
    TOY.parent.mkdir(parents=True, exist_ok=True)
    TOY.write_text(json.dumps(found).replace("}, ", "},\n") + "\n", encoding="utf-8")


def column(scores: dd.Scores, name: str) -> dict[str, Any]:
    """A score with its direction, to four digits."""
    harder = np.array_equal(scores.hardness(name), scores[name])
    return {"higher_is": "harder" if harder else "easier", "values": [float(f"{v:.4g}") for v in scores[name]]}


def rounded(values: np.ndarray) -> Any:
    """Numbers to three decimals."""
    return np.round(values.astype(np.float64), 3).tolist()


def draw_class_points(stream: str) -> tuple[np.ndarray, np.ndarray]:
    """150, 120 and 90 points of three classes that overlap."""
    rng = generator(0, "toy", stream)
    labels = np.repeat(np.arange(3), (150, 120, 90))
    centres = np.array([[-1.5, 0.5], [1.4, 0.9], [0.3, -1.5]])[labels]
    spread = np.array([[0.75, 0.7], [0.7, 0.6], [0.8, 0.55]])[labels]
    return (centres + spread * rng.normal(size=centres.shape)).astype(np.float32), labels


def draw_points() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The training points, with a dense cluster, near copies and wrong labels; and test points, ten of them leaked."""
    points, labels = draw_class_points("train")
    rng = generator(0, "toy", "flaws")
    points[:30] = [-2.7, 1.9] + 0.13 * rng.normal(size=(30, 2))
    for first in range(150, 174, 6):
        points[first + 1 : first + 6] = points[first] + 0.03 * rng.normal(size=(5, 2))
    wrong = rng.choice(len(labels), 14, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 3, 14)) % 3
    leaked = points[rng.choice(len(points), 10, replace=False)] + 0.03 * rng.normal(size=(10, 2))
    return points, labels, np.concatenate([leaked, draw_class_points("test")[0][::36]])


def main() -> None:
    """Write the pictures, or compare them with those that are there."""
    if "--record" in sys.argv:
        record()
    for name, text in pictures():
        path = FOLDER / f"{name}.svg"
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is stale: run python docs/generate_pictures.py")


if __name__ == "__main__":
    main()
