"""Every example in every docstring runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import datadiet

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(datadiet.__path__, "datadiet.")
    if module.name != "datadiet.__main__"
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert not failures


def test_there_are_examples():
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES) > 40
