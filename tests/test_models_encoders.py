"""Encoders: pooling, penultimate features, pretrained weights, transformers, sentence-transformers, static vectors.

Small random models are made and saved here; nothing is downloaded.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.models import open_model
from datadiet.models.checkpoint import classes_in
from datadiet.models.encoders import Encoder, code_of, function_of, pooled
from datadiet.models.features import Features, pretrained_encoder, trained_network
from datadiet.models.pretrained_text import open_text_encoder
from datadiet.runtime.tensors import save_tensors

CPU = torch.device("cpu")
TEXTS = ["red apples", "green pears and red apples", "pears", "apples unknownword pears"]


def test_pooling_by_hand():
    # Two texts of three tokens, the last of the first and the last two of the second being padding.
    values = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [99.0, 99.0]], [[5.0, 6.0], [99.0, 99.0], [99.0, 99.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert pooled(values, "mean", mask).tolist() == [[2.0, 1.0], [5.0, 6.0]]
    assert pooled(values, "cls").tolist() == [[1.0, 0.0], [5.0, 6.0]]
    maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert pooled(maps, "mean").tolist() == [[1.5, 5.5]]
    assert pooled(maps[0, 0], "mean") is not None and torch.equal(pooled(maps[0, 0], "cls"), maps[0, 0])
    for wrong, pool in ((maps, "cls"), (maps[0, 0, 0], "mean")):
        with pytest.raises(OptionError, match="one vector per example"):
            pooled(wrong, pool)


def make_net(classes=3):
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 4, 3),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(4, classes),
        )
    )


def test_features_are_what_goes_into_the_last_layer():
    net, x = make_net().eval(), torch.rand(5, 1, 8, 8)
    features = Features("net", net, x[:2])
    assert features.layer == "head"
    torch.testing.assert_close(features(x), net[:4](x))
    features.close()
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_another_layer_can_be_named_and_is_pooled():
    net, x = make_net().eval(), torch.rand(5, 1, 8, 8)
    features = Features("net", net, x[:2], head="pool")
    torch.testing.assert_close(features(x), net[:2](x).mean(dim=(2, 3)))
    with pytest.raises(OptionError, match="'haed' is not a layer of net: did you mean 'head'"):
        Features("net", net, x[:2], head="haed")
    with pytest.raises(OptionError, match="one vector each"):
        Features("net", net, x[:2], pool="mean")


def test_a_network_without_a_linear_head_gives_its_output_or_is_refused():
    encoder, x = make_net()[:4].eval(), torch.rand(3, 1, 8, 8)
    features = Features("net", encoder, x)
    assert features.layer is None
    torch.testing.assert_close(features(x), encoder(x))
    with pytest.raises(OptionError, match="--head NAME"):
        Features("net", encoder[:2], x)


def test_random_weights_are_refused_and_checkpoints_tell_the_classes(tmp_path):
    file = tmp_path / "w.safetensors"
    save_tensors(file, dict(open_model("datadiet:mlp", (1, 8, 8), 7).fresh(3).state_dict()), {})
    assert classes_in(file, lambda c: open_model("datadiet:mlp", (1, 8, 8), c).fresh(0)) == 7
    _, net = trained_network("datadiet:mlp", file, (1, 8, 8))
    assert net[-1].out_features == 7
    for model in ("datadiet:mlp", make_net):
        with pytest.raises(OptionError, match=r"random weights.*checkpoint=FILE, RUN \("):
            trained_network(model, None, (1, 8, 8))
    with pytest.raises(OptionError, match="RUN or pretrained"):
        trained_network("torchvision:resnet18", None, (3, 32, 32))
    with pytest.raises(OptionError, match="already trained"):
        trained_network(make_net(), file, (1, 8, 8))
    with pytest.raises(DataError, match="give a checkpoint of this model"):
        trained_network("datadiet:cnn", file, (1, 8, 8))
    assert trained_network(net, None, (1, 8, 8))[1] is net


def test_functions_of_a_batch_and_functions_that_make_networks():
    class Callable:
        def __call__(self, batch):
            return batch

    def scaled(batch, factor=2):
        return batch * factor

    assert function_of(scaled) is scaled and function_of(np.asarray) is np.asarray
    assert function_of(partial(scaled, factor=3)) is not None and function_of(Callable()) is not None
    assert function_of(make_net) is None  # every parameter has a default
    assert function_of(make_net()) is None and function_of("datadiet:mlp") is None
    assert code_of(scaled) and code_of(scaled) != code_of(make_net) and code_of(Callable()) and code_of(len) == ""


def test_torchvision_weights_of_the_hub_come_with_their_own_transform(tmp_path, monkeypatch):
    models = pytest.importorskip("torchvision.models")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = models.get_model_weights("shufflenet_v2_x0_5").DEFAULT
    torch.manual_seed(0)
    net = models.get_model("shufflenet_v2_x0_5").eval()
    file = tmp_path / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(net.state_dict(), file)
    encoder = pretrained_encoder("torchvision:shufflenet_v2_x0_5", None, None, CPU)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (3, 40, 50), dtype=np.uint8), rng.integers(0, 255, (1, 64, 64), dtype=np.uint8)]
    with torch.inference_mode():
        found = encoder.encode(images)
        from PIL import Image

        grey = np.repeat(images[1], 3, axis=0)
        x = torch.stack([weights.transforms()(Image.fromarray(i.transpose(1, 2, 0))) for i in (images[0], grey)])
        logits = net(x)
    assert found.shape == (2, 1024) and encoder.reads == "images" and "224" in encoder.about["transform"]
    torch.testing.assert_close(found @ net.fc.weight.detach().T + net.fc.bias.detach(), logits)
    with pytest.raises(OptionError, match="8-bit images in grey or colour"):
        encoder.encode([np.zeros((3, 8, 8), dtype=np.float32)])


def test_timm_weights_of_the_hub_come_with_their_own_transform(tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    net = timm.create_model("test_vit", num_classes=1000).eval()
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", lambda *_, **__: net.state_dict())
    encoder = pretrained_encoder("timm:test_vit", None, None, CPU)
    image = np.random.default_rng(0).integers(0, 255, (3, 200, 180), dtype=np.uint8)
    with torch.inference_mode():
        found = encoder.encode([image])
        config = timm.data.resolve_model_data_config(net)
        from PIL import Image

        x = timm.data.create_transform(**config, is_training=False)(Image.fromarray(image.transpose(1, 2, 0)))
        logits = net(x[None])
    torch.testing.assert_close(found @ net.head.weight.detach().T + net.head.bias.detach(), logits)


def test_pretrained_weights_that_cannot_be_had(tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(DataError, match=r"cannot be downloaded \(no route to host\).*--checkpoint"):
        pretrained_encoder("torchvision:resnet18", None, None, CPU)
    with pytest.raises(OptionError, match="datadiet:cnn has no pretrained weights"):
        pretrained_encoder("datadiet:cnn", None, None, CPU)
    with pytest.raises(OptionError, match="did you mean 'resnet18'"):
        pretrained_encoder("torchvision:resnet81", None, None, CPU)


# Texts. A vocabulary of words, so that tokens can be counted by hand.

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "apples", "pears", "and"]


def word_tokenizer(special=True):
    tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(VOCAB)}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if special:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    return made


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with a small random BERT and its tokenizer."""
    transformers = pytest.importorskip("transformers", reason="needs the extra text")
    folder = tmp_path_factory.mktemp("bert")
    words = {f"{k}_token": f"[{k.upper()}]" for k in ("pad", "unk", "cls", "sep")}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(), model_max_length=6, **words)
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(VOCAB), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_hf_equals_one_text_at_a_time_without_padding(bert, pool):
    import transformers

    encoder = open_text_encoder(f"hf:{bert}", texts=True, pool=pool, device=CPU)
    net = transformers.AutoModel.from_pretrained(bert).eval()
    ids = {"red apples": [2, 4, 6, 3], "pears": [2, 7, 3], "apples unknownword pears": [2, 6, 1, 7, 3]}
    with torch.inference_mode():
        found = encoder.encode(list(ids))
        for row, tokens in zip(found, ids.values(), strict=True):
            hidden = net(torch.tensor([tokens])).last_hidden_state[0]
            torch.testing.assert_close(row, hidden.mean(dim=0) if pool == "mean" else hidden[0], rtol=1e-5, atol=1e-6)
    assert encoder.reads == "texts" and encoder.about["pool"] == pool


