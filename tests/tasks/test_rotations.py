"""Random rotations of functions on spheres."""

from __future__ import annotations

import pytest
import torch
from strategies import make_batch

from geograph.algebra.harmonics import degrees, orders, power_spectrum
from geograph.errors import ConfigError, DataError
from geograph.tasks.rotations import RandomRotations, rotation_matrices

_EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("group", ["z", "so3"])
def test_matrices_are_proper_rotations(group: str) -> None:
    matrices = rotation_matrices(torch.rand(200, 3, dtype=torch.float64), group)
    identity = torch.eye(3, dtype=torch.float64).expand(200, 3, 3)
    assert (matrices @ matrices.mT - identity).abs().max() < 20 * _EPS
    assert (torch.linalg.det(matrices) - 1).abs().max() < 20 * _EPS


def test_rotations_are_uniform() -> None:
    """Haar measure: every entry has mean 0 and variance 1/3, and the trace has mean 0 and variance 1."""
    num = 20000
    matrices = RandomRotations("so3", copies=1).matrices(torch.arange(num))
    allowed = 5 * (1 / 3 / num) ** 0.5
    assert matrices.mean(0).abs().max() < allowed
    assert (matrices.square().mean(0) - 1 / 3).abs().max() < allowed
    trace = matrices.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(float(trace.mean())) < 5 * num**-0.5
    assert abs(float(trace.square().mean()) - 1) < 10 * num**-0.5


def test_rotations_about_the_axis_keep_orders_apart() -> None:
    batch = make_batch("sphere", num_graphs=4)
    rotated = RandomRotations("z", copies=1)(batch).harmonic
    axial = orders(6) == 0
    torch.testing.assert_close(rotated[..., axial], batch.harmonic[..., axial])
    assert not torch.allclose(rotated, batch.harmonic)
    so3 = RandomRotations("so3", copies=1)(batch).harmonic
    assert not torch.allclose(
        so3[..., axial & (degrees(6) > 0)], batch.harmonic[..., axial & (degrees(6) > 0)]
    )


def test_spectrum_and_input_stay() -> None:
    batch = make_batch("atom_spheres", num_graphs=3)
    before = batch.harmonic.clone()
    rotated = RandomRotations("so3")(batch)
    assert torch.equal(batch.harmonic, before)
    torch.testing.assert_close(power_spectrum(rotated.harmonic), power_spectrum(before))
    assert torch.equal(rotated.z, batch.z)


def test_spheres_of_a_graph_turn_together() -> None:
    batch = make_batch("atom_spheres", num_graphs=2)
    batch.harmonic = batch.harmonic[:1].expand_as(batch.harmonic).clone()
    rotated = RandomRotations("so3", copies=1)(batch).harmonic
    first = int(batch.ptr[1])
    assert torch.allclose(rotated[:first], rotated[0].expand_as(rotated[:first]))
    assert not torch.allclose(rotated[0], rotated[first])


def test_a_record_keeps_its_rotation_whatever_the_batch() -> None:
    rotate = RandomRotations("so3", copies=1, seed=3)
    together = rotate.matrices(torch.tensor([5, 9, 2]))
    torch.testing.assert_close(together[1], rotate.matrices(torch.tensor([9]))[0], rtol=0, atol=10 * _EPS)
    other = RandomRotations("so3", copies=1, seed=4).matrices(torch.tensor([9]))[0]
    assert not torch.allclose(together[1], other)


def test_number_of_copies_is_number_of_different_rotations() -> None:
    rotate = RandomRotations("so3", copies=3)
    torch.manual_seed(0)
    seen = torch.cat([rotate.matrices(torch.tensor([7])) for _ in range(60)]).reshape(60, 9)
    assert len(torch.unique(seen, dim=0)) == 3
    fresh = RandomRotations("so3")
    seen = torch.cat([fresh.matrices(torch.tensor([7])) for _ in range(60)]).reshape(60, 9)
    assert len(torch.unique(seen, dim=0)) == 60


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="`group` must be one of z, so3, got 'x'"):
        RandomRotations("x")
    with pytest.raises(ConfigError, match="`copies` must be at least 1, got 0"):
        RandomRotations("z", copies=0)
    with pytest.raises(DataError, match="act on functions on spheres"):
        RandomRotations("z")(make_batch("mesh"))
