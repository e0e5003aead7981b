"""Fused messages of the Clifford network of jets against the composed ones, alone and in whole models."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from strategies import make_batch
from torch import Tensor, nn

from geograph.algebra.clifford import CliffordAlgebra
from geograph.errors import ShapeError
from geograph.kernels import clifford_fused, clifford_messages, cpu, use_backend
from geograph.kernels.clifford import BlockWeights
from geograph.kernels.clifford_messages import MessageWeights
from geograph.layers.clifford_graph import LorentzCliffordLayer
from geograph.models import build_model

HIDDEN = 5
METRICS = {"Cl(2,0)": (1, 1), "Cl(3,0)": (1, 1, 1), "Cl(1,3)": (1, -1, -1, -1), "Cl(3,0,1)": (0, 1, 1, 1)}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    reason = cpu.unavailable()
    if reason is not None:
        pytest.skip(f"no compiled kernels: {reason}")


def edges_of(degrees: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Edges with so many sources, drawn at random, for each target."""
    generator = torch.Generator().manual_seed(seed)
    ptr = torch.tensor([0, *degrees]).cumsum(0)
    target = torch.repeat_interleave(torch.arange(len(degrees)), torch.tensor(degrees))
    source = torch.randint(0, len(degrees), (int(ptr[-1]),), generator=generator)
    return torch.stack([source, target]), ptr


def arguments(
    algebra: CliffordAlgebra, nodes: int, channels: int = 3, momenta: int = 1
) -> tuple[Tensor, Tensor, Tensor, MessageWeights]:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int, scale: float = 0.5) -> Tensor:
        return scale * torch.randn(shape, generator=generator, dtype=torch.float64)

    n, grades = 3 * channels + 3 * momenta, algebra.num_grades
    block = BlockWeights(
        right=random(n, n, grades),
        left=random(channels, n, grades),
        path=random(channels, n, len(algebra.paths)),
        left_bias=random(channels),
        layer=random(channels),
    )
    norm = nn.BatchNorm1d(HIDDEN).double()
    nn.init.normal_(norm.weight, generator=generator)
    gates = channels * grades
    weights = MessageWeights(
        block,
        random(HIDDEN, gates + 3 * HIDDEN),
        norm,
        random(HIDDEN, HIDDEN),
        random(HIDDEN),
        (random(HIDDEN, HIDDEN), random(HIDDEN), random(gates, HIDDEN), random(gates)),
    )
    blades = algebra.num_blades
    return random(nodes, HIDDEN), random(nodes, channels, blades), random(nodes, momenta, blades), weights


