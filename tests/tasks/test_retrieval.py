from __future__ import annotations

import math

import numpy as np
import pytest

from geograph.errors import DataError, ShapeError
from geograph.tasks.retrieval import (
    MEASURES,
    RankedLists,
    averages,
    gains,
    lists_from_features,
    lists_from_scores,
    query_measures,
    retrieval_metrics,
)

#: Categories 0 (sub-categories 2 and 3, or none) and 1 (none).
CATEGORY = np.array([0, 0, 0, 0, 1, 1])
SUBCATEGORY = np.array([2, 2, 3, 0, 1, 1])


def ranked(*lists: list[int]) -> RankedLists:
    ptr = np.cumsum([0, *map(len, lists)])
    return RankedLists(np.array([number for one in lists for number in one], dtype=np.int64), ptr)


def test_measures_by_hand() -> None:
    values = query_measures(ranked([0, 4, 2, 3]), np.array([0]), CATEGORY, SUBCATEGORY)
    assert values["precision_at_n"] == pytest.approx(3 / 4)
    assert values["recall_at_n"] == pytest.approx(3 / 4)
    assert values["f1_at_n"] == pytest.approx(3 / 4)
    assert values["map"] == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    reached, ideal = 1 + 1 / math.log2(3) + 1 / 2, 1 + 1 + 1 / math.log2(3) + 1 / 2
    assert values["ndcg_binary"] == pytest.approx(reached / ideal)
    # Gains 3 (itself), 0, 1 (a sibling), 2 (labelled with the category alone); at best 3, 3, 2, 1.
    reached, ideal = 3 + 1 / math.log2(3) + 2 / 2, 3 + 3 + 2 / math.log2(3) + 1 / 2
    assert values["ndcg_graded"] == pytest.approx(reached / ideal)


def test_gains_are_those_of_the_competition() -> None:
    everything = np.arange(6)
    for query, expected in ((0, [3, 3, 1, 2, 0, 0]), (3, [1, 1, 1, 3, 0, 0]), (4, [0, 0, 0, 0, 3, 3])):
        found = gains(np.full(6, query), everything, CATEGORY, SUBCATEGORY)
        assert found.tolist() == expected


def test_averages_over_queries_and_over_categories() -> None:
    values = retrieval_metrics(ranked([0], [1, 4], [4, 5]), np.array([0, 1, 4]), CATEGORY)
    assert values["precision_at_n_micro"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert values["precision_at_n_macro"] == pytest.approx((0.75 + 1) / 2)
    assert set(values) == {f"{name}_{kind}" for name in MEASURES[:-1] for kind in ("micro", "macro")}


def test_perfect_lists_have_one_everywhere_and_empty_ones_zero() -> None:
    perfect = ranked([0, 1, 3, 2], [3, 0, 1, 2], [5, 4])
    queries = np.array([0, 3, 4])
    for value in query_measures(perfect, queries, CATEGORY, SUBCATEGORY).values():
        np.testing.assert_allclose(value, 1.0, rtol=1e-14)
    for value in query_measures(ranked([], [], []), queries, CATEGORY, SUBCATEGORY).values():
        np.testing.assert_array_equal(value, 0.0)


def test_order_matters_to_map_and_ndcg_alone() -> None:
    """Negative control: a list turned round has the same P, R, F1 and lower mAP and NDCG."""
    right, wrong = (
        query_measures(ranked(one), np.array([0]), CATEGORY, SUBCATEGORY)
        for one in ([0, 1, 3, 2, 4, 5], [5, 4, 2, 3, 1, 0])
    )
    for name in MEASURES:
        same = name.endswith("at_n")
        assert (right[name] == wrong[name]).all() if same else (right[name] > wrong[name] + 0.1).all(), name


def test_limit_caps_what_can_be_found() -> None:
    category = np.zeros(30, dtype=np.int64)
    lists = RankedLists(np.arange(10), np.array([0, 10]))
    values = query_measures(lists, np.array([0]), category, category, limit=10)
    for value in values.values():
        assert value == pytest.approx(1.0)
    assert query_measures(lists, np.array([0]), category, limit=20)["recall_at_n"] == pytest.approx(0.5)


def reference(found: list[int], query: int, category: np.ndarray, subcategory: np.ndarray) -> list[float]:
    """Measures of one query by loops over the definitions."""

    def gain(number: int) -> int:
        if category[number] != category[query]:
            return 0
        if subcategory[number] == subcategory[query]:
            return 3
        return 2 if subcategory[number] == category[query] else 1

    def dcg(values: list[float]) -> float:
        return sum(g / max(1.0, math.log2(k)) for k, g in enumerate(values, start=1))

    gains_ = [gain(number) for number in found]
    best = sorted((gain(number) for number in range(len(category))), reverse=True)
    x = [float(g > 0) for g in gains_]
    relevant = sum(g > 0 for g in best)
    p, r = sum(x) / len(x), sum(x) / relevant
    ap = sum(x[k] * sum(x[: k + 1]) / (k + 1) for k in range(len(x))) / relevant
    binary = dcg(x) / dcg([float(g > 0) for g in best])
    return [p, r, 2 * p * r / (p + r) if p + r else 0.0, ap, binary, dcg(gains_) / dcg(best)]


def test_equals_loops_over_the_definitions() -> None:
    rng = np.random.default_rng(0)
    category = rng.integers(0, 4, size=40)
    subcategory = np.where(rng.random(40) < 0.3, category, 4 + 3 * category + rng.integers(0, 3, size=40))
    found = [rng.permutation(40)[: rng.integers(1, 40)].tolist() for _ in range(40)]
    values = query_measures(ranked(*found), np.arange(40), category, subcategory)
    expected = np.array([reference(one, query, category, subcategory) for query, one in enumerate(found)])
    for column, name in enumerate(MEASURES):
        np.testing.assert_allclose(values[name], expected[:, column], rtol=1e-12, err_msg=name)


def test_lists_from_scores_have_the_predicted_class_in_order() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]])
    lists = lists_from_scores(scores)
    parts = np.split(lists.results, lists.ptr[1:-1])
    assert [one.tolist() for one in parts] == [[0, 3, 1], [0, 3, 1], [4, 2], [0, 3, 1], [4, 2]]
    assert lists_from_scores(scores, limit=2).sizes.tolist() == [2] * 5
    perfect = retrieval_metrics(lists, np.arange(5), np.array([0, 0, 1, 0, 1]))
    assert min(perfect.values()) == pytest.approx(1.0)


