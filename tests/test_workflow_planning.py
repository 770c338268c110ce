"""plan: the formulas are those of the code, what is asked for is counted, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from datadiet.cli import main
from datadiet.errors import OptionError
from datadiet.geometry import cost, kmeans
from datadiet.geometry.cost import Stage
from datadiet.geometry.matrix import Matrix
from datadiet.scorers import SCORERS
from datadiet.selectors import SELECTORS
from datadiet.workflow.planning.costs import Machine, plan

SCORING = {name: spec.cost for name, spec in SCORERS.items() if spec.cost}
SELECTING = {name: spec.cost for name, spec in SELECTORS.items() if spec.cost}
_OTHERWISE = ("decontaminate", "d4")  # needs a reference; is made of two others


@pytest.fixture(autouse=True)
def fixed_rates(monkeypatch):
    monkeypatch.setattr(Machine, "measured", classmethod(lambda cls, seconds=0.1: cls(1e9, 1e8, 1e6)))


def test_seconds_are_the_sum_of_what_each_kind_takes():
    # 2e9 / 1e9 + 1e8 / 1e8 + 5e5 / 1e6 = 2 + 1 + 0.5
    assert Machine(1e9, 1e8, 1e6).seconds(Stage("", 1, 2e9, 1e8, 5e5)) == 3.5


def test_k_means_by_hand():
    # 3 rounds and a start are 4 passes of 2 n k d = 2 * 1000 * 10 * 8 operations
    step = cost.kmeans_rounds(1000, 8, 10, rounds=3)
    assert (step.passes, step.flops) == (4, 4 * 160_000)


def test_pairs_by_hand():
    # 4 clusters of 4096: each 4096 (4096 + 1024) d operations a pass
    assert cost.pairs(4 * 4096, 8, 4, 2).flops == 2 * 4 * 4096 * 5120 * 8


class Counted:
    """Rows that count how often they are read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        part = self.array[rows]
        self.read += len(part)
        return part

    @property
    def passes(self):
        return self.read / len(self)


@pytest.fixture(scope="module")
def bunches():
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((40, 16))
    return (centres[rng.integers(40, size=3000)] + rng.standard_normal((3000, 16))).astype(np.float32)


def test_k_means_reads_as_often_as_is_said(bunches):
    rows = Counted(bunches)
    found = kmeans(rows, 5, iterations=3, tolerance=0.0)
    checks_and_start = 1 + 6 / 3000  # a row says what the vectors are
    wanted = cost.kmeans_rounds(3000, 16, 5, rounds=len(found.objective) - 1).passes
    assert rows.passes - checks_and_start == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in SELECTING if SELECTORS[name].first == "embeddings" and name not in _OTHERWISE),
     *(("semdedup", {"mode": mode}) for mode in ("chain", "components")), ("semdedup", {"k": None, "epsilon": 0.05}),
     ("decontaminate", {"reference": np.ones((100, 16))}), ("d2", {"neighbours": 20}),
     ("graph_cut", {"neighbours": 20}), ("facility_location", {"neighbours": 20}),
     ("sensitivity", {"kind": "clustering"})],
)  # fmt: skip
def test_a_selector_reads_the_vectors_about_as_often_as_is_said(name, options, bunches):
    takes_clusters = "clusters" in SELECTORS[name].parameters and name != "sensitivity"
    clusters = {"clusters": kmeans(bunches, 10)} if takes_clusters else {}
    if name == "sensitivity" and options:
        clusters = {"clusters": kmeans(bunches, 10, spherical=False)}
    options, columns = {"k": 750, **options}, {"degradation": np.ones(3000)} if name == "paser" else {}
    rows = Counted(bunches)
    SELECTORS[name].fn(Matrix.open(rows), **options, **clusters, **columns)  # as select does
    counted = {key: len(value) if key == "reference" else value for key, value in options.items()}
    if clusters:
        counted["clusters"] = 10
    steps = SELECTING[name](3000, 16, counted.pop("k"), **counted)
    told = sum(step.passes for step in steps if not (clusters and "k-means" in step.name))
    assert 0.75 * told <= rows.passes <= 1.1 * told


