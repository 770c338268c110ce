"""Per-example gradients of networks that people train: against autograd, one example at a time, in float32."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from datadiet.signals.gradients import PerExample, grad_norms, layer_norms
from datadiet.signals.gradients.tape import UnknownGradient

torchvision = pytest.importorskip("torchvision", reason="the vision extra is not installed")


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def check_agree(model, size, fallback=None, batch=4):
    """Also on a second batch, and with no weight or running statistic at its initial 0 or 1."""
    x, y = torch.randn(batch, 3, size, size), torch.arange(batch) % 10
    with torch.no_grad():
        model.train()(x)
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    model.eval()
    parameters, wanted = [p for p in model.parameters() if p.requires_grad], []
    for i in range(batch):
        grads = torch.autograd.grad(
            F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), parameters, materialize_grads=True
        )
        wanted.append(torch.stack([torch.linalg.vector_norm(g, dtype=torch.float64) for g in grads]).norm())
    wanted = torch.stack(wanted)
    engine = PerExample(model, fallback=fallback)
    layer_norms(engine, x[1:], y[1:])
    got = sum(layer_norms(engine, x, y).values()).sqrt().double()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=0)


def vision(name, **options):
    return torchvision.models.get_model(name, weights=None, num_classes=10, **options)


def small_vit():
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=10
    )


def small_convnext():
    setting = torchvision.models.convnext.CNBlockConfig
    return torchvision.models.ConvNeXt([setting(24, 48, 2), setting(48, 96, 2), setting(96, None, 1)], num_classes=10)


@pytest.mark.parametrize(
    "name,size", [("resnet18", 32), ("mobilenet_v2", 32), ("shufflenet_v2_x0_5", 64), ("squeezenet1_1", 64)]
)
def test_torchvision(name, size):
    check_agree(vision(name), size)


def test_vision_transformer_of_torchvision():
    check_agree(small_vit(), 32)


@pytest.mark.parametrize("size", [32, 96])  # at 96 pixels the first stage is as wide as it has channels
def test_convnext_of_torchvision(size):
    check_agree(small_convnext(), size, batch=2 + (size == 32))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "regnet_y_400mf", "densenet121", "mnasnet0_5", "vgg11_bn", "convnext_tiny", "resnet50"]
)
def test_more_of_torchvision(name):
    check_agree(vision(name), 64)


def test_swin_of_torchvision_with_vmap():
    """Its tables of position biases are looked up by index, and its attention uses two of its layers as functions."""
    model = torchvision.models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=10)
    with pytest.raises(UnknownGradient, match="attn"):
        grad_norms(model.eval(), torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    check_agree(model, 32, "vmap")


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="the timm extra is not installed")


@pytest.mark.parametrize(
    "name,options",
    [
        ("resnet10t", {}),
        ("vit_tiny_patch16_224", {"img_size": 32, "depth": 3}),
        ("deit3_small_patch16_224", {"img_size": 32, "depth": 2}),
        ("mixer_s32_224", {"img_size": 32}),
        ("convnext_atto", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_timm(timm, name, options):
    """With vmap for layers that view their layer scales as maps of one pixel."""
    check_agree(timm.create_model(name, num_classes=10, **options), 32, "vmap" if name == "convnext_atto" else None)


def test_fused_norms_of_timm_with_vmap(timm):
    """BatchNormAct2d is a BatchNorm2d by inheritance, with the activation inside."""
    layers = timm.layers.ConvNormAct(3, 8, 3), timm.layers.ConvNormAct(8, 8, 3, groups=2), torch.nn.Flatten()
    model = torch.nn.Sequential(*layers, torch.nn.Linear(8 * 64, 10))
    with pytest.raises(UnknownGradient, match=r"per-example gradient of 0\.bn \(BatchNormAct2d\) is not known"):
        grad_norms(model.eval(), torch.randn(2, 3, 8, 8), torch.tensor([0, 1]))
    check_agree(model, 8, "vmap")


def test_swin_of_timm_with_vmap(timm):
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=10, img_size=64, window_size=4, depths=(1, 2, 1, 1)
    )
    check_agree(model, 64, "vmap", batch=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name,options",
    [
        ("beit_base_patch16_224", {"img_size": 64, "depth": 3}),
        ("coatnet_nano_rw_224", {"img_size": 64}),
        ("efficientnet_lite0", {}),
        ("mobilenetv3_small_050", {}),
        ("regnetx_002", {}),
        ("tf_efficientnet_b0", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_more_of_timm_with_vmap(timm, name, options):
    check_agree(timm.create_model(name, num_classes=10, **options), 64, "vmap")
