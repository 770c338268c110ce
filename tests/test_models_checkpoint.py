"""Reading weights from other tools: prefixes, wrappers, and everything that does not fit."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from datadiet.errors import DataError
from datadiet.models import load_checkpoint


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def renamed(prefix):
    return {f"{prefix}{name}": value for name, value in net().state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "_orig_mod.module.", "module.model."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_prefixes_are_stripped(tmp_path, prefix, suffix):
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(renamed(prefix), path)
    other = net(1)
    assert not same(other, net()) and same(load_checkpoint(other, path), net())


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
def test_the_usual_wrappings_are_opened(tmp_path, key, suffix):
    torch.save({key: renamed("model."), "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / f"w{suffix}")
    assert same(load_checkpoint(net(1), tmp_path / f"w{suffix}"), net())


class Wrapped(nn.Module):
    """A model whose own names begin with "model."."""

    def __init__(self, seed=0):
        super().__init__()
        self.model = net(seed)

    def forward(self, x):
        return self.model(x)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_names_that_already_fit_are_not_stripped(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(Wrapped().state_dict(), path)
    assert same(load_checkpoint(Wrapped(1), path), Wrapped())


def without(name):
    return {key: value for key, value in net().state_dict().items() if key != name}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (without("2.bias"), "has no weight '2.bias', which the model needs"),
        (without("1.running_var"), "has no weight '1.running_var'"),
        ({**net().state_dict(), "3.weight": torch.zeros(1)}, "has a weight '3.weight', which the model lacks"),
        (
            {**net().state_dict(), "0.weight": torch.zeros(4, 4)},
            r"'0.weight' has shape \(4, 4\), the model needs \(4, 3\)",
        ),
        ({}, "has no weight|no table of tensors"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_that_do_not_fit_are_refused_and_the_model_is_left_alone(tmp_path, state, words, suffix):
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    model = net(1)
    with pytest.raises(DataError, match=words):
        load_checkpoint(model, path)
    assert same(model, net(1))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not weights", lambda b: b[:-1]]
)
def test_a_damaged_file_gets_one_sentence(tmp_path, suffix, damage):
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(net().state_dict(), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"is not a (readable file of weights|complete safetensors file)") as caught:
        load_checkpoint(net(1), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_missing_file(tmp_path, suffix):
    with pytest.raises(DataError, match="does not exist"):
        load_checkpoint(net(), tmp_path / f"nothing{suffix}")


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("import builtins; builtins.bomb_went_off = True",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "write", [lambda path: torch.save(Bomb(), path), lambda path: path.write_bytes(pickle.dumps(Bomb()))]
)
def test_pickled_objects_are_refused_and_not_run(tmp_path, write):
    write(tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"is not a (readable file of weights|complete safetensors file)"):
        load_checkpoint(net(), tmp_path / "w.pt")
    import builtins

    assert not hasattr(builtins, "bomb_went_off")


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(net(), tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"is not a (readable file of weights|complete safetensors file)"):
        load_checkpoint(net(), tmp_path / "w.pt")


@pytest.mark.parametrize("value", [[1, 2], {"a": 1, "b": "text"}, torch.zeros(3)])
def test_a_file_without_a_table_of_tensors(tmp_path, value):
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(DataError, match="no table of tensors"):
        load_checkpoint(net(), tmp_path / "w.pt")


# Names of wrapped networks.


def named(change, extra=()):
    """The state of a network under other names."""
    state = net(3).state_dict()
    return {change(name): value for name, value in state.items()} | dict(extra)


WRAPPED = {
    "ddp": lambda: named("module.{}".format),
    "compiled": lambda: named("_orig_mod.{}".format),
    "ddp of compiled": lambda: named("module._orig_mod.{}".format),
    "compiled ddp": lambda: named("_orig_mod.module.{}".format),
    "lightning": lambda: named("model.{}".format),
    "lightning of ddp of compiled": lambda: named("model.module._orig_mod.{}".format),
    "net of model of module": lambda: named("net.model.module.{}".format),
    "compiled part": lambda: named(lambda name: name.replace(".", "._orig_mod.", 1)),
    "ddp part of compiled": lambda: named(lambda name: "_orig_mod." + name.replace(".", ".module.", 1)),
    "averaged": lambda: named("module.{}".format, {"n_averaged": torch.tensor(7)}),
}


@pytest.mark.parametrize("level", [None, "state_dict", "model", "net", "network", "weights", "student"])
@pytest.mark.parametrize("kind", WRAPPED)
def test_every_nesting_of_wrappers_and_one_level_is_read(tmp_path, kind, level):
    state = WRAPPED[kind]()
    torch.save(state if level is None else {"epoch": 3, level: state, "optimizer": {"state": {}}}, tmp_path / "w.pt")
    found = load_checkpoint(net(1), tmp_path / "w.pt").state_dict()
    assert all(torch.equal(found[name], value) for name, value in net(3).state_dict().items())


class Outer(nn.Module):
    """A network whose own names begin like a wrapper's."""

    def __init__(self, seed):
        super().__init__()
        self.model = net(seed)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "net.module."])