def test_rows_that_have_no_order_are_named() -> None:
    values = np.arange(12.0).reshape(4, 3)
    values[0, 0], values[3, 1] = -np.inf, np.inf
    assert lists_from_scores(values).sizes.tolist() == [3, 3, 3, 1]
    values[1, 2] = values[2, 0] = np.nan
    with pytest.raises(DataError, match="row 1 has a score that is NaN, 2 of 4 rows have; the model"):
        lists_from_scores(values)
    with pytest.raises(DataError, match="row 0 has a feature that is not finite, 4 of 4 rows have"):
        lists_from_features(values)


def test_lists_from_features_begin_with_the_query() -> None:
    points = np.random.default_rng(0).standard_normal((50, 3)) + 1e6
    points[7] = points[3]
    lists = lists_from_features(points)
    parts = np.split(lists.results, lists.ptr[1:-1])
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for query, one in enumerate(parts):
        assert one[0] == query
        assert sorted(one) == list(range(50))
        assert (np.diff(distance[query, one]) > -1e-9).all()
    assert parts[3][1] == 7
    sizes = lists_from_features(points, sizes=np.arange(1, 51)).sizes
    assert sizes.tolist() == list(range(1, 51))


@pytest.mark.parametrize(
    ("lists", "queries", "options", "message"),
    [
        (ranked([0]), [0, 1], {}, "`lists` must have one list for each of 2 queries, got 1"),
        (ranked([0, 1, 2]), [0], {"limit": 2}, "`lists` must have at most 2 results for a query, got 3"),
        (ranked([0, 6]), [0], {}, r"`lists` must name objects in \[0, 6\), got 6"),
        (ranked([0, -1]), [0], {}, r"`lists` must name objects in \[0, 6\), got -1"),
        (ranked([0, 1], [1, 1]), [0, 1], {}, "`lists` must have no result twice"),
    ],
)
def test_broken_lists_are_refused(
    lists: RankedLists, queries: list[int], options: dict, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        query_measures(lists, np.array(queries), CATEGORY, **options)


def test_nothing_to_average_and_no_size_are_refused() -> None:
    with pytest.raises(ShapeError, match="`category` must have at least one query"):
        averages({}, np.zeros(0, dtype=np.int64))
    with pytest.raises(ShapeError, match="`sizes` must be positive, got 0"):
        lists_from_features(np.ones((2, 1)), sizes=0)
