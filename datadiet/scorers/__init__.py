"""Scorers: from recorded signals to one number per example.

Each is a plain function of numpy arrays. `SCORERS` is what the names of `dd.score` and `--scorer` mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from datadiet.scorers.aum import aum
from datadiet.scorers.cartography import cartography
from datadiet.scorers.datainf import datainf, datainf_projected
from datadiet.scorers.density import checked as density_checked
from datadiet.scorers.density import density
from datadiet.scorers.dual import dual, p_mean
from datadiet.scorers.dyn_unc import dyn_unc
from datadiet.scorers.ekfac_self_influence import ekfac_self_influence
from datadiet.scorers.el2n import el2n
from datadiet.scorers.entropy import entropy
from datadiet.scorers.forgetting import first_learned, forgetting, never_learned
from datadiet.scorers.grad_cos import grad_cos
from datadiet.scorers.grad_dot import grad_dot
from datadiet.scorers.grand import grand
from datadiet.scorers.grand_last import grand_last
from datadiet.scorers.influence import classes_of_head, influence
from datadiet.scorers.influence_last_layer import influence_last_layer
from datadiet.scorers.knn_shapley import knn_shapley
from datadiet.scorers.least_confidence import least_confidence
from datadiet.scorers.loss import loss
from datadiet.scorers.margin import margin
from datadiet.scorers.moderate import moderate
from datadiet.scorers.prototypes import checked as prototypes_checked
from datadiet.scorers.prototypes import prototypes
from datadiet.scorers.self_influence import self_influence
from datadiet.scorers.supervised_prototypes import supervised_prototypes
from datadiet.scorers.tdds import tdds
from datadiet.scorers.trak import checked, trak
from datadiet.scorers.vog import vog, vog_spread
from datadiet.scorers.zcore import checked as zcore_checked
from datadiet.scorers.zcore import zcore

__all__ = [
    "SCORERS",
    "Need",
    "ScorerSpec",
    "aum",
    "cartography",
    "datainf",
    "density",
    "dual",
    "dyn_unc",
    "ekfac_self_influence",
    "el2n",
    "entropy",
    "forgetting",
    "grad_cos",
    "grad_dot",
    "grand",
    "grand_last",
    "influence",
    "influence_last_layer",
    "knn_shapley",
    "least_confidence",
    "loss",
    "margin",
    "moderate",
    "prototypes",
    "self_influence",
    "supervised_prototypes",
    "tdds",
    "trak",
    "vog",
    "zcore",
]


@dataclass(frozen=True)
class Need:
    """A signal that a scorer reads.

    Attributes:
        signal: its column, or the name of a pass that gives vectors, or "labels".
        mode: the pass (see `datadiet.table.passes`): "train" = presentations during training; "eval" = outputs on the
            un-augmented data at checkpoints; "grad", "features" … = what is measured only when it is asked for.
        at: which epochs: "early", "last" or "every". One epoch gives (seeds, n), several (seeds, epochs, n).
        of: "data", or "reference" for the reference examples.
        options: of the pass.
    """

    signal: str
    mode: str
    at: str
    of: Literal["data", "reference"] = "data"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScorerSpec:
    """What the workflow must know to call a scorer.

    Attributes:
        fn: `fn(*signals, …) -> float32 (n,)`, or `{suffix: array}` where there are several scores.
        needs: its signals, in the order of its arguments.
        hardness: +1 if a higher value is harder, -1 if lower is; per suffix where they differ.
        extras: suffix -> function of the same signals, for columns that come along.
        each: whether `fn` takes the arrays of one model, so that it is called for each and the results are averaged.
        check: takes what `fn` takes and refuses the parameters and shapes that `fn` refuses. Before any work it
            is called with made-up arrays of two examples. None = `fn` itself is, which will do unless wide vectors
            make it slow.
        facts: parameter -> what a run's manifest knows, used when the parameter is not given.
        reference: where the method comes from.
    """

    fn: Callable[..., Any]
    needs: tuple[Need, ...]
    hardness: int | Mapping[str, int] = 1
    extras: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    each: bool = False
    check: Callable[..., Any] | None = None
    reference: str = ""


def _train(*signals: str) -> tuple[Need, ...]:
    return tuple(Need(signal, "train", "every") for signal in signals)


def _eval(*signals: str, at: str = "last") -> tuple[Need, ...]:
    return tuple(Need(signal, "eval", at) for signal in signals)


def _labels(of: Literal["data", "reference"] = "data") -> Need:
    return Need("labels", "features", "last", of)


def _vectors(mode: str, of: Literal["data", "reference"] = "data") -> Need:
    return Need(mode, mode, "last", of)


_CARTOGRAPHY = {"confidence": -1, "variability": 1, "correctness": -1}
_LEARNING = {"never_learned": never_learned, "first_learned": first_learned}
_HEAD = {"bias": "head_bias"}
_RATES = {"lr": "lr"}
_FEATURES = (_vectors("features"), _labels(), _vectors("features", "reference"), _labels("reference"))

SCORERS: dict[str, ScorerSpec] = {
    "el2n": ScorerSpec(el2n, _eval("error_norm", at="early"), reference="Paul et al. 2021"),
    "grand_last": ScorerSpec(
        grand_last, _eval("error_norm", "feature_norm", at="early"), facts=_HEAD, reference="Paul et al. 2021"
    ),
    "forgetting": ScorerSpec(forgetting, _train("correct"), extras=_LEARNING, reference="Toneva et al. 2019"),
    "aum": ScorerSpec(aum, _train("margin"), -1, reference="Pleiss et al. 2020"),
    "aum_prob": ScorerSpec(aum, _train("p_margin"), -1, reference="Zheng et al. 2023 (their accumulated margin)"),
    "entropy": ScorerSpec(entropy, _eval("entropy"), reference="Coleman et al. 2020"),
    "margin": ScorerSpec(margin, _eval("p_gap"), -1, reference="Guo et al. 2022"),
    "least_confidence": ScorerSpec(least_confidence, _eval("doubt"), reference="Coleman et al. 2020"),
    "loss": ScorerSpec(loss, _eval("loss"), reference="Zheng et al. 2023 (a baseline)"),
    "dyn_unc": ScorerSpec(dyn_unc, _train("p_true"), reference="He et al. 2024"),
    "tdds": ScorerSpec(tdds, _train("shift"), reference="Zhang et al. 2024"),
    "dual": ScorerSpec(
        dual, _train("p_true"), {"": 1, "p_mean": -1}, extras={"p_mean": p_mean}, reference="Cho et al. 2025"
    ),
    "cartography": ScorerSpec(
        cartography, _train("p_true", "correct"), _CARTOGRAPHY, reference="Swayamdipta et al. 2020"
    ),
    "grand": ScorerSpec(grand, (Need("grad_norm", "grad", "early"),), reference="Paul et al. 2021"),
    "vog": ScorerSpec(
        vog_spread, (Need("input_grad_spread", "vog", "every"), _labels()), reference="Agarwal et al. 2022"
    ),
    "self_influence": ScorerSpec(
        self_influence, (Need("grad_norm", "grad", "every"),), facts=_RATES, reference="Pruthi et al. 2020"
    ),
    "ekfac_self_influence": ScorerSpec(
        ekfac_self_influence, (Need("ekfac", "ekfac", "last"),), reference="George et al. 2018; Grosse et al. 2023"
    ),
    "grad_dot": ScorerSpec(
        grad_dot, (Need("grad_dot", "dots", "last"),), facts=_RATES, reference="Pruthi et al. 2020 (TracInCP)"
    ),
    "grad_cos": ScorerSpec(
        grad_cos, (Need("grad_cos", "dots", "last"),), facts=_RATES, reference="Charpiat et al. 2019"
    ),
    "trak": ScorerSpec(
        trak,
        (
            _vectors("projected_margin"),
            Need("p_true", "eval", "last"),
            _vectors("projected_margin", "reference"),
        ),
        check=checked,
        reference="Park et al. 2023",
    ),
    "datainf": ScorerSpec(
        datainf_projected, (_vectors("projected"), _vectors("projected", "reference")), reference="Kwon et al. 2024"
    ),
    "influence": ScorerSpec(influence, _FEATURES, each=True, check=classes_of_head, reference="Koh and Liang 2017"),
    "knn_shapley": ScorerSpec(knn_shapley, _FEATURES, each=True, reference="Jia et al. 2019"),
    "prototypes": ScorerSpec(
        prototypes, (_vectors("features"),), each=True, check=prototypes_checked, reference="Sorscher et al. 2022"
    ),
    "supervised_prototypes": ScorerSpec(
        supervised_prototypes, (_vectors("features"), _labels()), each=True, reference="Sorscher et al. 2022"
    ),
    "moderate": ScorerSpec(moderate, (_vectors("features"), _labels()), each=True, reference="Xia et al. 2023"),
    "density": ScorerSpec(
        density, (_vectors("features"),), each=True, check=density_checked, reference="Angiulli and Pizzuti 2002"
    ),
    "zcore": ScorerSpec(
        zcore, (_vectors("features"),), each=True, check=zcore_checked, reference="Griffin et al. 2026"
    ),
}
