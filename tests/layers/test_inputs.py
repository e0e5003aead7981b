"""Encoders of batch fields."""

from __future__ import annotations

import torch
from strategies import assemble, make_batch

from geograph.layers.inputs import JetInputs, MeshInputs, MoleculeInputs, edge_lengths


def test_elements_are_one_hot_in_the_given_order() -> None:
    batch = make_batch("molecule", sizes=[3])
    batch.z = torch.tensor([6, 1, 8])
    h, pos, edge_attr = MoleculeInputs([8, 1, 6], pos_scale=2.0)(batch)
    assert h.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert torch.equal(pos, batch.pos / 2)
    assert edge_attr is None
    assert MoleculeInputs()(batch)[0].shape == (3, 118)


def test_radial_functions_follow_the_unscaled_distance() -> None:
    batch = make_batch("molecule")
    encoder = MoleculeInputs(num_rbf=6, cutoff=4.0, pos_scale=3.0).double()
    _, _, edge_attr = encoder(batch)
    assert edge_attr is not None
    assert torch.equal(edge_attr, encoder.radial(edge_lengths(batch.pos, batch.edge_index)))


def test_mesh_angles_by_hand() -> None:
    """From the origin (normal z) to (0, 0, 2) (normal x): the edge is along z, the centroid (0, 0, 1)."""
    batch = assemble(
        [2],
        torch.tensor([[0], [1]]),
        pos=torch.tensor([[0.0, 0, 0], [0, 0, 2]]),
        normal=torch.tensor([[0.0, 0, 1], [1, 0, 0]]),
        area=torch.tensor([1.0, 0.0]),
    )
    h, _, edge_attr = MeshInputs()(batch)
    assert edge_attr is not None
    assert edge_attr.tolist() == [[0.0, 0.0, 1.0, 2.0]]
    assert h[0].tolist() == [0.0, 1.0, -1.0]
    assert bool(h.isfinite().all())


def test_jet_types_and_norm() -> None:
    batch = make_batch("jet", sizes=[1], has_beams=True)
    h, p4, _ = JetInputs(10.0)(batch)
    assert h[:, :2].tolist() == [[0, 1], [0, 1], [1, 0]]
    assert torch.allclose(h[0, 2], torch.tensor(3.0**0.5 / 10, dtype=torch.float64).log1p())
    assert torch.equal(p4, batch.p4 / 10)
    assert JetInputs(has_norm=False)(batch)[0].shape == (3, 2)
