"""Every command, as it is typed: what stands on stdout, what on stderr, what as JSON."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.cli import main
from datadiet.scorers import SCORERS
from datadiet.selectors import SELECTORS, Column

pytestmark = pytest.mark.usefixtures("one_thread")

DOCUMENTED = {
    "plan": "--n --dim --method --keep --prune --model --scorer --epochs --seeds --eval --reference --set -p --json",
    "score": "--model --scorer -p --seed --seeds --epochs --checkpoints --eval --split --image --label --id --set "
    "--eval-split --device --head --as --on-error --out --json --reference --reference-split --fallback",
    "rescore": "--scorer -p --as --json",
    "embed": "--model --checkpoint --pool --head --batch-size --dtype --device --split --image --text --label --id "
    "--on-error --out --json",
    "select": "--method --keep --prune --score --column --embeddings --text --texts --id --index --label --split "
    "--by-class -p --higher-is --seed --out --overwrite --json",
    "train": "--model --selection --sampler --objective --epochs --steps --match --eval --eval-split --set --seed "
    "--device --split --image --label --id --on-error --out --json --grid --scores --method --score -p --executor "
    "--actors --gpus-per-actor --address",
    "recover": "--data --model --sparsify --sparsify-on --keep-dense --method --score --column --by-class -p --keep "
    "--prune --teacher --teacher-model --kd-weight --temperature --epochs --steps --eval --set --device --seed --split "
    "--image --label --id --on-error --out --json",
    "compare": "--model --methods --keep --epochs --margin --metric --budget --seeds --max-hours --screen --scores "
    "--eval --eval-split --set --device --seed --split --image --label --id --on-error --executor --actors "
    "--gpus-per-actor --address --out --json",
    "suspects": "--top --score --data --model --split --image --text --label --id --allow-paths --on-error --device "
    "--out --overwrite --json",
    "report": "--data --scores --score --model --split --image --text --label --id --allow-paths --on-error --device "
    "--out --open --overwrite --json",
    "export": "--data --to --split --image --label --id --overwrite --json",
    "inspect": "--json",
    "ls": "--json",
    "doctor": "--json",
    "demo": "--out --seed --json",
}


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run a command line in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stopped:
            warnings.simplefilter("default")  # as outside the tests, where main shows them as notes
            main([str(a) for a in arguments])
        return (stopped.value.code, *capsys.readouterr())

    return run


def only_notes(err):
    return all(line.startswith("datadiet: note: ") for line in err.splitlines())


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A scored run of digits."""
    run = tmp_path_factory.mktemp("cli") / "run"
    dd.score("digits", "datadiet:mlp", "el2n,aum,forgetting", epochs=3, recipe={"batch_size": 256}, out=run)
    return run


@pytest.mark.parametrize("command", DOCUMENTED)
def test_every_documented_option_exists(cli, command):
    code, out, err = cli(command, "--help")
    assert (code, err) == (0, "") and out.startswith(f"Usage: datadiet {command}")
    shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", out))
    assert set(DOCUMENTED[command].split()) <= shown
    assert cli(command, "-h")[1] == out


def test_the_group_lists_every_command_and_no_other(cli):
    """Commands of later releases appear when they work."""
    code, out, _ = cli("--help")
    assert code == 0 and set(re.findall(r"^  ([a-z]+)  ", out, flags=re.MULTILINE)) == set(DOCUMENTED)
    assert cli("--version") == (0, f"datadiet, version {dd.__version__}\n", "")


