"""score, end to end: the files of a run, going on, adding, refusing, and what goes in."""

from __future__ import annotations

import inspect
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import measure_normalisation, open_data
from datadiet.errors import DataError, FingerprintMismatch, MissingSignal, OptionError
from datadiet.models import load_checkpoint, open_model
from datadiet.scorers import SCORERS
from datadiet.workflow.scoring.columns import rank_stability

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = {"batch_size": 256}

# Those that read outputs; the tests named test_workflow_gradient_*.py have the others.
ALONE = [name for name, spec in SCORERS.items() if {need.pass_name for need in spec.needs} <= {"train", "eval"}]


def windowed(names):
    return {name: {"window": 3} for name in names if "window" in inspect.signature(SCORERS[name].fn).parameters}


def score(out=None, scorers="el2n", data="digits", model="datadiet:mlp", **options):
    trained = isinstance(model, nn.Module) or "checkpoints" in options
    return dd.score(
        data, model, scorers, **{**({} if trained else {"epochs": 4}), "recipe": FAST, "out": out, **options}
    )


@pytest.fixture(scope="module")
def everything(tmp_path_factory, one_thread):
    """All scorers on digits, two seeds: (run folder, scores)."""
    run = tmp_path_factory.mktemp("all") / "run"
    return run, score(run, ALONE, seeds=2, params=windowed(ALONE))


def test_every_scorer_gives_finite_numbers_with_an_orientation(everything):
    _, scores = everything
    assert len(scores) == 1438
    for name in ALONE:
        columns = [c for c in scores.columns if c.split(".")[0] == name and not c.endswith(".std")]
        assert columns, name
        for column in columns:
            assert np.isfinite(scores[column]).all() and scores[column].dtype in (np.float32, bool), column
            hardness = scores.meta["columns"][column]["hardness"]
            assert np.array_equal(scores.hardness(column), hardness * scores[column].astype(np.float32))
        assert len(np.unique(scores[columns[0]])) > 3, name


def test_the_scores_of_a_run_agree_on_what_is_hard(everything):
    """Each column, oriented, ranks like the loss does; a wrong sign would show as a negative correlation."""
    _, scores = everything
    for name in (
        "el2n",
        "grand_last",
        "forgetting",
        "aum",
        "aum_prob",
        "cartography.confidence",
        "cartography.correctness",
    ):
        both = np.stack([scores.hardness("loss"), scores.hardness(name)])
        assert rank_stability(both)["spearman"] > 0.3, name


def test_the_files_are_those_of_the_design(everything, written):
    run, _ = everything
    wanted = {"manifest.json", "scores.parquet", "scores.json"}
    for seed in (0, 1):
        wanted |= {f"signals/train/seed-{seed}/epoch-{e}/part-0-1438.parquet" for e in (1, 2, 3, 4)}
        wanted |= {f"signals/eval/seed-{seed}/epoch-{e}/part-0-1438.parquet" for e in (2, 4)}
        wanted |= {f"checkpoints/seed-{seed}/epoch-{e}.safetensors" for e in (2, 4)}
        wanted |= {f"evaluation/seed-{seed}.parquet"}
    assert set(written(run)) == wanted and (run / "run.json").exists()


def test_the_last_checkpoint_is_kept_also_where_no_scorer_needs_it(tmp_path, written):
    score(tmp_path / "run", "el2n")
    assert list(written(tmp_path / "run", "checkpoints")) == [
        "checkpoints/seed-0/epoch-2.safetensors",
        "checkpoints/seed-0/epoch-4.safetensors",
    ]


def test_the_score_file_is_the_table_of_the_design(everything):
    run, scores = everything
    table = pq.read_table(run / "scores.parquet")
    assert table.column_names[:3] == ["index", "id", "label"]
    assert [str(t) for t in table.schema.types[:3]] == ["int64", "string", "int64"]
    assert {str(t) for t in table.schema.types[3:]} == {"float", "bool"}
    assert str(table.schema.field("forgetting.never_learned").type) == "bool"
    beside = json.loads((run / "scores.json").read_text())
    assert json.loads(table.schema.metadata[b"datadiet"]) == beside
    assert beside["data"] == open_data("digits").identity() and beside["format"] == "datadiet.scores"
    again = dd.Scores.read(run)
    assert all(np.array_equal(again[name], scores[name]) for name in scores.columns)


