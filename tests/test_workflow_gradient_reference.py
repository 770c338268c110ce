"""Scorers that compare with reference data: which data that is, and what cannot be compared with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.data import open_data
from datadiet.errors import DataError, MissingSignal, OptionError
from datadiet.scorers import Need, ScorerSpec
from datadiet.signals.passes import Pass
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.session import open_session

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_reference_share_is_apart_from_training_and_evaluation(tiny):
    session = open_session(JobSpec("digits", tiny, eval="10%", reference="10%"))
    parts = [part.source.index for part in (session.feed, session.held_out, session.reference)]
    assert [len(part) for part in parts] == [1165, 144, 129]
    assert sorted(np.concatenate(parts)) == list(range(1438))
    assert [len(np.unique(part.source.labels)) for part in (session.held_out, session.reference)] == [10, 10]


def test_the_labels_of_a_reference_are_known_by_name(other_digits, score_small):
    """A reference of fewer classes numbers them otherwise."""
    held = other_digits(0, 200)
    rows = np.flatnonzero(np.isin(held.labels, (3, 5, 8)))
    few = torch.utils.data.TensorDataset(held.take(rows), torch.from_numpy(held.labels[rows]))
    got, wanted = (score_small(None, "knn_shapley,influence,trak", reference=part) for part in (few, held.subset(rows)))
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted.columns)


def test_another_reference_has_files_of_its_own(tmp_path, contents, other_digits, score_small):
    run = tmp_path / "run"
    for scorer in ("knn_shapley", "grad_dot"):
        first = score_small(run, scorer)
        before = contents(run, "signals", "embeddings")
        both = score_small(run, scorer, reference=other_digits(60, 140), save_as=f"{scorer}_other")
        assert np.array_equal(both[scorer], first[scorer])
        alone = score_small(None, scorer, reference=other_digits(60, 140))
        assert np.array_equal(both[f"{scorer}_other"], alone[scorer])
        assert not np.array_equal(alone[scorer], first[scorer])
        assert contents(run).items() >= before.items()
    assert len(list((run / "embeddings").glob("reference-*.npy"))) == 2


def test_another_reference_is_another_parameter(tmp_path, comparing_scorer, other_digits, score_small):
    """The column of the first must not be replaced without a word by one that says the same of itself."""
    name = comparing_scorer
    first = score_small(tmp_path / "run", name)
    with pytest.raises(OptionError, match=rf"'{name}' exists with other parameters.*--as NAME"):
        score_small(tmp_path / "run", name, reference=other_digits(60, 140))
    other = score_small(None, name, reference=other_digits(60, 140))
    assert first.meta["columns"][name] != other.meta["columns"][name]


def test_the_data_never_stand_in_for_a_reference_that_is_forgotten(tmp_path, comparing_scorer, score_small):
    """A further scorer without reference must not make rescoring compare the training data with themselves."""
    run, name = tmp_path / "run", comparing_scorer
    first = score_small(run, name)
    score_small(run, "el2n")
    again = dd.rescore(run, name, save_as="again")
    np.testing.assert_array_equal(again["again"], first[name])


def test_the_data_never_stand_in_for_a_reference_that_was_not_reached(tmp_path, monkeypatch, score_small):
    run = tmp_path / "run"
    score_small(run, "el2n")
    with monkeypatch.context() as patch:
        patch.setattr(Pass, "begin", stopping_at(4))
        with pytest.raises(KeyboardInterrupt):
            score_small(run, "datainf,trak", params={"trak": {"dim": 64}})
    with pytest.raises(OptionError):
        dd.rescore(run, "datainf")


def stopping_at(number):
    """A `Pass.begin` that is interrupted when it is called for that time."""
    called, begin = [], Pass.begin

    def counted(kind, setup):
        called.append(kind.name)
        if len(called) == number:
            raise KeyboardInterrupt
        return begin(kind, setup)

    return counted


def test_a_need_of_outputs_on_the_reference_is_refused(other_digits, score_small, tiny):
    """Only passes that record vectors run over it."""

    def against(loss, other):
        return loss - other.mean()

    spec = ScorerSpec(against, (Need("loss", "eval", "last"), Need("loss", "eval", "last", "reference")))
    with pytest.raises(OptionError, match="reads loss of the reference: only passes that record vectors"):
        score_small(None, [spec], model=tiny(), reference=other_digits())


def test_a_missing_reference_is_one_sentence_and_nothing_is_written(tmp_path, comparing_scorer, score_small):
    words = rf"^{comparing_scorer} compares with reference examples: .* \(--reference DATA,"
    with pytest.raises(OptionError, match=words) as no:
        score_small(tmp_path / "run", f"grand,{comparing_scorer}", reference=None)
    assert "\n" not in str(no.value) and not (tmp_path / "run").exists()


def labelled(n, shape=(1, 8, 8), classes=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 17, (n, *shape), dtype=np.uint8), np.arange(n) % classes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: open_data("digits").subset(np.arange(120)),
            "digits is also the training data: name other data, its split .--reference-split., or",
        ),
        (lambda: labelled(24, classes=11), "has the class '10', which is not among"),
        (lambda: labelled(24, (1, 9, 9)), r"inputs of shape \(1, 9, 9\).*they must be the same"),
        (lambda: labelled(24, (64,)), r"inputs of shape \(64,\).*they must be the same"),
        (lambda: (labelled(24)[0],), "has no labels"),
        (lambda: labelled(0), "no examples"),
    ],
)
def test_a_reference_that_cannot_be_compared_with(tmp_path, make, words, score_small):
    reference = make()
    if isinstance(reference, tuple):
        np.savez(tmp_path / "a.npz", **dict(zip("xy", reference, strict=False)))
        reference = f"npz:{tmp_path}/a.npz"
    with pytest.raises(DataError, match=words):
        score_small(tmp_path / "run", "knn_shapley", reference=reference)
    assert not (tmp_path / "run").exists()


def test_recorded_signals_have_no_gradients_and_no_reference(gradient_scorers):
    rec = dd.Recorder(4)
    for _ in range(2):
        rec.update(range(4), torch.eye(4), torch.arange(4))
        rec.end_epoch()
    for name in gradient_scorers:
        with pytest.raises(MissingSignal, match="score the data with this scorer"):
            dd.score(rec.finish(), scorers=name)
    with pytest.raises(OptionError, match="recorded signals do not need a model, data or training"):
        dd.score(rec.finish(), scorers="aum", reference="10%")
