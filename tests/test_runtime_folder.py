"""The run folder, the plan, and the settings of the process."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
import torch

from datadiet.errors import DataError, OptionError
from datadiet.runtime import Plan, RunFolder, pick_device, settings, shards

PART = pa.table({"index": [0, 1], "loss": [0.5, 0.25]})


@pytest.mark.parametrize(("n", "size"), [(1, 1), (5, 2), (6, 2), (3, 100), (32768, 32768), (32769, 32768)])
def test_shards_cover_every_row_once(n, size):
    ranges = shards(n, size)
    assert [row for lo, hi in ranges for row in range(lo, hi)] == list(range(n))
    assert all(hi - lo == size for lo, hi in ranges[:-1]) and len(ranges) == -(-n // size)


def test_shards_are_multiples_of_the_evaluation_batch():
    """Otherwise cutting the work differently would change how examples are batched."""
    from datadiet.runtime.plan import EVAL_BATCH, SHARD

    assert SHARD % EVAL_BATCH == 0


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
    with pytest.raises(OptionError, match=f"runs/x holds a run with {named}: choose another --out"):
        Plan({"a": 1, "b": {"c": 2, "d": [1, 2]}}).check_same(other, "runs/x")


@pytest.mark.parametrize("rows", [None, "12ab"])
def test_other_examples_of_the_same_data_are_told_in_words(rows):
    with pytest.raises(OptionError, match=r"^ck holds a run with other examples .* split off.* --reference"):
        Plan({"rows": "34cd"}).check_same({"rows": rows}, "ck")


def test_equal_plans_are_the_same_also_after_json():
    plan = Plan({"a": (1, 2.5), "b": {}, "c": None})
    plan.check_same(json.loads(json.dumps(dict(plan.what))), "runs/x")


def test_a_folder_is_made_and_opened_again(tmp_path):
    plan = Plan({"a": 1})
    run = RunFolder.open(tmp_path / "run", plan)
    assert not (tmp_path / "run").exists()  # before there is something to keep
    run.begin()
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest == {"format": "datadiet.run", "version": 1, "plan": {"a": 1}, "plan_hash": plan.hash}
    before = (tmp_path / "run/manifest.json").stat().st_mtime_ns
    RunFolder.open(tmp_path / "run", plan).begin()
    assert (tmp_path / "run/manifest.json").stat().st_mtime_ns == before
    with pytest.raises(OptionError, match="a = 1, and this one has 2"):
        RunFolder.open(tmp_path / "run", Plan({"a": 2}))


def test_an_empty_folder_is_taken(tmp_path):
    RunFolder.open(tmp_path, Plan({})).begin()
    assert (tmp_path / "manifest.json").exists()


def test_what_a_kill_leaves_of_the_first_file_is_no_obstacle(tmp_path):
    (tmp_path / ".manifest.json.1234.tmp").write_text('{"fo')
    RunFolder.open(tmp_path, Plan({"a": 1})).begin()
    assert (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: (p.mkdir(), (p / "mine").write_text("x"))])
def test_something_else_is_left_alone(tmp_path, make):
    make(tmp_path / "run")
    with pytest.raises(DataError, match="exists and is no run folder: choose another --out"):
        RunFolder.open(tmp_path / "run", Plan({}))


def test_a_damaged_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="is not a JSON file"):
        RunFolder.open(tmp_path, Plan({}))


def test_the_layout(tmp_path):
    run = RunFolder.open(tmp_path, Plan({}))
    places = run.part("eval", 3, 12, 0, 512), run.checkpoint(3, 12), run.state(3)
    assert [str(p.relative_to(tmp_path)) for p in places] == [
        "signals/eval/seed-3/epoch-12/part-0-512.parquet",
        "checkpoints/seed-3/epoch-12.safetensors",
        "state/seed-3.safetensors",
    ]


def test_a_part_counts_when_it_is_whole_and_of_this_plan(tmp_path):
    run = RunFolder.open(tmp_path, Plan({"a": 1}))
    part = run.part("eval", 0, 1, 0, 2)
    assert not run.has_part(part)
    run.write_part(part, PART)
    assert run.has_part(part) and not part.with_suffix(".json").exists()
    assert not RunFolder(tmp_path, Plan({"a": 2})).has_part(part)
    part.write_bytes(part.read_bytes()[:-10])
    assert not run.has_part(part)


def test_a_foreign_table_in_the_place_of_a_part_does_not_count(tmp_path):
    import pyarrow.parquet as pq

    run = RunFolder.open(tmp_path, Plan({"a": 1}))
    part = run.part("eval", 0, 1, 0, 2)
    part.parent.mkdir(parents=True)
    pq.write_table(PART, part)
    assert not run.has_part(part)


def test_updates_add_up(tmp_path):
    run = RunFolder.open(tmp_path, Plan({"a": 1}))
    run.update("run.json", {"x": 1})
    run.update("run.json", {"y": 2})
    run.update("manifest.json", {"facts": {"epochs": 3}})
    assert json.loads((tmp_path / "run.json").read_text()) == {"x": 1, "y": 2}
    assert json.loads((tmp_path / "manifest.json").read_text())["plan"] == {"a": 1}


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
