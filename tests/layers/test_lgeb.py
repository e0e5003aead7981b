"""The Lorentz group equivariant block: its published form, term by term."""

from __future__ import annotations

import torch
from strategies import make_batch

from geograph.algebra.minkowski import minkowski_dot, minkowski_norm2
from geograph.layers.lgeb import LGEB, RaggedBatchNorm
from geograph.layers.mlp import signed_log


def test_matches_the_equations_edge_by_edge() -> None:
    """Eqs. (3.2)-(3.5) with the released difference x_i - x_j, written as a loop over targets."""
    torch.manual_seed(0)
    block = LGEB(4, 8, 2, c_weight=0.5, clamp=0.01).double().eval()
    batch = make_batch("jet", single_node=True)
    n, x = batch.num_nodes, batch.p4
    h, s = torch.randn(n, 4, dtype=torch.float64), torch.randn(n, 2, dtype=torch.float64)
    wanted_h, wanted_x = [], []
    for i in range(n):
        sources = batch.edge_index[0][batch.edge_index[1] == i]
        difference = x[i] - x[sources]
        products = torch.stack(
            [minkowski_norm2(difference), minkowski_dot(x[i].expand_as(difference), x[sources])]
        )
        rows = torch.cat([h[i].expand(len(sources), 4), h[sources], signed_log(products.T)], dim=1)
        m = block.edge_mlp(rows @ block.edge_linear.weight.T)
        m = m * torch.sigmoid(block.gate(m))
        shift = (difference * block.vector_mlp(m)).clamp(-0.01, 0.01)
        wanted_x.append(x[i] + 0.5 * shift.sum(0) / max(len(sources), 1))
        wanted_h.append(h[i] + block.node_mlp(torch.cat([h[i], m.sum(0), s[i]])[None])[0])
    out_h, out_x = block(h, x, s, batch.edge_index, batch.edge_ptr)
    assert torch.allclose(out_h, torch.stack(wanted_h), rtol=0, atol=1e-12)
    assert torch.allclose(out_x, torch.stack(wanted_x), rtol=1e-14, atol=1e-12)


def test_last_block_keeps_the_vectors() -> None:
    block = LGEB(4, 8, 2, is_last=True).double().eval()
    batch = make_batch("jet")
    h, s = torch.zeros(batch.num_nodes, 4, dtype=torch.float64), torch.zeros(batch.num_nodes, 2).double()
    assert torch.equal(block(h, batch.p4, s, batch.edge_index, batch.edge_ptr)[1], batch.p4)
    assert not [name for name, _ in block.named_parameters() if name.startswith("vector_mlp")]


def test_batch_norm_of_one_row_uses_running_statistics() -> None:
    norm = RaggedBatchNorm(2)
    norm.running_mean.fill_(1.0)
    out = norm.train()(torch.tensor([[3.0, 1.0]]))
    assert torch.allclose(out, torch.tensor([[2.0, 0.0]]), atol=1e-4)
    assert norm(torch.zeros(0, 2)).shape == (0, 2)
    assert norm.running_mean.tolist() == [1.0, 1.0]
    assert torch.allclose(norm(torch.tensor([[0.0, 0.0], [2.0, 4.0]])).mean(0), torch.zeros(2))
