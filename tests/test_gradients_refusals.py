"""Whatever has no per-example gradient is refused in one sentence that names it, and wrong rules are found out."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from datadiet.errors import DataError, OptionError
from datadiet.models.spec import open_model
from datadiet.signals.gradients import Explicit, PerExample, grad_norms, layer_norms
from datadiet.signals.gradients.rules import rule_for
from datadiet.signals.gradients.tape import UnknownGradient
from datadiet.signals.input_gradients import input_gradient_maps

IDS = torch.tensor([[1, 2, 0, 2], [3, 0, 0, 3], [4, 4, 4, 4], [1, 2, 3, 4], [0, 0, 0, 5]])
Y = torch.arange(5) % 3


class Net(nn.Module):
    """A forward function and its parts."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def under_head(layer, width=6):
    return Net(lambda m, x: m.head(m.layer(x).tanh().flatten(1)), layer=layer, head=nn.Linear(width, 3)).eval()


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def x():
    return torch.randn(5, 6)


def check_refused(words, model, x, y=Y, kind=OptionError, **options):
    """One line, ending like a sentence."""
    with pytest.raises(kind, match=words) as error:
        grad_norms(model, x, y, **options)
    text = str(error.value)
    assert "\n" not in text and text.endswith((".", "?")) and "  " not in text


def test_training_mode(x):
    model = under_head(nn.Linear(6, 6))
    check_refused(r"^the model is in training mode: call model\.eval\(\)", model.train(), x)
    model.eval().layer.train()
    check_refused(r"^layer is in training mode", model, x)
    dropping = under_head(nn.Dropout())
    dropping.layer.train()
    check_refused(r"^layer is in training mode", dropping, x)
    model = under_head(nn.Linear(6, 6))
    engine = PerExample(model)  # its check on the first batch does not outlive the mode
    layer_norms(engine, x, Y)
    model.head.train()
    with pytest.raises(OptionError, match=r"^head is in training mode"):
        layer_norms(engine, x, Y)


def test_what_draws_at_random_in_evaluation_mode(x):
    model = Net(lambda m, x: m.head(F.dropout(x, training=True)), head=nn.Linear(6, 3)).eval()
    check_refused("different losses when they are run again: .* random numbers", model, x)


@pytest.mark.parametrize("norm,shape", [(nn.BatchNorm1d, (6,)), (nn.BatchNorm1d, (6, 2)), (nn.BatchNorm2d, (6, 2, 1))])
def test_statistics_of_the_batch(norm, shape):
    model = under_head(norm(6, track_running_stats=False), torch.Size(shape).numel())
    check_refused(r"layer \(BatchNorm.d\) normalises by the statistics of the batch", model, torch.randn(5, *shape))


@pytest.mark.parametrize(
    "mix",
    [lambda x: x - x.mean(0), lambda x: x.softmax(0), lambda x: x.flip(0), lambda x: x.cumsum(0)],
    ids=["mean", "softmax", "other order", "those before"],
)
@pytest.mark.parametrize("trainable", [True, False])
def test_what_mixes_examples(x, mix, trainable):
    """Like a recurrent layer with batch_first=False that gets batches first: the first example sees no other."""
    model = Net(lambda m, x: m.head(mix(m.layer(x))), layer=nn.Linear(6, 6), head=nn.Linear(6, 3)).eval()
    model.layer.requires_grad_(trainable)
    check_refused("mixes (the )?examples|plain autograd gives", model, x)


def test_what_mixes_examples_after_a_first_batch_of_one(x):
    """With one example there is nothing to mix, so a larger batch must be checked again."""
    model = Net(lambda m, x: m.head(x - 0.5 * x.mean(0)), head=nn.Linear(6, 3)).eval()
    engine = PerExample(model)
    layer_norms(engine, x[:1], Y[:1])
    with pytest.raises(OptionError, match="mixes"):
        layer_norms(engine, x, Y)