def test_python_m_datadiet(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "datadiet", "ls", "selectors"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "top_k" in done.stdout and done.stderr == ""


def test_score_select_train_export(cli, tmp_path):
    score = [
        "score",
        "digits",
        "--model",
        "datadiet:mlp",
        "--scorer",
        "el2n,aum",
        "--epochs",
        "3",
        "--set",
        "batch_size=256",
    ]
    code, out, err = cli(*score, "--out", "run")
    assert code == 0 and only_notes(err) and "1438 examples of 10 classes, inputs (1, 8, 8)" in err
    assert "el2n" in out and "held-out accuracy of the scoring model: " in out
    # the command that it proposes is the next one
    proposed = out.strip().splitlines()[-1].partition("next: datadiet ")[2]
    code, out, err = cli(*proposed.split())
    first, second = out.splitlines()
    assert code == 0 and first == (
        "kept 431 of 1438 examples (29.97 %) by ccs (score = aum, cutoff_scores = aum, within each class): "
        "selection.parquet"
    )
    assert second.startswith("classes: 0 42/142, 1 44/146, ")
    train = ["train", "digits", "--model", "datadiet:mlp", "--selection", "selection.parquet", "--epochs", "3"]
    code, out, err = cli(*train, "--set", "batch_size=64", "--out", "trained")
    assert code == 0 and "21 steps on 431 examples an epoch" in out and "held-out accuracy" in out
    code, out, err = cli("export", "selection.parquet", "kept.parquet", "--data", "digits", "--to", "parquet")
    assert (code, out) == (0, "431 examples written to kept.parquet\n")
    assert pq.read_metadata("kept.parquet").num_rows == 431


def test_a_training_that_prunes_says_how_and_how_far(cli):
    line = ["train", "digits", "--model", "datadiet:mlp", "--steps", "1", "--out"]
    code, out, err = cli(*line, "thin", "--sparsify", "random_weights:80%")
    assert code == 0 and "pruning 80 % of the weights by random_weights (sparsify_when=start)" in err
    first, *_, last = out.splitlines()
    assert first.startswith("1 step on 1438 examples")
    assert last == "sparsity 80.00 %: 4.8 % in 5.weight to 86.2 % in 3.weight"
    found = json.loads(
        cli(*line, "thin", "--sparsify", "random_weights:80%", "--json")[1]
    )  # a finished run, read again
    assert found["sparsity"] == pytest.approx(0.8, abs=1e-4)
    assert [*found["layer_sparsity"]] == ["1.weight", "3.weight", "5.weight"]
    assert json.loads(cli("inspect", "thin", "--json")[1])["sparsity"] == found["sparsity"]
    code, out, err = cli(*line, "masked", "--sparsify", "masks:thin")  # masks that stay: what was reached is said
    assert code == 0 and out.splitlines()[-1].startswith("sparsity 80.00 %") and "pruning" not in err
    code, out, err = cli(*line, "dense")
    assert code == 0 and "spars" not in out and "pruning" not in err
    found = json.loads(cli(*line, "dense", "--json")[1])
    assert found["sparsity"] is None and found["layer_sparsity"] == {}
    cli(*line, "grid", "--grid", "sparsity=0,0.5")
    cells = [json.loads(path.read_text()) for path in sorted(Path("grid/cells").glob("*/run.json"))]
    assert sorted(cell.get("sparsity", 0.0) for cell in cells) == [0.0, pytest.approx(0.5)]


def test_scorers_that_compare_with_reference_data(cli):
    """The options of their passes, the split of the reference, and what rescore makes of it later."""
    line = ["score", "digits", "--model", "datadiet:mlp", "--scorer", "grand,trak,knn_shapley", "--epochs", "2"]
    line += ["-p", "grand.per_layer=true", "-p", "trak.dim=64", "--fallback", "vmap", "--reference", "digits"]
    code, out, err = cli(*line, "--reference-split", "eval", "--out", "run", "--json")
    assert code == 0 and only_notes(err)
    assert set(json.loads(out)["scores"]) == {"grand", "grand.1", "grand.3", "grand.5", "trak", "knn_shapley"}
    code, out, _ = cli("rescore", "run", "--scorer", "knn_shapley", "-p", "knn_shapley.k=1", "--as", "nearest")
    assert code == 0 and out.strip().endswith("knn_shapley, nearest")


def test_the_line_of_the_issue(cli):
    """`datadiet select scores.npy --method top_k -p prefer=hardest --keep 30% --out s.parquet` on a bare array."""
    values = np.random.default_rng(0).random(100)
    np.save("scores.npy", values)
    code, out, err = cli(
        *["select", "scores.npy", "--method", "top_k", "-p", "prefer=hardest", "--keep", "30%", "--out", "s.parquet"]
    )
    assert code == 0 and out == "kept 30 of 100 examples (30 %) by top_k (score = score): s.parquet\n"
    assert "a higher score is taken to mean harder" in err
    assert set(dd.Selection.read("s.parquet").indices) == set(np.argsort(-values)[:30])


def test_higher_is_easier(cli):
    np.save("scores.npy", np.arange(10.0))
    code, _, err = cli(
        *[
            "select",
            "scores.npy",
            "--method",
            "top_k",
            "-p",
            "prefer=hardest",
            "--higher-is",
            "easier",
            "--keep",
            "50%",
            "--out",
            "s.parquet",
        ]
    )
    assert (code, err) == (0, "") and dd.Selection.read("s.parquet").indices.tolist() == [0, 1, 2, 3, 4]


def test_a_table_by_the_names_of_its_columns(cli):
    """Low quality is hard, high width too; the rows are in another order than the data, which the ids name."""
    pd.DataFrame({"file": ["c", "a", "b"], "quality": [0.9, 0.1, 0.5], "width": [3, 1, 2], "y": [0, 1, 1]}).to_csv(
        "t.csv"
    )
    pd.DataFrame({"id": ["a", "b", "c"], "x": [1.0, 2.0, 3.0]}).to_parquet("data.parquet")
    line = ["select", "t.csv", "--id", "file", "--method", "top_k", "-p", "prefer=hardest", "--keep", "n=1"]
    line += ["--overwrite", "--out", "s.parquet"]
    directions = ["--higher-is", "quality=easier", "--higher-is", "width=harder"]
    source = dd.open_data("parquet:data.parquet", id="id")
    for column, kept in (("quality", 0), ("width", 2)):
        code, _, err = cli(*line, *directions, "--score", column)
        assert code == 0 and "taken to mean" not in err
        assert dd.Selection.read("s.parquet").placed(source).indices.tolist() == [kept]
    code, _, err = cli(*line, "--score", "quality")
    assert code == 0 and "a higher score is taken to mean harder" in err
    code, _, err = cli(*line, "--higher-is", "width=easier", "--score", "quality")
    assert code == 2 and "'quality' has no orientation" in err
    code, *_ = cli(*line, "--label", "y", "--by-class", "--score", "width", "--higher-is", "easier", "--keep", "n=2")
    assert code == 0 and dd.Selection.read("s.parquet").placed(source).indices.tolist() == [0, 2]


def test_positions_and_directions_of_files_that_say_them(cli):
    Path("t.csv").write_text("row,s\n1,5\n0,3\n2,4\n")
    line = ["--method", "top_k", "-p", "prefer=hardest", "--keep", "n=1", "--overwrite", "--out", "s.parquet"]
    assert cli("select", "t.csv", "--index", "row", *line)[0] == 0
    assert dd.Selection.read("s.parquet").indices.tolist() == [1]
    dd.Scores.from_arrays({"s": np.arange(3.0)}).write("ours.parquet")
    code, _, err = cli("select", "ours.parquet", "--higher-is", "s=easier", *line)
    assert code == 2 and "its columns say what they are" in err


@pytest.mark.parametrize(
    ("option", "value", "k"),
    [
        ("--keep", "30%", 30),
        ("--keep", "0.3", 30),
        ("--keep", "n=7", 7),
        ("--keep", "1.0", 100),
        ("--prune", "70%", 30),
        ("--prune", "0.7", 30),
        ("--prune", "99.5%", 1),
        ("--keep", "0.5%", 1),
    ],
)
def test_ways_to_say_how_much(cli, option, value, k):
    np.save("scores.npy", np.arange(100.0))
    code, out, _ = cli("select", "scores.npy", "--method", "random", option, value, "--out", "s.parquet", "--json")
    assert code == 0 and json.loads(out)["k"] == k == len(dd.Selection.read("s.parquet"))


def test_the_hardest_of_little_data_gets_a_warning(cli):
    np.save("scores.npy", np.arange(100.0))
    line = [
        "select",
        "scores.npy",
        "--higher-is",
        "harder",
        "--method",
        "top_k",
        "-p",
        "prefer=hardest",
        "--out",
        "s.parquet",
        "--keep",
    ]
    assert "often does worse than random below 30 %" in cli(*line, "10%")[2]
    assert cli(*line, "30%", "--overwrite")[2] == ""


def test_select_reads_the_columns_that_are_named(cli, run_folder):
    code, out, _ = cli(
        "select",
        run_folder,
        "--method",
        "ccs",
        "--score",
        "el2n",
        "--column",
        "cutoff_scores=forgetting",
        "--keep",
        "20%",
        "--out",
        "s.parquet",
        "--json",
    )
    found = json.loads(out)
    assert code == 0 and found["columns"] == {"score": "el2n", "cutoff_scores": "forgetting"} and found["k"] == 288
    assert found["params"]["beta"] == 0.1  # 20 % lies in the middle of the defaults


def test_options_of_a_scorer_and_another_name(cli, run_folder, tmp_path):
    import shutil

    shutil.copytree(run_folder, "run")
    code, out, _ = cli(
        "rescore", "run", "--scorer", "forgetting", "-p", "forgetting.never=zero", "--as", "forgetting_zero"
    )
    assert code == 0 and out.startswith("run/scores.parquet now has el2n, aum, forgetting")
    table = dd.Scores.read("run")
    assert table.meta["columns"]["forgetting_zero"]["params"] == {"never": "zero"}
    assert (table["forgetting_zero"] <= table["forgetting"]).all()
    code, _, err = cli("rescore", "run", "--scorer", "forgetting", "-p", "forgetting.never=zero")
    assert code == 2 and "exists with other parameters" in err and "--as NAME" in err


JSON = {
    "score": [
        "digits",
        "--model",
        "datadiet:mlp",
        "--scorer",
        "el2n",
        "--epochs",
        "2",
        "--seeds",
        "2",
        "--out",
        "json-run",
    ],
    "rescore": ["{run}", "--scorer", "aum"],
    "select": ["{run}", "--method", "random", "--keep", "10%", "--out", "s.parquet"],
    "train": ["digits", "--model", "datadiet:mlp", "--sampler", "rs2:keep=10%", "--epochs", "1", "--out", "json-train"],
    "export": ["s.parquet", "kept.npy", "--data", "digits", "--to", "indices"],
    "suspects": ["{run}", "--top", "5"],
    "report": ["{run}", "--data", "digits"],
    "inspect": ["{run}"],
    "ls": [],
}


@pytest.mark.parametrize("command", JSON)
def test_json_on_stdout_and_nothing_else(cli, run_folder, command):
    if command == "export":
        dd.select(run_folder, "random", keep=0.1).write("s.parquet")
    code, out, err = cli(command, *(a.format(run=run_folder) for a in JSON[command]), "--json")
    assert code == 0 and only_notes(err)
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(found, dict) and out.count("\n") == 1
    wanted = {
        "score": {"out", "n", "facts", "scores"},
        "rescore": {"run", "n", "columns"},
        "select": {"out", "n", "k", "method"},
        "train": {"out", "accuracy", "class_recall", "steps", "kept", "seconds"},
        "export": {"path", "k"},
        "suspects": {"out", "n", "score", "suspicious", "suspects", "notes"},
        "report": {"out", "kind", "lead", "card", "histograms", "examples", "commands", "provenance"},
        "inspect": {"path", "format", "plan", "recorded", "checkpoints", "scores"},
        "ls": {"scorers", "selectors", "schedules", "objectives", "models", "data", "exports"},
    }
    assert wanted[command] <= set(found)
    if command == "score":
        assert set(found["scores"]["el2n"]) >= {"min", "median", "max", "spearman"} and found["facts"]["accuracy"] > 0.3


def test_json_of_infinite_scores_is_json(cli):
    line = [
        "score",
        "digits",
        "--model",
        "datadiet:mlp",
        "--scorer",
        "forgetting",
        "-p",
        "forgetting.never=infinite",
        "--epochs",
        "2",
        "--out",
        "run",
        "--json",
    ]
    code, out, _ = cli(*line)
    assert code == 0
    json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_json_of_the_demo(cli, monkeypatch):
    from datadiet.workflow.comparing import demo

    monkeypatch.setattr(demo, "EPOCHS", 2)
    monkeypatch.setattr(demo, "SEEDS", 2)
    code, out, _ = cli("demo", "--out", "here", "--json")
    assert code == 0 and {"rows", "page"} <= set(json.loads(out)) and Path(json.loads(out)["page"]).exists()


def test_inspect_says_what_a_run_holds(cli, run_folder):
    _code, out, _ = cli("inspect", run_folder, "--json")
    found = json.loads(out)
    assert (
        found["format"] == "datadiet.run" and found["plan"]["model"] == "datadiet:mlp" and found["facts"]["epochs"] == 3
    )
    assert found["recorded"]["train seed-0"]["parts"] == 3 and found["recorded"]["eval seed-0"]["parts"] == 1
    assert found["scores"]["aum"] == "float, low = hard, by aum" and found["unfinished"] == []
    assert found["checkpoints"] == ["checkpoints/seed-0/epoch-2.safetensors", "checkpoints/seed-0/epoch-3.safetensors"]
    assert "train seed 0" in found["cost"]
    text = cli("inspect", run_folder)[1]
    assert "format: datadiet.run" in text and "  aum: float, low = hard, by aum" in text


def test_inspect_of_a_folder_points_to_the_runs_in_it(cli, run_folder):
    assert cli("recover", run_folder, "--data", "digits", "--method", "random", "--steps", "2", "--out", "out")[0] == 0
    found = json.loads(cli("inspect", "out", "--json")[1])
    assert found["format"] == "the runs of datadiet recover" and {"all", "pruned", "random"} <= set(found["runs"])
    assert found["runs"]["pruned"]["verb"] == "prune" and found["runs"]["random"]["verb"] == "train"
    assert found["runs"]["random"]["steps"] == 2 and found["runs"]["random"]["sparsity"] == pytest.approx(0.9, abs=1e-3)
    for run in found["runs"].values():
        assert json.loads(cli("inspect", run["path"], "--json")[1])["format"] == "datadiet.run"
    found = json.loads(cli("inspect", run_folder.parent, "--json")[1])
    assert found["format"] == "a folder of runs" and run_folder.name in found["runs"]
    Path("empty").mkdir()
    code, _, err = cli("inspect", "empty")
    assert code == 3 and "empty is not a run folder" in err


def test_inspect_of_files(cli, run_folder):
    found = json.loads(cli("inspect", run_folder / "scores.parquet", "--json")[1])
    assert found["rows"] == 1438 and found["columns"]["el2n"] == "float, high = hard, by el2n"
    dd.select(run_folder, "top_k", score="el2n", keep=0.3, prefer="easiest", seed=4).write("s.parquet")
    found = json.loads(cli("inspect", "s.parquet", "--json")[1])
    assert (found["method"], found["seed"], found["nested"]) == ("top_k", 4, True)
    assert found["keep"] == {"given": 0.3, "k": 431, "n": 1438}
    part = next(run_folder.glob("signals/train/*/*/part-*.parquet"))
    assert "loss" in json.loads(cli("inspect", part, "--json")[1])["columns"]
    assert cli("inspect", "s.parquet")[0] == cli("inspect", part)[0] == 0


@pytest.mark.parametrize("name", [*SELECTORS, *SCORERS])
def test_ls_of_a_method_shows_its_parameters(cli, name):
    code, out, _ = cli("ls", name)
    found = json.loads(cli("ls", name, "--json")[1])
    spec = SELECTORS.get(name) or SCORERS[name]
    accepted = inspect.signature(spec.fn).parameters
    assert code == 0 and found["name"] == name and set(found["parameters"]) <= set(accepted)
    assert not {"keys", "rng", "seen", *(spec.reading(Column) if name in SELECTORS else ())} & set(found["parameters"])
    assert all(f"-p {key}=" in out for key in found["parameters"]) and out.startswith(f"{name}: ")
    assert inspect.getdoc(spec.fn) in out


@pytest.mark.parametrize(
    "kind", ["scorers", "selectors", "schedules", "objectives", "paces", "models", "data", "exports"]
)
def test_ls_of_a_kind(cli, kind):
    code, out, _ = cli("ls", kind, "--json")
    (rows,) = json.loads(out).values()
    assert code == 0 and all(row["name"] and row["about"] for row in rows)
    text = cli("ls", kind)[1]
    assert text.startswith(f"{kind}:\n") and all(f"  {row['name']}" in text for row in rows)


def test_ls_of_schedules_and_objectives_says_what_to_write(cli):
    schedules = {row["name"]: row for row in json.loads(cli("ls", "schedules", "--json")[1])["schedules"]}
    assert schedules["infobatch"]["reads"] == ["loss"] and schedules["infobatch"]["needs"] == ["a budget in epochs"]
    assert schedules["rs2"]["reads"] == ["nothing"] and schedules["rs2"]["needs"] == ["keep"]
    assert schedules["gradient_norm"]["source"] == "Lu et al. 2023"
    assert "  --sampler infobatch:ratio=0.5,anneal=0.875\n" in cli("ls", "infobatch")[1]
    written = "  --objective selective_backprop:keep=0.5,start=0.5,end=0.9,interrupt=2\n"
    assert written in cli("ls", "selective_backprop")[1]
    known = json.loads(cli("ls", "rs2", "--json")[1])["parameters"]
    assert known == {"keep": None, "replacement": False, "stratified": False}


def test_ls_of_pruning_lists_the_paces_as_they_are_written(cli):
    from datadiet.sparsity import CHANNELS, PACES, PRUNING, read_pace

    found = json.loads(cli("ls", "pruning", "--json")[1])
    assert [*found] == ["pruning", "paces"] and {row["name"] for row in found["pruning"]} == {*PRUNING, *CHANNELS}
    forms = {row["name"]: row["form"] for row in found["paces"]}
    assert [*forms] == ["start", "cubic", "rewind", "rewind_lr", "rigl", "set", "granet", "bip"] == [*PACES]
    for name, form in forms.items():  # the defaults, and how a pace says itself
        assert read_pace(name) == read_pace(form) and str(read_pace(name)) == form
    text = cli("ls", "pruning")[1]
    assert "--sparsify-when cubic:0.25-0.75 [Zhu and Gupta 2017]" in text
    assert cli("ls", "granet")[1].count("--sparsify-when granet:0-0.75,share=0.5") == 1
    assert json.loads(cli("ls", "rewind", "--json")[1])["parameters"] == {"step": 0.05}


def test_ls_of_methods_says_what_their_specs_say(cli):
    scorers = {row["name"]: row for row in json.loads(cli("ls", "scorers", "--json")[1])["scorers"]}
    selectors = {row["name"]: row for row in json.loads(cli("ls", "selectors", "--json")[1])["selectors"]}
    assert scorers["aum"]["high_means"] == "easier" and scorers["aum"]["reads"] == ["margin (train, every epoch)"]
    assert scorers["dual"]["high_means"] == {"": "harder", "p_mean": "easier"}
    assert scorers["grad_dot"]["high_means"] == scorers["trak"]["high_means"] == "helps the reference"
    assert scorers["moderate"]["reads"] == ["features (last epoch)", "labels"]
    assert scorers["el2n"]["source"] == "Paul et al. 2021"
    assert selectors["top_k"]["needs"] == ["a size", "prefer"] and selectors["top_k"]["nested"] is True
    assert selectors["ccs"]["reads"] == ["the score aum", "cutoff_scores (aum)"] and selectors["ccs"]["nested"] is False
    assert selectors["semdedup"]["needs"] == ["a size or epsilon"]
    assert selectors["decontaminate"]["reads"] == ["vectors", "reference (vectors)"]
    assert selectors["facility_location"]["nested"] == "with some parameters"
    said = "high = harder; high p_mean = easier; reads p_true (train, every epoch) [Cho et al. 2025]"
    assert said in cli("ls", "dual")[1] and said in cli("ls", "scorers")[1]


def test_ls_lists_the_registries(cli):
    from datadiet.models.catalog import NETWORKS
    from datadiet.scorers import SCORERS
    from datadiet.selectors import SELECTORS

    found = {kind: {row["name"] for row in rows} for kind, rows in json.loads(cli("ls", "--json")[1]).items()}
    assert found["scorers"] == set(SCORERS) and found["selectors"] == set(SELECTORS)
    assert {f"datadiet:{name}" for name in NETWORKS} <= found["models"]
    assert {"parquet", "jsonl", "imagefolder", "hf", "ids", "indices"} == found["exports"]


def test_data_options_reach_the_data(cli):
    rng = np.random.default_rng(0)
    np.savez(
        "a.npz",
        pictures=rng.random((40, 6), dtype=np.float32),
        kind=np.arange(40) % 2,
        name=np.array([f"n{i}" for i in range(40)]),
    )
    code, _, err = cli(
        "score",
        "a.npz",
        "--model",
        "datadiet:mlp",
        "--scorer",
        "aum",
        "--epochs",
        "1",
        "--image",
        "pictures",
        "--label",
        "kind",
        "--id",
        "name",
        "--eval",
        "25%",
        "--out",
        "run",
    )
    assert code == 0 and "a.npz is read as npz:a.npz" in err
    table = pq.read_table("run/scores.parquet")
    assert table.num_rows == 30 and all(id.startswith("n") for id in table["id"].to_pylist())


def test_skipped_examples_are_listed(cli):
    import pyarrow as pa

    from datadiet.data.decode import encode_png

    blobs = [encode_png(np.full((3, 8, 8), 20 * i, np.uint8)) for i in range(10)]
    blobs[4] = b"broken"
    pq.write_table(
        pa.table({"id": list("abcdefghij"), "image": blobs, "label": [i % 2 for i in range(10)]}), "a.parquet"
    )
    line = ["score", "parquet:a.parquet", "--model", "datadiet:mlp", "--scorer", "aum", "--epochs", "1", "--out", "run"]
    code, out, err = cli(*line)
    assert code == 3 and "'e'" in err and out == "" and not Path("run").exists()
    code, out, err = cli(*line, "--on-error", "skip", "--json")
    assert code == 0 and "skipped 'e' (row 4)" in err and json.loads(out)["n"] == 9


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".json", ".npy", ".npz", ".parquet"])
def test_what_a_high_value_is_taken_to_mean_is_said_of_every_form(tmp_path, capsys, suffix):
    values, path = np.arange(40.0), tmp_path / f"s{suffix}"
    frame = pd.DataFrame({"index": np.arange(40), "s": values})
    writers = {
        ".npy": lambda: np.save(path, values), ".npz": lambda: np.savez(path, s=values),
        ".parquet": lambda: frame.to_parquet(path), ".json": lambda: path.write_text(json.dumps(values.tolist())),
    }  # fmt: skip
    rows = {"orient": "records", "lines": True}
    writers.get(suffix, lambda: frame.to_csv(path) if "csv" in suffix else frame.to_json(path, **rows))()
    line = [
        "select",
        str(path),
        "--method",
        "ccs",
        "--keep",
        "50%",
        "--overwrite",
        "--out",
        str(tmp_path / "out.parquet"),
    ]
    for further, said in (([], True), (["--higher-is", "harder"], False)):
        with pytest.raises(SystemExit) as ended:
            main([*line, *further])
        err = capsys.readouterr().err
        assert ended.value.code == 0 and ("a higher score is taken to mean harder" in err) == said