@pytest.mark.parametrize("name", SCORING)
def test_a_scorer_reads_the_vectors_about_as_often_as_is_said(name, bunches):
    rows, labels = Counted(bunches), np.arange(3000) % 5
    spec = SCORERS[name]
    spec.fn(rows, *[labels][: len(spec.needs) - 1])
    stages = SCORING[name](3000, 16)
    told = sum(stage.passes for stage in stages)
    least = 0 if any("k-means" in stage.name for stage in stages) else 0.75  # which may stop early
    assert least * told <= rows.passes <= 1.1 * told


def test_every_method_that_selects_has_a_formula():
    by_vectors = {name for name, spec in SELECTORS.items() if spec.first in ("embeddings", "hardness", "n", "labels")}
    assert by_vectors <= set(SELECTING)


@pytest.mark.parametrize("name", [*SELECTING, *SCORING])
@pytest.mark.parametrize("k", [None, 3000])
def test_costs_grow_with_the_data(name, k):
    fn = {**SELECTING, **SCORING}[name]
    small, wide, large = fn(10_000, 32, k), fn(10_000, 64, k), fn(40_000, 32, k)
    seconds = Machine(1e9, 1e8, 1e6).seconds
    for steps in (small, wide, large):
        assert all(min(s.passes, s.flops, s.moved, s.calls, s.memory) >= 0 for s in steps)
    assert sum(map(seconds, small)) < sum(map(seconds, large))
    assert sum(map(seconds, small)) <= sum(map(seconds, wide))


def test_parameters_of_the_method_count():
    few, many = (plan(n=50_000, dim=64, method="semdedup", params={"clusters": c}) for c in (10, 100))
    pairs = [line for line in few.lines if "pairs" in line.name], [line for line in many.lines if "pairs" in line.name]
    assert pairs[0][0].flops > 5 * pairs[1][0].flops
    sized = plan(n=50_000, dim=64, method="semdedup", keep=0.5)
    passes = [{line.name: line.passes for line in found.lines}["pairs within clusters"] for found in (few, sized)]
    assert passes == [1, 4]


def test_vectors_are_not_read(tmp_path, monkeypatch):
    np.save(tmp_path / "v.npy", np.full((100, 8), np.nan, dtype=np.float16))
    monkeypatch.setattr(Matrix, "open", None)
    found = plan(tmp_path / "v.npy", method="density", params={"k": 5})
    assert found.disk["vectors"] == 1600 and found.what.startswith("density of 100 vectors of 8 numbers")
    assert set(found.disk) == {"vectors", "scores"}
    assert plan(n=100, dim=8, method="k_center", keep=5).process > found.process / 2, "half floats are widened by torch"
    np.save(tmp_path / "w.npy", np.zeros((100, 8), dtype=np.float32))
    assert plan(tmp_path / "w.npy", method="k_center", keep=5).process < found.process / 2
    assert found.memory == found.process + 1600 + max(line.memory for line in found.lines)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "say what to plan"),
        ({"n": 10, "method": "semdedup"}, "n=1000000, dim=384"),
        ({"n": 10, "dim": 4, "method": "semdedop"}, "did you mean 'semdedup'"),
        ({"n": 10, "dim": 4, "method": "semdedup", "params": {"cluster": 3}}, "parameter of semdedup"),
        ({"n": 10, "dim": 4, "method": "semdedup", "params": {"clusters": "many"}}, "clusters='many'"),
        ({"n": 10, "dim": 4, "method": "semdedup", "params": {"clusters": 0}}, "clusters=0"),
        ({"n": 10, "dim": 4, "method": "semdedup", "keep": 11}, "11"),
        ({"n": 10, "dim": 4, "method": "el2n"}, "no cost formula"),
        ({"n": 10, "dim": 4, "method": "semdedup", "keep": 5, "params": {"epsilon": 0.1}}, "both decide"),
        ({"n": 10, "dim": 4, "method": "decontaminate"}, "decontaminate needs reference"),
        ({"n": 10, "dim": 4, "method": "decontaminate", "params": {"reference": np.ones((3, 5))}}, "reference of 5"),
        ({"n": 10, "dim": 4, "method": "nope"}, "'nope' is not a method: there are band"),
        ({"n": 10, "dim": 4, "method": "d4", "keep": 5, "params": {"dedup": 5}}, "dedup=5"),
        ({"n": 10, "dim": 4, "method": "craig", "params": {"optimizer": "stochastic", "epsilon": 0.0}}, "epsilon=0.0"),
        ({"n": 10, "dim": 4, "method": "dbp", "epochs": 3}, "options for scoring"),
        ({"data": "digits", "scorers": "el2n"}, "--model"),
        ({"data": "digits", "model": "datadiet:mlp", "scorers": "influence"}, "--reference"),
        ({"data": "digits", "model": "datadiet:mlp", "scorers": "el2n", "epochs": 0}, "at least 1"),
    ],
)
def test_refusals(given, said):
    with pytest.raises(OptionError, match=said.replace("(", r"\(")):
        plan(**given)


