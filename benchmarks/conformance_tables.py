"""Put the tables of what was measured into the pages of the documentation that show it.

`python benchmarks/conformance_tables.py`; the tables stand between two comments, and are made of
`results/conformance/*.json` and `results/misread/*.json`.
"""

from __future__ import annotations

from pathlib import Path

from cells import Cell, commits, load

from datadiet.report.tables import text_table
from datadiet.sampling import SCHEDULES
from datadiet.scorers import SCORERS
from datadiet.selectors import SELECTORS

__all__ = ["PAGES", "between", "ekfac", "misread", "peers", "write"]

DOCS = Path(__file__).parents[1] / "docs"
LAST = "<!-- end -->"
HEADS = (("method", "method", "left"), ("what", "beside", "left"), ("agreement", "agreement", "left"),
         ("why", "why they differ", "left"), ("cost", "ours / theirs", "left"))  # fmt: skip
KINDS = {
    "Scores": {*SCORERS, "influence_last_layer"},
    "Selectors": {*SELECTORS, "by_class"},
    "Schedules and objectives": {*SCHEDULES, "selective_backprop", "distillation"},
    "Model pruning": set[str](),  # all others
    "Not installed": {""},
}
READINGS = {
    "keep": "forgetting: the hardest 30 % are kept, or pruned",
    "aum, sign": "AUM: the lowest, or the highest",
    "aum, probabilities": "AUM: margin of logits, or of probabilities",
    "aum, last epoch": "AUM: every epoch, or the last",
    "el2n, one seed": "EL2N, one seed: the norm, or its square",
    "el2n": "EL2N, three seeds: mean of norms, or of squares",
    "grand_last, bias": "GraNd of the last layer: with its bias, or without",
    "grand, initialisation": "GraNd: early, or before training",
    "forgetting": "forgetting: what is never learned counts most, or 0",
    "forgetting, infinite": "forgetting: what is never learned counts every epoch, or infinitely",
    "vog": "VoG: over all, or within the class",
    "moderate, tails": "moderate: the middle, or the tails",
    "moderate, mean": "moderate: distance to the median, or to the mean",
    "ccs, end": "CCS: the cutoff drops the hardest, or the easiest",
    "ccs, share": "CCS: β = 0.2 of all, or of the pruned",
    "ccs, draws": "CCS: the same reading, another seed",
    "d2, sign": "D2: from hard, or from easy examples",
    "herding, length": "herding: vectors of length 1, or as they are",
    "herding, farthest": "herding as they are: nearest, or farthest",
    "herding, repeats": "herding: without repeats, or with",
}


def write() -> None:
    """Replace what stands between the marks of each page."""
    for page, (mark, pattern, table) in PAGES.items():
        path = DOCS / page
        before, _, after = between(path.read_text(encoding="utf-8"), mark)
        path.write_text(f"{before}\n\n{table(load(pattern))}\n\n{after}", encoding="utf-8")


def between(text: str, mark: str) -> tuple[str, str, str]:
    """The text up to the mark, the table, and the text from the end of it on."""
    before, rest = text.split(mark)
    shown, after = rest.split(LAST)
    return before + mark, shown.strip(), LAST + after


def peers(found: list[Cell]) -> str:
    """A table for each kind of method, with a row for each case, and where they were measured."""
    rows = [row for peer in sorted(found, key=lambda peer: peer["peer"].lower()) for row in rows_of(peer)]
    rows.sort(key=lambda row: str(row["name"]))
    tables = [
        f"### {kind}\n\n{text_table(some, list(HEADS))}"
        for kind in KINDS
        if (some := [row for row in rows if kind_of(str(row["name"])) == kind])
    ]
    first, agree = found[0], sum(not row.get("why") for row in rows)
    told = (
        f"{len({row['name'] for row in rows})} methods, {len({row['peer'] for row in rows})} peers, {len(rows)} "
        f"comparisons. In {agree} of them nothing differs but rounding, and in many others only the random draws."
    )
    where = f"One thread of an {first['cpu']}, torch {first['torch']}, {commits(found)}."
    return "\n\n".join([told, *tables, where])


