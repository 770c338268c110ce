"""select: from a score table to a selection."""

from __future__ import annotations

import inspect
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datadiet.errors import DataError, OptionError
from datadiet.randomness import Keys
from datadiet.selectors import SELECTORS, ByClass, Column, Fact, SelectorSpec, beta, ccs, class_quota, random, top_k
from datadiet.table import Scores, Selection
from datadiet.testing.parameter_sets import parameter_sets
from datadiet.workflow.selecting.select import select


def ccs_strata(*arguments, **options):
    return ccs.explain(*arguments, **options).stratum


N = 60
RNG = np.random.default_rng(0)
READ = [column.name for spec in SELECTORS.values() for column in spec.reading(Column).values() if column.name]
NAMES = dict.fromkeys(
    ["aum", "el2n", "dual", "dual.p_mean", *filter(None, (s.score for s in SELECTORS.values())), *READ]
)
COLUMNS = {name: RNG.uniform(0, 1, N).astype(np.float32) for name in NAMES}
LABELS = np.repeat([5, 2, 9], [30, 20, 10])


def required(spec: SelectorSpec) -> dict[str, Any] | None:
    """What a method must be given; None if that cannot be known here."""
    try:
        return parameter_sets(spec.fn, spec.parameters, spec.reading(Fact), None)[0]
    except OptionError:
        return None


PARAMS = {
    **{name: required(spec) for name, spec in SELECTORS.items()},
    "top_k": {"prefer": "hardest"},
    "class_quota": {"recall": [0.5] * 10},
    "decontaminate": {"reference": np.random.default_rng(3).normal(size=(9, 5))},
}
BY_ANY_SCORE = [
    name
    for name, spec in SELECTORS.items()
    if (spec.first == "hardness" and not spec.score)
    or any(not column.name and not column.optional for column in spec.reading(Column).values())
]
WEIGHTED = [name for name, spec in SELECTORS.items() if "tuple" in str(inspect.signature(spec.fn).return_annotation)]
OF_TABLES = [name for name, spec in SELECTORS.items() if spec.first != "texts" and PARAMS[name] is not None]
VECTORS = RNG.normal(size=(N, 5)).astype(np.float32)


def table(labels: np.ndarray | None = LABELS, index: np.ndarray | None = None, **columns: np.ndarray) -> Scores:
    columns = columns or COLUMNS
    signs = {"aum": -1, "dual.p_mean": -1}
    described = {name: {"hardness": signs.get(name, 1)} for name in columns}
    meta = {"columns": described, "data": {"n": 1000}, "facts": {"class_recall": [0.9] * 9 + [0.1]}}
    return Scores(np.arange(N) if index is None else index, columns, labels=labels, meta=meta)


def run(method: str, scores: Scores | None = None, **rest: Any) -> Selection:
    score = {"score": "el2n"} if method in BY_ANY_SCORE else {}
    if SELECTORS[method].first == "embeddings":
        rest = {"embeddings": VECTORS, **rest}
    return select(scores or table(), method, **{"keep": 20, **score, **(PARAMS[method] or {}), **rest})


def keys(method: str, seed: int = 0) -> Keys:
    return Keys(seed, f"select.{method}", N)


def test_golden_a_bare_array() -> None:
    values = np.array([0.1, 0.9, 0.5, 0.2])
    assert select(values, "top_k", keep=0.5, prefer="hardest").ranked.tolist() == [1, 2]
    assert select(values, "top_k", keep=2, prefer="hardest", higher_is="easier").ranked.tolist() == [0, 3]
    assert select(values, "top_k", keep="75%", prefer="easiest").indices.tolist() == [0, 2, 3]


@pytest.mark.parametrize("method", OF_TABLES)
def test_every_method_keeps_k_of_a_table(method: str, tmp_path: Path) -> None:
    subset = run(method, keep="30%")
    assert len(subset) == 18 == len(set(subset.ranked.tolist()))
    assert (subset.weight is not None) == (method in WEIGHTED)
    back = Selection.read(subset.write(tmp_path / "s.parquet"))
    assert back.ranked.tolist() == subset.ranked.tolist()
    about = back.meta
    assert (
        about["method"] == method and about["seed"] == 0 and about["by_class"] is False and about["data"] == {"n": 1000}
    )
    assert about["keep"] == {"given": "30%", "k": 18, "n": 60} and about["nested"] is SELECTORS[method].is_nested({})