@pytest.fixture(scope="module")
def scoring(tmp_path_factory):
    import os

    here, folder = Path.cwd(), tmp_path_factory.mktemp("plan")
    os.chdir(folder)
    try:
        found = plan("digits", model="datadiet:mlp", scorers="el2n,grand,forgetting", epochs=20, seeds=3)
    finally:
        os.chdir(here)
    assert not list(folder.iterdir())
    return found


def test_trainings_and_passes_are_counted(scoring):
    assert [(line.name, line.passes) for line in scoring.lines] == [
        ("train, 3 x 20 epochs", 60), ("eval, epoch 2", 3), ("grad, epoch 2", 3)
    ]  # fmt: skip


def test_operations_are_those_of_the_layers(scoring):
    from torch import nn

    from datadiet.models import open_model

    model = open_model("datadiet:mlp", (1, 8, 8), 10).fresh(0)
    forward = sum(2 * m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    assert [line.flops for line in scoring.lines] == [
        60 * 1438 * 3 * forward,
        3 * 1438 * forward,
        3 * 1438 * 3 * forward,
    ]


def test_a_real_run_writes_what_was_said(tmp_path):
    import datadiet as dd

    options = {"epochs": 4, "recipe": {"batch_size": 512}}
    said = plan("digits", model="datadiet:mlp", scorers="el2n,aum", **options).disk
    dd.score("digits", "datadiet:mlp", "el2n,aum", out=tmp_path / "run", **options)

    def there(kind):
        return sum(path.stat().st_size for path in (tmp_path / "run" / kind).rglob("*") if path.is_file())

    assert there("checkpoints") == pytest.approx(said["checkpoints"], rel=0.1)
    assert there("signals") == pytest.approx(said["signals"], rel=0.5)  # 6 kB a file beside


@pytest.mark.parametrize("arguments", [
    ["--n", "1000000", "--dim", "384", "--method", "semdedup", "--keep", "50%", "-p", "clusters=1000"],
    ["--n", "1000", "--dim", "8", "--method", "zcore", "--prune", "20%"],
])  # fmt: skip
def test_command_line(arguments, capsys):
    for extra in ([], ["--json"]):
        with pytest.raises(SystemExit) as stop:
            main(["plan", *arguments, *extra])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        if extra:
            found = json.loads(text)
            assert found["memory"] > found["process"] and found["total"]["seconds"] > 0
        else:
            lines = text.splitlines()
            assert lines[-4].startswith("total") and "estimate" in lines[-1]
            assert len({len(line) for line in lines[1:-3]}) == 1


def test_a_mistake_is_one_sentence(capsys):
    for arguments, code in ((["plan"], 2), (["plan", "no.npy", "--method", "dbp"], 3)):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == code and len(capsys.readouterr().err.strip().splitlines()) == 1
