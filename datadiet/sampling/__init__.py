"""Samplers for torch's DataLoader: a fixed subset, RS2, and the part of one rank."""

from __future__ import annotations

from datadiet.sampling.epoch_sampler import EpochSampler
from datadiet.sampling.permutation import Permutation
from datadiet.sampling.rs2 import RS2Sampler
from datadiet.sampling.shard import shard
from datadiet.sampling.subset import SubsetSampler

__all__ = ["EpochSampler", "Permutation", "RS2Sampler", "SubsetSampler", "shard"]
