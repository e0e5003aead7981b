"""The head that models of functions on spheres share."""

from __future__ import annotations

import pytest
import torch
from equivariance import assert_equivariant
from strategies import SPHERE_BANDLIMIT, SPHERE_CHANNELS, make_batch, take_graph
from torch import Tensor

from geograph.algebra.harmonics import degrees, power_spectrum
from geograph.errors import ConfigError, DataError, ShapeError
from geograph.models.sphere_graph import InputScale, SphereGraph, SphericalTrunk


class Spectrum(SphericalTrunk):
    """The simplest invariants."""

    def __init__(self) -> None:
        super().__init__()
        self.num_channels, self.bandlimit = SPHERE_CHANNELS, SPHERE_BANDLIMIT
        self.num_features = SPHERE_CHANNELS * SPHERE_BANDLIMIT

    def forward(self, harmonic: Tensor) -> Tensor:
        return power_spectrum(harmonic).flatten(1)


class FirstCoefficients(Spectrum):
    """No invariants: the control that must fail."""

    def forward(self, harmonic: Tensor) -> Tensor:
        return harmonic[:, :, :SPHERE_BANDLIMIT].flatten(1)


def graph(head: str = "sphere", trunk: SphericalTrunk | None = None, **options: object) -> SphereGraph:
    torch.manual_seed(0)
    options = {"num_outputs": 2, "head": head} | options
    return SphereGraph(trunk or Spectrum(), **options).double().eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(("head", "kind"), [("sphere", "sphere"), ("atoms", "atom_spheres")])
def test_output_is_invariant_and_alone_as_in_a_batch(head: str, kind: str) -> None:
    batch, model = (
        make_batch(kind, num_graphs=3),
        graph(head, input_mean=[0.1, 0.2, 0.3], input_scale=[1.0, 2.0, 3.0]),
    )
    out = model(batch)
    assert out.shape == (3, 2)
    assert_equivariant(model, batch, "SO(3)", depth=4)
    alone = torch.cat([model(take_graph(batch, index)) for index in range(3)])
    torch.testing.assert_close(out, alone)


def test_permutation_of_atoms() -> None:
    assert_equivariant(graph("atoms"), make_batch("atom_spheres"), "S(n)", depth=4)


def test_trunk_without_invariance_is_found() -> None:
    with pytest.raises(AssertionError, match=r"SO\(3\) broken"):
        assert_equivariant(graph(trunk=FirstCoefficients()), make_batch("sphere"), "SO(3)", depth=4)


def test_atoms_head_is_a_sum_over_atoms() -> None:
    """Two copies of a molecule in one graph give twice the sum, seen through a linear last network."""
    batch, model = make_batch("atom_spheres", num_graphs=1), graph("atoms")
    model.per_graph = torch.nn.Identity()
    twice = make_batch("atom_spheres", sizes=[2 * int(batch.num_nodes)])
    twice.harmonic, twice.z = batch.harmonic.repeat(2, 1, 1), batch.z.repeat(2)
    torch.testing.assert_close(model(twice), 2 * model(batch))


def test_input_scale_removes_mean_and_scale() -> None:
    harmonic = make_batch("sphere", num_graphs=4).harmonic
    scaled = InputScale([0.5, 0.0, -1.0], [2.0, 1.0, 4.0])(harmonic)
    torch.testing.assert_close(scaled[:, 0, 0], (harmonic[:, 0, 0] - 0.5) / 2)
    torch.testing.assert_close(scaled[:, 2, 1:], harmonic[:, 2, 1:] / 4)
    by_degree = torch.arange(1.0, 19.0).view(3, 6)
    scaled = InputScale([0.5, 0.0, -1.0], by_degree.flatten().tolist())(harmonic)
    torch.testing.assert_close(scaled[:, 1, 4:9], harmonic[:, 1, 4:9] / by_degree[1, 2])
    torch.testing.assert_close(scaled[:, 2, 0], (harmonic[:, 2, 0] + 1) / by_degree[2, 0].double())


def test_input_scale_makes_channels_white() -> None:
    """With the square root of their covariance, the channels of a degree become independent."""
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(4000, 3, 36, generator=generator, dtype=torch.float64)
    root = torch.randn(6, 3, 3, generator=generator, dtype=torch.float64)
    harmonic = torch.einsum("kij,njk->nik", root[degrees(6)], latent)
    harmonic[:, :, 0] += torch.tensor([1.0, -2.0, 0.5])
    white = InputScale([1.0, -2.0, 0.5], root.tolist()).double()(harmonic)
    torch.testing.assert_close(white, latent, atol=3e-4, rtol=0)
    for degree in range(6):
        x = white[:, :, degree**2 : (degree + 1) ** 2].transpose(0, 1).flatten(1)
        torch.testing.assert_close(x @ x.T / x.shape[1], torch.eye(3, dtype=x.dtype), atol=0.08, rtol=0)


def test_white_input_is_equivariant() -> None:
    root = (torch.eye(3) + 0.3 * torch.ones(6, 3, 3) * torch.arange(1, 7)[:, None, None]).tolist()
    model = graph(input_mean=[0.1, 0.2, 0.3], input_scale=root).double()
    assert_equivariant(model, make_batch("sphere"), "SO(3)", depth=4)


def test_matrices_are_checked() -> None:
    eye = torch.eye(2).expand(3, 2, 2)
    with pytest.raises(ConfigError, match="must have matrices of 3 x 3 channels, one for each degree"):
        InputScale([0.0, 0.0, 0.0], eye.tolist())
    with pytest.raises(ConfigError, match="of one size"):
        InputScale([0.0, 0.0], [*eye.tolist(), [[1.0]]])
    with pytest.raises(ConfigError, match="that of degree 2 has none"):
        InputScale([0.0, 0.0], torch.tensor([1.0, 1.0, 1e-40])[:, None, None].mul(torch.eye(2)).tolist())
    with pytest.raises(ConfigError, match="that of degree 3 has none"):
        InputScale([0.0, 0.0], [*eye.tolist(), [[1.0, 1.0], [1.0, 1.0]]])


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="`num_hidden` must be 1 width for sphere, 3 for atoms, got"):
        graph("atoms", num_hidden=[8])
    with pytest.raises(ConfigError, match="`input_scale` must be positive, one for each of 2 channels or"):
        InputScale([0.0, 0.0], [1.0, 0.0])
    with pytest.raises(ConfigError, match="`input_mean` must be a finite number for each channel"):
        InputScale([0.0, float("nan")], [1.0, 1.0])
    with pytest.raises(ConfigError, match="must be given together"):
        graph(input_scale=[1.0, 1.0, 1.0])
    with pytest.raises(ConfigError, match="for 3 channels and band-limit 6, got 3 channels and 5 degrees"):
        graph(input_mean=[0.0] * 3, input_scale=[1.0] * 15)
    with pytest.raises(ConfigError, match="got 3 channels and 1 degrees"):
        graph(input_mean=[0.0] * 3, input_scale=[torch.eye(3).tolist()])
    batch = make_batch("sphere")
    batch.harmonic = batch.harmonic[:, :2]
    with pytest.raises(ShapeError, match="must have 3 channels and band-limit 6, got 2 and 6"):
        graph()(batch)
    batch = make_batch("atom_spheres")
    with pytest.raises(DataError, match="not among the model's `elements`"):
        graph("atoms", elements=[1])(batch)
