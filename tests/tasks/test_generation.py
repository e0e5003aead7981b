from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from equivariance import COVARIANT_POSITION, assert_equivariant
from strategies import make_batch, take_graph
from torch_geometric.data import Data

from geograph.diffusion.condition import fit_properties
from geograph.errors import ConfigError, DataError, ShapeError
from geograph.tasks import TASKS
from geograph.tasks.generation import GenerationTask, fit_statistics

SIZES = [1, 5, 3, 6, 4, 5, 2, 7]


def molecules(dtype: torch.dtype = torch.float32) -> Data:
    return make_batch("molecule", seed=0, dtype=dtype, sizes=SIZES)


def make_task(dtype: torch.dtype = torch.float32, **params) -> GenerationTask:
    torch.manual_seed(0)
    data = molecules()
    settings = {
        "model_params": {"num_hidden": 16, "num_layers": 2},
        "statistics": fit_statistics(data.z, data.batch),
        "num_steps": 50,
        **params,
    }
    return GenerationTask(**settings).to(dtype)


def test_statistics_are_json_and_complete() -> None:
    data = molecules()
    statistics = json.loads(json.dumps(fit_statistics(data.z, data.batch)))
    assert statistics["atomic_numbers"] == sorted(set(data.z.tolist()))
    assert statistics["size_histogram"] == {"1": 1, "2": 1, "3": 1, "4": 1, "5": 2, "6": 1, "7": 1}


def test_task_is_in_the_table_and_rebuilds_from_its_settings() -> None:
    task = make_task()
    assert TASKS["generation"] is GenerationTask
    again = GenerationTask(**json.loads(json.dumps(task.settings)))
    again.load_state_dict(task.state_dict())
    ours, theirs = (t.sample(2, seed=1, num_steps=3).molecules for t in (task, again))
    assert all(np.array_equal(a.pos, b.pos) for a, b in zip(ours, theirs, strict=True))


def test_training_loss_is_about_one_half_at_first_and_reaches_all_parameters() -> None:
    # An untrained network predicts next to nothing for unit noise: half of a mean square of (nearly) one.
    task = make_task()
    loss = task.training_loss(molecules())
    loss.backward()
    assert 0.2 < loss.item() < 5
    assert all(parameter.grad is not None for parameter in task.parameters())


def test_overfits_eight_molecules() -> None:
    task, data = make_task(model_params={"num_hidden": 32, "num_layers": 2}), molecules()
    optimizer = torch.optim.Adam(task.parameters(), lr=3e-3)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same times and noise again and again
        return task.training_loss(data)

    first = loss().item()
    for _ in range(150):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.2 * first


def test_evaluation_is_the_same_for_any_batch_and_leaves_the_generator_alone() -> None:
    task, data = make_task(torch.float64).eval(), molecules(torch.float64)
    state = torch.get_rng_state()
    together = task.batch_terms(data)
    parts = []
    for graph in range(len(SIZES)):
        one = take_graph(data, graph)
        one.record_index = torch.tensor([graph])
        parts.append(task.batch_terms(one))
    assert torch.equal(state, torch.get_rng_state())
    for name, value in together.items():
        alone = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(alone.double(), value.double(), rtol=1e-10, atol=1e-10)
    again = task.batch_terms(data)
    assert torch.equal(again["nll_given_size"], together["nll_given_size"])


def test_metrics_include_the_size_prior_and_count_unseen_sizes() -> None:
    task = make_task(torch.float64)
    data = make_batch("molecule", seed=0, sizes=[5, 9])
    metrics, terms = task.evaluate([data])
    assert metrics["num_unseen_sizes"] == 1
    expected = terms["nll_given_size"].mean() - np.log([2 / 8, 1 / 8]).mean()
    assert metrics["nll"] == pytest.approx(float(expected))
    assert metrics["loss"] == pytest.approx(float(terms["loss"].mean()))


@pytest.mark.parametrize("group", ["E(3)", "S(n)"])
def test_prediction_is_covariant(group: str) -> None:
    task = make_task(torch.float64).eval()
    assert_equivariant(task.predict, molecules(torch.float64), group, COVARIANT_POSITION, depth=4)


