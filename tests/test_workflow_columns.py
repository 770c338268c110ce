"""Score columns: from recorded signals to numbers, spreads over seeds, and agreement of seeds."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from datadiet.errors import MissingSignal, OptionError
from datadiet.scorers import (
    Need,
    ScorerSpec,
    aum,
    cartography,
    dual,
    dyn_unc,
    el2n,
    entropy,
    forgetting,
    grand_last,
    tdds,
)
from datadiet.scorers.forgetting import first_learned
from datadiet.table import Scores, Signals
from datadiet.workflow.scoring.columns import compute_scores, rank_stability
from datadiet.workflow.scoring.needs import resolve
from datadiet.workflow.scoring.requests import make_requests

SEEDS, EPOCHS, N = 3, 12, 25
RNG = np.random.default_rng(0)
NAMES = ("loss", "error_norm", "feature_norm", "p_true", "margin", "entropy")
TRAIN = {name: RNG.uniform(0, 1, (SEEDS, EPOCHS, N)).astype(np.float32) for name in (*NAMES, "shift")}
TRAIN["correct"] = RNG.random((SEEDS, EPOCHS, N)) < 0.7
TRAIN["shift"][:, 0] = np.nan
TRAIN["p_gap"] = RNG.uniform(0, 1, (SEEDS, EPOCHS, N)).astype(np.float32)
TRAIN["p_gap"][1, 4, 7] = np.nan
EVAL = {name: RNG.uniform(0, 1, (SEEDS, EPOCHS, N)).astype(np.float32) for name in NAMES}


def recorded(seeds: int = SEEDS, facts: dict[str, Any] | None = None, seen: np.ndarray | None = None) -> Signals:
    parts = {}
    for mode, columns in (("train", TRAIN), ("eval", EVAL)):
        for s in range(seeds):
            for e in range(EPOCHS):
                rows = np.arange(N) if seen is None or mode == "eval" else np.flatnonzero(seen[s, e])
                table = {name: values[s, e, rows] for name, values in columns.items()}
                parts[mode, s, e + 1] = [pa.table({"index": rows, **table})]
    return Signals(N, parts, meta={"facts": {"epochs": EPOCHS, **(facts or {})}})


def empty() -> Scores:
    return Scores(np.arange(N), {}, meta={"data": {"n": N}})


def compute(
    scorers: Any, signals: Signals | None = None, onto: Scores | None = None, save_as: str | None = None, **params: Any
) -> Scores:
    signals = signals or recorded()
    requests = resolve(make_requests(scorers, params, save_as), signals.meta["facts"])
    return compute_scores(signals, requests, onto or empty())


def test_each_scorer_gets_the_signals_it_needs() -> None:
    scores = compute("el2n,grand_last,forgetting,aum,entropy,dyn_unc,dual,tdds,cartography")
    early = EVAL["error_norm"][:, 1]  # a tenth of 12 epochs rounded up is the second
    expected = {
        "el2n": el2n(early),
        "grand_last": grand_last(early, EVAL["feature_norm"][:, 1]),
        "forgetting": forgetting(TRAIN["correct"]),
        "aum": aum(TRAIN["margin"]),
        "entropy": entropy(EVAL["entropy"][:, -1]),
        "dyn_unc": dyn_unc(TRAIN["p_true"]),
        "dual": dual(TRAIN["p_true"]),
        "tdds": tdds(TRAIN["shift"][:, 1:]),
        **{f"cartography.{k}": v for k, v in cartography(TRAIN["p_true"], TRAIN["correct"]).items()},
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(scores[name], values, err_msg=name)
    assert {"forgetting.never_learned", "forgetting.first_learned", "dual.p_mean"} <= set(scores.columns)
    np.testing.assert_allclose(scores["dual.p_mean"], TRAIN["p_true"].mean(axis=(0, 1)), rtol=1e-6)


def test_columns_are_oriented_and_described() -> None:
    scores = compute("aum,forgetting,dual,cartography", dual={"window": 5})
    signs = {name: about.get("hardness") for name, about in scores.meta["columns"].items() if not name.endswith(".std")}
    assert signs == {
        "aum": -1, "forgetting": 1, "forgetting.never_learned": 1, "forgetting.first_learned": 1, "dual": 1,
        "dual.p_mean": -1, "cartography.confidence": -1, "cartography.variability": 1, "cartography.correctness": -1,
    }  # fmt: skip
    about = scores.meta["columns"]["dual"]
    assert about["params"] == {"window": 5} and about["seeds"] == [0, 1, 2] and about["scorer"] == "dual"
    assert about["needs"] == [{"signal": "p_true", "mode": "train", "epochs": [1, 12]}]


def test_std_is_the_sample_spread_over_seeds() -> None:
    scores = compute("el2n,forgetting")
    np.testing.assert_allclose(scores["el2n.std"], EVAL["error_norm"][:, 1].std(axis=0, ddof=1), rtol=1e-5)
    runs = np.stack([forgetting(TRAIN["correct"][s]) for s in range(SEEDS)])
    np.testing.assert_allclose(scores["forgetting.std"], runs.std(axis=0, ddof=1), rtol=1e-5, atol=1e-7)
    assert "forgetting.first_learned.std" in scores.columns and "forgetting.never_learned.std" not in scores.columns
    assert "hardness" not in scores.meta["columns"]["el2n.std"] and "el2n.std" not in scores.names


def test_a_single_seed_has_no_spread_and_no_stability() -> None:
    scores = compute("el2n", recorded(seeds=1))
    assert list(scores.columns) == ["el2n"] and "stability" not in scores.meta


def test_no_nan_comes_out_of_examples_that_count_infinitely() -> None:
    signals = Signals(3, {
        ("train", s, e): [pa.table({"index": [0, 1, 2], "correct": [True, s == 0, False]})]
        for s in (0, 1) for e in (1, 2)
    }, meta={"facts": {"epochs": 2}})  # fmt: skip
    onto = Scores(np.arange(3), {}, meta={})
    scores = compute("forgetting", signals, onto, forgetting={"never": "infinite"})
    assert scores["forgetting"].tolist() == [0, np.inf, np.inf]
    assert not any(np.isnan(values).any() for values in scores.columns.values())


def test_stability_is_computed_from_hardness_per_column() -> None:
    scores = compute("aum,dual")
    assert set(scores.meta["stability"]) == {"aum", "dual", "dual.p_mean"}
    runs = np.stack([aum(TRAIN["margin"][s]) for s in range(SEEDS)])
    assert scores.meta["stability"]["aum"] == rank_stability(-runs) != rank_stability(runs)


@pytest.mark.parametrize("decimals", [8, 1])
def test_oracle_stability_against_scipy_and_sets(decimals: int) -> None:
    rng = np.random.default_rng(1)
    runs = np.round(rng.normal(0, 1, 40) + rng.normal(0, 1, (4, 40)), decimals)
    out = rank_stability(runs)
    pairs = list(combinations(range(4), 2))
    expected = np.mean([spearmanr(runs[a], runs[b]).statistic for a, b in pairs])
    assert out["spearman"] == pytest.approx(expected, abs=1e-6)
    if decimals == 8:
        for percent, k in [(10, 4), (30, 12)]:
            tops = [set(np.argsort(run)[::-1][:k].tolist()) for run in runs]
            shared = np.mean([len(tops[a] & tops[b]) / k for a, b in pairs])
            assert out[f"overlap_{percent}"] == pytest.approx(shared, abs=1e-6)


def test_golden_stability() -> None:
    # Ten examples, top 3 of each seed: {9, 8, 7} and {9, 8, 0}: two of three shared; the top one is the same.
    # Ranks 1..10, and with 0 and 7 exchanged: 1 - 6 * 2 * 49 / 990 = .406061
    first = np.arange(10.0)
    second = first.copy()
    second[[0, 7]] = second[[7, 0]]
    assert rank_stability(np.stack([first, second])) == {
        "spearman": 0.406061,
        "overlap_10": 1.0,
        "overlap_30": 0.666667,
    }
    assert rank_stability(np.stack([first, -first]))["spearman"] == -1.0


def test_runs_that_rank_nothing_do_not_agree() -> None:
    # Half of the examples tie at the top: 5 of them by position would be the same five in every seed.
    tied = np.repeat([0.0, 1.0], 50)
    assert rank_stability(np.stack([np.zeros(100), np.zeros(100)]))["overlap_10"] < 0.5
    assert rank_stability(np.stack([tied, tied]))["overlap_10"] < 0.6


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"at": 5}, EVAL["error_norm"][:, 4]), ({"at": "last"}, EVAL["error_norm"][:, -1]),
        ({"at": "2-4"}, EVAL["error_norm"][:, 1:4]), ({"at": "every"}, EVAL["error_norm"]),
        ({"mode": "train", "at": "1-10"}, TRAIN["error_norm"][:, :10]),
    ],
)  # fmt: skip
def test_at_and_mode_choose_what_is_read(params: dict, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(compute("el2n", el2n=params)["el2n"], el2n(expected))


def test_a_range_shortens_the_run() -> None:
    np.testing.assert_array_equal(compute("dual", dual={"at": "2-11"})["dual"], dual(TRAIN["p_true"][:, 1:11]))
    shorter = compute("tdds", tdds={"at": "1-11"})["tdds"]
    np.testing.assert_array_equal(shorter, tdds(TRAIN["shift"][:, 1:11]))
    np.testing.assert_array_equal(compute("dyn_unc", dyn_unc={"mode": "eval"})["dyn_unc"], dyn_unc(EVAL["p_true"]))


@pytest.mark.parametrize("at", [4, "last", "4-4"])
def test_one_epoch_of_several_seeds_is_not_several_epochs_of_one(at: int | str) -> None:
    epoch = EPOCHS if at == "last" else 4
    one = TRAIN["correct"][:, epoch - 1 : epoch]
    scores = compute("forgetting,cartography", forgetting={"at": at}, cartography={"at": at})
    np.testing.assert_array_equal(scores["forgetting"], forgetting(one))
    np.testing.assert_array_equal(scores["cartography.variability"], np.zeros(N))


@pytest.mark.parametrize("at", [1, "1-1"])
def test_shifts_of_the_first_epoch_alone_are_refused(at: int | str) -> None:
    with pytest.raises(OptionError, match="tdds"):
        compute("tdds", tdds={"at": at})


@pytest.mark.parametrize("at", ["0", "13", "3-2", "5-13", "0-4", "late", "", "-3", "3-", "1.5"])
def test_epochs_outside_the_run_or_no_epochs_are_refused(at: str) -> None:
    with pytest.raises(OptionError, match=r"el2n.at="):
        compute("el2n", el2n={"at": at})


@pytest.mark.parametrize(("total", "early"), [(1, 1), (2, 2), (10, 2), (20, 2), (21, 3), (200, 20)])
def test_golden_early_is_a_tenth_and_at_least_the_second_epoch(total: int, early: int) -> None:
    (request,) = resolve(make_requests("el2n"), {"epochs": total})
    (read,) = request.inputs
    assert (read.epochs, read.single) == ((early,), True)


def test_one_of_several_checkpoints_has_to_be_named() -> None:
    signals = recorded(facts={"checkpoints": True})
    with pytest.raises(OptionError, match=r"reads one checkpoint, but 12 were given.*-p el2n.at=1"):
        compute("el2n", signals)
    np.testing.assert_array_equal(compute("el2n", signals, el2n={"at": 3})["el2n"], el2n(EVAL["error_norm"][:, 2]))


def test_presentations_that_did_not_happen_reach_the_scorer() -> None:
    seen = np.random.default_rng(5).random((SEEDS, EPOCHS, N)) < 0.8
    seen[:, 0] = True
    scores = compute("forgetting,aum,cartography", recorded(seen=seen))
    np.testing.assert_array_equal(scores["forgetting"], forgetting(TRAIN["correct"], seen=seen))
    np.testing.assert_array_equal(scores["forgetting.first_learned"], first_learned(TRAIN["correct"], seen=seen))
    np.testing.assert_allclose(scores["aum"], aum(TRAIN["margin"], seen=seen), rtol=1e-6)
    np.testing.assert_allclose(
        scores["cartography.confidence"],
        cartography(TRAIN["p_true"], TRAIN["correct"], seen=seen)["confidence"],
        rtol=1e-6,
    )
    with pytest.raises(OptionError, match="el2n needs every example in every epoch"):
        compute("el2n", recorded(seen=seen), el2n={"mode": "train", "at": "1-3"})
    with pytest.raises(OptionError, match="tdds"):
        compute("tdds", recorded(seen=seen))


def times_seen(correct: np.ndarray, p_gap: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
    there = np.ones(correct.shape, dtype=bool) if seen is None else seen
    return there.sum(axis=(0, 1)).astype(np.float32)


def test_a_presentation_counts_where_all_signals_were_measured() -> None:
    expected = np.full(N, SEEDS * EPOCHS)
    expected[7] -= 1
    assert compute(times_seen)["times_seen"].tolist() == expected.tolist()


def spread_when_wrong(correct: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (shift * ~correct).mean(axis=(0, 1)).astype(np.float32)


def test_shifts_go_with_signals_that_have_a_first_epoch() -> None:
    expected = (TRAIN["shift"] * ~TRAIN["correct"])[:, 1:].mean(axis=(0, 1))
    np.testing.assert_allclose(compute(spread_when_wrong)["spread_when_wrong"], expected, rtol=1e-6)


def test_what_the_run_knows_fills_in_a_parameter_unless_it_is_given() -> None:
    early = EVAL["error_norm"][:, 1], EVAL["feature_norm"][:, 1]
    known = recorded(facts={"head_bias": False})
    np.testing.assert_array_equal(compute("grand_last", known)["grand_last"], grand_last(*early, bias=False))
    given = compute("grand_last", known, grand_last={"bias": True})
    np.testing.assert_array_equal(given["grand_last"], grand_last(*early, bias=True))
    assert given.meta["columns"]["grand_last"]["params"] == {"bias": True}


def test_an_existing_column_with_other_parameters_is_refused_and_the_same_is_computed_again() -> None:
    scores = compute("dyn_unc", dyn_unc={"window": 5})
    again = compute("dyn_unc", onto=scores, dyn_unc={"window": 5})
    assert again.columns.keys() == scores.columns.keys() and again.meta == scores.meta
    for params in ({"window": 6}, {"window": 5, "at": "1-11"}, {"window": 5, "mode": "eval"}):
        with pytest.raises(OptionError, match=r"'dyn_unc' exists with other parameters.*--as NAME"):
            compute("dyn_unc", onto=scores, dyn_unc=params)
    with pytest.raises(OptionError, match="exists with other parameters"):
        compute("dyn_unc", recorded(seeds=2), scores, dyn_unc={"window": 5})


def test_a_second_parameter_set_has_a_name_of_its_own(tmp_path: Path) -> None:
    scores = Scores.read(compute("dual", dual={"window": 5}).write(tmp_path / "s.parquet"))
    both = compute("dual", onto=scores, save_as="dual_3", dual={"window": 3})
    np.testing.assert_array_equal(both["dual_3"], dual(TRAIN["p_true"], window=3))
    np.testing.assert_array_equal(both["dual"], dual(TRAIN["p_true"], window=5))
    assert {"dual_3.p_mean", "dual_3.std"} <= set(both.columns) and {"dual", "dual_3"} <= set(both.meta["stability"])
    assert compute("dual", onto=Scores.read(both.write(tmp_path / "t.parquet")), dual={"window": 5}).names == both.names


def test_numpy_numbers_as_parameters_can_be_written(tmp_path: Path) -> None:
    scores = compute("dyn_unc", dyn_unc={"window": np.int64(5)})
    again = Scores.read(scores.write(tmp_path / "s.parquet"))
    window = again.meta["columns"]["dyn_unc"]["params"]["window"]
    assert window == 5 and type(window) is int
    np.testing.assert_array_equal(again["dyn_unc"], dyn_unc(TRAIN["p_true"], window=5))


def test_a_signal_that_was_not_recorded_is_named() -> None:
    with pytest.raises(MissingSignal, match="'p_margin' was not recorded in train mode"):
        compute("aum_prob")


def last_loss(loss: np.ndarray, *, seen: np.ndarray | None = None, scale: float = 1.0) -> np.ndarray:
    return (scale * loss[:, -1].mean(axis=0)).astype(np.float32)


def test_a_function_is_a_scorer_of_the_signals_its_arguments_name() -> None:
    scores = compute(last_loss, last_loss={"scale": 2.0})
    np.testing.assert_allclose(scores["last_loss"], 2 * TRAIN["loss"][:, -1].mean(axis=0), rtol=1e-6)
    assert scores.hardness("last_loss").tolist() == scores["last_loss"].tolist()
    spec = ScorerSpec(last_loss, (Need("entropy", "eval", "every"),), hardness=-1)
    other = compute(spec)
    np.testing.assert_allclose(other.hardness("last_loss"), -EVAL["entropy"][:, -1].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("scorers", "params", "message"),
    [
        ("el2", {}, "'el2' is not a scorer: did you mean 'el2n'"),
        ("dual", {"dual": {"windw": 5}}, "'windw' is not a parameter of dual: did you mean 'window'"),
        ("dual", {"dual": {"seen": 5}}, "'seen' is not a parameter of dual"),
        ("dual", {"el2n": {"at": 5}}, "parameters for el2n, which is not among the scorers"),
        ("dual", {"dual": {"mode": "test"}}, "give train or eval"),
        ("", {}, "name a scorer"),
        ([], {}, "name a scorer"),
    ],
)
def test_unusable_requests_are_refused(scorers: Any, params: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_requests(scorers, params)


def test_one_name_cannot_stand_for_two_scorers() -> None:
    with pytest.raises(OptionError, match="give exactly one"):
        make_requests("el2n,aum", save_as="mine")


def test_a_column_without_an_order_has_no_spread_and_is_no_score() -> None:
    def kinds(loss: np.ndarray) -> dict[str, np.ndarray]:
        return {"": loss.mean(axis=(0, 1)), "kind": np.floor(3 * loss[0, 0])}

    scores = compute(ScorerSpec(kinds, (Need("loss", "train", "every"),), hardness={"": 1, "kind": 0}))
    assert set(scores.columns) == {"kinds", "kinds.std", "kinds.kind"}
    assert scores.names == ("kinds",) and set(scores.meta["stability"]) == {"kinds"}
    assert scores["kinds.kind"].tolist() == np.floor(3 * TRAIN["loss"][0, 0]).tolist()
    with pytest.raises(OptionError, match=r"kinds\.kind"):
        scores.hardness("kinds.kind")
