"""Which of m vectors are duplicates of others, by three rules. The vectors come in order of preference.

chain:      removed if the similarity to any earlier vector exceeds the threshold (`similar_pairs.nearest_earlier`);
greedy:     removed if the similarity to any earlier vector that is kept exceeds it;
components: of each connected component of the graph of pairs that exceed it, the first is kept.

Chain keeps everything that components keeps, and greedy everything that chain keeps. In the order a, b, c, with a-b and
b-c similar but a-c not, components and chain keep a, and greedy keeps a and c. In the order a, c, b, with the same
pairs similar, chain and greedy keep a and c, and components keeps a.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from datadiet.selectors.similar_pairs import OrderedVectors, Pairs, best_of_each, pairs_above

__all__ = ["components", "connected", "forest", "greedy"]

_BUFFER = 1 << 20  # pairs


def greedy(vectors: OrderedVectors, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which earlier, kept vector removes each, for several thresholds in one pass.

    Args:
        vectors: m vectors in order of preference.
        thresholds: (t,) float32.

    Returns:
        witness (t, m) int64, the most similar of the kept vectors that remove it, or -1 if it is kept; similarity
        (t, m) float32 to it.
    """
    shape = len(thresholds), len(vectors)
    witness, best = np.full(shape, -1), np.full(shape, -np.inf, dtype=np.float32)
    wanted = np.ones(len(vectors), dtype=bool)  # not yet removed by all thresholds
    for (later, earlier, similarity), block in pairs_above(vectors, thresholds.min(), wanted):
        within = len(earlier) and earlier[-1] >= block.start
        for t, threshold in enumerate(thresholds):
            over = (similarity > threshold) & (witness[t, earlier] < 0)
            i, j, s = later[over], earlier[over], similarity[over]
            if within:
                kept = _one_after_the_other(i - block.start, j - block.start)
                i, j, s = i[kept], j[kept], s[kept]
            pick = best_of_each(i, j, s)
            pick = pick[s[pick] > best[t, i[pick]]]
            witness[t, i[pick]], best[t, i[pick]] = j[pick], s[pick]
        wanted[block] = (witness[:, block] < 0).any(axis=0)
    return witness, best


def _one_after_the_other(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """Which of the pairs within a block have an earlier vector that is kept."""
    order = np.argsort(earlier, kind="stable")
    heads, starts = np.unique(earlier[order], return_index=True)
    gone = np.zeros(later.max(initial=0) + 1, dtype=bool)
    later = later[order]
    for head, lo, hi in zip(heads.tolist(), starts.tolist(), [*starts[1:].tolist(), len(later)], strict=False):
        if not gone[head]:
            gone[later[lo:hi]] = True
    return ~gone[earlier]


def components(vectors: OrderedVectors, floor: np.float32) -> Pairs:
    """The maximum spanning forest of the pairs above a floor.

    Its edges above any higher threshold connect the same vectors as all pairs above that threshold.

    Returns:
        (later, earlier, similarity), at most m - 1 of each.
    """
    parts: list[Pairs] = []
    held = 0
    reached = np.full(len(vectors), -np.inf, dtype=np.float32)
    for pairs, _ in pairs_above(vectors, floor, reached=reached):
        parts.append(pairs)
        held += len(pairs[0])
        if held > _BUFFER + 4 * len(vectors):
            parts = [_spanning(len(vectors), parts)]
            held = len(parts[0][0])
            reached[:] = _reached(len(vectors), *parts[0])
    return _spanning(len(vectors), parts)


def _spanning(m: int, parts: Iterable[Pairs]) -> Pairs:
    later, earlier, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    edges = forest(m, later, earlier, np.lexsort((-later, earlier, -similarity)))
    return later[edges], earlier[edges], similarity[edges]


def _reached(m: int, later: np.ndarray, earlier: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """The lowest similarity on the path from each vector to a hub with many neighbours: (m,) float32, -inf if none.

    The hub joins two vectors at the smaller of their two values, so a less similar pair of them is not needed.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    graph = coo_array((np.ones(len(later)), (later, earlier)), shape=(m, m)).tocsr()
    hub = int(np.bincount(np.concatenate([later, earlier]), minlength=m).argmax())
    order, before = breadth_first_order(graph, hub, directed=False)
    step = np.full(m, -np.inf, dtype=np.float32)
    down = before[later] == earlier
    step[later[down]], step[earlier[~down]] = similarity[down], similarity[~down]
    found = np.full(m, -np.inf, dtype=np.float32).tolist()
    found[hub] = np.inf
    for row, comes_from, lowest in zip(
        order[1:].tolist(), before[order[1:]].tolist(), step[order[1:]].tolist(), strict=True
    ):
        found[row] = min(found[comes_from], lowest)
    return np.array(found, dtype=np.float32)


def forest(m: int, later: np.ndarray, earlier: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Which edges join vertices that earlier edges have not joined.

    Args:
        m: number of vertices.
        later, earlier: (e,) the ends of each edge, no edge twice.
        order: (e,) the order in which to take the edges.

    Returns:
        (f,) positions of edges, in that order.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    weight = np.empty(len(order))
    weight[order] = np.arange(1, len(order) + 1)
    tree = minimum_spanning_tree(coo_array((weight, (later, earlier)), shape=(m, m)).tocsr())
    return order[np.sort(tree.data).astype(np.int64) - 1]


def connected(m: int, left: np.ndarray, right: np.ndarray, place: np.ndarray) -> np.ndarray:
    """For every vertex, the vertex of its connected component with the lowest place: (m,) int64."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(m, m))
    number, label = connected_components(edges, directed=False)
    order = np.argsort(-place, kind="stable")
    first = np.empty(number, dtype=np.int64)
    first[label[order]] = order  # of several writes to one entry the last stays
    return first[label]
