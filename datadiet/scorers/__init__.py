"""Scorers: from recorded signals to one number per example.

Each scorer is a plain function of numpy arrays, in a file of its own together with its `SPEC`. `SCORERS` maps the names
that `dd.score` and `--scorer` accept to these records; an import line below adds a method to it.
"""

from __future__ import annotations

from datadiet.registry import specs_in
from datadiet.scorers.aum import aum as aum
from datadiet.scorers.cartography import cartography as cartography
from datadiet.scorers.datainf import datainf as datainf
from datadiet.scorers.density import density as density
from datadiet.scorers.divergence import divergence as divergence
from datadiet.scorers.dual import dual as dual
from datadiet.scorers.dyn_unc import dyn_unc as dyn_unc
from datadiet.scorers.ekfac_self_influence import ekfac_self_influence as ekfac_self_influence
from datadiet.scorers.el2n import el2n as el2n
from datadiet.scorers.entropy import entropy as entropy
from datadiet.scorers.forgetting import forgetting as forgetting
from datadiet.scorers.grad_cos import grad_cos as grad_cos
from datadiet.scorers.grad_dot import grad_dot as grad_dot
from datadiet.scorers.grand import grand as grand
from datadiet.scorers.grand_last import grand_last as grand_last
from datadiet.scorers.influence import influence as influence
from datadiet.scorers.influence_last_layer import influence_last_layer as influence_last_layer
from datadiet.scorers.knn_shapley import knn_shapley as knn_shapley
from datadiet.scorers.least_confidence import least_confidence as least_confidence
from datadiet.scorers.loss import loss as loss
from datadiet.scorers.margin import margin as margin
from datadiet.scorers.moderate import moderate as moderate
from datadiet.scorers.prototypes import prototypes as prototypes
from datadiet.scorers.self_influence import self_influence as self_influence
from datadiet.scorers.spec import Need as Need
from datadiet.scorers.spec import ScorerSpec as ScorerSpec
from datadiet.scorers.supervised_prototypes import supervised_prototypes as supervised_prototypes
from datadiet.scorers.tdds import tdds as tdds
from datadiet.scorers.trak import trak as trak
from datadiet.scorers.vog import vog as vog
from datadiet.scorers.zcore import zcore as zcore

SCORERS = specs_in(__name__, ScorerSpec, globals())
