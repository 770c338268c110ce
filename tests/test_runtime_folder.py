"""The run folder, the plan, and the settings of the process."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from datadiet.errors import DataError, OptionError
from datadiet.geometry.device import Device
from datadiet.runtime import Layout, Plan, RunFolder, Sink, pick_device, settings
from datadiet.runtime.layout import checkpoint_place, part_span
from datadiet.runtime.plan import FORMAT
from datadiet.runtime.tensors import read_tensors
from datadiet.runtime.units import Cost, Product

PART = pa.table({"index": [0, 1], "loss": [0.5, 0.25]})


def test_the_hash_of_a_plan_is_that_of_its_content():
    assert Plan({"a": 1, "b": {"c": 2}}).hash == Plan({"b": {"c": 2}, "a": 1}).hash
    assert len({Plan({"a": a}).hash for a in (1, 2, "1", None, True)}) == 5


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"a": 1, "b": {"c": 3, "d": [1, 2]}}, "b.c = 3, and this one has 2"),
        ({"a": 1, "b": {"c": 2, "d": [2, 1]}}, r"b.d = \[2,1\], and this one has \[1,2\]"),
        ({"a": 1, "b": {"c": 2}}, r"b.d = nothing, and this one has \[1,2\]"),
        ({"a": 1, "b": {"c": 2, "d": [1, 2]}, "z": 0}, "z = 0, and this one has nothing"),
        ({}, "a = nothing, and this one has 1"),
    ],
)
def test_the_first_difference_of_two_plans_is_named(other, named):
    with pytest.raises(OptionError, match=f"runs/x holds a run with {named}: choose another out= \\(--out\\)"):
        Plan({"a": 1, "b": {"c": 2, "d": [1, 2]}}).check_same(other, "runs/x")


@pytest.mark.parametrize("rows", [None, "12ab"])
def test_other_examples_of_the_same_data_are_told_in_words(rows):
    with pytest.raises(OptionError, match=r"^ck holds a run with other examples .*reference= split off"):
        Plan({"rows": "34cd"}).check_same({"rows": rows}, "ck")


def test_equal_plans_are_the_same_also_after_json():
    plan = Plan({"a": (1, 2.5), "b": {}, "c": None})
    read = json.loads(json.dumps(dict(plan.what)))
    plan.check_same(read, "runs/x")
    assert Plan(read).hash == plan.hash


def test_a_folder_is_made_and_opened_again(tmp_path):
    plan = Plan({"a": 1})
    run = RunFolder.open(tmp_path / "run", plan)
    assert not (tmp_path / "run").exists()  # before there is something to keep
    Sink(run).begin()
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest == {"format": "datadiet.run", "version": FORMAT, "plan": {"a": 1}, "plan_hash": plan.hash}
    before = (tmp_path / "run/manifest.json").stat().st_mtime_ns
    Sink(RunFolder.open(tmp_path / "run", plan)).begin()
    assert (tmp_path / "run/manifest.json").stat().st_mtime_ns == before
    with pytest.raises(OptionError, match="a = 1, and this one has 2"):
        RunFolder.open(tmp_path / "run", Plan({"a": 2}))


def test_a_run_of_an_older_version_cannot_be_continued(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "datadiet.run", "version": 1, "plan": {"a": 1}}))
    with pytest.raises(OptionError, match="begun by an older datadiet and cannot be continued: choose another out="):
        RunFolder.open(tmp_path, Plan({"a": 1}))


def test_an_empty_folder_is_taken(tmp_path):
    Sink(RunFolder.open(tmp_path, Plan({}))).begin()
    assert (tmp_path / "manifest.json").exists()


def test_what_a_kill_leaves_of_the_first_file_is_no_obstacle(tmp_path):
    (tmp_path / ".manifest.json.1234.tmp").write_text('{"fo')
    Sink(RunFolder.open(tmp_path, Plan({"a": 1}))).begin()
    assert (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: (p.mkdir(), (p / "mine").write_text("x"))])
def test_something_else_is_left_alone(tmp_path, make):
    make(tmp_path / "run")
    with pytest.raises(DataError, match="exists and is not a run folder: choose another out="):
        RunFolder.open(tmp_path / "run", Plan({}))


def test_a_damaged_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="is not a JSON file"):
        RunFolder.open(tmp_path, Plan({}))


def test_the_layout(tmp_path):
    run = Layout(tmp_path)
    places = {
        run.columns("eval", 3, 12, 0, 512): "signals/eval/seed-3/epoch-12/part-0-512.parquet",
        run.vectors("features", 0, 1, 0, 8): "embeddings/features/seed-0/epoch-1/part-0-8.npy",
        run.checkpoint(3, 12): "checkpoints/seed-3/epoch-12.safetensors",
        run.state(3): "state/seed-3.safetensors",
        run.prepared("dots@0123456789ab", 0, 2): "state/prepared/dots@0123456789ab/seed-0/epoch-2.safetensors",
        run.reference_labels("0123456789abcdef"): "embeddings/reference-0123456789ab.npy",
        run.manifest: "manifest.json",
        run.log: "run.json",
        run.history: "log.jsonl",
        run.scores: "scores.parquet",
    }
    assert {run.relative(path): place for path, place in places.items()} == {place: place for place in places.values()}


def test_what_lies_in_a_run_is_found_again(tmp_path):
    run = Layout(tmp_path)
    files = [
        run.columns("eval", 0, 2, 8, 12), run.columns("eval", 0, 2, 0, 8), run.vectors("features", 1, 10, 0, 12),
        run.vectors("features", 1, 9, 0, 12), run.checkpoint(0, 10), run.checkpoint(0, 9), run.state(1),
    ]  # fmt: skip
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert run.parts() == {
        ("eval", 0, 2): [files[1], files[0]], ("features", 1, 10): [files[2]], ("features", 1, 9): [files[3]]
    }  # fmt: skip
    assert run.vector_folders() == [files[2].parent, files[3].parent]
    assert run.checkpoints() == [(0, 9, files[5]), (0, 10, files[4])]
    assert run.unfinished() == ["state/seed-1.safetensors"]
    assert part_span(files[0]) == (8, 12) and checkpoint_place(files[4]) == (0, 10)
    assert Layout.of_checkpoint(files[4]) is None and Layout.around(files[2].parent) is None, "without a manifest"
    run.manifest.write_text("{}")
    assert Layout.of_checkpoint(files[4]) == Layout(tmp_path.resolve())
    assert Layout.around(files[2].parent) == Layout(tmp_path.resolve())
    with pytest.raises(OptionError, match="is not named part-LO-HI"):
        part_span(run.scores)


def test_a_part_counts_when_it_is_whole_and_of_this_plan(tmp_path):
    run = RunFolder.open(tmp_path, Plan({"a": 1}))
    part = run.layout.columns("eval", 0, 1, 0, 2)
    assert not run.has(part)
    Sink(run).write(Product(run.layout.relative(part), PART))
    assert run.has(part) and not part.with_suffix(".json").exists()
    assert not RunFolder(tmp_path, Plan({"a": 2})).has(part)
    part.write_bytes(part.read_bytes()[:-10])
    assert not run.has(part)


def test_vectors_count_when_the_plan_beside_them_is_this_one(tmp_path):
    run = RunFolder.open(tmp_path, Plan({"a": 1}))
    part = run.layout.vectors("features", 0, 1, 0, 2)
    Sink(run).write(Product(run.layout.relative(part), np.eye(2, dtype=np.float32)))
    assert run.has(part) and np.load(part).tolist() == [[1, 0], [0, 1]]
    assert json.loads(part.with_name("plan.json").read_text()) == {"plan": run.plan.hash}
    assert not RunFolder(tmp_path, Plan({"a": 2})).has(part)
    part.with_name("plan.json").unlink()
    assert not run.has(part), "a part of unknown origin is made again"


def test_a_foreign_table_in_the_place_of_a_part_does_not_count(tmp_path):
    import pyarrow.parquet as pq

    run = RunFolder.open(tmp_path, Plan({"a": 1}))
    part = run.layout.columns("eval", 0, 1, 0, 2)
    part.parent.mkdir(parents=True)
    pq.write_table(PART, part)
    assert not run.has(part)


def test_a_sink_writes_tensors_values_and_costs_and_removes(tmp_path):
    run = RunFolder.open(tmp_path, Plan({"a": 1}))
    sink = Sink(run)
    sink.write(Product("run.json", {"x": {}}))
    sink.write(Product("run.json", Cost("eval seed 0", 1.5)))
    sink.write(Product("run.json", Cost("eval seed 0", 2.25)))
    sink.update(run.layout.manifest, {"facts": {"epochs": 3}})
    assert json.loads((tmp_path / "run.json").read_text()) == {"x": {}, "eval seed 0": {"seconds": 3.75}}
    assert json.loads((tmp_path / "manifest.json").read_text())["plan"] == {"a": 1}
    sink.write(Product("state/seed-0.safetensors", ({"w": torch.ones(2)}, {"step": 4})))
    tensors, about = read_tensors(tmp_path / "state/seed-0.safetensors")
    assert tensors["w"].tolist() == [1, 1] and about == {"step": 4}
    sink.write(Product("state/seed-0.safetensors", None))
    assert not (tmp_path / "state/seed-0.safetensors").exists()


@pytest.mark.parametrize("fails", [False, True])
def test_settings_are_put_back(fails):
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        with settings(threads=before[0] + 1):
            inside = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert inside == (before[0] + 1, True, False)
    assert (torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == before


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("nosuch", "cuda:99", "cpu:x"):
        with pytest.raises(OptionError, match=f"device='{name}' cannot be used here .*: try cpu"):
            pick_device(name)


def test_under_torchrun_everything_uses_the_device_of_its_process(monkeypatch):
    """k-means and neighbours too: all processes on the first GPU would fill it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert Device.named("auto").on == pick_device("auto") == torch.device("cuda", 3)