def test_texts_that_are_too_long_are_counted(bert):
    encoder = open_text_encoder(f"hf:{bert}", texts=True, pool=None, device=CPU)
    encoder.encode(["red red red red", "red"])  # 6 tokens with [CLS] and [SEP]: they fit
    assert encoder.notes() == []
    encoder.encode(["red red red red red", "red"])
    encoder.encode(["red red red red red red"])
    assert encoder.notes() == ["2 texts are longer than 6 tokens: the rest of each was not read"]


def test_opening_twice_gives_the_same_weights_and_leaves_the_global_state(bert):
    from datadiet.training.state import weights_digest

    before = torch.random.get_rng_state()
    first, second = (open_text_encoder(f"hf:{bert}", texts=True, pool=None, device=CPU) for _ in range(2))
    assert weights_digest(first.weights) == weights_digest(second.weights)  # its pooler is drawn
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_incomplete_model_is_refused(bert, tmp_path):
    from safetensors.torch import load_file, save_file

    for path in bert.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(bert / "model.safetensors")
    lost = next(name for name in state if "layer.1" in name)
    save_file({k: v for k, v in state.items() if k != lost}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"has no weight '.*layer\.1.*incomplete"):
        open_text_encoder(f"hf:{tmp_path}", texts=True, pool=None, device=CPU)


