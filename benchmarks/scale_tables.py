"""The tables of docs/results.md about Ray and about data larger than memory."""

from __future__ import annotations

from cells import Cell, load

from datadiet.report.tables import text_table

__all__ = ["sections"]


def sections() -> list[str]:
    """One per benchmark that has been run."""
    out = []
    cost, model = load("speed/ray_cost.json"), load("speed/ray_simulated.json")
    if cost and model:
        out.append(ray(cost[0], model[0]))
    folder = load("speed/large_folder.json")
    if folder:
        out.append(large_folder(folder[0]))
    return out


def ray(c: Cell, model: Cell) -> str:
    """What Ray adds, what a second worker gains, and where the model stops scaling."""
    seconds = c["seconds"]
    rows = [
        {"": "in this process", "s": f"{seconds['local']:.1f}", "ratio": "1"},
        {"": "one worker of Ray", "s": f"{seconds['one']:.1f}", "ratio": f"{c['overhead']:.2f}"},
        {"": "two workers of Ray", "s": f"{seconds['two']:.1f}", "ratio": f"{seconds['two'] / seconds['local']:.2f}"},
    ]  # fmt: skip
    kinds = ("passes", "passes_100_times_faster", "with_trainings")
    scaling = [
        {"workers": count} | {kind: f"{model[kind]['efficiency'][count]:.2f}" for kind in kinds}
        for count in model["passes"]["efficiency"]
    ]
    names = ["passes over checkpoints", "the same, 100 times faster", "with trainings before them"]
    return "\n\n".join([
        "## Ray",
        f"Two trainings of a ResNet-8 on {c['n']:,} made-up images and two passes, {c['epochs']} epochs, one thread "
        f"each, medians of {c['rounds']} interleaved runs without the start of Ray and its workers, which takes "
        f"{c['start_seconds']:.0f} s. Target: one worker costs at most 5 % more than this process. {c['cores']} cores "
        f"of an {c['cpu']}, commit {c['commit']}. Script: `benchmarks/ray_cost.py`.",
        text_table(rows, [("", "done", "left"), ("s", "seconds", "right"), ("ratio", "time / this process", "right")]),
        f"Two workers reach {100 * c['efficiency_of_two']:.0f} % of twice the speed of one.",
        f"A discrete-event model of the same queue says how this goes on: {model['rows']:,} examples, "
        f"{model['seeds']} seeds, two passes in {model['parts']} parts each, the seconds per example measured above, "
        f"and {1e3 * c['driver_seconds_per_unit']:.1f} ms of the driver per unit. The table shows the efficiency: the "
        "speed-up divided by the number of workers.",
        text_table(
            scaling, [("workers", "workers", "right"), *((k, n, "right") for k, n in zip(kinds, names, strict=True))]
        ),
        f"The next limit is the driver: {c['driver_seconds_per_unit'] * 1e3:.1f} ms for each of "
        f"{2 * model['seeds'] * model['parts']:,} units are "
        f"{2 * model['seeds'] * model['parts'] * c['driver_seconds_per_unit']:.0f} s, however many workers there are. "
        "Trainings are not split, so with ten seeds no more than ten workers have something to do until there are "
        "checkpoints.",
    ])  # fmt: skip


def large_folder(c: Cell) -> str:
    """A folder of images through score and embed."""
    rows = []
    for name in ("all", "crowded"):
        for title in ("bare", "score", "embed"):
            found = c[name][title]
            rows.append({
                "loaders": c[name]["loader_processes"], "": title, "rate": f"{found['per_second']:.0f}",
                "ratio": f"{found['to_bare']:.2f}",
                "few": f"{c['few'][title]['bytes'] / 1e6:.0f}" if name == "all" else "",
                "all": f"{found['bytes'] / 1e6:.0f}", "imagenet": f"{found['imagenet_minutes']:.0f}",
            })  # fmt: skip
    heads = [
        ("loaders", "loader processes", "right"), ("", "work", "left"), ("rate", "images / s", "right"),
        ("ratio", "rate / bare", "right"), ("few", "MB, 20,000 images", "right"), ("all", "MB, all", "right"),
        ("imagenet", "minutes for 1.28 million", "right"),
    ]  # fmt: skip
    return "\n\n".join([
        "## A folder of 200,000 images",
        f"{c['n']:,} made-up JPEGs of {c['side']} x {c['side']} pixels, a network of one small layer, batches of "
        f"{c['batch']}, {c['cores']} cores. Bare is a DataLoader that only decodes. Memory includes the loader "
        f"processes. Opening the folder takes {c['all']['opening_seconds']:.0f} s. Target: "
        f"{c['target_to_bare']} of the bare rate where the process that takes the images has a core of its own; with a "
        f"loader process on every core it has none. {c['cpu']}, commit {c['commit']}. Script: "
        "`benchmarks/large_folder.py`.",
        text_table(rows, heads),
    ])  # fmt: skip
