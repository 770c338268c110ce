"""The folders of score, embed and train: each is continued by its own command, and what is lost is made again."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import datadiet as dd

MODEL = "datadiet:mlp"
RECIPE = {"batch_size": 512}


@pytest.fixture(scope="module")
def verbs(tmp_path_factory):
    """verb -> (folder, a function of a folder that runs it)."""
    root = tmp_path_factory.mktemp("runs")
    verbs = {
        "score": lambda out: dd.score("digits", MODEL, "el2n", epochs=2, recipe=RECIPE, out=out),
        "embed": lambda out: dd.embed("digits", MODEL, checkpoint=root / "score", out=out),
        "train": lambda out: dd.train("digits", MODEL, epochs=2, recipe=RECIPE, out=out),
    }
    for verb, run in verbs.items():
        run(root / verb)
    return {verb: (root / verb, run) for verb, run in verbs.items()}


def files(folder):
    """Those that the plan determines; of logs, which say what took how long, only that they are there."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    logs = ("run.json", "log.jsonl")
    return {name: b"" if name in logs else path.read_bytes() for name, path in found.items()}


@pytest.mark.parametrize("held", ["score", "embed", "train"])
@pytest.mark.parametrize("verb", ["score", "embed", "train"])
def test_a_run_of_another_command_is_refused(verbs, verb, held):
    folder, before = verbs[held][0], files(verbs[held][0])
    if verb == held:
        verbs[verb][1](folder)
    else:
        with pytest.raises(dd.OptionError, match=rf"holds a run of datadiet {held}, and this is datadiet {verb}: "):
            verbs[verb][1](folder)
    assert files(folder) == before


@pytest.mark.parametrize("verb", ["score", "embed", "train"])
def test_whatever_file_is_lost_is_made_again(verbs, verb, tmp_path):
    folder, run = verbs[verb]
    wanted = files(folder)
    for name in wanted:
        if name == "manifest.json":
            continue
        copy = shutil.copytree(folder, tmp_path / name.replace("/", "-"))
        (copy / name).unlink()
        run(copy)
        assert files(copy) == wanted, name


@pytest.mark.parametrize("verb", ["score", "embed", "train"])
def test_without_its_manifest_a_folder_is_no_run(verbs, verb, tmp_path):
    folder, run = verbs[verb]
    copy = shutil.copytree(folder, tmp_path / "run")
    (copy / "manifest.json").unlink()
    with pytest.raises(dd.DataError, match="exists and is not a run folder"):
        run(copy)


@pytest.mark.parametrize("verb", ["score", "embed"])
def test_a_damaged_table_is_named_with_the_way_out(verbs, verb, tmp_path):
    folder, run = verbs[verb]
    copy = shutil.copytree(folder, tmp_path / "run")
    (copy / "scores.parquet").write_bytes(b"")
    with pytest.raises(dd.DataError, match=r"scores.parquet is not .*, or remove it: the same command makes it"):
        run(copy)
    (copy / "scores.parquet").unlink()
    run(copy)
    assert files(copy) == files(folder)
    assert np.array_equal(dd.Scores.read(copy).index, dd.Scores.read(folder).index)


@pytest.mark.parametrize("read", [
    lambda run: dd.select(run, "top_k", keep=3, prefer="hardest"), lambda run: dd.select(run, "random", keep=3),
    lambda run: dd.select(run, "herding", keep=3), lambda run: dd.rescore(run, "el2n"), dd.Scores.read,
])  # fmt: skip
def test_a_run_of_train_has_no_scores(verbs, read):
    with pytest.raises(dd.DataError, match=r"is a run of datadiet train, which has no scores: .*--checkpoints"):
        read(verbs["train"][0])