def test_nothing_of_time_or_host_is_in_the_identity(everything):
    run, _ = everything
    log = json.loads((run / "run.json").read_text())
    assert log["train seed 0"]["seconds"] > 0 and "python" in log["host"]
    assert not {"seconds", "host", "date", "time"} & set(
        json.dumps(json.loads((run / "manifest.json").read_text())).split('"')
    )


def test_two_folders_hold_the_same_bytes(everything, tmp_path, contents):
    run, _ = everything
    score(tmp_path / "again", ALONE, seeds=2, params=windowed(ALONE))
    assert contents(tmp_path / "again") == contents(run)


def test_several_seeds_give_means_spreads_and_their_agreement(tmp_path):
    both = score(tmp_path / "run", "el2n,aum", seeds=3)
    single = [score(None, "el2n,aum", seed=s) for s in range(3)]
    for name in ("el2n", "aum"):
        each = np.stack([s[name] for s in single])
        np.testing.assert_allclose(both[name], each.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(both[f"{name}.std"], each.std(axis=0, ddof=1), rtol=1e-3, atol=1e-6)
        assert not np.array_equal(each[0], each[1])
        wanted = rank_stability((1 if name == "el2n" else -1) * each)
        assert json.loads((tmp_path / "run" / "manifest.json").read_text())["stability"][name] == wanted
        assert set(wanted) == {"spearman", "overlap_10", "overlap_30"} and 0 < wanted["spearman"] < 1
    assert "el2n.std" not in both.names and "el2n.std" not in single[0].columns


def test_rank_stability_golden():
    # ranks 1 2 3 4 and 2 1 3 4: 1 - 6 * 2 / (4 * 15) = 0.8; the top tenth and third are one example, the same
    assert rank_stability(np.array([[1.0, 2, 3, 4], [2.0, 1, 3, 4]])) == {
        "spearman": 0.8,
        "overlap_10": 1.0,
        "overlap_30": 1.0,
    }
    assert rank_stability(np.array([[1.0, 2, 3, 4], [1.0, 1, 1, 1]]))["spearman"] == 0.0


def test_el2n_and_grand_are_those_of_the_checkpoint(everything):
    """By hand from the weights on disk: ||p - y|| sqrt(1 + ||h||^2), mean over the two seeds, at epoch 2."""
    run, scores = everything
    source = open_data("digits")
    x = measure_normalisation(source)(source.take(np.arange(len(source))))
    error, gradient = [], []
    for seed in (0, 1):
        net = open_model("datadiet:mlp", source.shape, 10).fresh(9)
        load_checkpoint(net, run / f"checkpoints/seed-{seed}/epoch-2.safetensors").eval()
        with torch.no_grad():
            h = net[:-1](x).double()
            p = (h @ net[-1].weight.double().T + net[-1].bias.double()).softmax(1)
        error.append((p - nn.functional.one_hot(torch.from_numpy(source.labels), 10)).norm(dim=1))
        gradient.append(error[-1] * (h.square().sum(1) + 1).sqrt())
    np.testing.assert_allclose(scores["el2n"], sum(error) / 2, rtol=1e-4)
    np.testing.assert_allclose(scores["grand_last"], sum(gradient) / 2, rtol=1e-4)


def test_the_same_call_again_does_no_work(everything, written):
    run, scores = everything
    before = {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in written(run).items()}
    again = score(run, ALONE, seeds=2, params=windowed(ALONE))
    assert again.meta["columns"] == scores.meta["columns"]
    for name, (time, bytes_) in before.items():
        assert (run / name).read_bytes() == bytes_, name
        if name.startswith(("signals", "checkpoints")):
            assert (run / name).stat().st_mtime_ns == time, name


def test_a_further_scorer_adds_its_columns_and_keeps_the_others(tmp_path, contents):
    """It also needs an evaluation pass that was not made, so the training is repeated, to the same bytes."""
    first = score(tmp_path / "run", "forgetting")
    kept = contents(tmp_path / "run")
    both = score(tmp_path / "run", "el2n")
    assert [c for c in both.columns if c in first.columns] == list(first.columns) and "el2n" in both.columns
    assert all(np.array_equal(both[name], first[name]) for name in first.columns)
    now = contents(tmp_path / "run")
    assert all(now[name] == kept[name] for name in kept if name.startswith(("signals", "checkpoints")))
    assert np.array_equal(both["el2n"], score(None, "el2n")["el2n"])
    assert len(json.loads((tmp_path / "run" / "manifest.json").read_text())["columns"]) == len(both.columns)


def test_the_shift_can_be_asked_for_later(tmp_path):
    score(tmp_path / "run", "aum")
    later = score(tmp_path / "run", "tdds", params={"tdds": {"window": 3}})
    assert np.array_equal(later["tdds"], score(None, "tdds", params={"tdds": {"window": 3}})["tdds"])


def test_tdds_works_with_the_default_number_of_epochs():
    assert np.isfinite(
        score(None, "tdds", epochs=inspect.signature(dd.score).parameters["epochs"].default)["tdds"]
    ).all()


def test_scorers_are_computed_later_without_model_or_data(everything):
    run, scores = everything
    again = dd.rescore(run, "el2n", params={"el2n": {"at": "last"}}, save_as="el2n_late")
    assert np.array_equal(again["el2n"], scores["el2n"]) and not np.array_equal(again["el2n_late"], again["el2n"])
    assert again.meta["columns"]["el2n_late"]["needs"] == [{"signal": "error_norm", "mode": "eval", "epochs": [4, 4]}]


def test_published_variants_are_parameters(tmp_path):
    """CCS's code sums training-mode errors of the first epochs."""
    scores = score(tmp_path / "run", "el2n", params={"el2n": {"mode": "train", "at": "1-3"}})
    parts = [pq.read_table(tmp_path / f"run/signals/train/seed-0/epoch-{e}/part-0-1438.parquet") for e in (1, 2, 3)]
    wanted = np.mean([part["error_norm"].to_numpy() for part in parts], axis=0, dtype=np.float64)
    np.testing.assert_allclose(scores["el2n"], wanted, rtol=1e-6)


def test_infinite_forgetting_of_several_seeds_is_no_nan():
    scores = score(None, "forgetting", seeds=2, epochs=2, params={"forgetting": {"never": "infinite"}})
    assert np.isinf(scores["forgetting"]).any()
    assert not np.isnan(scores["forgetting.std"]).any()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 5}, "epochs = 4, and this one has 5"),
        ({"recipe": {"batch_size": 128}}, "recipe.batch_size = 256, and this one has 128"),
        ({"model": "datadiet:cnn"}, r'model = "datadiet:mlp", and this one has "datadiet:cnn"'),
        ({"data": open_data("digits", split="eval")}, "holds a run with data"),
        ({"eval": "10%"}, "holds a run with eval"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused_naming_the_difference(everything, change, named, contents):
    run, _ = everything
    before = contents(run)
    with pytest.raises(OptionError, match=named):
        score(run, **change)
    assert contents(run) == before


def test_other_numbers_of_seeds_are_other_columns(everything, contents):
    run, _ = everything
    before = contents(run)
    with pytest.raises(OptionError, match=r"'el2n' exists with other parameters.*--as NAME"):
        score(run, "el2n", seeds=1)
    assert contents(run) == before


def test_an_existing_column_with_other_parameters_is_refused_and_another_name_works(tmp_path):
    score(tmp_path / "run", "el2n")
    before = (tmp_path / "run/scores.parquet").read_bytes()
    with pytest.raises(OptionError, match=r"'el2n' exists with other parameters.*--as NAME"):
        score(tmp_path / "run", "el2n", params={"el2n": {"at": 4}})
    assert (tmp_path / "run/scores.parquet").read_bytes() == before
    both = score(tmp_path / "run", "el2n", params={"el2n": {"at": 4}}, save_as="late")
    assert {"el2n", "late"} <= set(both.names) and not np.array_equal(both["el2n"], both["late"])


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="exists and is not a run folder"):
        score(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("setting", "size"), [("data.feed._EVAL_BATCH", 100), ("runtime.units.SMALLEST", 512)])
