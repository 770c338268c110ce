"""A scorer and a selector of your own: plain functions, accepted wherever a name is."""

import numpy as np

import datadiet as dd
from datadiet.randomness import Keys
from datadiet.scorers import Need, ScorerSpec


def slow_to_learn(p_true: np.ndarray, *, sure: float = 0.8) -> np.ndarray:
    """The share of presentations before which an example was first predicted with confidence; mean over seeds.

    Args:
        p_true: (seeds, epochs, n), the signal of that name.
        sure: what counts as confidence.
    """
    reached = p_true >= sure
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), p_true.shape[1])
    return (first / p_true.shape[1]).mean(axis=0).astype(np.float32)


def mostly_hard(hardness: np.ndarray, k: int, *, keys: Keys, share: float = 0.7) -> np.ndarray:
    """The hardest examples, and a few at random from the rest: k different positions in order of preference."""
    ranked = keys.sort(np.argsort(np.argsort(-hardness, kind="stable")).astype(np.uint32))
    top = round(share * k)
    rest = ranked[top:]
    others = keys.of(rest).sort(np.zeros(len(rest), dtype=np.uint32))
    return np.concatenate([ranked[:top], rest[others[: k - top]]])


scores = dd.score("digits", "datadiet:mlp", [slow_to_learn, "aum"], epochs=8, params={"slow_to_learn": {"sure": 0.9}})
agreement = np.corrcoef(scores.hardness("slow_to_learn"), scores.hardness("aum"))[0, 1]
print(f"slow_to_learn against AUM, both as hardness: correlation {agreement:.2f}")

selection = dd.select(scores, mostly_hard, keep="20%", score="slow_to_learn", share=0.5)
print(f"{len(selection)} examples by {selection.meta['method']}, {selection.meta['params']}")

# With a spec: an evaluation pass instead of training, and another orientation.
sure = ScorerSpec(lambda p_true: p_true.mean(axis=0), needs=(Need("p_true", "eval", "last"),), hardness=-1)
print(dd.score("digits", "datadiet:mlp", sure, epochs=3, save_as="confidence").names)