def test_compare(cli):
    command = ["compare", "digits", "--model", "datadiet:mlp", "--methods", "random", "--keep", "n=431"]
    command += ["--epochs", "2", "--seeds", "3", "--max-hours", "10", "--out", "out"]
    code, out, err = cli(*command)
    assert code == 0 and "Equal steps: every training takes 24" in out and "comparison.json" in out
    assert "1 arm of 3 seeds, and all the data: 6 trainings (144 steps)" in err
    assert "; the 5 trainings (120 steps) left will take about " in err  # after the first of the 6
    code, out, err = cli(*command, "--json")
    assert json.loads(out)["rows"][1]["name"] == "random" and "will take" not in err
    assert cli("compare", "digits", "--model", "datadiet:mlp", "--methods", "rnadom", "--out", "x")[0] == 2


def test_the_next_command_works_as_it_is_printed(cli):
    """Folders with spaces; and what says how to read the data is repeated, or the report would read other data."""
    x, y = np.random.default_rng(0).random((60, 1, 4, 4)).astype(np.float32), np.repeat([0, 1], 30)
    Path("my data").mkdir()
    np.savez("my data/two.npz", x=x, other=y, y=1 - y, name=[f"number {i}" for i in range(60)])
    columns = ["--image", "x", "--label", "y", "--id", "name", "--on-error", "skip"]
    about = ["npz:my data/two.npz", "--model", "datadiet:mlp", *columns]

    def following(line, word):
        code, out, err = cli(*line)
        assert code == 0, err
        return shlex.split(next(text for text in out.splitlines() if text.startswith(word)).removeprefix(word))[1:]

    compare = ["compare", *about, "--methods", "random", "--keep", "50%", "--epochs", "1", "--seeds", "2"]
    report = following([*compare, "--eval", "20%", "--out", "my data/compared"], "see them: ")
    assert report == ["report", "my data/compared", "--data", "npz:my data/two.npz", *columns]
    for line in (
        report,
        following(["score", *about, "--scorer", "aum", "--epochs", "1", "--out", "my data/run"], "next: "),
        following(["embed", *about, "--checkpoint", "my data/run", "--out", "my data/vectors"], "next: "),
    ):
        code, _, err = cli(*line, *(["--overwrite"] if line[0] == "select" else []))
        assert code == 0, err