def test_losses(x):
    model = under_head(nn.Linear(6, 6))
    check_refused(r"shape \(\) for . examples: give one that is not averaged", model, x, loss=F.cross_entropy)
    check_refused("shape .* for . examples", model, x, loss=lambda z, y: z)
    check_refused("mixes the examples", model, x, loss=lambda z, y: F.cross_entropy(z, y, reduction="none") / len(z))
    check_refused(r"'cross_entropi' is not a loss: did you mean 'cross_entropy'\?", model, x, loss="cross_entropi")
    check_refused("'hinge' is not a loss: there are cross_entropy, margin", model, x, loss="hinge")
    rows = Net(lambda m, x: m.head(x[:, None]), head=nn.Linear(6, 3)).eval()
    check_refused(r"not logits of shape \(B, C\)", rows, x)


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize("row", [0, 4])
@pytest.mark.parametrize("label", [-1, -100, 3])
def test_labels_out_of_range(x, label, row, loss):
    y = Y.clone()
    y[row] = label
    check_refused(f"label {label} and 3 logits: labels go from 0 to 2", under_head(nn.Linear(6, 6)), x, y, loss=loss)


def bare(size=6):
    net = Net(lambda m, x: m.head(x * m.scale), head=nn.Linear(size, 3))
    net.scale = nn.Parameter(torch.ones(size))
    return net.eval()


@pytest.mark.parametrize("row", [0, 2, 4])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("make", [lambda: under_head(nn.Linear(6, 6)), bare], ids=["layer", "bare parameter"])
def test_numbers_that_are_none(x, make, value, row):
    x[row, 1] = value
    check_refused(f"gradient of row {row} of 5 is not finite: check that input", make(), x, kind=DataError)


@pytest.mark.parametrize("make", [lambda: under_head(nn.Linear(6, 6)), bare], ids=["layer", "bare parameter"])
def test_weights_that_are_not_finite(x, make):
    model = make()
    nn.init.constant_(model.head.weight, torch.nan)
    check_refused("gradient of row 0 of 5 is not finite: .* the weights", model, x, kind=DataError)


def test_embeddings():
    check_refused(
        r"layer \(Embedding\) .*scale_grad_by_freq", under_head(nn.Embedding(6, 2, scale_grad_by_freq=True), 8), IDS
    )
    check_refused(r"layer \(Embedding\) .*max_norm", under_head(nn.Embedding(6, 2, max_norm=1.0), 8), IDS)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_networks(kind):
    model = Net(lambda m, x: m.head(m.layer(x)[0][:, -1]), layer=kind(6, 4, batch_first=True), head=nn.Linear(4, 3))
    check_refused(rf"layer \({kind.__name__}\) is not known", model.eval(), torch.randn(5, 3, 6), kind=UnknownGradient)


def test_parametrisations(x):
    for parametrised in (torch.nn.utils.parametrizations.weight_norm, torch.nn.utils.parametrizations.spectral_norm):
        check_refused(
            r"of layer\S* \(.*\) is not known", under_head(parametrised(nn.Linear(6, 6))), x, kind=UnknownGradient
        )


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_parametrisations_by_hooks(x):
    model = under_head(torch.nn.utils.weight_norm(nn.Linear(6, 6)))
    check_refused(r"of layer \(Linear\) is not known: .*weight_g", model, x, kind=UnknownGradient)


def test_activation_checkpointing(x):
    block = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
    run = lambda m, x: m.head(checkpoint(m.block, m.first(x), use_reentrant=False))  # noqa: E731
    model = Net(run, first=nn.Linear(6, 6), block=block, head=nn.Linear(6, 3)).eval()
    check_refused(r"block\.0 ran again during the backward pass: switch activation checkpointing off", model, x)


def test_no_trainable_parameter(x):
    check_refused("no trainable parameter: .*requires_grad_", under_head(nn.Linear(6, 6)).requires_grad_(False), x)
    check_refused("no trainable parameter", nn.Flatten().eval(), x)


