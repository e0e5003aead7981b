r"""Shape retrieval: ranked lists of objects, and how good they are by the measures of SHREC'17.

Every object has a category and may have a sub-category, both as numbers of one vocabulary: an object that is
labelled with its category alone has that number as its sub-category too. Every object is a query as well, and
the query itself counts as an object that can be found.

For a query of category c with a list of N results let x_k be 1 where result k has category c, else 0, and R
the number of objects of category c, at most `limit`:

    P@N = sum x / N,  R@N = sum x / R,  F1@N = 2 P R / (P + R),
    AP = (1 / R) sum_k x_k P@k,  NDCG = DCG(g) / DCG(ideal g),  DCG(g) = g_1 + sum_{k >= 2} g_k / log2 k.

The gains g of the binary NDCG are x. Those of the graded one are the competition's: 3 where the sub-category
is that of the query, else 2 where the result is labelled with the query's category alone, else 1 where the
category is that of the query, else 0. The ideal list has the highest gains that the objects allow, in falling
order, `limit` of them. N is the length of the list, whatever its length: an empty list has zero everywhere.

References
----------
Savva et al. 2017, "SHREC'17 Track: Large-Scale 3D Shape Retrieval from ShapeNet Core55", section 3, and the
evaluator of that track as of February 2017 (mAP and NDCG relative to all relevant objects).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import DataError, ShapeError

#: Results of a query that count, as in the competition.
LIMIT = 1000
MEASURES = ("precision_at_n", "recall_at_n", "f1_at_n", "map", "ndcg_binary", "ndcg_graded")
_EXACT, _PARENT, _SIBLING = 3, 2, 1
_BLOCK_BYTES = 2**27


@dataclass(frozen=True)
class RankedLists:
    """Results of queries, best first.

    Attributes
    ----------
    results
        Numbers of the objects found, all lists one after the other.
    ptr
        Where the list of each query begins, and at last where the last one ends.
    """

    results: Int[np.ndarray, " results"]
    ptr: Int[np.ndarray, " queries_and_one"]

    @property
    def sizes(self) -> Int[np.ndarray, " queries"]:
        """Number of results of each query."""
        return np.diff(self.ptr)


def lists_from_scores(scores: Float[np.ndarray, "objects classes"], *, limit: int = LIMIT) -> RankedLists:
    """Rank for each object those that are predicted to be of the same class, by the score of that class.

    This is how published classifiers are entered into the competition. Objects with equal scores keep their
    order.

    Parameters
    ----------
    scores
        Logits or probabilities; the highest one is the prediction.
    limit
        Length of the longest list.

    Raises
    ------
    DataError
        If a score is NaN, so that it has no place in an order; with the first row that has one.

    References
    ----------
    Cohen et al. 2018, "Spherical CNNs", section 5.3; Esteves et al. 2018, section 5.4.
    """
    _check_rows("score", "NaN", np.isnan(scores))
    predicted = scores.argmax(axis=1)
    order = np.lexsort((-scores[np.arange(len(scores)), predicted], predicted))
    counts = np.bincount(predicted, minlength=scores.shape[1])
    first = (np.cumsum(counts) - counts)[predicted]
    ptr = np.concatenate([[0], np.cumsum(np.minimum(counts, limit)[predicted])])
    within = np.arange(ptr[-1]) - np.repeat(ptr[:-1], np.diff(ptr))
    return RankedLists(order[np.repeat(first, np.diff(ptr)) + within], ptr)


def lists_from_features(
    features: Float[np.ndarray, "objects features"],
    *,
    sizes: int | Int[np.ndarray, " objects"] = LIMIT,
) -> RankedLists:
    """Rank for each object its nearest objects by the Euclidean distance of features, itself among them.

    Parameters
    ----------
    features
        Of each object, such as the invariants before the last layer.
    sizes
        Length of every list, or of each one. With the sizes of the categories P@N, R@N and F1@N coincide.

    Raises
    ------
    ShapeError
        If a size is not positive.
    DataError
        If a feature is not finite, so that there are no distances; with the first row that has one.
    """
    _check_rows("feature", "not finite", ~np.isfinite(features))
    count = len(features)
    lengths = np.minimum(np.broadcast_to(np.asarray(sizes), (count,)), count).astype(np.int64)
    if count and lengths.min() < 1:
        raise ShapeError(f"`sizes` must be positive, got {lengths.min()}.")
    ptr = np.concatenate([[0], np.cumsum(lengths)])
    points = features.astype(np.float64)
    points = points - points.mean(axis=0)
    squares = (points**2).sum(axis=1)
    block = max(1, _BLOCK_BYTES // (8 * max(count, 1)))
    parts = []
    for begin in range(0, count, block):
        end = min(begin + block, count)
        # Rounding could put a twin before the query; its own distance is the lowest by definition.
        distance = squares - 2 * points[begin:end] @ points.T
        distance[np.arange(end - begin), np.arange(begin, end)] = -np.inf
        ranked = np.argsort(distance, axis=1, kind="stable")
        parts.append(ranked[np.arange(count) < lengths[begin:end, None]])
    return RankedLists(np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64), ptr)


def gains(
    queries: Int[np.ndarray, " results"],
    results: Int[np.ndarray, " results"],
    category: Int[np.ndarray, " objects"],
    subcategory: Int[np.ndarray, " objects"],
) -> Int[np.ndarray, " results"]:
    """Gain of each result for the query beside it: 3, 2, 1 or 0, as the module says."""
    same = category[queries] == category[results]
    grade = np.where(subcategory[results] == category[queries], _PARENT, _SIBLING)
    grade = np.where(subcategory[results] == subcategory[queries], _EXACT, grade)
    return np.where(same, grade, 0)


def query_measures(
    lists: RankedLists,
    queries: Int[np.ndarray, " queries"],
    category: Int[np.ndarray, " objects"],
    subcategory: Int[np.ndarray, " objects"] | None = None,
    *,
    limit: int = LIMIT,
) -> dict[str, Float[np.ndarray, " queries"]]:
    """Measures of each query, named as in `MEASURES`.

    Parameters
    ----------
    lists
        Results of each query, none twice in a list.
    queries
        Which object each list belongs to.
    category, subcategory
        Of all objects that can be found, as numbers of one vocabulary; without sub-categories there is no
        `ndcg_graded`.
    limit
        Length of the longest list that is allowed.

    Raises
    ------
    ShapeError
        If a list is longer than the limit, has a result twice or one that is no object, or lists and queries
        differ in number.
    """
    _check(lists, queries, len(category), limit)
    sizes = lists.sizes
    rank = np.arange(len(lists.results)) - np.repeat(lists.ptr[:-1], sizes)
    asked = np.repeat(queries, sizes)
    hit = (category[lists.results] == category[asked]).astype(np.float64)
    found = np.concatenate([[0.0], np.cumsum(hit)])
    hits = found[1:] - np.repeat(found[lists.ptr[:-1]], sizes)
    total = found[lists.ptr[1:]] - found[lists.ptr[:-1]]
    relevant = np.minimum(np.bincount(category)[category[queries]], limit)
    precision, recall = _ratio(total, sizes), total / relevant
    weight = _discount(int(max(sizes.max(initial=0), limit)))
    values = {
        "precision_at_n": precision,
        "recall_at_n": recall,
        "f1_at_n": _ratio(2 * precision * recall, precision + recall),
        "map": _sums(hit * hits / (rank + 1), lists.ptr) / relevant,
        "ndcg_binary": _sums(hit * weight[rank], lists.ptr) / np.cumsum(weight)[relevant - 1],
    }
    if subcategory is not None:
        reached = _sums(gains(asked, lists.results, category, subcategory) * weight[rank], lists.ptr)
        values["ndcg_graded"] = reached / _ideal(queries, category, subcategory, weight, limit)
    return values


def retrieval_metrics(
    lists: RankedLists,
    queries: Int[np.ndarray, " queries"],
    category: Int[np.ndarray, " objects"],
    subcategory: Int[np.ndarray, " objects"] | None = None,
    *,
    limit: int = LIMIT,
) -> dict[str, float]:
    """Averages of the measures: `<measure>_micro` over queries, `<measure>_macro` over categories.

    The macro average is the mean over the categories that were asked for of the mean over their queries.

    Raises
    ------
    ShapeError
        If there is no query, and as `query_measures`.
    """
    values = query_measures(lists, queries, category, subcategory, limit=limit)
    return averages(values, category[queries])


def averages(
    values: dict[str, Float[np.ndarray, " queries"]], category: Int[np.ndarray, " queries"]
) -> dict[str, float]:
    """Micro and macro averages of measures of queries with these categories.

    Raises
    ------
    ShapeError
        If there is no query.
    """
    if len(category) == 0:
        raise ShapeError("`category` must have at least one query, got none.")
    _, number, counts = np.unique(category, return_inverse=True, return_counts=True)
    micro = {f"{name}_micro": float(value.mean()) for name, value in values.items()}
    means = {name: np.bincount(number, weights=value) / counts for name, value in values.items()}
    return micro | {f"{name}_macro": float(value.mean()) for name, value in means.items()}


def _check_rows(name: str, fault: str, is_bad: np.ndarray) -> None:
    rows = np.flatnonzero(is_bad.any(axis=1))
    if len(rows):
        raise DataError(
            f"row {rows[0]} has a {name} that is {fault}, {len(rows)} of {len(is_bad)} rows have",
            remedy="the model that gave them diverged, or its input was broken",
        )


def _check(lists: RankedLists, queries: np.ndarray, num_objects: int, limit: int) -> None:
    if len(lists.sizes) != len(queries):
        raise ShapeError(
            f"`lists` must have one list for each of {len(queries)} queries, got {len(lists.sizes)}."
        )
    longest = int(lists.sizes.max(initial=0))
    if longest > limit:
        raise ShapeError(f"`lists` must have at most {limit} results for a query, got {longest}.")
    low, high = lists.results.min(initial=0), lists.results.max(initial=0)
    if low < 0 or high >= max(num_objects, 1):
        raise ShapeError(f"`lists` must name objects in [0, {num_objects}), got {low if low < 0 else high}.")
    pairs = np.repeat(np.arange(len(queries)), lists.sizes) * num_objects + lists.results
    if len(np.unique(pairs)) < len(pairs):
        raise ShapeError("`lists` must have no result twice for a query; remove the later ones.")


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return quotients, zero where the divisor is."""
    return np.divide(top, bottom, out=np.zeros(len(top)), where=bottom != 0)


