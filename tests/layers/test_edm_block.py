from __future__ import annotations

import pytest
import torch
from strategies import make_batch

from geograph.kernels import use_backend
from geograph.layers.edm_block import EDMBlock, squared_distances


def block(**options) -> EDMBlock:
    torch.manual_seed(0)
    made = EDMBlock(4, **options).double()
    torch.nn.init.xavier_uniform_(made.move_length.weight)
    return made


def run(made: EDMBlock, seed: int = 0):
    batch = make_batch("molecule", seed=seed)
    node = torch.randn(len(batch.pos), 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, distance2 = squared_distances(batch.pos, batch.edge_index)
    return batch, node, made(node, batch.pos, distance2, batch.edge_index, batch.edge_ptr)


@pytest.mark.parametrize("has_tanh", [True, False])
@pytest.mark.parametrize("has_attention", [True, False])
def test_block_is_the_published_formula(has_attention: bool, has_tanh: bool) -> None:
    made = block(
        has_attention=has_attention, has_tanh=has_tanh, normalization_factor=2.0, coordinate_range=3.0
    )
    batch, node, (features, moved) = run(made)
    layer, silu = made.message_layers[0], torch.nn.functional.silu
    for i in range(len(node)):
        peers = [j for j in range(len(node)) if batch.batch[j] == batch.batch[i] and j != i]
        total, squares = torch.zeros(4).double(), {}
        for j in peers:
            squares[j] = (batch.pos[i] - batch.pos[j]).square().sum().expand(2)
            pair = torch.cat([node[i], node[j], squares[j]])
            m = silu(layer.message.first.weight @ pair + layer.message.first.bias)
            m = silu(layer.message.second(m))
            if has_attention:
                m = m * torch.sigmoid(layer.attention(m))
            total = total + m / 2
        expected = node[i] + layer.update_second(silu(layer.update_first(torch.cat([node[i], total]))))
        torch.testing.assert_close(features[i], expected)
        shift = torch.zeros(3).double()
        for j in peers:
            difference = batch.pos[i] - batch.pos[j]
            hidden = silu(
                made.move.first.weight @ torch.cat([features[i], features[j], squares[j]])
                + made.move.first.bias
            )
            length = made.move_length(silu(made.move.second(hidden)))
            length = 3 * torch.tanh(length) if has_tanh else length
            shift = shift + difference / ((difference @ difference + 1e-8).sqrt() + 1) * length / 2
        torch.testing.assert_close(moved[i], batch.pos[i] + shift)


def test_backends_agree() -> None:
    made = block(num_message_layers=2)
    _, _, native = run(made)
    with use_backend("reference"):
        _, _, reference = run(made)
    torch.testing.assert_close(native, reference)


def test_coincident_atoms_have_finite_gradients() -> None:
    batch = make_batch("molecule", sizes=[3])
    pos = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    _, distance2 = squared_distances(pos, batch.edge_index)
    node = torch.ones(3, 4, dtype=torch.float64)
    features, moved = block()(node, pos, distance2, batch.edge_index, batch.edge_ptr)
    (features.sum() + moved.square().sum()).backward()
    assert bool(pos.grad.isfinite().all())


def test_first_moves_are_small() -> None:
    torch.manual_seed(0)
    made = EDMBlock(16)
    bound = 1e-3 * (6 / 17) ** 0.5
    assert made.move_length.weight.abs().max() <= bound
    assert made.move_length.bias is None
