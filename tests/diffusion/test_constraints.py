"""Given fragments and compositions: what stays fixed, and what the rest makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gaussian_data import UnitNoise, exact_predictor
from torch import Tensor

from geograph.diffusion.constraints import Constraints, KnownPart, moves
from geograph.diffusion.molecules import Samples, sample_molecules
from geograph.diffusion.noise_source import MoleculeNoise
from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.samplers import SAMPLERS, build_sampler
from geograph.diffusion.sampling import sample_states
from geograph.diffusion.schedule import build_schedule
from geograph.errors import ConfigError
from geograph.models.denoiser import EDMDynamics
from geograph.records import Molecule

PROCESS = DiffusionProcess(build_schedule("polynomial_2", 60), num_types=3)
ELEMENTS = [1, 6, 8]
# Two pieces, far from the origin, at positions that no short binary number hits.
FRAGMENT = Molecule(
    np.array([6, 8, 1]), np.array([[10.1, 0.2, 0.3], [11.3, 0.4, -0.7], [14.0, 3.3, 0.1]]), id="pieces"
)


torch.manual_seed(0)
MODEL = EDMDynamics(PROCESS.num_features, 8, 1).double()


def network(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
    noise = MODEL.noise(state.double(), time.double(), graph.batch, *graph.edges)
    return noise.detach().to(state.dtype)


def sampled(constraints: Constraints, sizes: list[int], **options: object) -> Samples:
    request = {"seeds": range(len(sizes)), "atomic_numbers": ELEMENTS, "num_steps": 6, **options}
    return sample_molecules(network, PROCESS, sizes, constraints=constraints, **request)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_atoms_of_the_fragment_do_not_move(sampler: str) -> None:
    samples = sampled(Constraints(FRAGMENT, resamplings=2), [7, 3, 5], sampler=sampler, frame_every=2)
    assert [len(molecule.z) for molecule in samples.molecules] == [7, 3, 5]
    for molecule in samples.molecules:
        assert np.array_equal(molecule.pos[:3], FRAGMENT.pos)
        assert np.array_equal(molecule.z[:3], FRAGMENT.z)
        assert np.isfinite(molecule.pos).all()
    # On the way the noisy fragment stays about its place.
    for chain in samples.frames:
        assert len(chain) == 4
        for frame in chain:
            np.testing.assert_allclose(frame.pos[:3].mean(0), FRAGMENT.pos.mean(0), atol=1e-9)


def test_moving_and_turning_the_fragment_moves_its_molecules() -> None:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)).double())[0].numpy()
    moved = Molecule(FRAGMENT.z, FRAGMENT.pos + 7.0)
    first, second = (
        sampled(Constraints(fragment), [6], dtype=torch.float64).molecules[0]
        for fragment in (FRAGMENT, moved)
    )
    np.testing.assert_allclose(second.pos, first.pos + 7.0, atol=1e-5)
    assert np.array_equal(first.z, second.z)

    class Turned(MoleculeNoise):
        def draw(self) -> Tensor:
            noise = super().draw()
            return torch.cat([noise[:, :3] @ torch.from_numpy(turn).T, noise[:, 3:]], dim=1)

    graph = RaggedBatch.from_sizes([6])
    results = []
    for source, pos in ((MoleculeNoise, FRAGMENT.pos), (Turned, FRAGMENT.pos @ turn.T)):
        known = Constraints(Molecule(FRAGMENT.z, pos)).known_part(PROCESS, graph, ELEMENTS)
        noise = source([5], graph, PROCESS.width).draw
        states = sample_states(
            network, PROCESS, [6], seeds=[5], known=known, num_steps=6, noise=noise, dtype=torch.float64
        )
        results.append(states.state)
    turned = results[0][:, :3] @ torch.from_numpy(turn).T
    torch.testing.assert_close(results[1][:, :3], turned, rtol=0, atol=1e-5 * float(turned.abs().max()))


def test_known_part_moves_no_centre_of_mass() -> None:
    graph = RaggedBatch.from_sizes([5, 3])
    known = Constraints(FRAGMENT).known_part(PROCESS, graph, ELEMENTS)
    states = sample_states(
        network, PROCESS, [5, 3], seeds=[1, 2], known=known, num_steps=20, frame_every=1, dtype=torch.float64
    )
    for _, state in states.frames:
        assert graph.sum(state[:, :3]).abs().max() < 1e-10 * (1 + state.abs().max())
    # What is given arrives exactly: distances within the fragment, and its features.
    fixed = states.state[:3, :3]
    expected = torch.from_numpy(FRAGMENT.pos)
    torch.testing.assert_close(torch.cdist(fixed, fixed), torch.cdist(expected, expected), rtol=1e-10, atol=0)
    encoded = PROCESS.encode(
        expected, torch.tensor([1, 2, 0]), torch.tensor([6, 8, 1]), RaggedBatch.from_sizes([3])
    )
    torch.testing.assert_close(states.state[:3, 3:], encoded[:, 3:], rtol=0, atol=0)


def test_composition_fixes_the_elements_alone() -> None:
    samples = sampled(Constraints(composition=[6, 6, 1, 1, 1, 8]), [6, 6])
    assert [molecule.z.tolist() for molecule in samples.molecules] == [[6, 6, 1, 1, 1, 8]] * 2
    assert np.abs(samples.molecules[0].pos - samples.molecules[1].pos).max() > 0.1
    assert np.abs(samples.molecules[0].pos.mean(0)).max() < 1e-10


def test_composition_with_a_fragment_orders_the_fragment_first() -> None:
    constraints = Constraints(FRAGMENT, [1, 1, 6, 6, 8])
    assert constraints.elements == [6, 8, 1, 1, 6]
    molecule = sampled(constraints, [5]).molecules[0]
    assert molecule.z.tolist() == [6, 8, 1, 1, 6]
    assert np.array_equal(molecule.pos[:3], FRAGMENT.pos)


def conditional_moments(resamplings: int, jump_length: int, num_steps: int) -> tuple[float, float]:
    """Slope and variance of one atom's feature given the other's, with covariance ((1, 0.8), (0.8, 1)).

    The chain is affine in its noise and in what is given; see `gaussian_data.pushed_moments`.
    """
    process = DiffusionProcess(build_schedule("polynomial_2", 400), num_types=1, has_charge=False)
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    predict = exact_predictor(process.schedule, torch.zeros(2, 4).double(), covariance)

    def run(value: float, units: int, atom: int) -> tuple[Tensor, int]:
        given = torch.zeros(units, 2, 4, dtype=torch.float64)
        given[:, 0, 3] = value
        is_given = torch.tensor([True, False] * units)
        known = KnownPart(given.view(-1, 4), is_given & False, is_given, resamplings, jump_length)
        direction = torch.zeros(2, 4, dtype=torch.float64)
        direction[atom, 3] = 1.0 - value
        source = UnitNoise((units, 2, 4), direction)
        sizes, seeds = [2] * units, range(units)
        state = sample_states(
            predict, process, sizes, seeds=seeds, known=known, num_steps=num_steps, noise=source,
            sampler=build_sampler("ancestral"), dtype=torch.float64,
        ).state  # fmt: skip
        return state.view(units, 2, 4)[:, 1, 3], source.count

    slope, num_draws = run(1.0, 1, 0)
    weights = [run(0.0, num_draws, atom)[0] for atom in (0, 1)]
    return float(slope[0]), float(sum(weight.square().sum() for weight in weights))


def test_resampling_brings_the_rest_to_what_is_given() -> None:
    # Exact: slope 0.8, variance 0.36. Without resampling the chain lags behind what is given. Steps of this
    # length lose a quarter of the variance by themselves.
    slopes, variances = zip(*(conditional_moments(r, 1, 25) for r in (1, 3, 9)), strict=True)
    errors = [abs(slope - 0.8) for slope in slopes]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.05
    assert 0.7 * 0.36 < variances[2] < 0.36


@pytest.mark.parametrize(("steps", "resamplings", "length"), [(5, 1, 1), (5, 3, 1), (7, 2, 3), (4, 4, 4)])
def test_moves_lead_down_and_repeat_each_stretch(steps: int, resamplings: int, length: int) -> None:
    path = moves(steps, resamplings, length)
    assert path[0][0] == 0
    assert path[-1][1] == steps
    assert all(before[1] == after[0] for before, after in zip(path[:-1], path[1:], strict=True))
    assert all(new - old in (1, -length) for old, new in path)
    full = steps // length * length
    for k in range(steps):
        assert path.count((k, k + 1)) == (resamplings if k < full else 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Constraints(),
            "`constraints` must have a `fragment`, a `composition`, or both, got neither",
        ),
        (lambda: Constraints(FRAGMENT, resamplings=0), "`resamplings` must be at least 1, got 0"),
        (lambda: Constraints(FRAGMENT, jump_length=0), "`jump_length` must be at least 1, got 0"),
        (lambda: Constraints(composition=[]), "`composition` must name at least one atom, got none"),
        (
            lambda: Constraints(FRAGMENT, [6, 6, 1]),
            "`composition` must contain the atoms of .* numbers 8; give",
        ),
        (lambda: moves(3, 2, 4), "`jump_length` must be at most the number of steps 3, got 4"),
    ],
)
def test_bad_constraints_are_named(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("constraints", "sizes", "message"),
    [
        (Constraints(FRAGMENT), [5, 2], "`fragment` has 3 atoms, more than the 2 atoms asked for in `sizes`"),
        (
            Constraints(composition=[6, 1]),
            [2, 3],
            "`sizes` must be the 2 atoms of `composition`, got 2, 3; omit",
        ),
        (
            Constraints(composition=[6, 17]),
            [2],
            "`composition` has atomic numbers 17, but the model knows 1, 6, 8",
        ),
        (
            Constraints(Molecule(np.array([35]), np.zeros((1, 3)))),
            [2],
            "`fragment` has atomic numbers 35, but the model knows 1, 6, 8 only",
        ),
    ],
)
def test_contradictions_with_the_request_are_named(
    constraints: Constraints, sizes: list[int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        sampled(constraints, sizes)