def test_samples_do_not_depend_on_number_or_batch_size() -> None:
    task = make_task()
    many = task.sample(7, seed=3, num_steps=10)
    for num, batch_size in ((7, 1), (5, 3), (1, 64)):
        some = task.sample(num, seed=3, batch_size=batch_size, num_steps=10).molecules
        assert len(some) == num
        for ours, theirs in zip(some, many.molecules, strict=False):
            assert np.array_equal(ours.z, theirs.z)
            np.testing.assert_allclose(ours.pos, theirs.pos, rtol=1e-5, atol=1e-4)
    other = task.sample(7, seed=4, num_steps=10, sizes=[len(m.z) for m in many.molecules]).molecules
    assert all(
        np.abs(a.pos - b.pos).max() > 0.1 for a, b in zip(other, many.molecules, strict=True) if len(a.z) > 1
    )


def test_sizes_are_from_the_histogram_or_given() -> None:
    task = make_task()
    task.train()
    assert {len(m.z) for m in task.sample(20, seed=0, num_steps=1).molecules} <= set(SIZES)
    assert task.training
    assert [len(m.z) for m in task.sample(2, 0, sizes=4, num_steps=1).molecules] == [4, 4]
    assert [len(m.z) for m in task.sample(2, 0, sizes=[1, 30], num_steps=1).molecules] == [1, 30]
    with pytest.raises(ConfigError, match="`num` must be at least 1, got 0"):
        task.sample(0, seed=0)
    with pytest.raises(ConfigError, match="`seeds` must hold one seed for each of 1 molecules, got 2"):
        task.sample(2, seed=0, sizes=[3])


def test_unknown_element_names_molecule_atom_and_remedy() -> None:
    data = molecules()
    data.z[2] = 35
    with pytest.raises(
        DataError, match=r"record 1: atom 1 has atomic number 35, but .* knows 1, .* only; remove"
    ):
        make_task().training_loss(data)