def test_evaluation_does_not_depend_on_batch_or_part(everything, tmp_path, monkeypatch, setting, size):
    """Across batch sizes the results agree to rtol 1e-5; parts are multiples of the batch and change nothing."""
    monkeypatch.setattr(f"datadiet.{setting}", size)
    names = ["el2n", "grand_last", "entropy", "margin", "least_confidence", "loss"]
    _, scores = everything
    other = score(tmp_path / "run", names, seeds=2)
    for name in names:
        np.testing.assert_allclose(other[name], scores[name], rtol=1e-5, atol=1e-12, err_msg=name)
    if "SMALLEST" in setting:
        parts = sorted(p.name for p in (tmp_path / "run/signals/eval/seed-0/epoch-2").iterdir())
        assert parts == ["part-0-512.parquet", "part-1024-1438.parquet", "part-512-1024.parquet"]
        assert np.array_equal(other["el2n"], scores["el2n"])


def test_checkpoints_of_a_run_are_evaluated_instead_of_training(everything, tmp_path):
    run, scores = everything
    two = score(tmp_path / "a", "el2n", checkpoints=run, params={"el2n": {"at": 2}})
    np.testing.assert_array_equal(two["el2n"], scores["el2n"])
    assert not (tmp_path / "a/checkpoints").exists() and two.meta["facts"]["checkpoints"] == [2, 4]
    glob = score(tmp_path / "b", "loss", checkpoints=str(run / "checkpoints/seed-*/epoch-4.safetensors"))
    np.testing.assert_array_equal(glob["loss"], scores["loss"])
    one = score(tmp_path / "c", "loss", checkpoints=[run / "checkpoints/seed-1/epoch-4.safetensors"])
    assert "loss.std" not in one.columns and not np.array_equal(one["loss"], scores["loss"])