def test_each_method_reads_the_columns_it_should_the_way_it_should() -> None:
    hardness = {"el2n": COLUMNS["el2n"], "aum": -COLUMNS["aum"], "dual": COLUMNS["dual"]}
    expected = {
        "top_k": top_k(hardness["el2n"], 20, prefer="hardest"),
        "ccs": ccs(hardness["aum"], 20, cutoff_scores=hardness["aum"], beta=0.2, keys=keys("ccs")),
        "beta": beta(hardness["dual"], 20, p_mean=COLUMNS["dual.p_mean"], keys=keys("beta")),
        "random": random(N, 20, keys=keys("random")),
        "class_quota": class_quota(LABELS, 20, recall=[0.5] * 10, keys=keys("class_quota")),
    }
    for method, chosen in expected.items():
        rest = {"beta": 0.2} if method == "ccs" else {}
        assert run(method, **rest).chosen.tolist() == chosen.tolist(), method


def test_a_further_column_can_be_another() -> None:
    subset = run("ccs", score="el2n", columns={"cutoff_scores": "dual"}, beta=0.3)
    expected = ccs(COLUMNS["el2n"], 20, cutoff_scores=COLUMNS["dual"], beta=0.3, keys=keys("ccs"))
    assert subset.chosen.tolist() == expected.tolist()
    assert subset.meta["columns"] == {"score": "el2n", "cutoff_scores": "dual"}


def test_the_only_score_is_also_the_cutoff() -> None:
    subset = run("ccs", table(el2n=COLUMNS["el2n"]), beta=0.3)
    assert subset.chosen.tolist() == ccs(COLUMNS["el2n"], 20, beta=0.3, keys=keys("ccs")).tolist()


def test_a_missing_further_column_is_named_with_what_there_is() -> None:
    without = table(el2n=COLUMNS["el2n"], dual=COLUMNS["dual"])
    with pytest.raises(OptionError, match=r"there are several scores \(el2n, dual\)"):
        run("ccs", without)
    # A score that is named stands in for the cutoff too, as in the plain function, and the selection says so.
    assert run("ccs", without, score="el2n").meta["columns"] == {"score": "el2n", "cutoff_scores": "el2n"}
    with pytest.raises(OptionError, match="beta reads p_mean"):
        run("beta", table(dual=COLUMNS["dual"]))


def test_parents_are_the_digests_of_the_columns_that_were_read() -> None:
    scores = table()
    assert run("ccs").meta["parents"] == {"aum": scores.digest("aum")}
    assert set(run("beta").meta["parents"]) == {"dual", "dual.p_mean"} and run("random").meta["parents"] == {}
    other = table(el2n=COLUMNS["el2n"] + np.float32(0.5))
    assert run("top_k").meta["parents"]["el2n"] != run("top_k", other).meta["parents"]["el2n"]


def test_the_parameters_that_were_used_are_recorded() -> None:
    assert run("ccs", keep=0.3).meta["params"] == {"beta": 0.1, "strata": 50}
    assert run("ccs", keep=0.1, strata=7).meta["params"] == {"beta": 0.3, "strata": 7}
    assert run("top_k").meta["params"] == {"prefer": "hardest"}


def test_ccs_records_its_strata() -> None:
    subset = run("ccs", beta=0.2)
    expected = ccs_strata(-COLUMNS["aum"], 20, beta=0.2, keys=keys("ccs"))
    assert subset.stratum.tolist() == expected.tolist() and (subset.stratum[subset.chosen] > 0).all()
    assert run("top_k").stratum is None


def test_the_seed_decides_every_draw() -> None:
    assert (
        run("random", seed=3).ranked.tolist() == run("random", seed=3).ranked.tolist() != run("random").ranked.tolist()
    )


@pytest.mark.parametrize("method", OF_TABLES)
def test_by_class_keeps_every_class_its_share(method: str) -> None:
    if method in WEIGHTED and not SELECTORS[method].reading(ByClass):
        with pytest.raises(OptionError, match="leave by_class out"):
            run(method, by_class=True)
        return
    subset = run(method, by_class=True)
    kept = LABELS[subset.ranked]
    assert {c: int((kept == c).sum()) for c in (5, 2, 9)} == {5: 10, 2: 7, 9: 3}
    assert subset.meta["by_class"] is True and subset.meta["nested"] is False


def test_by_class_keeps_the_hardest_of_each_class() -> None:
    kept = run("top_k", by_class=True).ranked
    for c, quota in [(5, 10), (2, 7), (9, 3)]:
        members = np.flatnonzero(c == LABELS)
        hardest = members[np.argsort(-COLUMNS["el2n"][members])][:quota]
        assert kept[LABELS[kept] == c].tolist() == hardest.tolist()


def test_by_class_draws_with_the_keys_of_the_examples() -> None:
    drawn = random(N, 20, labels=LABELS, keys=keys("random"))
    assert run("random", by_class=True).chosen.tolist() == drawn.tolist()
    assert run("random", by_class=True, seed=1).chosen.tolist() != drawn.tolist()


def test_by_class_and_class_quota_need_labels() -> None:
    for method, rest in [("random", {"by_class": True}), ("class_quota", {})]:
        with pytest.raises(DataError, match="no labels"):
            run(method, table(labels=None), **rest)


