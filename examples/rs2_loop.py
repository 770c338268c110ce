"""RS2 in a loop of your own: another random 10 % every epoch, with a schedule over the steps that are really taken."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import datadiet as dd

EPOCHS, KEEP = 60, 0.1

digits = load_digits()
images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
train_set, held_out = TensorDataset(images[:1400], labels[:1400]), (images[1400:], labels[1400:])


def train(loader: DataLoader, epochs: int) -> tuple[int, float]:
    """Steps taken and held-out accuracy."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    for _ in range(epochs):
        for inputs, targets in loader:  # each new iteration is the sampler's next epoch
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            schedule.step()
    accuracy = (model(held_out[0]).argmax(dim=1) == held_out[1]).float().mean()
    return epochs * len(loader), float(accuracy)


samplers = {
    "RS2": (dd.RS2Sampler(len(train_set), keep=KEEP, seed=0), EPOCHS),
    "full, shortened": (dd.SubsetSampler(len(train_set), seed=0), round(EPOCHS * KEEP)),
    "static random": (dd.SubsetSampler(torch.randperm(1400)[:140].numpy(), seed=0), EPOCHS),
}
for name, (sampler, epochs) in samplers.items():
    steps, accuracy = train(DataLoader(train_set, batch_size=35, sampler=sampler), epochs)
    print(f"{name:16} {steps} steps  {accuracy:.1%}")