def test_a_network_whose_names_begin_like_a_wrapper(tmp_path, prefix):
    torch.save({prefix + name: value for name, value in Outer(3).state_dict().items()}, tmp_path / "w.pt")
    found = load_checkpoint(Outer(1), tmp_path / "w.pt").state_dict()
    assert all(torch.equal(found[name], value) for name, value in Outer(3).state_dict().items())


@pytest.mark.parametrize("prefix", ["backbone.", "encoder.", "student."])
@pytest.mark.parametrize("kind", ["ddp", "compiled"])
def test_another_prefix_is_named_with_the_option_that_strips_it(tmp_path, prefix, kind):
    wrapper = {"ddp": "", "compiled": "_orig_mod."}[kind]
    torch.save(named(lambda name: wrapper + prefix + name), tmp_path / "w.pt")
    with pytest.raises(DataError, match=f"its names begin with '{prefix}', which --strip-prefix {prefix} "):
        load_checkpoint(net(1), tmp_path / "w.pt")
    found = load_checkpoint(net(1), tmp_path / "w.pt", strip_prefix=wrapper + prefix).state_dict()
    assert all(torch.equal(found[name], value) for name, value in net(3).state_dict().items())
    with pytest.raises(DataError, match=r"has no name that begins with 'other.': they begin with"):
        load_checkpoint(net(1), tmp_path / "w.pt", strip_prefix="other.")


# Parts of larger checkpoints.


def other(prefix, seed=5):
    """The weights of another network of the same kind under a prefix."""
    return {prefix + name: value for name, value in net(seed).state_dict().items()}


def is_net(found):
    return all(torch.equal(found.state_dict()[name], value) for name, value in net(3).state_dict().items())


INNER = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"]


@pytest.mark.parametrize("outer", ["", "model.", *(f"{part}." for part in INNER)])
@pytest.mark.parametrize("part", INNER)
def test_wrappers_around_parts_are_stripped(tmp_path, outer, part):
    torch.save(named(lambda name: outer + name.replace(".", f".{part}.", 1)), tmp_path / "w.pt")
    assert is_net(load_checkpoint(net(1), tmp_path / "w.pt"))


PARTS = {
    "a criterion beside a model": lambda: named("model.{}".format, {"criterion.weight": torch.ones(2)}),
    "an average beside a model": lambda: named("model.{}".format, other("ema_model.")),
    "both, compiled": lambda: named("_orig_mod.model.{}".format, other("_orig_mod.ema.")),
    "a wrapped model": lambda: named("model.module.{}".format, {"criterion.weight": torch.ones(2)}),
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("prefix", ["", "model.", "model"])
def test_other_parts_of_a_checkpoint_are_left_out_with_a_note(tmp_path, kind, prefix, caplog):
    state = PARTS[kind]()
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    assert is_net(load_checkpoint(net(1), tmp_path / "w.pt", prefix))
    left_out = len(state) - len(net().state_dict())
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path / 'w.pt'}: {left_out} weights of other parts of the checkpoint are left out"
    ]