def test_class_quota_takes_the_recall_that_the_run_measured() -> None:
    measured = select(table(), "class_quota", keep=20)
    assert np.bincount(LABELS[measured.ranked])[[5, 2, 9]].tolist() == [
        6,
        4,
        10,
    ]  # 9 has only 10; 10 in 30 x .1 : 20 x .1
    given = select(table(), "class_quota", keep=20, recall=[1.0, 1.0, 0.0] + [1.0] * 7)
    assert np.bincount(LABELS[given.ranked], minlength=10)[[5, 2, 9]].tolist() == [0, 20, 0]
    with pytest.raises(OptionError, match=r"class_quota needs recall.*--eval"):
        select(Scores.from_arrays({"a": np.arange(4.0)}, labels=np.array([0, 0, 1, 1])), "class_quota", keep=2)


def test_part_of_a_source_is_drawn_from_as_the_whole_would_be() -> None:
    # The keys belong to positions in the source: the same example has the same chance wherever it stands in the table.
    index = np.arange(N) * 7
    subset = run("random", table(index=index))
    assert subset.ranked.tolist() == index[random(N, 20, keys=Keys(0, "select.random", N, index))].tolist()
    every_other = table(index=np.arange(0, 2 * N, 2))
    whole = random(2 * N, 2 * N, keys=Keys(0, "select.random", 2 * N))
    assert run("random", every_other).ranked.tolist() == whole[whole % 2 == 0][:20].tolist()


def test_several_scores_need_a_name() -> None:
    with pytest.raises(OptionError, match=r"several scores .aum, el2n, dual, dual.p_mean, .*: name one"):
        select(table(), "top_k", keep=5, prefer="hardest")


def test_scores_that_are_all_equal_rank_nothing() -> None:
    with pytest.raises(OptionError, match=r"all 60 values of 'flat' are 0.5 in float32, so they rank nothing"):
        run("top_k", table(flat=np.full(N, 0.5, dtype=np.float32)), score="flat")
    assert len(run("random", table(flat=np.full(N, 0.5, dtype=np.float32)))) == 20
    assert select(np.array([1.0]), "top_k", keep=1, prefer="hardest").ranked.tolist() == [0]


@pytest.mark.parametrize("method", ["top_k", "band", "ccs", "beta"])
@pytest.mark.parametrize("where", [[3], list(range(N))])
def test_nan_scores_are_refused(method: str, where: list[int]) -> None:
    values = COLUMNS["el2n"].copy()
    values[where] = np.nan
    scores = table(**{**COLUMNS, "el2n": values, "aum": values, "dual": values})
    with pytest.raises(OptionError, match=f"NaN for {len(where)} of 60 examples, the first of them '{where[0]}'"):
        run(method, scores)


def test_near_names_are_offered() -> None:
    with pytest.raises(OptionError, match="'topk' is not a selection method: did you mean 'top_k'"):
        select(table(), "topk", keep=5)
    with pytest.raises(OptionError, match="'stratta' is not a parameter of ccs: did you mean 'strata'"):
        run("ccs", stratta=3)
    with pytest.raises(OptionError, match="'el2' is not a score column here: did you mean 'el2n'"):
        run("top_k", score="el2")
    with pytest.raises(
        OptionError, match="'cutof_scores' is not a further column of ccs: did you mean 'cutoff_scores'"
    ):
        run("ccs", columns={"cutof_scores": "el2n"})


@pytest.mark.parametrize("parameter", ["keys", "rng", "cutoff_scores", "hardness", "k"])
def test_what_select_fills_in_is_no_parameter(parameter: str) -> None:
    with pytest.raises(OptionError, match="not a parameter of ccs"):
        run("ccs", **{parameter: np.zeros(N)})


def test_a_parameter_without_a_default_is_asked_for() -> None:
    with pytest.raises(OptionError, match="top_k needs prefer, which has no default"):
        select(table(), "top_k", score="el2n", keep=5)


@pytest.mark.parametrize("method", ["random", "class_quota"])
def test_a_score_that_is_not_there_is_refused_also_where_none_is_needed(method: str) -> None:
    with pytest.raises(OptionError, match="nope"):
        run(method, score="nope")


def every_third(hardness: np.ndarray, k: int, *, keys: Keys, start: int = 0) -> np.ndarray:
    return np.argsort(hardness)[start::3][:k]


