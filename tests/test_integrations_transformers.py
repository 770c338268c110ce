"""The Hugging Face Trainer with `attach`, beside loops written by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import datadiet as dd
from datadiet.data import open_data
from datadiet.errors import DataError, FingerprintMismatch, OptionError
from datadiet.integrations import Dynamics, Teaching
from datadiet.sampling import Permutation
from datadiet.training.distill import auto_kd_weight

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="the Trainer needs it")
from datadiet.integrations import attach  # noqa: E402

N, DIM, CLASSES, BATCH = 40, 6, 3, 4
pytestmark = pytest.mark.usefixtures("one_thread")


class Hardest:
    """All examples in the first epoch, then those with the largest losses: fewer each time; odd ones weigh more."""

    reads = "loss"

    def __init__(self, lengths: tuple[int, ...] = (N, 30, 18, 18)) -> None:
        self.lengths, self.losses = lengths, np.zeros(N)

    def begin(self, epoch: int) -> int:
        return self.lengths[epoch]

    def order(self, epoch: int) -> Any:
        kept = np.argsort(-self.losses, kind="stable")[: self.lengths[epoch]]
        shuffle = Permutation(len(kept), 3, "hardest", epoch)
        return lambda positions: kept[shuffle(positions)]

    def update(self, index: torch.Tensor, values: torch.Tensor) -> None:
        self.losses[index.numpy()] = values.double().numpy()

    def weights(self, index: torch.Tensor) -> torch.Tensor:
        return 0.5 + (index % 2).float()

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses.copy()}

    def load_state_dict(self, state: Any) -> None:
        self.losses = np.array(state["losses"])


class Net(nn.Module):
    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.head, self.factor, self.seen = nn.Linear(DIM, CLASSES), factor, []

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        if self.training:
            self.seen.append(x[:, 0].round().int().tolist())  # the position of the example
        logits = self.head(x * 0.1)
        loss = {} if labels is None else {"loss": self.factor * functional.cross_entropy(logits, labels)}
        return {**loss, "logits": logits}


def net(factor: float = 1.0) -> Net:
    torch.manual_seed(0)
    return Net(factor)


def items(n: int = N) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, DIM)).astype(np.float32) * 5
    x[:, 0] = np.arange(n)
    y = rng.integers(0, CLASSES, n)
    return [{"x": torch.from_numpy(x[i]), "label": int(y[i]), "unused": "text"} for i in range(n)]


def trainer(out: Path, model: nn.Module | None = None, data: Any = None, kind: Any = None, **options: Any) -> Any:
    given = {"num_train_epochs": 3, "learning_rate": 0.05, "save_strategy": "no", **options}
    args = transformers.TrainingArguments(
        str(out),
        per_device_train_batch_size=BATCH,
        optim="sgd",
        max_grad_norm=0,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **given,
    )
    model = net() if model is None else model
    data = items() if data is None else data
    return (kind or transformers.Trainer)(model, args, train_dataset=data, eval_dataset=items(8))


def by_hand(schedule: Any, epochs: int = 3, accumulate: int = 1, lengths: tuple[int, ...] | None = None) -> Any:
    """What the trainer should do: the network, what a Recorder sees, and the loss of each step of each epoch."""
    model, data, recorder = net(), items(), dd.Recorder(N, seed=42)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    dynamics = Dynamics(N, schedule, record=False)
    planned, means = schedule.begin(0), []
    per_epoch = -(-planned // (BATCH * accumulate))
    for epoch in range(epochs):
        length = schedule.begin(epoch)
        means.append([])
        order = schedule.order(epoch)(np.arange(length))
        step = BATCH * accumulate
        if length < planned:
            order = np.resize(order, -(-length // step) * step)
        for number, lo in enumerate(range(0, len(order), step)):
            index = order[lo : lo + step]
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - (epoch * per_epoch + number) / (epochs * per_epoch))
            x, y = torch.stack([data[i]["x"] for i in index]), torch.tensor([data[i]["label"] for i in index])
            logits = model(x)["logits"]
            losses = functional.cross_entropy(logits, y, reduction="none")
            weights = schedule.weights(torch.from_numpy(index))
            optimizer.zero_grad()
            loss = (losses if weights is None else losses * weights).mean()
            loss.backward()
            optimizer.step()
            means[-1].append(loss.item())
            recorder.update(index, logits, y)
            dynamics.update(index, logits.detach(), y)
        recorder.end_epoch()
        dynamics.end_epoch()
    return model, recorder.finish(), means


def check_same(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, **({"rtol": 1e-5, "atol": 1e-6} | tolerance))


def check_same_signals(one: Any, other: Any, exactly: bool = False) -> None:
    assert one.epochs("train") == other.epochs("train")
    for epoch in one.epochs("train"):
        ((table,), (wanted,)) = (signals.parts["train", 42, epoch] for signals in (one, other))
        assert table.column_names == wanted.column_names
        for name in table.column_names:
            check = np.testing.assert_array_equal if exactly else np.testing.assert_allclose
            check(table[name].to_numpy(), wanted[name].to_numpy(), **({} if exactly else {"rtol": 1e-4, "atol": 1e-5}))


def flat(batches: list[list[int]]) -> list[int]:
    return [example for batch in batches for example in batch]


def test_a_selection_is_trained_on_in_its_order(tmp_path: Path) -> None:
    chosen = dd.select(np.arange(N, dtype=float), "top_k", keep=14, prefer="hardest")
    made = trainer(tmp_path)
    attached = attach(made, chosen, seed=5)
    made.train()
    order = dd.SubsetSampler(np.arange(N - 14, N), seed=5)
    assert flat(made.model.seen) == [example for _ in range(3) for example in order]
    assert [len(batch) for batch in made.model.seen[:4]] == [4, 4, 4, 2]
    assert made.state.max_steps == made.state.global_step == 12
    assert attached.recorder is None and isinstance(made, transformers.Trainer)
    with pytest.raises(OptionError, match="record=True"):
        attached.finish()


def test_nothing_but_the_order_changes_without_weights(tmp_path: Path) -> None:
    made = trainer(tmp_path, net(factor=2.0))  # a loss of its own
    attach(made, dd.RS2Sampler(N, 8))
    made.train()
    wanted = trainer(
        tmp_path, net(factor=2.0), data=[items()[i] for i in flat(made.model.seen)[:8]], num_train_epochs=1
    )
    wanted._get_train_sampler = lambda *dataset: torch.utils.data.SequentialSampler(range(8))
    wanted.train()
    again = trainer(tmp_path, net(factor=2.0), num_train_epochs=1)
    attach(again, dd.RS2Sampler(N, 8))
    again.train()
    check_same(again.model, wanted.model, rtol=0, atol=0)
    assert len({tuple(sorted(flat(made.model.seen)[lo : lo + 8])) for lo in (0, 8, 16)}) == 3


@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_and_signals_are_those_of_a_loop_by_hand(tmp_path: Path, accumulate: int) -> None:
    weights = np.linspace(0.2, 1.8, 20, dtype=np.float32)
    chosen = dd.Selection(np.arange(N), np.arange(0, N, 2), weights, meta={"data": {"n": N}})
    made = trainer(tmp_path, gradient_accumulation_steps=accumulate)
    attached = attach(made, chosen, record=True)
    made.train()
    schedule = dd.SubsetSampler(chosen.indices, seed=42, loss_weights=chosen.weights)
    model, signals, _ = by_hand(schedule, accumulate=accumulate)
    check_same(made.model, model)
    check_same_signals(attached.finish(), signals)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_schedule_learns_and_its_epochs_may_be_shorter(tmp_path: Path, accumulate: int) -> None:
    made = trainer(tmp_path, gradient_accumulation_steps=accumulate, logging_strategy="epoch")
    attached = attach(made, Hardest(), record=True)
    made.train()
    model, signals, losses = by_hand(Hardest(), accumulate=accumulate)
    check_same(made.model, model)
    check_same_signals(attached.finish(), signals)
    assert len(made.model.seen) == sum(map(len, losses)) * accumulate
    per_epoch = N // BATCH // accumulate
    assert made.state.global_step == made.state.max_steps == 3 * per_epoch and made.state.epoch == 3
    assert set(made.lr_scheduler.get_last_lr()) == {0.0}
    logged = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    assert [float(loss) for loss in logged] == pytest.approx([np.mean(epoch) for epoch in losses], abs=1e-3)


def test_a_classifier_is_recorded_and_scored(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    attached = attach(made, record=True)
    made.train()
    assert sorted(flat(made.model.seen)[:N]) == list(range(N))
    scores = dd.score(
        attached.finish(labels=[item["label"] for item in items()]),
        scorers=["aum", "forgetting", "el2n"],
        params={"el2n": {"mode": "train", "at": "2"}},
    )
    assert len(scores) == N and {"aum", "forgetting", "el2n"} <= set(scores.names)


@pytest.mark.parametrize("step", [1, 4, 10, 13, 18, 22, 25])
def test_resuming_anywhere_changes_nothing(tmp_path: Path, step: int) -> None:
    """In an epoch, at its end (10, 18 in the second, which has 8 steps, and 25 in the third, with 5), and between."""
    whole = trainer(tmp_path / "whole", save_strategy="steps", save_steps=1)
    recording = attach(whole, Hardest(), record=True)
    whole.train()
    shutil.copytree(tmp_path / "whole" / f"checkpoint-{step}", tmp_path / "part" / f"checkpoint-{step}")
    part = trainer(tmp_path / "part")
    resumed = attach(part, Hardest(), record=True)
    part.train(resume_from_checkpoint=True)
    check_same(part.model, whole.model, rtol=0, atol=0)
    check_same_signals(resumed.finish(), recording.finish(), exactly=True)
    assert part.state.global_step == whole.state.global_step
    assert part.model.seen == whole.model.seen[step if step <= 18 else step - 2 :]


@pytest.mark.parametrize("step", [4, 10, 12, 21])
def test_a_schedule_of_ours_resumes_anywhere(tmp_path: Path, step: int) -> None:
    """InfoBatch: 10 steps in the first epoch and fewer in the others; the counter skips those that are not taken."""

    def made(out: Path, **options: Any) -> Any:
        one = trainer(out, **options)
        return one, attach(one, dd.InfoBatchSampler(N, epochs=3, anneal=1.0), record=True)

    whole, recording = made(tmp_path / "whole", save_strategy="steps", save_steps=1)
    whole.train()
    assert len(whole.model.seen) < 30
    folder = tmp_path / "whole" / f"checkpoint-{step}"
    shutil.copytree(folder, tmp_path / "part" / folder.name)
    part, resumed = made(tmp_path / "part")
    part.train(resume_from_checkpoint=True)
    check_same(part.model, whole.model, rtol=0, atol=0)
    check_same_signals(resumed.finish(), recording.finish(), exactly=True)
    assert part.model.seen == whole.model.seen[len(whole.model.seen) - len(part.model.seen) :]


def test_a_training_that_is_saved_at_its_end_is_closed_when_it_is_resumed(tmp_path: Path) -> None:
    """The Trainer saves before it ends the epoch, and then has no epoch left to end."""
    recorded = []
    for resume in (None, True):
        made = trainer(tmp_path, save_strategy="steps", save_steps=2)
        recorded.append(attach(made, dd.RS2Sampler(N, 8), record=True))
        made.train(resume_from_checkpoint=resume)
    assert made.model.seen == [] and made.state.global_step == 6
    check_same_signals(*(attached.finish() for attached in recorded), exactly=True)


def test_a_checkpoint_without_a_state_is_refused(tmp_path: Path) -> None:
    plain = trainer(tmp_path, save_strategy="steps", save_steps=5, num_train_epochs=1)
    plain.train()
    made = trainer(tmp_path)
    attach(made, record=True)
    with pytest.raises(OptionError, match=r"has no datadiet\.safetensors"):
        made.train(resume_from_checkpoint=True)


class Padding:
    """A collator that pads, and takes only what it knows."""

    def __call__(self, given: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        assert set(given[0]) == {"x", "labels"}, "columns that the model does not take are gone"
        rows = [torch.as_tensor(item["x"]) for item in given]
        return {
            "x": nn.utils.rnn.pad_sequence(rows, batch_first=True),
            "labels": torch.tensor([g["labels"] for g in given]),
        }


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dict_data_set_with_a_padding_collator_and_workers(tmp_path: Path, workers: int) -> None:
    import datasets

    rows = items()
    table = {
        "x": [row["x"][: DIM - (i % 2) if i else DIM].tolist() for i, row in enumerate(rows)],
        "labels": [row["label"] for row in rows],
        "comment": ["text"] * N,
    }
    data = datasets.Dataset.from_dict(table)
    made = trainer(tmp_path, data=data, dataloader_num_workers=workers)
    made.data_collator = Padding()
    chosen = dd.select(dd.Scores.from_arrays({"s": np.arange(N, dtype=float)}), "top_k", keep=16, prefer="easiest")
    attached = attach(made, chosen, record=True)
    made.train()
    kept = dd.SubsetSampler(np.arange(16), seed=42)
    assert flat(made.model.seen) == [example for _ in range(3) for example in kept]
    (table,) = attached.finish().parts["train", 42, 3]
    assert table["index"].to_pylist() == list(range(16)) and made.train_dataset is data


def test_evaluation_does_not_change(tmp_path: Path) -> None:
    before = trainer(tmp_path).evaluate()
    made = trainer(tmp_path, num_train_epochs=1, eval_strategy="steps", eval_steps=3)
    attached = attach(made, Hardest(), record=True)
    after = made.evaluate()
    assert after["eval_loss"] == before["eval_loss"]
    predicted = made.predict(items(8)).predictions
    made.train()
    assert len(attached.finish().parts["train", 42, 1][0]) == N  # nothing of the evaluation
    assert predicted.shape == (8, CLASSES) and made.data_collator is transformers.default_data_collator


def test_the_class_of_the_trainer_keeps_its_own_methods(tmp_path: Path) -> None:
    class Doubled(transformers.Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
            loss, outputs = super().compute_loss(model, inputs, True, **more)
            return (2 * loss, outputs) if return_outputs else 2 * loss

    made, plain = (trainer(tmp_path, kind=kind, model=net(factor)) for kind, factor in ((Doubled, 1.0), (None, 2.0)))
    for one in (made, plain):
        attach(one, dd.RS2Sampler(N, 12), record=True)
        one.train()
    check_same(made.model, plain.model, rtol=0, atol=0)
    assert type(made).__name__ == "Doubled"


def test_label_smoothing_is_part_of_the_weighted_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ones(dd.SubsetSampler):
        def weights(self, index: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(index))

    monkeypatch.setattr(Net, "config", SimpleNamespace(problem_type=None), raising=False)
    made, plain = (trainer(tmp_path, label_smoothing_factor=0.2, gradient_accumulation_steps=2) for _ in range(2))
    attach(made, Ones(N, seed=1))
    attach(plain, dd.SubsetSampler(N, seed=1))
    made.train()
    plain.train()
    check_same(made.model, plain.model)


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])  # one divides by the Trainer's count of labels, one ignores it
def test_models_of_transformers_are_weighted(kind: str, tmp_path: Path) -> None:
    """Two halves with weight w and 2 - w, by one step of gradient accumulation, beside autograd."""
    sizes = {"Bert": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}}
    sizes["DistilBert"] = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    config = getattr(transformers, f"{kind}Config")(vocab_size=16, num_labels=CLASSES, **sizes[kind])
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    rows = [{"input_ids": [i % 16, 1 + i % 5, 2], "labels": i % CLASSES} for i in range(8)]
    weights = torch.tensor([0.25, 1.75]).repeat(4)

    inputs, labels = torch.tensor([row["input_ids"] for row in rows]), torch.tensor([row["labels"] for row in rows])
    losses = functional.cross_entropy(model(input_ids=inputs).logits, labels, reduction="none")
    wanted = torch.autograd.grad((weights * losses).mean(), model.classifier.weight)[0]
    before = model.classifier.weight.detach().clone()

    made = trainer(tmp_path, model, rows, gradient_accumulation_steps=2, max_steps=1, lr_scheduler_type="constant")
    attach(made, dd.Selection(np.arange(8), np.arange(8), weights.numpy(), meta={"data": {"n": 8}}))
    made.train()
    torch.testing.assert_close(before - model.classifier.weight.detach().cpu(), 0.05 * wanted, rtol=1e-4, atol=1e-7)


def test_what_cannot_be_attached_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"takes a transformers\.Trainer, and this is of type Linear"):
        attach(nn.Linear(1, 1))
    made = trainer(tmp_path)
    attach(made)
    with pytest.raises(OptionError, match="attached to this trainer already"):
        attach(made)
    with pytest.raises(OptionError, match=r"without\s+dd\.shard"):
        attach(trainer(tmp_path), dd.shard(dd.RS2Sampler(N, 8), 0, 2))
    with pytest.raises(OptionError, match="a list was given"):
        attach(trainer(tmp_path), [1, 2, 3])
    with pytest.raises(OptionError, match=f"presents example {N + 9}"):
        attach(trainer(tmp_path), dd.SubsetSampler(N + 10, shuffle=False))
    with pytest.raises(OptionError, match="train_sampling_strategy='group_by_length'"):
        attach(trainer(tmp_path, train_sampling_strategy="group_by_length"))
    streamed = trainer(tmp_path, max_steps=3)
    streamed.train_dataset = iter(items())
    with pytest.raises(OptionError, match="not read by position"):
        attach(streamed)


def scores_of(data: Any) -> dd.Scores:
    meta = {"data": open_data(data).identity(), "columns": {"s": {"hardness": 1}}}
    return dd.Scores(np.arange(N), {"s": np.arange(N, dtype=np.float32)}, meta=meta)


def test_a_selection_of_other_data_is_refused(tmp_path: Path) -> None:
    import datasets

    texts = datasets.Dataset.from_dict({"text": [f"text {i}" for i in range(N)], "label": [i % 3 for i in range(N)]})
    chosen = dd.select(scores_of(texts), "top_k", keep=9, prefer="hardest")
    with pytest.raises(FingerprintMismatch):
        attach(trainer(tmp_path), chosen)
    tokens = [{"input_ids": [i], "labels": 0} for i in range(N)]
    with pytest.raises(
        DataError, match=r"cannot be compared with those that were selected from .*: give these as clean="
    ):
        attach(trainer(tmp_path, data=tokens), chosen)
    attached = attach(trainer(tmp_path, data=tokens), chosen, clean=texts)
    assert attached.schedule.indices.tolist() == chosen.indices.tolist()
    with pytest.raises(FingerprintMismatch):
        attach(trainer(tmp_path, data=items(30)), dd.select(np.arange(float(N)), "top_k", keep=9, prefer="hardest"))


def test_other_losses_and_outputs_are_refused(tmp_path: Path) -> None:
    weighted = trainer(tmp_path, net(factor=2.0))
    attach(weighted, Hardest())
    with pytest.raises(OptionError, match="weights multiply a cross-entropy"):
        weighted.train()

    class Tokens(Net):
        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
            out = super().forward(x, labels)
            return {**out, "logits": out["logits"][:, None].expand(-1, 5, -1)}

    for chosen, record in ((None, True), (Hardest(), False)):
        made = trainer(tmp_path, Tokens())
        attach(made, chosen, record=record)
        with pytest.raises(OptionError, match=r"logits of shape \(4, 5, 3\).*need a classifier"):
            made.train()
    made = trainer(tmp_path, Tokens(), num_train_epochs=1)
    attach(made, dd.RS2Sampler(N, 8))  # no signal and no weight is needed
    made.train()
    assert made.state.global_step == 2


@pytest.mark.parametrize("lengths", [(20, 24, 20), (20, 0, 20)])
def test_epochs_that_cannot_be_planned_are_refused(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    made = trainer(tmp_path)
    attach(made, Hardest(lengths))
    with pytest.raises(OptionError, match=f"presents {lengths[1]} examples in epoch 2 and 20 in the first"):
        made.train()


def test_a_loader_of_another_kind_is_refused(tmp_path: Path) -> None:
    class Own(transformers.Trainer):
        def get_train_dataloader(self) -> Any:
            return self.accelerator.prepare(torch.utils.data.DataLoader(self.train_dataset, batch_size=4))

    made = trainer(tmp_path, kind=Own)
    attach(made)
    with pytest.raises(OptionError, match="makes its loader in a way of its own"):
        made.train()


TWO = """
import importlib.util, os, shutil, sys
from pathlib import Path
import torch
spec = importlib.util.spec_from_file_location("tests_transformers", sys.argv[1])
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
torch.set_num_threads(1)
out, rank = Path(sys.argv[2]), int(os.environ["RANK"])