def test_a_known_prefix_is_left_alone_where_its_part_is_not_the_whole_model(tmp_path):
    torch.save({**named("model.{}".format), "head.weight": torch.ones(2)}, tmp_path / "w.pt")
    wider = nn.Sequential(*net(1), nn.Linear(2, 2))
    with pytest.raises(DataError, match=r"which --strip-prefix model. "):
        load_checkpoint(wider, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"has no weight '3.weight', which the model needs: give a checkpoint of this"):
        load_checkpoint(wider, tmp_path / "w.pt", "model.")


def test_two_known_prefixes_that_fit_are_named(tmp_path):
    torch.save(named("model.{}".format, other("net.")), tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"several networks that fit, under 'model.' and 'net.': choose one with"):
        load_checkpoint(net(1), tmp_path / "w.pt")
    assert is_net(load_checkpoint(net(1), tmp_path / "w.pt", "model."))
    assert not is_net(load_checkpoint(net(1), tmp_path / "w.pt", "net."))


@pytest.mark.parametrize("prefix", ["backbone.encoder.", "a.b.c.", "lit.model.encoder."])
def test_a_prefix_of_several_levels_is_named_whole(tmp_path, prefix):
    torch.save(named(lambda name: prefix + name, {"loss.weight": torch.ones(2)}), tmp_path / "w.pt")
    with pytest.raises(DataError, match=f"begin with '{prefix}', which --strip-prefix {prefix} "):
        load_checkpoint(net(1), tmp_path / "w.pt")
    for given in (prefix, prefix[:-1]):
        assert is_net(load_checkpoint(net(1), tmp_path / "w.pt", given))


def test_a_head_beside_a_prefixed_backbone_stays(tmp_path):
    torch.save(named(lambda name: name if name.startswith("2.") else "backbone." + name), tmp_path / "w.pt")
    assert is_net(load_checkpoint(net(1), tmp_path / "w.pt", "backbone."))


