"""Indexed: where the index goes, and what is passed on."""

from __future__ import annotations

import copy
import pickle

import datasets
import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from datadiet.data import Indexed
from datadiet.errors import OptionError


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (("a", 0), ("a", 0, 1)),
        (["a", 0], ["a", 0, 1]),
        ({"x": "a"}, {"x": "a", "index": 1}),
        ("a", ("a", 1)),
    ],
)
def test_where_the_index_goes(item, expected):
    data = Indexed([None, item])
    assert data[1] == expected and data[-1] == expected and data[torch.tensor(1)] == expected and len(data) == 2


def test_an_index_that_is_there_is_not_overwritten():
    with pytest.raises(OptionError, match="'index'"):
        Indexed([{"index": 7}])[0]


def test_in_a_loader():
    data = Indexed(TensorDataset(torch.arange(6.0), torch.arange(6)))
    for x, y, index in DataLoader(data, batch_size=4, shuffle=True):
        assert x.tolist() == y.tolist() == index.tolist()
    subset = Indexed(Subset(data.dataset, [4, 2]))
    assert [index.tolist() for _, _, index in DataLoader(subset, batch_size=2)] == [[0, 1]]


def test_reads_together_where_the_data_set_can():
    rows = datasets.Dataset.from_dict({"x": [1, 2, 3]})
    assert Indexed(rows).__getitems__([2, 0]) == [{"x": 3, "index": 2}, {"x": 1, "index": 0}]
    batch = next(iter(DataLoader(Indexed(rows), batch_size=3)))
    assert batch["index"].tolist() == [0, 1, 2]


def test_attributes_pass_through_and_copies_work():
    data = Indexed(TensorDataset(torch.arange(3)))
    assert data.tensors[0].tolist() == [0, 1, 2]
    assert pickle.loads(pickle.dumps(data))[2][1] == 2 and copy.deepcopy(data)[0][1] == 0
    with pytest.raises(AttributeError):
        _ = data.nothing
