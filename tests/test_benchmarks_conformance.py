"""Comparisons with peers: the driver, and that the table, the results and the files of the peers say the same."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from datadiet.sampling import SCHEDULES
from datadiet.scorers import SCORERS
from datadiet.selectors import SELECTORS
from datadiet.sparsity import PRUNING

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results" / "conformance").glob("*.json"))
FAKE = """
import numpy as np
from conformance.case import Case, Peer

def arrays(n): return {"x": np.arange(n)}
def double(data): return {"y": 2 * data["x"]}
def away(data): return {"y": 2 * data["x"] + 1}
def broken(data): raise ValueError("it does not work")
def agreement(data, a, b): return {"difference": abs(a["y"] - b["y"]).max()}

def case(theirs): return Case("double", "numbers", 200, arrays, double, theirs, agreement, {"difference": (0, 0)})
PEER = Peer("fake", (case(double), case(away), case(broken)))
"""


@pytest.fixture
def driver(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("run_conformance")
    for name in [name for name in sys.modules if name.partition(".")[0] == "conformance"]:
        del sys.modules[name]
    sys.modules.pop("run_conformance")


def test_a_peer_is_compared_in_processes_of_its_own(driver, tmp_path, monkeypatch):
    """One case that agrees, one that does not, and one whose peer fails."""
    folder = tmp_path / "conformance"
    shutil.copytree(BENCHMARKS / "conformance", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "fake.py").write_text(FAKE)
    monkeypatch.setattr(driver, "PEERS", folder)
    monkeypatch.setattr(sys.modules["conformance"], "__path__", [str(folder)])
    peer = importlib.import_module("conformance.fake").PEER
    places = {"ours": sys.executable, "theirs": sys.executable}
    same, other, broken = (driver.compared("fake", i, case, places, None) for i, case in enumerate(peer.cases))
    assert same["as_expected"] and same["agreement"] == {"difference": 0}
    assert same["ours"]["seconds"] >= 0 and same["theirs"]["process_megabytes"] > 1
    assert not other["as_expected"] and other["agreement"] == {"difference": 1}
    assert broken["error"] == "theirs: ValueError: it does not work"


def test_a_package_that_cannot_be_installed_is_recorded_with_the_error(driver, tmp_path):
    from conformance.case import Peer

    found = driver.measured("none", Peer("none", (), (str(tmp_path / "no.whl"),)), None, tmp_path)
    assert found["error"].startswith("ERROR: ")


def test_there_are_results_of_every_peer(driver):
    assert [path.stem for path in RESULTS] == driver.peers()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_are_of_these_comparisons_and_within_their_bounds(driver, path):
    found, peer = json.loads(path.read_text()), importlib.import_module(f"conformance.{path.stem}").PEER
    assert found["peer"] == peer.name
    if "error" in found:
        return
    told = [(case["method"], case["what"], case["n"], case["why"]) for case in found["cases"]]
    assert told == [(case.method, case.what, case.n, case.why) for case in peer.cases]
    for stored, case in zip(found["cases"], peer.cases, strict=True):
        if "error" in stored:
            continue
        assert stored["expected"] == {name: list(bounds) for name, bounds in case.expected.items()}, case.what
        outside = {name: stored["agreement"][name] for name, (low, high) in case.expected.items()
                   if not low <= stored["agreement"][name] <= high}  # fmt: skip
        assert outside == {}, case.what


def test_each_method_is_beside_another_implementation():
    found = [json.loads(path.read_text()) for path in RESULTS]
    compared = {case["method"] for peer in found for case in peer.get("cases", ()) if "error" not in case}
    pages = {path.stem for path in (BENCHMARKS.parent / "docs" / "methods").glob("*.md")} - {"README"}
    assert {*pages, *SCORERS, *SELECTORS, *SCHEDULES, *PRUNING} - compared == set()


@pytest.mark.parametrize("page", ["conformance.md", "explanation/often-misread.md", "methods/ekfac_self_influence.md"])
def test_the_table_on_a_page_is_made_of_the_results(driver, page):
    tables = importlib.import_module("conformance_tables")
    mark, pattern, table = tables.PAGES[page]
    assert tables.between((tables.DOCS / page).read_text(encoding="utf-8"), mark)[1] == table(tables.load(pattern))