whole = tests.trainer(out / "whole", save_strategy="steps", save_steps=2)
recording = tests.attach(whole, tests.Hardest(), record=True)
whole.train()
model, signals, _ = tests.by_hand(tests.Hardest(), accumulate=2)
tests.check_same(whole.model, model)
tests.check_same_signals(recording.finish(), signals)
assert recording.recorder.repeats == 2 + 6, recording.recorder.repeats  # 30 and 18 examples in steps of 8
if rank == 0:
    shutil.copytree(out / "whole" / "checkpoint-8", out / "part" / "checkpoint-8")
torch.distributed.barrier()
part = tests.trainer(out / "part")
resumed = tests.attach(part, tests.Hardest(), record=True)
part.train(resume_from_checkpoint=True)
tests.check_same(part.model, whole.model, rtol=0, atol=0)
tests.check_same_signals(resumed.finish(), recording.finish(), exactly=True)
assert part.model.seen == whole.model.seen[8:]
"""


def test_two_processes_train_as_one(tmp_path: Path, check_in_two: Any) -> None:
    """Steps of 2 x 4 examples: the order and the weights of one process with steps of 8, also when resumed."""
    check_in_two(TWO, __file__, tmp_path)


def student_by_hand(
    teacher: Any, weight: float, chosen: np.ndarray, weights: Any = None, size: int = BATCH
) -> nn.Module:
    """SGD on (1 - w) CE + w 16 KL(teacher || student) at temperature 4, in the order of the trainer."""
    model, data = net(), items()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    schedule = dd.SubsetSampler(chosen, seed=42, loss_weights=weights)
    per_epoch = -(-len(chosen) // size)
    for epoch in range(3):
        order = schedule.order(epoch)(np.arange(len(chosen)))
        for number, lo in enumerate(range(0, len(order), size)):
            index = order[lo : lo + size]
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 - (epoch * per_epoch + number) / (3 * per_epoch))
            x, y = torch.stack([data[i]["x"] for i in index]), torch.tensor([data[i]["label"] for i in index])
            z, t = model(x)["logits"], teacher(x)["logits"].detach()
            soft = (t / 4).softmax(1)
            away = (soft * (soft.log() - (z / 4).log_softmax(1))).sum(1)
            losses = (1 - weight) * functional.cross_entropy(z, y, reduction="none") + weight * 16 * away
            factors = schedule.weights(torch.from_numpy(index))
            optimizer.zero_grad()
            (losses if factors is None else losses * factors).mean().backward()
            optimizer.step()
    return model


def a_teacher() -> Net:
    torch.manual_seed(7)
    return Net()


@pytest.mark.parametrize("kind", ["network", "logits", "weights", "accumulate"])
def test_a_teacher_teaches_as_in_a_loop_by_hand(tmp_path: Path, kind: str) -> None:
    chosen, weights, accumulate = np.arange(0, N, 2), None, 2 if kind == "accumulate" else 1
    if kind == "weights":
        weights = np.linspace(0.2, 1.8, 20, dtype=np.float32)
    teacher: Any = a_teacher()
    if kind == "logits":
        with torch.no_grad():
            teacher = teacher(torch.stack([item["x"] for item in items()]))["logits"].numpy()
    made = trainer(tmp_path, gradient_accumulation_steps=accumulate)
    selection = dd.Selection(np.arange(N), chosen, weights, meta={"data": {"n": N}})
    attach(made, selection, teacher=Teaching(teacher, kd_weight=0.7))
    made.train()
    check_same(made.model, student_by_hand(a_teacher(), 0.7, chosen, weights, BATCH * accumulate))


def test_the_weight_follows_the_share_of_the_data(tmp_path: Path) -> None:
    chosen = np.arange(0, N, 4)
    made = trainer(tmp_path)
    attach(made, dd.SubsetSampler(chosen, seed=42), teacher=a_teacher())
    made.train()
    check_same(made.model, student_by_hand(a_teacher(), auto_kd_weight(0.25), chosen))


@pytest.mark.parametrize(
    ("teacher", "why"),
    [
        ("runs/teacher", "give a network, or its logits as an array"),
        (np.zeros((N - 1, CLASSES)), "39 rows, and the data set 40"),
        (np.zeros((N, CLASSES + 1)), "a teacher of the same classes"),
    ],
)
def test_teachers_that_cannot_be(tmp_path: Path, teacher: Any, why: str) -> None:
    made = trainer(tmp_path)
    with pytest.raises(OptionError, match=why):
        attach(made, teacher=teacher)
        made.train()
    with pytest.raises(OptionError, match="kd_weight=2"):
        Teaching(a_teacher(), kd_weight=2)