def kind_of(method: str) -> str:
    """Which table a method is in; the empty name is that of a peer that could not be installed."""
    return next((kind for kind, methods in KINDS.items() if method in methods), "Model pruning")


def rows_of(peer: Cell) -> list[Cell]:
    """Each case of a peer, or why there is none."""
    version = peer.get("repository_commit", "")[:7] or "".join(peer.get("installed", [])).partition("==")[2]
    name = f"{peer['peer']} {version}".strip()
    if "error" in peer:
        return [{"peer": name, "name": "", "method": "", "what": "not installed", "agreement": peer["error"]}]
    rows = [row_of(case) for case in peer["cases"]]
    return [row | {"peer": name, "what": f"{name}: {row['what']}"} for row in rows]


def row_of(case: Cell) -> Cell:
    """One case."""
    name, page = case["method"], f"methods/{case['method']}.md"
    shown = f"[`{name}`]({page})" if (DOCS / page).exists() else f"`{name}`"
    row = {"name": name, "method": shown, "what": case["what"], "why": case["why"]}
    if "error" in case:
        return row | {"agreement": case["error"]}
    ours, theirs = case["ours"], case["theirs"]
    return row | {
        "agreement": "; ".join(f"{name} {number(value)}" for name, value in case["agreement"].items()),
        "cost": f"{ours['seconds']:.2g} / {theirs['seconds']:.2g} s, "
        f"{ours['megabytes']:.0f} / {theirs['megabytes']:.0f} MB",
    }


def number(value: float) -> str:
    """Whole numbers as they are, and others with enough digits to see how far they are from 1."""
    if value == round(value):
        return f"{value:.0f}"
    return f"{value:.4f}" if 1e-3 < abs(value) < 1e4 else f"{value:.0e}"


def misread(found: list[Cell]) -> str:
    """A row for each pair of readings, a column for each data set."""
    found = sorted(found, key=lambda cell: cell["data"] != "as they are")
    rows = [
        {"reading": told} | {cell["data"]: f"{100 * cell['overlap'][name]:.0f} %" for cell in found}
        for name, told in READINGS.items()
    ]
    columns = [(cell["data"], f"digits, labels {cell['data']}", "right") for cell in found]
    first = found[0]
    where = (
        f"`datadiet:mlp`, {first['seeds']} seeds of {first['epochs']} epochs, {first['n']} examples, torch "
        f"{first['torch']}, {commits(found)}. Script: `benchmarks/often_misread.py`."
    )
    return f"{text_table(rows, [('reading', 'here, or otherwise', 'left'), *columns])}\n\n{where}"


def ekfac(found: list[Cell]) -> str:
    """What the ratio to kronfluence depends on."""

    def span(values: Cell, named: str) -> str:
        return " to ".join(f"{values[f'{end} {named}']:.2g}" for end in ("least", "largest"))

    rows = []
    for case in found[0]["cases"]:
        values = case["agreement"]
        several = "least ratio" in values
        rows.append(
            {
                "what": case["what"],
                "ratio": span(values, "ratio") if several else number(values["median ratio"]),
                "own": span(values, "between seeds of ours") if several else "",
                "rank": number(values["rank correlation"]),
            }
        )
    heads = [("what", "compared", "left"), ("ratio", "ours to theirs", "right"), ("own", "ours to ours", "right"),
             ("rank", "rank correlation with theirs", "right")]  # fmt: skip
    return text_table(rows, heads)


PAGES = {
    "conformance.md": ("<!-- made by benchmarks/conformance_tables.py: peers -->", "conformance/*.json", peers),
    "explanation/often-misread.md": (
        "<!-- made by benchmarks/conformance_tables.py: misread -->", "misread/*.json", misread,
    ),
    "methods/ekfac_self_influence.md": (
        "<!-- made by benchmarks/conformance_tables.py: ekfac -->", "conformance/kronfluence.json", ekfac,
    ),
}  # fmt: skip

if __name__ == "__main__":
    write()