@pytest.mark.parametrize(
    "nest",
    [
        lambda state: {"checkpoint": {"model": state}},
        lambda state: {"a": {"b": {"c": state}}, "epoch": 3},
        lambda state: {"model": state, "model_ema": net(5).state_dict()},
        lambda state: {"student": state, "head": {"weight": torch.ones(3)}},
        lambda state: {"student": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        lambda state: {"student": state, "teacher": nn.Sequential(nn.Linear(3, 9), nn.Linear(9, 2)).state_dict()},
    ],
)
def test_the_table_of_the_model_is_found_where_it_is_the_only_one_that_fits(tmp_path, nest):
    torch.save(nest(net(3).state_dict()), tmp_path / "w.pt")
    assert is_net(load_checkpoint(net(1), tmp_path / "w.pt"))


def test_several_tables_that_fit_are_named_and_one_can_be_chosen(tmp_path):
    state = {"student": named("module.{}".format), "teacher": net(5).state_dict()}
    torch.save({"nets": state}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"\(nets.student, nets.teacher\) that fit the model equally well: name one"):
        load_checkpoint(net(1), tmp_path / "w.pt")
    assert is_net(load_checkpoint(net(1), tmp_path / "w.pt", "nets.student"))
    assert same(load_checkpoint(net(1), tmp_path / "w.pt", "nets.teacher."), net(5))


BESIDE = {
    "numbers": {"epoch": 3, "lr": 0.1, "best": None, "name": "net"},
    "options": {"args": {"lr": 0.1, "layers": [1, 2]}, "classes": ["a", "b"]},
    "an optimizer": {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
    "a text under a usual name": {"model": "resnet"},
    "other weights": {"epoch": 3, "ema": net(5).state_dict()},
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("name", ["{}", "module.{}", "model.module.{}"])
@pytest.mark.parametrize("nest", [lambda state: state, lambda state: {"checkpoint": {"best": state}}])
def test_what_stands_beside_the_weights_and_is_no_tensor_is_left_out(tmp_path, beside, name, nest):
    torch.save(nest({**BESIDE[beside], **named(name.format)}), tmp_path / "w.pt")
    assert is_net(load_checkpoint(net(1), tmp_path / "w.pt"))


def test_weights_with_a_prefix_beside_other_values(tmp_path):
    torch.save({**named("backbone.{}".format), "epoch": 3}, tmp_path / "w.pt")
    assert is_net(load_checkpoint(net(1), tmp_path / "w.pt", "backbone"))
    with pytest.raises(DataError, match=r"its names begin with 'backbone.', which --strip-prefix"):
        load_checkpoint(net(1), tmp_path / "w.pt")
    torch.save({**nn.Linear(3, 2).state_dict(), "epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"has no weight '0.weight', which the model needs"):
        load_checkpoint(net(1), tmp_path / "w.pt")


@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.uint8, torch.bool])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var"])
def test_whole_numbers_are_no_weights(tmp_path, kind, name):
    state = net().state_dict()
    torch.save(state | {name: state[name].to(kind)}, tmp_path / "w.pt")
    model = net(1)
    with pytest.raises(DataError, match=f"'{name}' is of dtype {kind}, and torch.float32 in the model: save"):
        load_checkpoint(model, tmp_path / "w.pt")
    assert same(model, net(1))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2])
def test_floats_of_other_sizes_are_read_and_those_of_8_bits_noted(tmp_path, kind, caplog):
    state = {name: value.to(kind) if "weight" in name else value for name, value in net().state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    found = load_checkpoint(net(1), tmp_path / "w.pt").state_dict()
    assert torch.equal(found["0.weight"], state["0.weight"].float())
    assert ("3 weights have 8 bits (0.weight …), so they are rounded" in caplog.text) == (kind.itemsize == 1)


UNUSUAL = {
    "complex": lambda value: value + 1j,
    "sparse": lambda value: value.to_sparse(),
    "on the meta device": lambda value: value.to("meta"),
    "quantised": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", UNUSUAL)
def test_weights_that_are_not_dense_real_numbers_are_refused(tmp_path, kind):
    torch.save(net().state_dict() | {"0.weight": UNUSUAL[kind](net().state_dict()["0.weight"])}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=f"'0.weight' is {kind}.*: save the weights as ordinary dense tensors"):
        load_checkpoint(net(1), tmp_path / "w.pt")


def test_weights_that_are_spread_over_processes_are_refused(tmp_path):
    code = (
        "import sys, torch, torch.distributed as dist\n"
        "from torch.distributed.tensor import DTensor, Replicate, init_device_mesh\n"
        "dist.init_process_group('gloo', init_method=f'file://{sys.argv[1]}.store', rank=0, world_size=1)\n"
        "mesh = init_device_mesh('cpu', (1,))\n"
        "torch.save({'0.weight': DTensor.from_local(torch.ones(4, 3), mesh, [Replicate()])}, sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "w.pt")], check=True, capture_output=True)
    with pytest.raises(DataError, match="spread over processes") as caught:
        load_checkpoint(nn.Sequential(nn.Linear(3, 4, bias=False)), tmp_path / "w.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("narrow", "said"), [("hidden", True), ("classes", False), ("wider", False)])
def test_weights_of_a_network_that_lost_channels_say_where_the_channels_are_listed(tmp_path, narrow, said):
    hidden, classes = {"hidden": (3, 2), "classes": (4, 1), "wider": (5, 2)}[narrow]
    save_file(nn.Sequential(nn.Linear(3, hidden), nn.Linear(hidden, classes)).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="give a checkpoint of this model") as caught:
        load_checkpoint(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), tmp_path / "w.safetensors")
    assert ("give the file in its run folder" in str(caught.value)) == said