def weighted(hardness: np.ndarray, k: int, *, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(k), np.arange(1.0, k + 1)


def test_a_function_is_a_method() -> None:
    subset = select(table(), every_third, score="el2n", keep=5, start=1)
    assert subset.ranked.tolist() == np.argsort(COLUMNS["el2n"])[1:16:3].tolist()
    assert subset.meta["method"] == "every_third" and subset.meta["params"] == {"start": 1}
    with pytest.raises(OptionError, match="'begin' is not a parameter of every_third"):
        select(table(), every_third, score="el2n", keep=5, begin=1)


def test_a_function_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text("def first(hardness, k, *, keys):\n    return list(range(k))\n\nNUMBER = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert select(COLUMNS["el2n"], "py:my_rules:first", keep=3).ranked.tolist() == [0, 1, 2]
    for spec in ("py:my_rules:second", "py:no_such_module_at_all:first", "py:my_rules", "py::", "py:my_rules:NUMBER"):
        with pytest.raises(OptionError, match=spec.split(":")[1] or "py:"):
            select(COLUMNS["el2n"], spec, keep=3)
    sys.modules.pop("my_rules")


def test_a_partial_function_is_a_method() -> None:
    subset = select(table(), partial(every_third, start=2), score="el2n", keep=5)
    assert subset.ranked.tolist() == np.argsort(COLUMNS["el2n"])[2:17:3].tolist()


def test_weights_of_a_function_get_mean_one() -> None:
    subset = select(table(), weighted, score="el2n", keep=3)
    assert subset.weight.tolist() == [0.5, 1.0, 1.5] and subset.weight.dtype == np.float32


def test_weights_of_a_function_are_kept_or_refused_by_class() -> None:
    try:
        subset = select(table(), weighted, score="el2n", keep=20, by_class=True)
    except OptionError as error:
        assert "weight" in str(error)
    else:
        assert subset.weight is not None and subset.weight.mean() == pytest.approx(1.0)


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda hardness, k, *, keys: np.zeros(k, dtype=int),
        lambda hardness, k, *, keys: np.arange(k + 1),
        lambda hardness, k, *, keys: np.arange(k - 1),
        lambda hardness, k, *, keys: np.arange(k) + len(hardness),
        lambda hardness, k, *, keys: np.arange(k) - 1,
    ],
    ids=["one example often", "too many", "too few", "beyond the last", "before the first"],
)  # fmt: skip
def test_a_function_that_does_not_return_k_examples_is_refused(wrong: Any, by_class: bool) -> None:
    with pytest.raises(OptionError, match="position"):
        select(table(), wrong, score="el2n", keep=20, by_class=by_class)


@pytest.mark.parametrize(
    "rest",
    [{"keep": np.int64(5)}, {"keep": np.float32(0.25)}, {"seed": np.int64(1)}, {"strata": np.int64(5)}],
    ids=lambda rest: next(iter(rest)) if isinstance(rest, dict) else None,
)  # fmt: skip
def test_numpy_numbers_can_be_written(tmp_path: Path, rest: dict) -> None:
    subset = run("ccs", **rest)
    assert json.loads(subset.write(tmp_path / "s.parquet").with_suffix(".json").read_text())["keep"]["k"] == len(subset)


def test_an_array_as_recall_can_be_written(tmp_path: Path) -> None:
    subset = select(table(), "class_quota", keep=20, recall=np.full(10, 0.5))
    assert Selection.read(subset.write(tmp_path / "s.parquet")).meta["params"]["recall"] == [0.5] * 10


@pytest.mark.parametrize("keep", [0, N + 1, 0.0, 1.2, "30"])
def test_an_impossible_budget_is_refused(keep: Any) -> None:
    with pytest.raises(OptionError, match="keep="):
        run("random", keep=keep)


def test_files_and_folders_are_read(tmp_path: Path) -> None:
    table().write(tmp_path / "scores.parquet")
    for source in (tmp_path, str(tmp_path), tmp_path / "scores.parquet"):
        assert run("ccs", source).ranked.tolist() == run("ccs").ranked.tolist()
    np.save(tmp_path / "s.npy", COLUMNS["el2n"])
    easiest = select(tmp_path / "s.npy", "top_k", keep=4, prefer="hardest", higher_is="easier")
    assert easiest.ranked.tolist() == np.argsort(COLUMNS["el2n"])[:4].tolist()


def test_ids_follow_into_the_selection(tmp_path: Path) -> None:
    subset = run("random", Scores.read(table().write(tmp_path / "scores.parquet")))
    assert subset.ids.to_pylist() == [str(i) for i in range(N)]


@pytest.mark.parametrize("method", ["ccs", "top_k", "semdedup"])
def test_an_example_without_a_score_is_named(method: str) -> None:
    table = Scores.from_arrays({"id": [f"x{row}" for row in range(10)], "s": [*range(9), np.nan]})
    options = {"prefer": "s", "epsilon": 0.1, "embeddings": np.eye(10)} if method == "semdedup" else {"keep": 3}
    options |= {"prefer": "hardest"} if method == "top_k" else {}
    with pytest.raises(OptionError, match=r"'s' is NaN for 1 of 10 examples, the first of them 'x9': score them"):
        select(table, method, **options)