def test_an_input_that_is_changed_after_it_was_read(x):
    """Autograd itself notices only where it needs the input: for the weight."""

    def run(m, x):
        h = m.first(x)
        out = m.second(h)
        h += 1
        return m.head(out + h)

    model = Net(run, first=nn.Linear(6, 6), second=nn.Linear(6, 6), head=nn.Linear(6, 3)).eval()
    model.second.weight.requires_grad_(False)
    check_refused("the input of second was changed in place after it was read", model, x)


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_attention_with_unsupported_options(options):
    attention = nn.MultiheadAttention(6, 2, batch_first=True, **options)
    model = Net(lambda m, x: m.head(m.attend(x, x, x)[0].sum(1)), attend=attention, head=nn.Linear(6, 3)).eval()
    check_refused("attend: an attention with bias_k, bias_v or add_zero_attn", model, torch.randn(5, 4, 6))


def test_attention_over_the_batch(x):
    """Without a batch axis, the batch is taken for positions."""
    model = Net(lambda m, x: m.head(m.attend(x, x, x)[0]), attend=nn.MultiheadAttention(6, 2), head=nn.Linear(6, 3))
    check_refused("mixes the examples", model.eval(), x)


def test_rows_in_another_order():
    """Windows in which those of one example are not adjacent."""
    run = lambda m, x: m.head(m.layer(x.transpose(0, 1).flatten(0, 1)).tanh().unflatten(0, (4, -1)).sum(0))  # noqa: E731
    model = Net(run, layer=nn.Linear(6, 6), head=nn.Linear(6, 3)).eval()
    check_refused(r"layer \(Linear\) is not known", model, torch.randn(5, 4, 6), kind=UnknownGradient)


def changed(**attributes):
    """The right rule for a layer with other settings."""

    def rule(layer, x, grad):
        other = copy.deepcopy(layer)
        for name, value in attributes.items():
            setattr(other, name, value)
        return rule_for(layer)(other, x, grad)

    return rule


def on_terms(parameter, change):
    def rule(layer, x, grad):
        terms = rule_for(layer)(layer, x, grad)
        return terms | {parameter: lambda: change(terms[parameter]())}

    return rule


def without_groups(term):
    """As in BackPACK and fastDP: channels of different groups are also multiplied."""
    a, b = (factor.movedim(1, -2).flatten(-2).unsqueeze(1) for factor in (term.a, term.b))
    return replace(term, inputs=lambda: a, b=b, squares=None)


BROKEN = {
    "no groups": (nn.Conv2d(4, 4, 3, groups=2), (4, 5, 5), on_terms("weight", without_groups)),
    "no bias": (nn.Linear(6, 6), (6,), on_terms("bias", lambda term: Explicit(torch.zeros_like(term.value)))),
    "bias twice": (nn.Linear(6, 6), (3, 6), on_terms("bias", lambda term: Explicit(2 * term.value))),
    "zeros for a border": (
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), (4, 5, 5), changed(padding_mode="zeros"),
    ),
    "no epsilon": (nn.LayerNorm(6, eps=0.1), (3, 6), changed(eps=1e-9)),
    "no running mean": (nn.BatchNorm1d(6), (6,), changed(running_mean=torch.ones(6))),
    "no padding row": (nn.Embedding(6, 4, padding_idx=0), None, changed(padding_idx=None)),
}  # fmt: skip


@pytest.mark.parametrize("layer,shape,broken", BROKEN.values(), ids=BROKEN)
def test_a_wrong_rule_is_found_out(layer, shape, broken, monkeypatch):
    """The check against autograd on the first batch has teeth; with the fallback the result is still right."""
    x = IDS if shape is None else torch.randn(5, *shape)
    model = under_head(layer, layer.eval()(x).flatten(1).shape[1])
    wanted = grad_norms(copy.deepcopy(model), x, Y)  # a plan is kept for each network
    monkeypatch.setattr(
        "datadiet.signals.gradients.instrumentation.rule_for", lambda m: broken if m is layer else rule_for(m)
    )
    check_refused(r"of layer \(.*\) is not known: for layer\.\w+ it has norm", model, x, kind=UnknownGradient)
    torch.testing.assert_close(grad_norms(model, x, Y, fallback="vmap"), wanted, rtol=1e-5, atol=0)


