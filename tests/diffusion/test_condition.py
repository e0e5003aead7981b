from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from geograph.diffusion.condition import PropertyCondition, fit_properties, guided
from geograph.diffusion.ragged import RaggedBatch
from geograph.errors import ConfigError

NAMES = ["gap_ev", "dipole_debye"]
SIZES = torch.tensor([3, 3, 5, 5, 5, 8])
VALUES = torch.tensor([[1.0, 0.0], [2.0, 1.0], [3.0, 0.5], [4.0, 2.0], [5.0, 0.2], [9.0, 0.1]])


def make(names: list[str] = NAMES, values: torch.Tensor = VALUES) -> PropertyCondition:
    statistics = json.loads(json.dumps(fit_properties(names, values, SIZES)))
    condition = PropertyCondition.from_statistics(statistics)
    assert condition is not None
    return condition


def test_encoding_is_normalised_and_marks_what_is_known() -> None:
    condition = make()
    encoded = condition.encode(VALUES.double())
    assert encoded.shape == (6, condition.width) == (6, 4)
    torch.testing.assert_close(encoded[:, :2].mean(dim=0), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(encoded[:, :2].abs().mean(dim=0), torch.ones(2, dtype=torch.float64))
    assert (encoded[:, 2:] == 1).all()
    half = condition.encode(torch.tensor([[torch.nan, 1.0]], dtype=torch.float64))
    assert half[0, 0] == half[0, 2] == 0
    assert half[0, 3] == 1
    assert half[0, 1] != 0


def test_hiding_takes_value_and_mark_together_at_the_asked_rate() -> None:
    torch.manual_seed(0)
    context = make().encode(VALUES.double()).repeat(4000, 1) + 7.3  # nothing is zero by itself
    hidden = make().hide(context, 0.2)
    is_kept = hidden[:, 2:] != 0
    assert ((hidden[:, :2] != 0) == is_kept).all()
    assert torch.equal(hidden[:, :2][is_kept], context[:, :2][is_kept])
    num = len(context)
    for share, expected in (
        (float(is_kept.double().mean()), 0.8 * 0.8),
        (float((~is_kept).all(dim=1).double().mean()), 0.2 + 0.8 * 0.2**2),
    ):
        assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / num)
    single = make(NAMES[:1], VALUES[:, :1])
    kept = single.hide(torch.ones(20_000, 2), 0.2)[:, 1].mean().item()
    assert abs(kept - 0.8) < 5 * np.sqrt(0.16 / 20_000)
    assert torch.equal(single.hide(torch.ones(5, 2), 0.0), torch.ones(5, 2))


def test_sizes_and_values_are_drawn_together() -> None:
    condition = make()
    seeds = list(range(3000))
    sizes, values = condition.draw(seeds)
    rows = {(size, *row) for size, row in zip(sizes, values.tolist(), strict=True)}
    table = VALUES.double().float().double()
    known = {(size, *row) for size, row in zip(SIZES.tolist(), table.tolist(), strict=True)}
    assert rows == known
    share = sizes.count(5) / len(sizes)
    assert abs(share - 0.5) < 5 * np.sqrt(0.25 / 3000)
    again, _ = condition.draw(seeds[10:20])
    assert again == sizes[10:20]  # each depends on its own seed alone


def test_values_suit_given_sizes() -> None:
    condition = make()
    sizes, values = condition.draw(list(range(200)), [8] * 100 + [7] * 50 + [1] * 50)
    assert sizes == [8] * 100 + [7] * 50 + [1] * 50
    assert (values[:150, 0] == 9.0).all()  # seven has no molecule, eight is nearest
    assert set(values[150:, 0].tolist()) == {1.0, 2.0}


def test_sizes_suit_given_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geograph.diffusion.condition._NEAREST_LEAST", 1)
    condition = make()
    targets = condition.table({"gap_ev": [9.5, 1.4]}, 2).repeat(20, 1)
    assert condition.sizes_for(list(range(40)), targets) == [8, 3] * 20
    anything = condition.sizes_for(list(range(500)), condition.table({}, 500))
    assert set(anything) == {3, 5, 8}


def test_guidance_goes_from_the_unconditional_through_the_conditional_prediction() -> None:
    graph = RaggedBatch.from_sizes([2, 1], context=torch.tensor([[3.0], [5.0]]))
    seen: list[bool] = []

    def predict(state: torch.Tensor, time: torch.Tensor, graph: RaggedBatch) -> torch.Tensor:
        seen.append(graph.context is not None)
        return state if graph.context is None else state * graph.context[graph.batch]

    state, time = torch.ones(3, 4), torch.zeros(2)
    factors = torch.tensor([3.0, 3.0, 5.0])[:, None]
    for weight in (-1.0, 0.0, 0.5, 2.0):
        expected = state * ((1 + weight) * factors - weight)
        torch.testing.assert_close(guided(predict, weight)(state, time, graph), expected)
    assert seen == [True, False, True, True, False, True, False]
    edges = graph.edges
    assert graph.without_context().edges is edges


def test_statistics_without_properties_give_no_condition() -> None:
    assert PropertyCondition.from_statistics({"size_histogram": {}}) is None
    with pytest.raises(ConfigError, match="must hold property_center, .* beside property_names"):
        PropertyCondition.from_statistics({"property_names": ["a"]})


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"mass": 1.0}, "names 'mass', but the model is conditioned on gap_ev, dipole_debye"),
        ({"gap_ev": [1.0, 2.0]}, r"`targets.gap_ev` must be one number, or 3, got \[2\]"),
        ({"gap_ev": float("nan")}, "`targets.gap_ev` must be finite"),
    ],
)
def test_bad_target_is_named(targets: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make().table(targets, 3)


def test_properties_that_cannot_be_conditions_are_refused() -> None:
    with pytest.raises(ConfigError, match="`dipole_debye` must vary"):
        fit_properties(NAMES, VALUES * torch.tensor([1.0, 0.0]), SIZES)
    with pytest.raises(ConfigError, match="`gap_ev` must be finite"):
        fit_properties(NAMES, VALUES.index_fill(0, torch.tensor([2]), torch.nan), SIZES)
    with pytest.raises(ConfigError, match="must have 6 rows and one column for each of gap_ev"):
        fit_properties(NAMES[:1], VALUES, SIZES)
    with pytest.raises(ConfigError, match="one row for each of 2 molecules, got 1"):
        RaggedBatch.from_sizes([1, 2], context=torch.ones(1, 1))
