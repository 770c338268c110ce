"""Samplers for torch's DataLoader and schedules for training: a fixed subset, RS2, and the part of one rank.

`SCHEDULES` holds the record of each schedule under its name.
"""

from __future__ import annotations

from datadiet.registry import specs_in
from datadiet.sampling.epoch_sampler import EpochSampler as EpochSampler
from datadiet.sampling.epsilon_greedy import EpsilonGreedySampler as EpsilonGreedySampler
from datadiet.sampling.forgetting_removal import ForgettingRemovalSampler as ForgettingRemovalSampler
from datadiet.sampling.gradient_norm import GradientNormSampler as GradientNormSampler
from datadiet.sampling.infobatch import InfoBatchSampler as InfoBatchSampler
from datadiet.sampling.permutation import Permutation as Permutation
from datadiet.sampling.rs2 import RS2Sampler as RS2Sampler
from datadiet.sampling.seta import SeTaSampler as SeTaSampler
from datadiet.sampling.shard import shard as shard
from datadiet.sampling.spec import ScheduleSpec as ScheduleSpec
from datadiet.sampling.subset import SubsetSampler as SubsetSampler
from datadiet.sampling.ucb import UCBSampler as UCBSampler

SCHEDULES = specs_in(__name__, ScheduleSpec, globals())