def test_hf_images_are_prepared_by_their_own_processor(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra text")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    transformers.ViTModel(config).eval().save_pretrained(tmp_path)
    about = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}, "do_resize": True}
    about |= {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "rescale_factor": 1 / 255}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (3, 16, 16), dtype=np.uint8), rng.integers(0, 255, (1, 16, 16), dtype=np.uint8)]
    net = transformers.AutoModel.from_pretrained(tmp_path).eval()
    x = torch.from_numpy(np.stack([images[0], np.repeat(images[1], 3, axis=0)])).float()
    with torch.inference_mode():
        hidden = net(pixel_values=(x / 255 - 0.5) / 0.25).last_hidden_state
        for pool, wanted in (("cls", hidden[:, 0]), (None, hidden.mean(dim=1))):
            encoder = open_text_encoder(f"hf:{tmp_path}", texts=False, pool=pool, device=CPU)
            torch.testing.assert_close(encoder.encode(images), wanted, rtol=1e-4, atol=1e-5)
    assert encoder.reads == "images"
    with pytest.raises(OptionError, match="has no tokenizer"):
        open_text_encoder(f"hf:{tmp_path}", texts=True, pool=None, device=CPU)


def test_models_of_images_and_texts_give_their_projections(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra text")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tokens = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "max_position_embeddings": 8}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={"vocab_size": len(VOCAB), **size, **tokens},
        vision_config={"image_size": 16, "patch_size": 8, **size},
        projection_dim=6,
    )
    net = transformers.CLIPModel(config).eval()
    net.save_pretrained(tmp_path)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(), pad_token="[PAD]")
    tokenizer.save_pretrained(tmp_path)
    about = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 16}}
    about |= {"crop_size": {"height": 16, "width": 16}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    encoder = open_text_encoder(f"hf:{tmp_path}", texts=True, pool=None, device=CPU)
    assert encoder.about["max_length"] == 8 and encoder.about["pool"] == "projection"
    with torch.inference_mode():
        whole = net(input_ids=torch.tensor([[2, 4, 6, 3]]), pixel_values=torch.zeros(1, 3, 16, 16)).text_embeds
        found = encoder.encode(["red apples", "pears"])[:1]
        torch.testing.assert_close(nn.functional.normalize(found), whole, rtol=1e-4, atol=1e-5)
        images = open_text_encoder(f"hf:{tmp_path}", texts=False, pool=None, device=CPU)
        assert images.encode([np.zeros((1, 20, 30), dtype=np.uint8)]).shape == (1, 6)
    with pytest.raises(OptionError, match="a projection of its own, and pool='cls'"):
        open_text_encoder(f"hf:{tmp_path}", texts=True, pool="cls", device=CPU)


def test_encoder_decoders_and_tokenizers_without_padding(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra text")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(VOCAB), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    for name, words in (("t5", {"eos_token": "[SEP]"}), ("bare", {})):
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(), **words)
        fast.save_pretrained(tmp_path / name)
    encoder = open_text_encoder(f"hf:{tmp_path}/t5", texts=True, pool=None, device=CPU)
    with torch.inference_mode():
        both, alone = encoder.encode(["red apples and pears", "pears"]), encoder.encode(["pears"])
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "bare")
    with pytest.raises(OptionError, match="no token to pad with"):
        open_text_encoder(f"hf:{tmp_path}/bare", texts=True, pool=None, device=CPU)


