"""The parts of docs/results.md about gradients and influence, for tables.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.report.tables import text_table

__all__ = ["attribution", "cost"]

Cell = dict[str, Any]

TARGETS = {"outputs": 0.40, "vog": 0.80, "grand": 1.15, "projected": 1.0, "memory grand": 1.1}
WORDS = {
    "outputs": "outputs (EL2N, margin, last-layer GraNd, embeddings)",
    "vog": "VoG, per checkpoint",
    "grand": "GraNd, all layers",
    "projected": "gradients projected to 256 numbers",
    "vmap": "the same norms by vmap(grad)",
    "one_by_one": "the same norms one example at a time",
    "memory grand": "peak memory of GraNd",
    "memory vmap": "peak memory of vmap(grad)",
}


def cost(cells: list[Cell]) -> str:
    """Ratios to a training step, one column per network."""
    heads = [("what", "in units of one training step", "left")]
    heads += [(c["net"], c["net"], "right") for c in cells] + [("target", "target, at most", "right")]
    rows = [
        {"what": words, "target": TARGETS.get(key, "–")} | {c["net"]: f"{c[f'ratio {key}']:.2f}" for c in cells}
        for key, words in WORDS.items()
    ]
    c = cells[0]
    return (
        "### Per-example gradients\n\n"
        + text_table(rows, heads)
        + f"\n\nBatch {c['batch']}, 32x32 colour images, medians of {c['rounds']} interleaved rounds, {c['device']}, "
        f"{c['threads']} thread(s), {c['cpu']}, torch {c['torch']}, commit {c['commit']}. "
        "Script: `benchmarks/gradient_cost.py`.\n\n"
        "On ResNet-20, GraNd and the projection miss their targets. The VoG row shows what a forward pass and the "
        "gradient of the activations cost alone. GraNd and the projection spend the rest of their time on the layers "
        "of 16 to 64 channels: they copy windows of the convolutions (GraNd those of one row of the kernel, the "
        "projection all of them) and multiply narrow matrices. On this processor, such products reach only a fraction "
        "of the speed of the fused weight gradient that a training step runs. On wide layers, the products "
        "run in the same library as the convolutions, and the time ratio is close "
        "to the ratio of the operations."
    )


def attribution(lds: list[Cell], found: list[Cell]) -> str:
    """LDS and mislabelled examples."""
    names = [name for name, value in lds[0].items() if isinstance(value, dict)]
    rows = [{"what": name} | {c["model"]: _with_interval(c[name]) for c in lds} for name in names]
    rows.append({"what": "what a perfect attribution could reach"} | {c["model"]: f"{c['ceiling']:.2f}" for c in lds})
    heads = [("what", "attribution", "left"), *((c["model"], c["model"], "right") for c in lds)]
    scores = [name for name, value in found[0].items() if isinstance(value, dict)]
    means = {name: {k: float(np.mean([c[name][k] for c in found])) for k in ("auc", "recall")} for name in scores}
    detected = [
        {"what": name, "auc": f"{means[name]['auc']:.3f}", "recall": f"{100 * means[name]['recall']:.0f} %"}
        for name in sorted(scores, key=lambda name: -means[name]["recall"])
    ]
    columns = [("what", "score", "left"), ("auc", "area under ROC", "right"), ("recall", "found", "right")]
    return "\n\n".join([
        "## How good are the attributions?",
        "The table gives the linear datamodelling score on the bundled digits: the rank correlation between what an "
        "attribution predicts for random halves of 400 training examples and what retraining on these halves gives. It "
        "is the mean over 100 queries, with its 95 % interval over queries. Script: `benchmarks/attribution.py`, "
        "commit "
        + str(lds[0]["commit"]) + ".",
        text_table(rows, heads),
        "The parameters are those of the papers or of our documentation, and none was tuned on these figures. "
        "`influence` is exact up to first order for softmax regression. For the MLP it holds the hidden layer fixed. "
        "These models have hundreds to thousands of parameters, so the figures do not tell you the order for a deep "
        "network.",
        f"### Mislabelled examples\n\n{100 * found[0]['flipped']:.0f} % of the labels of the digits are flipped. The "
        f"network is `datadiet:mlp`, trained for {found[0]['epochs']} epochs, and the reference data are clean "
        f"evaluation digits. The numbers are means of {len(found)} draws. \"Found\" is the share of the flipped "
        "examples that is among the 10 % most suspicious ones (the lowest, if a score says how much an example helps).",
        text_table(detected, columns),
        "AUM, the final loss, self-influence and KNN-Shapley (which compares with clean examples) find nearly all of "
        "them. An early gradient norm finds half: in the second epoch, a wrong label does not yet make an example "
        "stand out. VoG ranks the wrong labels as less suspicious than the others here.",
    ])  # fmt: skip


def _with_interval(value: Cell) -> str:
    low, high = value["interval"]
    return f"{value['lds']:.2f} ± {(high - low) / 2:.2f}"