@pytest.fixture
def process_group():
    dist = pytest.importorskip("torch.distributed")
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("no process groups here")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(("how", "name"), [("all", "FSDP"), ("a layer", "FSDP"), ("a matrix", "DTensor")])
def test_networks_spread_over_processes(x, process_group, how, name):
    fsdp, tensor = pytest.importorskip("torch.distributed.fsdp"), pytest.importorskip("torch.distributed.tensor")
    mesh, model = tensor.init_device_mesh("cpu", (1,)), under_head(nn.Linear(6, 6))
    if how == "a matrix":
        spread = tensor.distribute_tensor(model.layer.weight.detach(), mesh, [tensor.Shard(0)])
        model.layer.weight = nn.Parameter(spread)
    else:
        fsdp.fully_shard(model if how == "all" else model.layer, mesh=mesh)
    check_refused(rf"sharded \({name}\).*save a full state dict, and load it into the plain network", model, x)
    for refused in (
        lambda: PerExample(model),
        lambda: input_gradient_maps(model, x, Y),
        lambda: open_model(model, (6,), 3),
        lambda: open_model(lambda: model, (6,), 3).fresh(0),
    ):
        with pytest.raises(OptionError, match=rf"sharded \({name}\)"):
            refused()


FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn]


@pytest.mark.parametrize("given", FLOATS)
@pytest.mark.parametrize("own", [torch.bfloat16, torch.float32, torch.float64])
def test_inputs_of_another_precision_are_those_of_the_model(x, given, own):
    model = under_head(nn.Linear(6, 6)).to(own)
    converted = x.to(given).to(own)
    for values, wanted in ((x.to(given), converted), ([x.to(given)], [converted])):
        assert torch.equal(grad_norms(model, values, Y), grad_norms(model, wanted, Y))
    assert torch.equal(input_gradient_maps(model, x.to(given), Y), input_gradient_maps(model, converted, Y))


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_inputs_that_the_model_cannot_take(x, kind):
    words = rf"the model cannot take {kind} of shape \(B, 6\) \(RuntimeError: .*\): give what model\(inputs\) takes"
    check_refused(words, under_head(nn.Linear(6, 6)), x.to(kind))
    check_refused(r"cannot take torch.float32 of shape \(B, 5\)", under_head(nn.Linear(6, 6)), x[:, :5])


@pytest.mark.parametrize(
    ("targets", "shown"),
    [
        (Y[:, None], r"torch.int64 of shape \(B, 1\)"),
        (F.one_hot(Y, 3), r"torch.int64 of shape \(B, 3\)"),
        (Y.float(), r"torch.float32 of shape \(B,\)"),
        (torch.zeros(5, 4), r"torch.float32 of shape \(B, 4\)"),
        (torch.zeros(5, 3, 2), r"torch.float32 of shape \(B, 3, 2\)"),
        (Y.to(torch.complex64), r"torch.complex64 of shape \(B,\)"),
    ],
)
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_targets_are_said_as_they_were_given(x, targets, shown, loss):
    also = r", or probabilities, floats of shape \(B, 3\)" if loss == "cross_entropy" else ""
    check_refused(
        rf"the targets are {shown}: give one label for each example, integers of shape \(B,\){also}\.",
        under_head(nn.Linear(6, 6)), x, targets, loss=loss,
    )  # fmt: skip


def test_probabilities_of_any_precision_are_targets_of_cross_entropy(x):
    model, one_hot = under_head(nn.Linear(6, 6)), F.one_hot(Y, 3)
    for kind in FLOATS:
        torch.testing.assert_close(grad_norms(model, x, one_hot.to(kind)), grad_norms(model, x, Y))
    check_refused(r"targets are torch.float32 of shape \(B, 3\)", model, x, one_hot.float(), loss="margin")