def test_which_of_several_checkpoints_must_be_said(everything, tmp_path):
    run, _ = everything
    with pytest.raises(OptionError, match=r"el2n reads one checkpoint, but 2 were given: say which.*-p el2n.at=2"):
        score(tmp_path / "run", "el2n", checkpoints=run)
    assert not (tmp_path / "run").exists()


def test_the_checkpoints_of_a_run_are_numbered_by_epoch_and_other_files_counted(everything, tmp_path):
    run, scores = everything
    given = score(tmp_path / "run", "loss,el2n", checkpoints=run, params={"el2n": {"at": "2-4"}, "loss": {"at": 4}})
    np.testing.assert_array_equal(given["loss"], scores["loss"])
    assert given.meta["columns"]["el2n"]["needs"][0]["epochs"] == [2, 4]
    again = dd.rescore(tmp_path / "run", "el2n", params={"el2n": {"at": 2}}, save_as="again")
    np.testing.assert_array_equal(again["again"], scores["el2n"])
    for at in ("1", "3", "1-4"):
        with pytest.raises(OptionError, match=rf"el2n.at='{at}': there are checkpoints 2, 4 \(of a run .* by epoch"):
            score(None, "el2n", checkpoints=run, params={"el2n": {"at": at}})
    last = run / "checkpoints/seed-0/epoch-4.safetensors"
    (tmp_path / "other.safetensors").write_bytes(last.read_bytes())
    same = [last, last]  # two files of one name are two files
    for files in ([tmp_path / "other.safetensors"] * 2, same):
        two = score(None, "loss", checkpoints=files, params={"loss": {"at": 2}})
        assert two.meta["facts"]["checkpoints"] == [1, 2]


