"""train_grid: cells are trainings as `train` makes them, a killed grid continues, and what the table and figure say."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from contextlib import nullcontext

import numpy as np
import pytest

import datadiet as dd
from datadiet.cli import main
from datadiet.data import open_data
from datadiet.errors import DataError, OptionError
from datadiet.runtime import RunFolder, Sink
from datadiet.runtime.hardware import Hardware
from datadiet.training import Trainer
from datadiet.workflow.fitting.axes import Axes, teacher_name
from datadiet.workflow.fitting.grid_table import CellResult, Grid

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = {"batch_size": 256}


def grid(out, axes, **options):
    return dd.train_grid("digits", "datadiet:mlp", axes, **{"epochs": 1, "recipe": RECIPE, "out": out, **options})


def weights(run):
    (path,) = run.glob("checkpoints/*/*.safetensors")
    return path.read_bytes()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "dense"
    dd.train("digits", "datadiet:mlp", epochs=1, recipe=RECIPE, out=out)
    return out


@pytest.fixture(scope="module")
def scores():
    source = open_data("digits")
    values = np.random.default_rng(0).random(1438).astype(np.float32)
    meta = {"columns": {"s": {"hardness": 1}}, "data": source.identity()}
    return dd.Scores(source.index, {"s": values}, source.ids, source.labels, meta)


@pytest.fixture(scope="module")
def made(teacher, scores, tmp_path_factory):
    """A grid over all axes, chosen by score: the folder and the result."""
    out = tmp_path_factory.mktemp("grid") / "g"
    axes = {"keep": ["n=300", 1.0], "sparsity": ["0", 0.8], "teacher": ["none", str(teacher)], "seed": [3]}
    select = {"scores": scores, "method": "top_k", "prefer": "easiest"}
    return out, grid(out, axes, select=select, kd_weight=0.5)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("sparsity", [0, 0.8])
@pytest.mark.parametrize("taught", [False, True])
def test_a_cell_is_what_train_gives(made, teacher, scores, tmp_path, full, sparsity, taught):
    name = (
        f"keep-{1438 if full else 300}-sparsity-{sparsity}-teacher-{teacher_name(teacher if taught else None)}-seed-3"
    )
    options = {"sparsify": f"global_magnitude:{sparsity}"} if sparsity else {}
    options |= {"teacher": str(teacher), "kd_weight": 0.5} if taught else {}
    selection = None if full else dd.select(scores, "top_k", keep=300, prefer="easiest", seed=3)
    alone = dd.train(
        "digits", "datadiet:mlp", selection, epochs=1, match="full-steps", seed=3, recipe=RECIPE, out=tmp_path / "run",
        **options,
    )  # fmt: skip
    cell = made[0] / "cells" / name
    assert weights(cell) == weights(tmp_path / "run")
    assert (cell / "manifest.json").read_bytes() == (tmp_path / "run/manifest.json").read_bytes()
    (found,) = [one for one in made[1].cells if one.name == name]
    assert (found.accuracy, found.steps, found.worst_class) == (alone.accuracy, 6, min(alone.evaluation.class_recall))


def test_files_and_the_same_call_again(made, teacher, scores, stamps, caplog):
    out, found = made
    assert {path.name for path in out.iterdir()} == {
        "cells", "selections", "grid.json", "grid.svg", "manifest.json", "run.json"
    }  # fmt: skip
    assert json.loads((out / "grid.json").read_text()) == found.as_dict()
    assert len(dd.Selection.read(out / "selections/keep-300-seed-3.parquet")) == 300
    before = stamps(out / "cells")
    with caplog.at_level("INFO", "datadiet"):
        again = grid(
            out, {"keep": [300], "sparsity": [0], "seed": [3]}, select={"scores": scores, "method": "top_k",
            "prefer": "easiest"})  # fmt: skip
    assert stamps(out / "cells") == before and "1 training, 1 of them done: 0 steps to take" in caplog.text
    assert list(again.cells) == [one for one in found.cells if one.name == again.cells[0].name]
    with pytest.raises(DataError, match="is a grid of trainings, which has no scores"):
        dd.select(out, "random", keep=0.1)
    with pytest.raises(OptionError, match=r"keep-300.* holds a run with rows_kept"):
        grid(out, {"keep": [300], "seed": [3]})


def test_a_killed_grid_continues(tmp_path, monkeypatch):
    axes = {"keep": ["20%", "100%"], "seed": [0, 1]}
    whole = grid(tmp_path / "whole", axes)
    step, taken = Trainer._step, []

    def counted(self, batch, lr):
        taken.append(self.seed)
        if len(taken) == 9:  # in the second cell
            raise KeyboardInterrupt
        return step(self, batch, lr)

    monkeypatch.setattr(Trainer, "_step", counted)
    with pytest.raises(KeyboardInterrupt):
        grid(tmp_path / "killed", axes)
    assert not (tmp_path / "killed/grid.json").exists()
    found = grid(tmp_path / "killed", axes)
    assert 9 + 3 * 6 - 3 <= len(taken) <= 9 + 3 * 6  # the first cell is not trained again
    assert [one.accuracy for one in found.cells] == [one.accuracy for one in whole.cells]
    for one in whole.cells:
        assert weights(tmp_path / "killed/cells" / one.name) == weights(tmp_path / "whole/cells" / one.name)


class Away:
    """An executor, and its fleet, whose worker sees another folder: as on a machine without a shared disk."""

    hardware = Hardware.here("cpu")

    def __init__(self, folder):
        self.folder = folder

    def opens_on(self, device):
        return "cpu"

    def start(self, device, threads, planned):
        return nullcontext(self)

    def run(self, plan, units, make_worker, sink):
        worker, own = pickle.loads(pickle.dumps(make_worker.elsewhere))(self.folder), Sink(RunFolder(self.folder, plan))
        assert worker.plan.hash == plan.hash

        def emit(product):
            if not isinstance(product.content, dict):
                own.write(product)
            sink.write(product)

        for unit in units:
            for path in unit.reads:
                if (sink.folder.path / path).exists():
                    (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(sink.folder.path / path, self.folder / path)
            worker.run(unit, emit)


def test_a_worker_without_a_shared_disk_sends_the_same_cells(teacher, tmp_path):
    axes = {"keep": [300, "100%"], "sparsity": [0.8], "teacher": [str(teacher)]}
    here = grid(tmp_path / "here", axes)
    there = grid(tmp_path / "there", axes, executor=Away(tmp_path / "away"))
    assert [one.accuracy for one in there.cells] == [one.accuracy for one in here.cells]
    names = [f"cells/{one.name}" for one in here.cells]
    for name in names:
        assert weights(tmp_path / "there" / name) == weights(tmp_path / "here" / name)
        files = [
            sorted(p.relative_to(tmp_path / at) for p in (tmp_path / at / name).rglob("*")) for at in ("here", "there")
        ]
        assert files[0] == files[1]


def test_a_teacher_that_is_another_one_elsewhere_is_refused(teacher, tmp_path):
    class Other(Away):
        def run(self, plan, units, make_worker, sink):
            units = list(units)
            dd.train("digits", "datadiet:mlp", epochs=2, recipe=RECIPE, out=tmp_path / "other")
            (new,) = (tmp_path / "other").glob("checkpoints/*/*")
            shutil.copy(new, tmp_path / "t.safetensors")
            super().run(plan, units, make_worker, sink)

    (old,) = teacher.glob("checkpoints/*/*")
    shutil.copy(old, tmp_path / "t.safetensors")
    with pytest.raises(DataError, match=r"teacher-t.* is another training on this machine .teacher.of"):
        grid(tmp_path / "g", {"teacher": [str(tmp_path / "t.safetensors")]}, executor=Other(tmp_path / "away"))


@pytest.mark.parametrize(
    ("axes", "options", "words"),
    [
        ({}, {}, "a grid needs an axis"),
        ({"kept": [0.1]}, {}, "'kept' is not an axis of a grid: did you mean 'keep'"),
        ({"keep": []}, {}, "the axis keep has no values"),
        ({"seed": [1, "1"]}, {}, "the axis seed holds 1 twice"),
        ({"keep": ["n=144", "10%"]}, {}, "keep holds 144 of 1438 examples twice"),
        ({"keep": ["30"]}, {}, "could be a percentage or a count"),
        ({"keep": ["120%"]}, {}, "not a fraction"),
        ({"sparsity": [1.0]}, {}, "sparsity=1.0: give the share"),
        ({"sparsity": ["many"]}, {}, "sparsity='many'"),
        ({"seed": ["-1"]}, {}, "seed='-1': give a whole number"),
        ({"seed": [0, 1]}, {"seed": 3}, "seed .--seed. and the axis seed both"),
        ({"keep": ["10%"]}, {"sampler": "rs2:keep=10%"}, "sampler .* and the axis keep both"),
        ({"teacher": [None]}, {"teacher": "runs/a"}, "teacher .* and the axis teacher both"),
        ({"sparsity": [0.5]}, {"sparsify": "global_magnitude:0.9"}, "says how sparse, and so does the axis"),
        ({"seed": [0]}, {"select": {"method": "random"}}, "give the axis keep"),
        ({"keep": [0.5]}, {"select": {"seed": 1}}, "seed is an axis of the grid"),
        ({"seed": [0]}, {"log": "wandb"}, "'log' is not an option of a grid"),
        ({"seed": [0]}, {"sampler": dd.RS2Sampler(1438, keep="10%")}, "sampler= is an object"),
        ({"seed": [0]}, {"epochs": None}, "say how long to train"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_any_work(axes, options, words, tmp_path):
    with pytest.raises(OptionError, match=words):
        grid(tmp_path / "g", axes, **options)
    assert not (tmp_path / "g").exists()


def test_data_without_a_held_out_part_is_refused(tmp_path):
    data = (np.zeros((20, 2), np.float32), np.arange(20) % 2)
    with pytest.raises(OptionError, match="name held-out data"):
        dd.train_grid(data, "datadiet:mlp", {"seed": [0]}, epochs=1, out=tmp_path / "g")


def test_options_that_are_about_what_a_cell_lacks_are_left_out_there():
    axes = Axes({"sparsity": [0, 0.9], "teacher": [None, "t"]}, {"sparsify": "snip:shuffle=true", "kd_weight": 0.3})
    found = [axes.options_of(values) for values in axes.values()]
    assert [(one["sparsify"], one["teacher"], one["kd_weight"]) for one in found] == [
        (None, None, "auto"), (None, "t", 0.3),
        ("snip:sparsity=0.9,shuffle=true", None, "auto"), ("snip:sparsity=0.9,shuffle=true", "t", 0.3),
    ]  # fmt: skip


def cell(kept, sparsity, seed, accuracy, worst):
    return CellResult(f"{kept}-{sparsity}-{seed}", kept, sparsity, "none", seed, accuracy, worst, 60, 2.0 + seed)


def test_the_table_by_hand():
    """Accuracies 0.7, 0.8, 0.9: mean 0.8, sd 0.1, t of 2 degrees 4.3027; half = 4.3027 x 0.1 / sqrt(3) = 0.2484."""
    cells = [cell(20, 0.0, seed, 0.7 + 0.1 * seed, 0.5 + 0.1 * seed) for seed in range(3)]
    first, second = Grid([*cells, cell(200, 0.0, 0, 0.95, 0.9)], 200).table()
    assert first["accuracy"] == pytest.approx(0.8) and first["interval"] == pytest.approx(0.24842, abs=1e-5)
    assert (first["share"], first["seeds"], first["steps"]) == (0.1, 3, 60)
    assert first["worst_class"] == pytest.approx(0.6) and first["seconds"] == pytest.approx(3.0)
    assert (second["kept"], second["interval"], second["seeds"]) == (200, None, 1)
    text = Grid(cells, 200).text()
    assert re.search(r"\| 10 % \(20\) +\| +0 % +\| none +\| +3 +\| +80.0 ± 24.8 +\| +60.0 +\|", text)


def test_the_figure_has_a_line_for_each_sparsity():
    cells = [cell(kept, sparsity, seed, 0.5 + seed / 10, 0.4) for kept in (200, 20) for sparsity in (0.0, 0.9)
             for seed in (0, 1)]  # fmt: skip
    figure = str(Grid(cells, 200).figure())
    assert figure.count('class="dd-series"') == 2 == figure.count('class="dd-band"')
    assert "90 % pruned" in figure and "dense" in figure and "prefers-color-scheme:dark" in figure


def run_cli(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "digits", "--model", "datadiet:mlp", "--set", "batch_size=256", *map(str, arguments)])
    return (stopped.value.code, *capsys.readouterr())


def test_the_command_line(capsys, tmp_path):
    given = ("--grid", "keep=10%", "--grid", "sparsity=0,0.5", "--epochs", 1, "--out", tmp_path / "g")
    code, out, err = run_cli(capsys, *given)
    assert code == 0 and "50 %" in out and "grid.svg" in out and "2 trainings, 0 of them done: 12 steps to take" in err
    code, out, _ = run_cli(capsys, *given, "--json")
    assert code == 0 and [row["sparsity"] for row in json.loads(out)["rows"]] == [0, 0.5]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--grid", "keep=10%", "--grid", "keep=20%"), "--grid keep=… is given twice"),
        (("--grid", "keep"), "the axis keep has no values"),
        (("--grid", "seed=0,1", "--seed", "0"), "seed (--seed) and the axis seed"),
        (("--scores", "s.npy"), "--scores is for a grid"),
        (("-p", "a=1"), "-p is for a grid"),
        (("--executor", "ray"), "--executor is for a grid"),
        (("--grid", "seed=0", "--match", "full-steps", "--steps", "3"), "exactly one of --epochs"),
        (("--grid", "seed=0", "--log", "wandb"), "--log is for one training"),
    ],
)  # fmt: skip
def test_usage_errors_of_the_command_line(capsys, tmp_path, given, words):
    code, out, err = run_cli(capsys, *given, "--epochs", 1, "--out", tmp_path / "g")
    assert (code, out) == (2, "") and words in err and not (tmp_path / "g").exists()