def test_loading_is_quiet(bert, capfd):
    open_text_encoder(f"hf:{bert}", texts=True, pool=None, device=CPU)  # which has no weights of a pooler
    assert capfd.readouterr() == ("", "")


def test_a_text_model_has_no_image_processor(bert):
    with pytest.raises(OptionError, match=r"no image processor.*--text COLUMN"):
        open_text_encoder(f"hf:{bert}", texts=False, pool=None, device=CPU)


def test_sentence_transformers_pool_by_themselves(bert, tmp_path):
    library = pytest.importorskip("sentence_transformers", reason="needs the extra text")
    library.SentenceTransformer(str(bert), device="cpu").save(str(tmp_path / "st"))  # with a mean over the tokens
    encoder = open_text_encoder(f"sentence-transformers:{tmp_path}/st", texts=True, pool=None, device=CPU)
    plain = open_text_encoder(f"hf:{bert}", texts=True, pool="mean", device=CPU)
    with torch.inference_mode():
        torch.testing.assert_close(encoder.encode(TEXTS), plain.encode(TEXTS), rtol=1e-5, atol=1e-6)
    with pytest.raises(OptionError, match="pools by itself"):
        open_text_encoder(f"sentence-transformers:{tmp_path}/st", texts=True, pool="cls", device=CPU)


def save_static(folder, table, normalize):
    from safetensors.numpy import save_file

    folder.mkdir()
    word_tokenizer(special=False).save(str(folder / "tokenizer.json"))
    save_file({"embeddings": table}, folder / "model.safetensors")
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": normalize}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_static_vectors_are_means_over_known_tokens(tmp_path, dtype, normalize):
    pytest.importorskip("model2vec", reason="needs the extra text")
    rng = np.random.default_rng(0)
    table = rng.integers(-127, 127, (len(VOCAB), 5)).astype(dtype)
    save_static(tmp_path / "static", table, normalize)
    encoder = open_text_encoder(f"model2vec:{tmp_path}/static", texts=True, pool=None, device=CPU)
    slash = open_text_encoder(f"model2vec:{tmp_path}/static/", texts=True, pool=None, device=CPU)
    assert slash.spec == encoder.spec == f"model2vec:{tmp_path}/static"
    tokens = [[4, 6], [5, 7, 8, 4, 6], [7], [6, 7]]  # of TEXTS; the unknown word counts for nothing
    wanted = np.stack([table[ids].astype(np.float64).mean(axis=0) for ids in tokens])
    found = np.asarray(encoder.encode(TEXTS), dtype=np.float64)
    # int8 tables are known up to one factor
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (found, wanted)]
    np.testing.assert_allclose(*unit, atol=1e-6)
    assert np.allclose(np.linalg.norm(found, axis=1), 1) == normalize


def test_static_vectors_of_int8_are_sent_to_model2vec(tmp_path):
    pytest.importorskip("sentence_transformers", reason="needs the extra text")
    save_static(tmp_path / "static", np.ones((len(VOCAB), 5), dtype=np.int8), normalize=True)
    modules = [{"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"}]
    (tmp_path / "static" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(DataError, match=r"integer vectors: read them with model2vec:.*static"):
        open_text_encoder(f"sentence-transformers:{tmp_path}/static", texts=True, pool=None, device=CPU)


def test_folders_that_are_not_there_or_hold_something_else(tmp_path):
    (tmp_path / "empty").mkdir()
    for scheme, library in (("hf", "transformers"), ("sentence-transformers",) * 2, ("model2vec",) * 2):
        pytest.importorskip(library.replace("-", "_"), reason="needs the extra text")
        with pytest.raises(DataError, match="there is no folder"):
            open_text_encoder(f"{scheme}:{tmp_path}/nothing", texts=True, pool=None, device=CPU)
        with pytest.raises(DataError, match="cannot be loaded"):
            open_text_encoder(f"{scheme}:{tmp_path}/empty", texts=True, pool=None, device=CPU)


def test_a_missing_library_is_reported(monkeypatch):
    import sys

    for scheme, library in (("hf", "transformers"), ("model2vec", "model2vec")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(dd.MissingExtra, match=r"pip install 'datadiet\[text\]'"):
            open_text_encoder(f"{scheme}:x", texts=True, pool=None, device=CPU)


def test_an_encoder_has_nothing_to_report_by_default():
    assert Encoder("x", "texts", len).notes() == []