def test_without_charge_there_is_one_feature_less() -> None:
    task = make_task(has_charge=False)
    assert task.process.width == 3 + len(task.atomic_numbers)
    assert task.training_loss(molecules()).isfinite()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"statistics": None}, "`statistics` must hold atomic_numbers, size_histogram; fit them"),
        ({"statistics": {"atomic_numbers": [1, 1], "size_histogram": {"1": 1}}}, "must be different numbers"),
        ({"model": "deep-sets"}, "`model` must predict noise for generation, but deep-sets predicts graph"),
        ({"model_params": {"num_features": 99}}, "`model_params.num_features` must be .* got 99"),
        ({"schedule": "linear"}, "`schedule` must be cosine or"),
    ],
)
def test_bad_parameter_is_named(params: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task(**params)


def test_validation_generates_molecules_without_moving_other_random_numbers() -> None:
    task = make_task(validation_samples=4, validation_steps=3)
    logged: dict[str, float] = {}
    task.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    task.on_validation_epoch_start()
    task.validation_step(molecules(), 0)
    task.on_validation_epoch_end()
    assert torch.equal(before, torch.get_rng_state())
    assert {"val/atom_stability", "val/molecule_stability", "val/nll", "val/loss"} <= logged.keys()
    assert 0 <= logged["val/molecule_stability"] <= logged["val/atom_stability"] <= 1
    with pytest.raises(ConfigError, match="validation_samples"):
        make_task(validation_samples=-1)


def conditional_task(**params) -> tuple[GenerationTask, Data]:
    data = molecules()
    data.y = torch.arange(len(SIZES), dtype=torch.float32)[:, None] ** 2
    properties = fit_properties(["gap_ev"], data.y, data.ptr.diff())
    statistics = fit_statistics(data.z, data.batch) | properties
    return make_task(statistics=statistics, **params), data


def test_conditional_model_reads_the_property_and_does_without() -> None:
    task, data = conditional_task()
    assert task.settings["model_params"]["num_context"] == 2
    task.eval()
    terms = task.batch_terms(data)
    data.y = data.y.flip(0)
    other = task.batch_terms(data)
    assert (terms["nll_given_size"] != other["nll_given_size"]).any()
    del data.y  # nothing known
    assert task.batch_terms(data)["nll_given_size"].isfinite().all()
    data.y = torch.zeros(len(SIZES), 3)
    with pytest.raises(ShapeError, match=r"`y` must have one column for each of gap_ev, got shape \(8, 3\)"):
        task.encode(data)


def test_property_dropout_hides_properties_in_training_only() -> None:
    task, data = conditional_task(property_dropout=0.999999)
    plain = data.clone()
    del plain.y
    losses = []
    for batch in (data, plain):
        torch.manual_seed(0)
        if batch is plain:
            torch.rand(len(SIZES), 1)  # what hiding has drawn
        losses.append(task.training_loss(batch).item())
    assert losses[0] == losses[1]
    shown, _ = conditional_task(property_dropout=0.0)
    torch.manual_seed(0)
    assert shown.training_loss(data).item() != losses[1]
    with pytest.raises(ConfigError, match=r"`property_dropout` must lie in \[0, 1\), got 1.0"):
        conditional_task(property_dropout=1.0)


def test_conditional_sampling_carries_targets_and_guidance() -> None:
    task, _ = conditional_task()
    joint = task.sample(6, seed=1, num_steps=3).molecules
    squares = {float(k**2): SIZES[k] for k in range(len(SIZES))}
    assert all(squares[m.properties["target_gap_ev"]] == len(m.z) for m in joint)
    aimed = {"targets": {"gap_ev": 9.0}, "sizes": 5, "num_steps": 3}
    plain, guided = (task.sample(3, seed=1, guidance=w, **aimed).molecules for w in (0.0, 3.0))
    assert [m.properties for m in plain] == [{"target_gap_ev": 9.0}] * 3
    assert all(not np.allclose(a.pos, b.pos) for a, b in zip(plain, guided, strict=True))
    free = task.sample(3, seed=1, targets={}, sizes=5, num_steps=3).molecules
    assert [dict(m.properties) for m in free] == [{}] * 3
    again = GenerationTask(**json.loads(json.dumps(task.settings)))
    again.load_state_dict(task.state_dict())
    assert np.array_equal(again.sample(3, seed=1, **aimed).molecules[2].pos, plain[2].pos)


def test_targets_need_a_conditional_model_and_guidance_needs_targets() -> None:
    with pytest.raises(ConfigError, match="`targets` and `guidance` need a model that is conditioned"):
        make_task().sample(1, seed=0, targets={"gap_ev": 1.0})
    task, _ = conditional_task()
    with pytest.raises(ConfigError, match="`guidance` needs a property to aim at"):
        task.sample(1, seed=0, targets={}, guidance=1.0)
    with pytest.raises(ConfigError, match="`sizes` must hold 2 numbers of atoms, got 1"):
        task.sample(2, seed=0, sizes=[3])
    with pytest.raises(ConfigError, match="`model_params.num_context` must be 2 .two for each.*, got 5"):
        conditional_task(model_params={"num_context": 5})


def test_training_on_a_property_lets_it_be_chosen() -> None:
    # Two kinds of pairs, short and long; the property says which. After training the target decides.
    rng = np.random.default_rng(0)
    num, length = 64, np.tile([1.0, 3.0], 32)
    axis = rng.normal(size=(num, 3))
    axis *= (length / np.linalg.norm(axis, axis=1))[:, None] / 2
    pos = torch.from_numpy(np.stack([axis, -axis], axis=1).reshape(-1, 3)).float()
    data = Data(z=torch.ones(2 * num, dtype=torch.int64), pos=pos)
    data.batch, data.ptr = torch.arange(num).repeat_interleave(2), torch.arange(0, 2 * num + 1, 2)
    data.num_graphs, data.record_index = num, torch.arange(num)
    data.y = torch.from_numpy(length).float()[:, None]
    statistics = fit_statistics(data.z, data.batch) | fit_properties(["length"], data.y, data.ptr.diff())
    task = make_task(statistics=statistics, model_params={"num_hidden": 24, "num_layers": 2})
    optimizer = torch.optim.Adam(task.parameters(), lr=5e-3)
    torch.manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        task.training_loss(data).backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()

    def lengths(target: float) -> np.ndarray:
        drawn = task.sample(24, seed=1, sizes=2, targets={"length": target}).molecules
        return np.array([np.linalg.norm(m.pos[0] - m.pos[1]) for m in drawn])

    assert np.median(lengths(1.0)) < 1.5 < 2.5 < np.median(lengths(3.0))
