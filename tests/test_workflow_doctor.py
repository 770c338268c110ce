"""Doctor: its tables are those of the project, broken libraries stop nothing, and nothing private is told."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import datadiet
from datadiet.cli import main
from datadiet.workflow.diagnosing import doctor, libraries
from datadiet.workflow.diagnosing.doctor import as_text, diagnose
from datadiet.workflow.diagnosing.libraries import CORE, EXTRAS, Extra, import_problems, is_installed, without_paths

ROOT = Path(datadiet.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_LIBRARIES = {"all", "test", "lint", "docs", "dedup", "faiss-gpu"}  # the last has the module of faiss


def names_of(requirements):
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


def test_the_tables_are_those_of_the_project():
    assert set(CORE) == names_of(PROJECT["dependencies"])
    extras = {name: names_of(needs) for name, needs in PROJECT["optional-dependencies"].items()}
    assert {name: set(extra.modules) for name, extra in EXTRAS.items()} == {
        name: needs for name, needs in extras.items() if name not in NOT_LIBRARIES
    }


def test_what_the_code_asks_for_is_in_the_tables():
    asked = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require":
                asked.add(tuple(ast.literal_eval(argument) for argument in node.args))
    assert len(asked) > 10
    for module, extra in asked - {("torch.utils.tensorboard", "tensorboard")}:
        known = set(CORE.values()) if extra == "all" else set(EXTRAS[extra].modules.values())
        assert module.partition(".")[0] in {name.partition(".")[0] for name in known}, (module, extra)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Modules that can be imported here, by name, from their code."""

    def write(**code):
        for name, text in code.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return list(code)

    monkeypatch.syspath_prepend(tmp_path)
    return write


def test_each_import_is_tried_whatever_the_others_do(modules, capfd):
    names = modules(
        fine_one="print('noise')",
        broken_one="raise AttributeError('one\\ntwo')",
        leaves="raise SystemExit(2)",
        crashes="import os; os._exit(7)",
        fine_two="import warnings; warnings.warn('old')",
    )
    assert import_problems([*names, "not_there", *names]) == {
        "fine_one": "",
        "broken_one": "AttributeError: one\\ntwo",
        "leaves": "SystemExit: 2",
        "crashes": "importing it ends the process (code 7)",
        "fine_two": "",
        "not_there": "ModuleNotFoundError: No module named 'not_there'",
    }
    assert capfd.readouterr() == ("", "") and "fine_one" not in sys.modules


def test_an_import_that_hangs_is_given_up(modules, monkeypatch):
    monkeypatch.setattr(libraries, "_PATIENCE", 1.0)
    (name,) = modules(hangs="import time; time.sleep(60)")
    assert import_problems([name]) == {"hangs": "importing it does not end within 1 s"}


def test_an_import_is_blamed_for_the_time_only_if_it_had_all_of_it(monkeypatch):
    tried = []

    def in_turn(modules):
        """The time is up after one that can be imported; `hangs` cannot."""
        tried.append(list(modules))
        return ({} if modules[0] == "hangs" else {modules[0]: ""}), "does not end", True

    monkeypatch.setattr(libraries, "_tried", in_turn)
    assert import_problems(["one", "two", "hangs", "last"]) == {
        "one": "", "two": "", "hangs": "importing it does not end", "last": "",
    }  # fmt: skip
    assert tried == [["one", "two", "hangs", "last"], ["two", "hangs", "last"], ["hangs", "last"], ["last"]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{Path.home()}/x y/lib.so: bad", "…/x y/lib.so: bad"),
        ("OSError: '/scratch/jane/env/a.so' (see /opt/x/b)", "OSError: '…/a.so' (see …/b)"),
        (r"in C:\Users\jane\a.dll", r"in …\a.dll"),
        ("and/or 1/2", "and/or 1/2"),
        ("a\nb", "a\\nb"),
    ],
)
def test_folders_are_left_out(text, shown):
    assert without_paths(text) == shown


def test_a_module_without_a_version_is_installed_and_one_that_is_missing_is_not(modules):
    modules(without_version="raise RuntimeError('not imported for this')")
    assert is_installed("without-version", "without_version") and is_installed("numpy", "numpy")
    assert not is_installed("not-there", "not_there.deep")