def test_inputs_are_normalised_as_in_the_run_of_the_checkpoints(tmp_path, caplog):
    """The darkest of the examples have the losses that they have among all."""
    digits = dd.open_data("digits")
    x = digits.take(np.arange(600)).numpy()
    dark = np.sort(np.argsort(x.reshape(600, -1).mean(1), kind="stable")[:300])
    np.savez(tmp_path / "full.npz", x=x, y=digits.labels[:600])
    np.savez(tmp_path / "dark.npz", x=x[dark], y=digits.labels[:600][dark])
    full, part = (f"npz:{tmp_path}/{name}.npz" for name in ("full", "dark"))
    trained = dd.score(full, "datadiet:mlp", "loss", epochs=2, recipe=FAST, out=tmp_path / "run")
    caplog.set_level("INFO", "datadiet")
    given = dd.score(part, "datadiet:mlp", "loss", checkpoints=tmp_path / "run", recipe=FAST)
    np.testing.assert_allclose(given["loss"], trained["loss"][dark], rtol=1e-5, atol=1e-6)
    assert "as in the run of the checkpoints" in caplog.text and "is not known" not in caplog.text
    file = tmp_path / "alone.safetensors"
    file.write_bytes((tmp_path / "run/checkpoints/seed-0/epoch-2.safetensors").read_bytes())
    caplog.clear()
    other = dd.score(part, "datadiet:mlp", "loss", checkpoints=[file], recipe=FAST)
    assert not np.allclose(other["loss"], trained["loss"][dark], rtol=1e-3)
    assert "trained with is not known: it was measured on this data" in caplog.text
    files = [tmp_path / "run/checkpoints/seed-0/epoch-2.safetensors", file]
    with pytest.raises(OptionError, match=r"prepared their inputs differently.*give checkpoints of one run"):
        dd.score(part, "datadiet:mlp", "loss", checkpoints=files, recipe=FAST)
    np.savez(tmp_path / "floats.npz", x=x.astype(np.float32) / 255, y=digits.labels[:600])
    with pytest.raises(DataError, match=r"to be normalised, but npz:.*already scaled: give data of the same kind"):
        dd.score(f"npz:{tmp_path}/floats.npz", "datadiet:mlp", "loss", checkpoints=tmp_path / "run", recipe=FAST)


def test_the_checkpoint_of_a_training_is_scored(tmp_path):
    """`train` writes the same layout, so its run can be given too."""
    result = dd.train("digits", "datadiet:mlp", epochs=2, recipe=FAST, out=tmp_path / "trained")
    by_file = score(None, "loss", checkpoints=tmp_path / "trained/checkpoints/seed-0/epoch-2.safetensors")
    by_model = score(None, "loss", model=result.model)
    np.testing.assert_allclose(by_file["loss"], by_model["loss"], rtol=1e-6)
    np.testing.assert_array_equal(score(None, "loss", checkpoints=tmp_path / "trained")["loss"], by_file["loss"])


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("nothing-*.pt", DataError, "no checkpoint matches nothing"),
        (["missing.safetensors"], DataError, "missing.safetensors does not exist"),
    ],
)
def test_missing_checkpoints(tmp_path, given, error, words):
    with pytest.raises(error, match=words):
        score(tmp_path / "run", "loss", checkpoints=given)
    assert not (tmp_path / "run").exists()


