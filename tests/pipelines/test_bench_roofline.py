"""The matrix products that count, against formulas for each layer, and their timing."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from geograph.algebra.clifford import CliffordAlgebra
from geograph.kernels import geometric_product
from pipelines.bench_cases import (
    Case,
    five_each,
    jet_sizes,
    jets,
    molecule_sizes,
    molecules,
    noisy_molecules,
    particles,
)
from pipelines.bench_peers import seconds
from pipelines.bench_roofline import Product, Products, products_of, sparse_product


def counted(case: Case, num_graphs: int = 2) -> tuple[Counter[Product], int, int]:
    batch = case.batch(num_graphs, "cpu")
    return products_of(case.build("cpu"), batch), batch.num_nodes, batch.edge_index.shape[1]


def test_egnn_has_one_edge_product_for_each_layer() -> None:
    params = {"inputs": "molecule", "num_hidden": 16, "num_layers": 3}
    found, nodes, edges = counted(Case("", "egnn", molecule_sizes, molecules, 2, 2, params))
    assert found[Product(1, edges, 16, 16)] == 3
    # Two halves of the first layer and the second layer of the node network; the two of the readout's.
    assert found[Product(1, nodes, 16, 16)] == 3 * 3 + 2
    assert found[Product(1, nodes, 32, 16)] == 3
    assert {product.rows for product in found} == {edges, nodes}


def test_lorentznet_has_two_but_for_the_last_layer() -> None:
    params = {"num_hidden": 16, "num_layers": 3}
    found, nodes, edges = counted(Case("", "lorentznet", jet_sizes, jets, 2, 2, params))
    assert found[Product(1, edges, 16, 16)] == 3 + 2
    assert found[Product(1, nodes, 16 + 16 + 2, 16)] == 3


def test_denoiser_has_two_for_each_block() -> None:
    params = {"num_features": 6, "num_hidden": 16, "num_layers": 3}
    found, nodes, edges = counted(Case("", "edm-dynamics", molecule_sizes, noisy_molecules, 2, 2, params))
    assert found[Product(1, edges, 16, 16)] == 2 * 3
    # Two halves of both first layers, and the second layer of the node network.
    assert found[Product(1, nodes, 16, 16)] == 3 * 5
    assert found[Product(1, nodes, 32, 16)] == 3


def test_geometric_products_are_counted_once_and_by_formula() -> None:
    before = geometric_product.BACKENDS["native"]
    params = {"num_hidden": 16, "num_multivectors": 8, "num_layers": 2}
    found, nodes, edges = counted(Case("", "cgenn-lorentz", jet_sizes, jets, 1, 1, params), 1)
    assert found[Product(1, edges, 27 * 16, 8 * 16)] == 2
    assert found[Product(1, nodes, 17 * 16, 8 * 16)] == 2
    assert found[Product(16, edges, 27, 27)] == found[Product(16, edges, 27, 8)] == 2
    assert geometric_product.BACKENDS["native"] is before
    found, nodes, edges = counted(Case("", "cgenn-nbody", five_each, particles, 2, 2, {"num_hidden": 8}))
    assert found[Product(1, 8 * edges, 8, 8)] == found[Product(1, 8 * nodes, 8, 8)] == 2 * 3


@pytest.mark.parametrize("metric", [(1, -1, -1, -1), (1, 1, 1), (1, 1, 0)])
def test_sparse_product_counts_structure_constants(metric: tuple[int, ...]) -> None:
    algebra = CliffordAlgebra(metric)
    nonzero = int((algebra.cayley != 0).sum())
    paths = len(algebra.paths)
    dense = sparse_product(7, torch.zeros(5, 3, paths), algebra)
    assert dense.flops == 2 * 7 * 5 * 3 * nonzero
    assert sparse_product(7, torch.zeros(3, paths), algebra).flops == 2 * 7 * 3 * nonzero


def test_short_sides_do_not_count() -> None:
    assert Product(1, 1000, 8, 8).counts
    assert not Product(1, 1000, 128, 1).counts
    assert not Product(16, 1000, 3, 28).counts
    assert Product(2, 3, 4, 5).flops == 240


def test_products_are_timed() -> None:
    params = {"inputs": "molecule", "num_hidden": 16, "num_layers": 1}
    case = Case("", "egnn", molecule_sizes, molecules, 2, 2, params)
    subject = Products(case.build("cpu"), case.batch(2, "cpu"), "cpu", seconds)
    peak, (forward, step) = subject.first()
    assert peak is None
    assert 0 < forward < step
    for _, (inputs, weight, grad, grad_inputs, grad_weight, out) in subject._work:
        torch.testing.assert_close(out, inputs @ weight.mT)
        torch.testing.assert_close(grad_inputs, grad @ weight)
        torch.testing.assert_close(grad_weight, grad.mT @ inputs)
    forward, step = subject.round()
    assert 0 < forward < step