BROKEN = {"numpy": "raise RuntimeError('built for another numpy')", "torch": "import os; os._exit(9)"}


def test_broken_libraries_stop_nothing(tmp_path):
    """Not even those that nearly everything else imports."""
    for name, code in BROKEN.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), str(ROOT.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "RAY_ADDRESS": "ray://secret", "WANDB_API_KEY": "secret"}
    done = subprocess.run(
        [sys.executable, "-m", "datadiet", "doctor", "--json"],
        capture_output=True, text=True, env=environment, cwd=tmp_path, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["libraries"]["numpy"]["problem"] == "RuntimeError: built for another numpy"
    assert found["libraries"]["torch"]["problem"] == "importing it ends the process (code 9)"
    assert found["libraries"]["click"]["problem"] == "" and found["device_problem"] == "torch cannot be imported"
    assert found["ray"]["address_set"] and found["datadiet"] == datadiet.__version__
    shown = done.stdout + done.stderr + as_text(found)
    assert "secret" not in shown and str(tmp_path) not in shown and str(Path.home()) + "/" not in shown
    assert "numpy " in as_text(found).rpartition("To paste into an issue:")[2]


@pytest.fixture
def few(monkeypatch, modules):
    """Little to import: one library that is there, one that is broken, and an extra that is missing."""
    modules(shaky="raise ImportError('no symbol')")
    monkeypatch.setattr(doctor, "CORE", {"click": "click", "lost": "lost_module"})
    extras = {"here": Extra("this", {"shaky": "shaky"}), "away": Extra("that", {"click": "click", "gone": "gone"})}
    monkeypatch.setattr(doctor, "EXTRAS", extras)


def test_the_text_names_what_is_missing_and_broken(few, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SystemExit) as stopped:
        main(["doctor"])
    out = capsys.readouterr().out
    assert stopped.value.code == 0
    assert re.search(r"^  shaky +version unknown  cannot be imported \(ImportError: no symbol\)$", out, re.MULTILINE)
    assert re.search(r"^  lost +is missing, and datadiet needs it$", out, re.MULTILINE)
    assert re.search(r"^  away +for that \(gone\): pip install 'datadiet\[away\]'$", out, re.MULTILINE)
    paragraph = out.rpartition("To paste into an issue:\n\n")[2]
    assert paragraph.count("\n") == 1 and paragraph.startswith(f"datadiet {datadiet.__version__}, Python ")
    assert (
        "missing: lost. extras: here. cannot be imported: shaky (version unknown): ImportError: no symbol. "
        in paragraph
    )
    assert "RAY_ADDRESS is not set" in paragraph and "not a terminal" in paragraph


def test_the_devices(few, monkeypatch):
    import torch

    gpus = [SimpleNamespace(name=f"GPU {number}", total_memory=(8 + number) << 30) for number in range(2)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: gpus[number])
    found = {**diagnose(), **doctor._torch(usable=True)}
    assert found["devices"] == [
        {"device": "cuda:0", "name": "GPU 0", "memory": 8 << 30},
        {"device": "cuda:1", "name": "GPU 1", "memory": 9 << 30},
    ]
    assert "accelerators: cuda:0 GPU 0 with 8.0 GiB, cuda:1 GPU 1 with 9.0 GiB\n" in as_text(found)

    def fail(number):
        raise RuntimeError("CUDA error: unknown")

    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    found |= doctor._torch(usable=True)
    assert found["devices"] == [] and "accelerators: none (RuntimeError: CUDA error: unknown)" in as_text(found)


def test_a_warning_about_the_driver_is_told(monkeypatch):
    import warnings

    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(warnings.warn("driver too old", stacklevel=1)))
    assert doctor._torch(usable=True)["device_problem"] == "driver too old"


def test_what_the_system_does_not_say_is_none(few, monkeypatch):
    def fail(*arguments, **options):
        raise OSError

    found = diagnose()
    with monkeypatch.context() as there:
        there.setattr(Path, "read_text", fail)
        there.setattr(doctor.shutil, "disk_usage", fail)
        there.setattr(os, "sysconf_names", {}, raising=False)
        found |= {"memory": doctor._memory(), "disk_free": doctor._disk_free()}
    assert found["memory"] == {"total": None, "available": None, "limit": None}
    assert "disk: an unknown part is free in this folder" in as_text(found)
