"""TF32 on or off, and every switch of torch as it was before, whichever the caller used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from datadiet import float32_precision
from datadiet.float32_precision import float32_products
from datadiet.runtime import settings

NEWER = hasattr(torch.backends, "fp32_precision")

# torch never forgets that a switch was set, so each caller is a process of its own: it sets some switches, and what all
# of them say, also after those above them are turned both ways, must be as if nothing had happened.
CALLERS = """
import json, os, sys
import torch
from torch import backends
from datadiet.float32_precision import float32_products

def read(get):
    try:
        return get()
    except RuntimeError:
        return "refused"

def state():
    kinds = [(home, kind) for home in ("cuda", "cudnn", "mkldnn") for kind in ("matmul", "conv", "rnn")]
    newer = [getattr(getattr(backends, home), kind, None) for home, kind in kinds]
    products, convolutions = lambda: backends.cuda.matmul.allow_tf32, lambda: backends.cudnn.allow_tf32
    older = [read(get) for get in (torch.get_float32_matmul_precision, products, convolutions)]
    return older, [switch.fp32_precision for switch in newer if hasattr(switch, "fp32_precision")]

def turned(both_ways):
    found = [state()]
    for value in ("tf32", "ieee") if both_ways else ():
        held, backends.fp32_precision = backends.fp32_precision, value
        found.append(state())
        backends.fp32_precision = held
    return found

def caller(lines, both_ways):
    exec(lines)
    before = turned(both_ways)
    for tf32 in (False, True):
        with float32_products(tf32):
            older, newer = state()
            assert older == (["high", True, True] if tf32 else ["highest", False, False]), older
            assert newer in ([], ["tf32"] * 3 + ["ieee"] * 3 if tf32 else ["ieee"] * 6), newer
        assert turned(both_ways) == before, (before, turned(both_ways))

for case in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        caller(*case)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, case
"""


def check(*cases):
    """(what a caller runs, whether the switches above can be turned afterwards without a trace)."""
    command = [sys.executable, "-c", CALLERS, json.dumps(cases)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_older_switches_are_put_back():
    """Until a switch of cuDNN is set for the first time, torch has it in a state that cannot be set again."""
    check(
        ("pass", False),
        ("torch.set_float32_matmul_precision('high')", False),
        ("torch.set_float32_matmul_precision('medium'); backends.cudnn.allow_tf32 = False", NEWER),
        ("backends.cuda.matmul.allow_tf32 = True; backends.cudnn.allow_tf32 = True", NEWER),
        ("backends.cuda.matmul.allow_tf32 = False; backends.cudnn.allow_tf32 = False", NEWER),
    )


@pytest.mark.skipif(not NEWER, reason="torch before 2.9 has only the older switches")
def test_newer_switches_and_mixtures_are_put_back():
    check(
        ("backends.fp32_precision = 'tf32'", True),
        ("backends.fp32_precision = 'ieee'; backends.cudnn.conv.fp32_precision = 'tf32'", True),
        ("backends.cudnn.fp32_precision = 'ieee'; backends.cuda.matmul.fp32_precision = 'tf32'", True),
        ("backends.cudnn.conv.fp32_precision = 'ieee'; backends.cudnn.rnn.fp32_precision = 'none'", True),
        ("backends.mkldnn.matmul.fp32_precision = 'bf16'; backends.fp32_precision = 'bf16'", True),
        ("torch.set_float32_matmul_precision('medium'); backends.cuda.matmul.fp32_precision = 'ieee'", False),
        ("backends.cuda.matmul.allow_tf32 = True; backends.cuda.matmul.fp32_precision = 'none'", False),
    )


def test_a_torch_with_the_older_switches_only(monkeypatch):
    monkeypatch.setattr(float32_precision, "_newer", list)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        for tf32, inside in ((False, ("highest", False)), (True, ("high", True))):
            with pytest.raises(KeyboardInterrupt), float32_products(tf32):
                assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == inside
                raise KeyboardInterrupt
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    finally:
        monkeypatch.undo()


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True), ("bf16", False), ("fp16", False)])
def test_settings_allow_tf32_for_its_precision_only(precision, allowed):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with settings(torch.get_num_threads(), precision):
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (allowed, allowed)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize("where", ["while they are read", "while they are set"])
def test_an_interruption_leaves_no_switch_behind(where, monkeypatch):
    def values():
        return [torch.get_float32_matmul_precision(), *(s.fp32_precision for s in float32_precision._newer())]

    def interrupted(*given):
        monkeypatch.undo()
        write(*given) if given else None
        raise KeyboardInterrupt

    write = float32_precision._Switches.write
    with float32_products(tf32=True):
        before = values()
        if where == "while they are read":
            monkeypatch.setattr(torch, "get_float32_matmul_precision", interrupted)
        else:
            monkeypatch.setattr(float32_precision._Switches, "write", interrupted)
        with pytest.raises(KeyboardInterrupt), float32_products(tf32=False):
            pass
        assert values() == before