def test_training_scorers_need_a_model_to_train(tmp_path):
    for scorer in ("forgetting", "aum", "tdds"):
        with pytest.raises(MissingSignal, match=f"{scorer} reads presentations during training"):
            score(tmp_path / "run", scorer, model=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    assert not (tmp_path / "run").exists()


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize("training", [True, False])
def test_a_trained_module_is_evaluated_and_left_as_it_was(training):
    model = nn.Sequential(linear(), nn.BatchNorm1d(10)).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scores = score(None, "entropy,loss", model=model)
    assert all(m.training is training for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    source = open_data("digits")
    with torch.no_grad():
        z = model.eval()(measure_normalisation(source)(source.take(np.arange(len(source)))))
    wanted = nn.functional.cross_entropy(z, torch.from_numpy(source.labels), reduction="none")
    np.testing.assert_allclose(scores["loss"], wanted, rtol=1e-4, atol=1e-6)


def test_a_module_with_a_frozen_part_keeps_it():
    model = nn.Sequential(linear(), nn.BatchNorm1d(10)).train()
    model[1].eval()
    score(None, "loss", model=model)
    assert [m.training for m in model] == [True, False]


def test_another_trained_module_is_another_run(tmp_path):
    """The scores of the first must not be handed out as those of the second."""
    first = score(tmp_path / "run", "loss", model=linear(0))
    with pytest.raises(OptionError, match="holds a run with"):
        score(tmp_path / "run", "loss", model=linear(1))
    assert np.array_equal(score(tmp_path / "run", "loss", model=linear(0))["loss"], first["loss"])


def test_another_architecture_under_the_same_name_is_another_run(tmp_path):
    def make(width):
        return lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    score(tmp_path / "run", "loss", model=make(8), epochs=2)
    with pytest.raises(OptionError, match="holds a run with"):
        score(tmp_path / "run", "loss", model=make(16), epochs=2)


class Wrapped(nn.Module):
    """A wrapper as people write them: every name of its state begins with "model."."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x):
        return self.model(x)


def test_a_wrapper_that_calls_its_network_model_can_be_scored():
    assert np.isfinite(score(None, "el2n", model=Wrapped, epochs=2)["el2n"]).all()


class Scaled(nn.Module):
    """A network whose output is not that of its last linear layer."""

    def __init__(self):
        super().__init__()
        self.flat, self.fc = nn.Flatten(), nn.Linear(64, 10)

    def forward(self, x):
        return 2 * self.fc(self.flat(x))


def test_grand_needs_a_head_and_says_so_before_anything_is_written(tmp_path):
    with pytest.raises(OptionError, match="name it with head="):
        score(tmp_path / "run", "grand_last", model=Scaled, epochs=2)
    assert not (tmp_path / "run").exists()
    assert "grand_last" in score(tmp_path / "run", "grand_last", model=Scaled, epochs=2, head="fc").columns


def test_without_a_head_everything_else_works():
    assert np.isfinite(score(None, "el2n,aum", model=Scaled, epochs=2)["el2n"]).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": None}, "scoring needs a model"),
        ({"epochs": 0}, "epochs=0"),
        ({"seeds": 0}, "seeds=0"),
        ({"scorers": "el2m"}, "'el2m' is not a scorer: did you mean 'el2n'"),
        ({"scorers": []}, "name a scorer"),
        ({"scorers": "el2n,aum", "save_as": "x"}, "give exactly one"),
        ({"params": {"el2n": {"windw": 1}}}, "'windw' is not a parameter of el2n"),
        ({"params": {"aum": {"at": 1}}}, "parameters for aum, which is not among the scorers"),
        ({"params": {"el2n": {"at": 9}}}, r"el2n.at='9' is outside the 4 recorded epochs"),
        ({"params": {"el2n": {"at": "soon"}}}, "give early, last, every, an epoch number, or a range"),
        ({"params": {"el2n": {"mode": "test"}}}, "give train or eval"),
        ({"device": "nosuch"}, "device='nosuch' cannot be used here"),
        ({"eval": "0%"}, "between 0% and 100%"),
        ({"eval": "some%"}, "some%"),
        ({"recipe": {"augment": "flop"}}, "'flop' is not an? augmentation"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "scorers": "loss", "seeds": 2}, "seeds"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "scorers": "loss", "epochs": 7}, "epochs"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, words):
    with pytest.raises(OptionError, match=words):
        score(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"x": np.zeros((6, 3), np.float32)}, "has no labels, but a classifier needs them.*--label COLUMN"),
        ({"x": np.zeros((6, 3), np.float32), "y": np.zeros(6, np.int64)}, "single class '0'"),
    ],
)
def test_data_that_cannot_be_classified(tmp_path, data, words):
    np.savez(tmp_path / "data.npz", **data)
    with pytest.raises(DataError, match=words):
        score(tmp_path / "run", data=f"npz:{tmp_path}/data.npz")
    assert not (tmp_path / "run").exists()


def test_a_model_that_does_not_fit_the_data_gets_one_sentence(tmp_path):
    """Three-channel networks on grey images, for example."""
    with pytest.raises((OptionError, DataError)):
        score(tmp_path / "run", model=lambda: nn.Conv2d(3, 10, 3))
    assert not (tmp_path / "run").exists()


# What goes in: the same 60 small images in every form.


def pictures():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.integers(0, 90, (60, 12, 12, 3), dtype=np.uint8)
    x[np.arange(60), :, :, y] += 120
    return x, y


def png(image):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, i):
        x, y = pictures()
        return torch.from_numpy(x[i]).permute(2, 0, 1), int(y[i])


def as_parquet(folder):
    x, y = pictures()
    pq.write_table(pa.table({"jpeg": list(map(png, x)), "label": y}), folder / "a.parquet")
    return f"parquet:{folder}/a.parquet"


def as_folder(folder):
    for i, (image, label) in enumerate(zip(*pictures(), strict=True)):
        path = folder / "images" / f"class-{label}" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return f"imagefolder:{folder}/images"


def as_npz(folder):
    x, y = pictures()
    np.savez(folder / "a.npz", x=x, y=y)
    return f"npz:{folder}/a.npz"


def as_hf(folder):
    import datasets

    x, y = pictures()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["r", "g", "b"])})
    return datasets.Dataset.from_dict(
        {"image": [{"bytes": png(i), "path": None} for i in x], "label": y}, features=features
    )


FORMS = [as_parquet, as_folder, as_npz, lambda folder: Pictures(), as_hf]


@pytest.mark.parametrize("form", FORMS, ids=["parquet", "imagefolder", "npz", "torch", "datasets"])
def test_every_form_of_data_is_scored_selected_and_trained_on(tmp_path, form):
    data = form(tmp_path)
    options = {"epochs": 2, "recipe": {"batch_size": 20, "augment": "flip"}, "eval": "20%"}
    scores = dd.score(data, "datadiet:cnn", "el2n,aum", out=tmp_path / "run", **options)
    assert len(scores) == 48 and set(scores.labels) == {0, 1, 2}
    kept = dd.select(tmp_path / "run", "ccs", keep=0.5)
    kept.write(tmp_path / "kept.parquet")
    result = dd.train(data, "datadiet:cnn", tmp_path / "kept.parquet", **options)
    assert result.kept == 24 and 0 <= result.accuracy <= 1
    if isinstance(data, str):
        assert dd.export(kept, data, "indices", tmp_path / "kept.npy").exists()
        assert np.load(tmp_path / "kept.npy").tolist() == kept.indices.tolist()
    else:
        part = kept.apply(data) if hasattr(data, "select") else kept.subset(data)
        assert len(part) == 24


def test_the_same_pictures_get_the_same_scores_in_every_form(tmp_path):
    """Encoded losslessly, in the same order; an image folder is in the order of its classes."""
    options = {"epochs": 2, "recipe": {"batch_size": 20}}
    got = [dd.score(form(tmp_path), "datadiet:cnn", "aum", **options)["aum"] for form in FORMS if form is not as_folder]
    assert all(np.array_equal(got[0], other) for other in got[1:])


def test_a_held_out_share_is_neither_scored_nor_trained_on(tmp_path):
    scores = score(tmp_path / "run", "el2n", eval="10%")
    assert len(scores) == 1438 - 144
    assert scores.meta["facts"]["accuracy"] > 0.5 and len(scores.meta["facts"]["class_recall"]) == 10
    source = open_data("digits")
    assert scores.meta["data"] == source.identity()  # index counts in the whole
    assert np.array_equal(scores.labels, source.labels[scores.index])
    kept = dd.select(scores, "top_k", keep=0.3, prefer="hardest", score="el2n")
    assert dd.train("digits", "datadiet:mlp", kept, eval="10%", epochs=1, recipe=FAST).kept == 388
    with pytest.raises(DataError, match="examples to keep are held out or skipped here"):
        dd.train("digits", "datadiet:mlp", kept, eval="40%", epochs=1, recipe=FAST)
    # the seed of a training does not move the held-out part
    assert dd.train("digits", "datadiet:mlp", kept, eval="10%", seed=1, epochs=1, recipe=FAST).kept == 388


def test_unreadable_examples_are_skipped_only_when_asked_and_k_counts_what_was_scored(tmp_path):
    x, y = pictures()
    blobs = list(map(png, x))
    blobs[5], blobs[40] = blobs[5][:60], b"no image"
    pq.write_table(pa.table({"id": [f"n{i}" for i in range(60)], "image": blobs, "label": y}), tmp_path / "a.parquet")
    spec = f"parquet:{tmp_path}/a.parquet"
    with pytest.raises(DataError, match=r"'n5'|'n40'"):
        dd.score(spec, "datadiet:cnn", "aum", epochs=1, out=tmp_path / "strict")
    source = open_data(spec, on_error="skip")
    scores = dd.score(source, "datadiet:cnn", "aum", epochs=2, recipe={"batch_size": 16}, out=tmp_path / "run")
    assert len(scores) == 58 and not {5, 40} & set(scores.index.tolist())
    assert [entry[:2] for entry in scores.meta["skipped"]] == [[5, "n5"], [40, "n40"]]
    kept = dd.select(scores, "top_k", keep=0.5, prefer="easiest", score="aum")
    assert len(kept) == 29 and not {5, 40} & set(kept.indices.tolist())
    assert dd.train(source, "datadiet:cnn", kept, epochs=1, recipe={"batch_size": 16}).kept == 29
    dd.export(kept, source, "parquet", tmp_path / "kept.parquet")
    assert pq.read_table(tmp_path / "kept.parquet")["id"].to_pylist() == [f"n{i}" for i in kept.indices]


def test_a_selection_is_applied_to_its_own_data_only(tmp_path):
    data = Pictures()
    scores = dd.score(data, "datadiet:cnn", "aum", epochs=1, recipe={"batch_size": 20})
    kept = dd.select(scores, "top_k", keep=10, prefer="hardest")
    part = kept.subset(data)
    assert [part[i][1] for i in range(10)] == pictures()[1][kept.indices].tolist()

    class Shorter(Pictures):
        def __len__(self):
            return 59

    class Relabelled(Pictures):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x, (y + 1) % 3 if i == 7 else y

    class Repainted(Pictures):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return 255 - x, y

    for other, words in (
        (Shorter(), "the number of examples"),
        (Relabelled(), "the labels"),
        (Repainted(), "the content"),
    ):
        for use in (kept.subset, lambda d: dd.train(d, "datadiet:cnn", kept, epochs=1)):
            with pytest.raises(FingerprintMismatch, match=f"they differ in {words}"):
                use(other)


def test_a_selection_is_applied_to_a_hugging_face_data_set(tmp_path):
    data = as_hf(tmp_path)
    scores = dd.score(data, "datadiet:cnn", "aum", epochs=1, recipe={"batch_size": 20})
    kept = dd.select(scores, "top_k", keep=10, prefer="hardest")
    assert kept.apply(data)["label"] == [data[int(i)]["label"] for i in kept.indices]
    with pytest.raises(FingerprintMismatch, match="differ in the number of examples"):
        kept.apply(data.select(range(59)))


def test_scorers_of_ones_own(tmp_path):
    def last_loss(loss):
        return loss[:, -1].mean(axis=0)

    (tmp_path / "mine.py").write_text("def worst(loss, *, scale=1.0):\n    return scale * loss.max(axis=(0, 1))\n")
    scores = score(None, [last_loss, f"py:{tmp_path}/mine.py:worst"], params={"worst": {"scale": 2.0}})
    assert {"last_loss", "worst"} <= set(scores.names)
    assert (scores["worst"] >= 2 * scores["last_loss"] - 1e-5).all()
    assert np.isfinite(scores.hardness("worst")).all()


def test_data_of_ones_own_trains_with_global_randomness_untouched():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002  the global state is what is looked at
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    score(None, "el2n", epochs=2)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_a_network_that_learned_nothing_is_noted(caplog):
    inputs = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
    labels = np.repeat(["a", "b"], 30)
    score(data=(inputs, labels), recipe={**FAST, "lr": 1e-9}, epochs=2, eval="20%")
    said = [record.getMessage() for record in caplog.records]
    (note,) = [text for text in said if "train longer" in text]
    assert note.startswith("after 2 steps the scoring network gets ")
    assert "of the held-out examples right, and the largest class alone would give 50.0 %" in note
    caplog.clear()
    score(data=(inputs, labels), recipe={**FAST, "lr": 1e-9}, epochs=2)
    assert "of the training examples right" in caplog.text
    caplog.clear()
    score(epochs=8, recipe={"batch_size": 64})
    assert "scoring network" not in caplog.text


def test_a_class_that_is_never_predicted_is_noted(caplog):
    inputs = np.repeat(np.eye(3, dtype=np.float32), [40, 40, 10], axis=0)
    inputs[80:] = inputs[:10]  # the third class looks like the first
    score(data=(inputs, np.repeat(["a", "b", "c"], [40, 40, 10])), recipe={"batch_size": 8, "lr": 0.1}, eval="20%")
    assert "predicts 'c' for no held-out example: it has not learned this class" in caplog.text
    assert "train longer" not in caplog.text


def test_classes_without_held_out_or_training_examples_are_named(caplog):
    inputs = np.random.default_rng(0).normal(size=(41, 4)).astype(np.float32)
    labels = np.array([*"a" * 20, *"b" * 20, "c"])
    score(data=(inputs, labels), epochs=1, eval="20%")
    assert "'c' has no held-out example: accuracy says nothing about this class" in caplog.text
    caplog.clear()
    score(data=(inputs, labels), epochs=1, eval="60%")
    assert "'c' has no training example: the network cannot learn this class" in caplog.text
    assert "'c' has no held-out" not in caplog.text
