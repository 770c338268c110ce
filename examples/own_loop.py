"""Record signals in a training loop of your own, then train on the part that they select."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import datadiet as dd

digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
train_set, held_out = TensorDataset(images[:1400], labels[:1400]), (images[1400:], labels[1400:])


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    logits = model(inputs)
    optimizer.zero_grad()
    nn.functional.cross_entropy(logits, targets).backward()
    optimizer.step()
    return logits


torch.manual_seed(0)
model = make_model()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
recorder = dd.Recorder(n=len(train_set))  # 1
for _ in range(12):
    for inputs, targets, index in DataLoader(dd.Indexed(train_set), batch_size=64, shuffle=True):  # 2
        logits = step(model, optimizer, inputs, targets)
        recorder.update(index, logits, targets)  # 3
    recorder.end_epoch()  # 4

scores = dd.score(recorder.finish(), scorers=["forgetting", "aum"])

for method in ("ccs", "random"):
    selection = dd.select(scores, method, keep="30%")
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(train_set, batch_size=64, sampler=dd.SubsetSampler(selection.indices, seed=0))
    for _ in range(40):
        for inputs, targets in loader:
            step(model, optimizer, inputs, targets)
    accuracy = (model(held_out[0]).argmax(dim=1) == held_out[1]).float().mean()
    print(f"{method:6}  {len(selection)} of {len(train_set)} examples, held-out accuracy {accuracy:.1%}")
