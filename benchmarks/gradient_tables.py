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
        "On ResNet-20 GraNd and the projection miss their targets. The row of VoG is what a forward pass and the "
        "gradient of the activations cost alone; the rest is for its layers of 16 to 64 channels: copying the windows "
        "of the convolutions, and products of narrow matrices, which on this processor reach a fraction of the speed "
        "of the fused weight gradient that a training step runs. On wide layers the products run in the same "
        "library as the convolutions, and the ratio is near that of the operations."
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
        "Linear datamodelling score on the bundled digits: rank correlation between what an attribution predicts for "
        "random halves of 400 training examples and what retraining on them gives, mean over 100 queries, with its "
        "95 % interval over queries. Script: `benchmarks/attribution.py`, commit " + str(lds[0]["commit"]) + ".",
        text_table(rows, heads),
        "The parameters are those of the papers or of our documentation, none tuned on these figures. `influence` is "
        "exact for softmax regression up to first order, and for the MLP it holds the hidden layer fixed. These are "
        "models of hundreds to thousands of parameters: nothing here says how the order looks for a deep network.",
        f"### Mislabelled examples\n\n{100 * found[0]['flipped']:.0f} % of the labels of the digits flipped, "
        f"`datadiet:mlp`, {found[0]['epochs']} epochs, clean evaluation digits as reference; means of {len(found)} "
        "draws. Found: share of the flipped examples among the 10 % most suspicious (for values of how much an example "
        "helps, the lowest).",
        text_table(detected, columns),
        "AUM, the final loss, self-influence and KNN-Shapley (which compares with clean examples) find nearly all. An "
        "early gradient norm finds half: in the second epoch a wrong label is not yet what is special in an example. "
        "VoG points away from them here.",
    ])  # fmt: skip


def _with_interval(value: Cell) -> str:
    low, high = value["interval"]
    return f"{value['lds']:.2f} ± {(high - low) / 2:.2f}"
