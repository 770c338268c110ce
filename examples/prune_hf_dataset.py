"""A Hugging Face data set in, a smaller one out. Offline: the data is made here, with some wrong labels."""

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value

import datadiet as dd

rng = np.random.default_rng(0)
labels = rng.integers(0, 4, 800)
centres = rng.normal(size=(4, 16)) * 1.5
wrong = rng.random(800) < 0.05
given = np.where(wrong, (labels + 1) % 4, labels)
features = Features({"id": Value("string"), "x": List(Value("float32")), "label": ClassLabel(names=list("abcd"))})
dataset = Dataset.from_dict(
    {
        "id": [f"row-{i}" for i in range(800)],
        "x": (centres[labels] + rng.normal(size=(800, 16))).astype("float32").tolist(),
        "label": given.tolist(),
    },
    features=features,
)

scores = dd.score(dataset, "datadiet:mlp", "aum", epochs=8, seeds=2, recipe={"batch_size": 32, "lr": 0.05})
lowest = np.argsort(scores["aum"])[: wrong.sum()]
print(f"{wrong[lowest].mean():.0%} of the {wrong.sum()} examples with the lowest AUM have a wrong label")

selection = dd.select(scores, "ccs", keep="50%", beta=0.06, by_class=True)
small = selection.apply(dataset)
print(small)
print(f"wrong labels: {wrong.mean():.1%} of all, {wrong[selection.indices].mean():.1%} of the kept")