def _sums(values: np.ndarray, ptr: np.ndarray) -> np.ndarray:
    number = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    return np.bincount(number, weights=values, minlength=len(ptr) - 1)


def _discount(length: int) -> np.ndarray:
    """Weights of the ranks 1, 2, ...: 1, then 1 / log2 of the rank."""
    return 1 / np.maximum(1.0, np.log2(np.arange(1, length + 1)))


def _ideal(
    queries: np.ndarray, category: np.ndarray, subcategory: np.ndarray, weight: np.ndarray, limit: int
) -> np.ndarray:
    """DCG of the best list of each query, from how many objects have the gains 3, 2 and 1."""
    size = int(max(category.max(), subcategory.max())) + 1
    pairs = np.bincount(category * size + subcategory, minlength=size * size)
    asked, wanted = category[queries], subcategory[queries]
    exact = pairs[asked * size + wanted]
    parent = np.where(asked == wanted, 0, pairs[asked * size + asked])
    cumulative = np.concatenate([[0.0], np.cumsum(weight)])
    ends = [exact, exact + parent, np.bincount(category, minlength=size)[asked]]
    reached = [cumulative[np.minimum(end, limit)] for end in ends]
    # Gains 3, 2, 1 in falling order: every rank counts once for each gain that it exceeds.
    return reached[0] + reached[1] + reached[2]