def run(
    algebra: CliffordAlgebra,
    given: tuple[Tensor, Tensor, Tensor, MessageWeights],
    edges: tuple[Tensor, Tensor],
    backend: str,
    *,
    reduce: str = "mean",
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Return outputs, running moments and all gradients."""
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor | None) -> Tensor | None:
        if tensor is not None:
            tensor = tensor.detach().to(dtype).requires_grad_()
            leaves.append(tensor)
        return tensor

    h, x, vectors, weights = given
    old = weights.block
    block = BlockWeights(
        right=leaf(old.right), left=leaf(old.left), path=leaf(old.path), norm=leaf(old.norm),
        left_bias=leaf(old.left_bias), layer=leaf(old.layer),
    )  # fmt: skip
    norm = copy.deepcopy(weights.norm).to(dtype)
    leaves += list(norm.parameters())
    gate = None if weights.gate is None else tuple(leaf(t) for t in weights.gate)
    moved = MessageWeights(block, leaf(weights.scalar), norm, leaf(weights.map), leaf(weights.map_bias), gate)
    inputs = (leaf(h), leaf(x), leaf(vectors))
    out = clifford_messages.clifford_messages(*inputs, moved, *edges, algebra, reduce=reduce, backend=backend)
    loss = sum(part.sin().sum() for part in out)
    grads = torch.autograd.grad(loss, leaves)
    moments = [] if norm.running_mean is None else [norm.running_mean, norm.running_var]
    return [*(part.detach() for part in out), *moments, *grads]


def assert_close(ours: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-10) -> None:
    for number, (a, b) in enumerate(zip(ours, wanted, strict=True)):
        assert a.shape == b.shape
        error, scale = float((a - b).abs().max()), max(float(b.abs().max()), 1e-2)
        assert error <= tolerance * scale, f"tensor {number}: error {error:.1e} of {scale:.1e}"


@pytest.fixture
def count_fused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    fused: Callable[..., tuple[Tensor, Tensor]] = clifford_fused.fused_messages
    monkeypatch.setattr(clifford_fused, "fused_messages", lambda *args: (calls.append(1), fused(*args))[1])
    return calls


@every_metric
@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_fused_equals_composed(metric: tuple[int, ...], reduce: str, count_fused: list[int]) -> None:
    algebra = CliffordAlgebra(metric)
    edges = edges_of([0, 1, 30, 25, 7, 0, 24, 52, 3])
    given = arguments(algebra, 9)
    wanted = run(algebra, given, edges, "reference", reduce=reduce)
    assert not count_fused
    assert_close(run(algebra, given, edges, "cpu", reduce=reduce), wanted)
    assert count_fused


def test_five_dimensions_and_several_momenta(count_fused: list[int]) -> None:
    algebra = CliffordAlgebra((1, 1, 1, 1, -1))
    given, edges = arguments(algebra, 4, channels=2, momenta=2), edges_of([9, 0, 11, 8])
    assert_close(run(algebra, given, edges, "cpu"), run(algebra, given, edges, "reference"))
    assert count_fused


@pytest.mark.parametrize("degrees", [[0, 0], [1, 0, 0], [6]], ids=["no edges", "sparse", "one node"])
def test_small_graphs(degrees: list[int]) -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    given, edges = arguments(algebra, len(degrees)), edges_of(degrees)
    given[3].norm.eval()
    assert_close(run(algebra, given, edges, "cpu"), run(algebra, given, edges, "reference"))


def test_unsorted_edges_and_unknown_nodes_are_refused() -> None:
    algebra = CliffordAlgebra((1, 1))
    given = arguments(algebra, 4)
    edge_index, edge_ptr = edges_of([9, 10, 11, 8])
    with pytest.raises(ShapeError, match="`edge_index`"):
        run(algebra, given, (edge_index.flip(1), edge_ptr), "cpu")
    edge_index[0, 5] = 4
    with pytest.raises(ShapeError, match="`edge_index`"):
        run(algebra, given, (edge_index, edge_ptr), "cpu")
    with pytest.raises(ShapeError, match="`edge_ptr`"):
        run(algebra, given, (edge_index, edge_ptr[:-1]), "cpu")


@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_moments_follow(momentum: float | None) -> None:
    algebra = CliffordAlgebra((1, 1))
    given, edges = arguments(algebra, 4), edges_of([9, 10, 11, 8])
    given[3].norm.momentum = momentum
    for _ in range(2):
        results = []
        for backend in ("cpu", "reference"):
            results.append(run(algebra, given, edges, backend)[2:4])
        assert_close(*results)


def test_without_running_moments() -> None:
    algebra = CliffordAlgebra((1, 1))
    h, x, vectors, weights = arguments(algebra, 4)
    weights = MessageWeights(
        weights.block, weights.scalar, nn.BatchNorm1d(HIDDEN, track_running_stats=False).double().eval(),
        weights.map, weights.map_bias, weights.gate,
    )  # fmt: skip
    edges = edges_of([9, 10, 11, 8])
    given = (h, x, vectors, weights)
    assert_close(run(algebra, given, edges, "cpu"), run(algebra, given, edges, "reference"))


def test_no_gates_and_normalised_products_are_composed(count_fused: list[int]) -> None:
    algebra = CliffordAlgebra((1, 1))
    h, x, vectors, weights = arguments(algebra, 4)
    edges = edges_of([9, 10, 11, 8])
    plain = MessageWeights(weights.block, weights.scalar, weights.norm, weights.map, weights.map_bias, None)
    given = (h, x, vectors, plain)
    assert_close(run(algebra, given, edges, "cpu"), run(algebra, given, edges, "reference"))
    assert not count_fused


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_threads_gives_the_same_bits(dtype: torch.dtype) -> None:
    algebra = CliffordAlgebra((1, -1, -1, -1))
    given, edges = arguments(algebra, 30), edges_of([35, 12, 0] * 10)
    given[3].norm.eval()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(algebra, given, edges, "cpu", dtype=dtype))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_float32_error_is_that_of_the_reference() -> None:
    algebra = CliffordAlgebra((1, 1, 1, 1))  # definite: no cancelling norms
    given, edges = arguments(algebra, 40, channels=8), edges_of([20] * 40)
    exact = run(algebra, given, edges, "reference")
    errors = []
    for backend in ("cpu", "reference"):
        rounded = run(algebra, given, edges, backend, dtype=torch.float32)
        errors.append(
            [float((a - b).norm() / (b.norm() + 1e-3)) for a, b in zip(rounded, exact, strict=True)]
        )
    for ours, theirs in zip(*errors, strict=True):
        assert ours <= 2 * theirs + 1e-7


def test_second_derivatives() -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    h, x, vectors, weights = arguments(algebra, 3)
    edges = edges_of([7, 8, 6])
    results = []
    for backend in ("cpu", "native"):  # the segment reduction of the reference has no second derivative
        moved = x.clone().requires_grad_()
        path = weights.block.path.clone().requires_grad_()
        block = BlockWeights(
            weights.block.right, weights.block.left, path, left_bias=weights.block.left_bias,
            layer=weights.block.layer,
        )  # fmt: skip
        both = MessageWeights(
            block, weights.scalar, weights.norm, weights.map, weights.map_bias, weights.gate
        )
        out = clifford_messages.clifford_messages(h, moved, vectors, both, *edges, algebra, backend=backend)
        loss = out[0].square().sum() + out[1].sin().sum()
        (slope,) = torch.autograd.grad(loss, moved, create_graph=True)
        results.append([slope.detach(), *torch.autograd.grad(slope.square().sum(), (moved, path))])
    assert_close(*results, tolerance=1e-8)


def model_results(model: nn.Module, batch: object, backend: str) -> list[Tensor]:
    model = copy.deepcopy(model)
    with use_backend(backend):
        out = model(batch)
        grads = torch.autograd.grad(out.sin().sum(), list(model.parameters()))
        trained = [buffer.double() for buffer in model.buffers()]
        with torch.no_grad():
            evaluated = model.eval()(batch)
    return [out.detach(), evaluated, *trained, *grads]


@pytest.mark.parametrize("name", ["cgenn-lorentz", "cgenn-nbody"])
@pytest.mark.parametrize("product", ["fully_connected", "elementwise"])
def test_models_agree_in_every_backend(name: str, product: str) -> None:
    kind = "jet" if name == "cgenn-lorentz" else "nbody"
    batch = make_batch(kind, 3, 0, torch.float64)
    torch.manual_seed(0)
    extra = {"dropout": 0.0, "num_multivectors": 3} if kind == "jet" else {}
    model = build_model(name, num_hidden=6, num_layers=2, product=product, **extra).double()
    wanted = model_results(model, batch, "reference")
    for backend in ("native", "cpu"):
        assert_close(model_results(model, batch, backend), wanted, tolerance=1e-8)


def test_layer_options(count_fused: list[int]) -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    edge_index, edge_ptr = edges_of([7, 8, 6])
    for options in (
        {"aggregation": "sum", "is_residual": True},
        {"has_gates": False},
        {"normalization_init": 0.5},
    ):
        torch.manual_seed(0)
        layer = LorentzCliffordLayer(algebra, 4, 2, 2, **options).double()
        h, x, s, p = (torch.randn(3, *shape).double() for shape in ((4,), (2, 8), (2,), (1, 8)))
        results = []
        for backend in ("cpu", "reference"):
            with use_backend(backend):
                results.append([t.detach() for t in layer(h, x, s, p, edge_index, edge_ptr)])
        assert_close(*results, tolerance=1e-9)
    assert len(count_fused) == 1
