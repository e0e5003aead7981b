"""Kernels: literal values, agreement of the backends, gradients, and the choice of a backend."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from geograph.errors import BackendError, ConfigError, MissingExtraError, ShapeError
from geograph.kernels import (
    backends,
    gather_scatter,
    pair_linear,
    scatter,
    segment_index,
    segment_reduce,
    selected,
    use_backend,
)
from geograph.kernels.dispatch import BACKENDS

REDUCTIONS = ("sum", "mean", "max")


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    status = {row.name: row for row in backends()}[request.param]
    if not status.is_available:
        pytest.skip(f"backend {status.name}: {status.reason}")
    return request.param


TABLE = {  # segments of the rows [1, -2], [3, 4], [5, 0]; an empty one first, in the middle or last
    "sum": [[0, 0], [4, 2], [0, 0], [5, 0]],
    "mean": [[0, 0], [2, 1], [0, 0], [5, 0]],
    "max": [[0, 0], [3, 4], [0, 0], [5, 0]],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_segment_reduce_by_hand(backend: str, reduce: str, dtype: torch.dtype) -> None:
    src = torch.tensor([[1.0, -2], [3, 4], [5, 0]], dtype=dtype)
    out = segment_reduce(src, torch.tensor([0, 0, 2, 2, 3]), reduce, backend=backend)
    assert torch.equal(out, torch.tensor(TABLE[reduce], dtype=dtype))


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_negative_maximum_is_not_replaced_by_zero(backend: str, reduce: str) -> None:
    out = segment_reduce(torch.tensor([[-3.0], [-1.0]]), torch.tensor([0, 1, 2]), reduce, backend=backend)
    assert torch.equal(out, torch.tensor([[-3.0], [-1.0]]))


@pytest.mark.parametrize("shape", [(0, 3), (0,)])
def test_no_rows_give_zeros(backend: str, shape: tuple[int, ...]) -> None:
    out = segment_reduce(torch.zeros(shape), torch.zeros(4, dtype=torch.int64), "sum", backend=backend)
    assert torch.equal(out, torch.zeros((3, *shape[1:])))


def graph(num_nodes: int = 7, num_edges: int = 23) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randint(num_nodes, (2, num_edges), generator=generator)
    target = target.sort().values
    counts = torch.bincount(target, minlength=num_nodes)
    return torch.stack([source, target]), torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def operands(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"h": (7, 4), "edge_attr": (23, 2), "weight": (5, 10), "bias": (5,), "edge_weight": (23,)}
    shapes["rows"] = (23, 2, 3)
    return {
        name: torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True)
        for name, shape in shapes.items()
    }


def test_pair_linear_is_the_linear_map_of_the_concatenation(backend: str) -> None:
    edge_index, _ = graph()
    o = operands()
    rows = torch.cat([o["h"][edge_index[1]], o["h"][edge_index[0]], o["edge_attr"]], dim=1)
    expected = rows @ o["weight"].T + o["bias"]
    out = pair_linear(o["h"], o["edge_attr"], o["weight"], o["bias"], edge_index, backend=backend)
    assert torch.allclose(out, expected, rtol=0, atol=1e-13)
    bare = pair_linear(o["h"], None, o["weight"][:, :8], None, edge_index, backend=backend)
    assert torch.allclose(bare, rows[:, :8] @ o["weight"][:, :8].T, rtol=0, atol=1e-13)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_backends_agree_with_the_specification(backend: str, reduce: str) -> None:
    edge_index, ptr = graph()
    o = operands()
    for run in (
        lambda name: segment_reduce(o["rows"], ptr, reduce, backend=name),
        lambda name: gather_scatter(o["h"], o["edge_weight"], edge_index, ptr, reduce, backend=name),
    ):
        assert torch.allclose(run(backend), run("reference"), rtol=0, atol=1e-14)


def test_float32_error_is_that_of_rounding(backend: str) -> None:
    """Against the specification in float64; a dozen additions of numbers of order 1."""
    edge_index, ptr = graph()
    exact, rounded = operands(), operands()
    wanted = pair_linear(
        exact["h"], exact["edge_attr"], exact["weight"], None, edge_index, backend="reference"
    )
    single = {name: value.float() for name, value in rounded.items()}
    out = pair_linear(single["h"], single["edge_attr"], single["weight"], None, edge_index, backend=backend)
    scale = float(wanted.detach().abs().max())
    assert float((out - wanted).detach().abs().max()) <= 12 * torch.finfo(torch.float32).eps * scale
    total = segment_reduce(out, ptr, "sum", backend=backend)
    assert total.dtype is torch.float32


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_gradients_of_reductions(backend: str, reduce: str) -> None:
    edge_index, ptr = graph()
    o = operands()
    assert torch.autograd.gradcheck(lambda x: segment_reduce(x, ptr, reduce, backend=backend), (o["rows"],))
    assert torch.autograd.gradcheck(
        lambda h, w: gather_scatter(h, w, edge_index, ptr, reduce, backend=backend),
        (o["h"], o["edge_weight"]),
    )


def test_gradients_of_pair_linear(backend: str) -> None:
    edge_index, _ = graph()
    o = operands()
    inputs = (o["h"], o["edge_attr"], o["weight"], o["bias"])
    assert torch.autograd.gradcheck(lambda *x: pair_linear(*x, edge_index, backend=backend), inputs)


def test_native_has_second_gradients() -> None:
    edge_index, ptr = graph()
    o = operands()

    def run(h: Tensor, e: Tensor, w: Tensor) -> Tensor:
        pairs = pair_linear(h, e, w, None, edge_index, backend="native").tanh()
        return segment_reduce(pairs, ptr, "mean", backend="native")

    assert torch.autograd.gradgradcheck(run, (o["h"], o["edge_attr"], o["weight"]))


def test_non_contiguous_rows(backend: str) -> None:
    src = torch.arange(12.0).reshape(3, 4).T
    out = segment_reduce(src, torch.tensor([0, 3, 4]), "sum", backend=backend)
    assert torch.equal(out, torch.stack([src[:3].sum(0), src[3]]))


def test_segment_index_of_gaps() -> None:
    assert segment_index(torch.tensor([0, 0, 2, 2, 3]), 3).tolist() == [1, 1, 3]


def test_pointer_that_does_not_end_at_the_rows() -> None:
    with pytest.raises(ShapeError, match="`ptr` must end at the number of rows 3, got 2"):
        segment_reduce(torch.zeros(3, 1), torch.tensor([0, 2]), "sum")


def test_weight_with_wrong_columns() -> None:
    with pytest.raises(
        ShapeError, match=r"`weight` must have 9 columns \(two nodes and their edge\), got 10"
    ):
        pair_linear(torch.zeros(3, 4), torch.zeros(2, 1), torch.zeros(5, 10), None, torch.zeros(2, 2).long())


def test_unknown_reduction() -> None:
    with pytest.raises(ConfigError, match="`reduce` must be one of sum, mean, max, got 'prod'"):
        gather_scatter(
            torch.zeros(1, 1), torch.zeros(0), torch.zeros(2, 0).long(), torch.tensor([0, 0]), "prod"
        )


# Choice of a backend --------------------------------------------------------------------------------


def test_auto_is_the_fused_backend_of_the_device_and_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEOGRAPH_KERNELS", raising=False)
    works = {status.name for status in backends() if status.is_available}
    fused = "cpu" if "cpu" in works else "native"
    assert selected(None, torch.zeros(1)) == fused
    assert selected(None, torch.zeros(1, dtype=torch.float64)) == fused
    assert selected(None, torch.zeros(1, dtype=torch.bfloat16)) == "native"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert selected(None, torch.zeros(1)) == "native"


def test_a_backend_of_another_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if not {s.name: s for s in backends()}["cpu"].is_available:
        pytest.skip("no C++ compiler")
    monkeypatch.setattr("geograph.kernels.dispatch.FUSED", {"cpu": "cuda"})
    with pytest.raises(BackendError, match="'cpu' was asked for but .* runs on cuda, the data are on cpu"):
        selected("cpu", torch.zeros(1))


def test_argument_beats_context_beats_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOGRAPH_KERNELS", "reference")
    assert selected() == "reference"
    with use_backend("native") as name:
        assert (name, selected(), selected("reference")) == ("native", "native", "reference")
    assert selected() == "reference"


def test_unknown_backend_lists_what_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        BackendError, match="must be one of auto, reference, native, torch_scatter, cpu, triton, got 'cuda'"
    ):
        selected("cuda")
    monkeypatch.setenv("GEOGRAPH_KERNELS", "fast")
    with pytest.raises(BackendError, match="got 'fast'"):
        segment_reduce(torch.zeros(1, 1), torch.tensor([0, 1]))


def test_backend_that_cannot_run_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scatter, "find_spec", lambda name: None)
    with (
        pytest.raises(
            BackendError, match=r"'torch_scatter' was asked for but cannot run here: .*geograph\[scatter\]"
        ),
        use_backend("torch_scatter"),
    ):
        pytest.fail("the context must not be entered")
    status = {row.name: row for row in backends()}["torch_scatter"]
    assert not status.is_available
    assert "not installed" in status.reason
    with pytest.raises(MissingExtraError, match="torch_scatter"):
        scatter.segment_reduce(torch.zeros(1, 1), torch.tensor([0, 1]), torch.tensor([0]), "sum")


def test_backend_built_for_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("undefined symbol")

    monkeypatch.setattr(scatter, "find_spec", lambda name: object())
    monkeypatch.setattr(scatter, "import_module", broken)
    with pytest.raises(BackendError, match=r"cannot be imported \(undefined symbol\)"):
        selected("torch_scatter")


def test_torch_scatter_reduces_by_its_csr_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed package is tested above where it is present; here only how it is called."""

    class Fake:
        @staticmethod
        def segment_csr(src: Tensor, ptr: Tensor, reduce: str) -> Tensor:
            index = segment_index(ptr, len(src))
            return torch.zeros(len(ptr) - 1, *src.shape[1:]).index_add(0, index, src)

    monkeypatch.setitem(sys.modules, "torch_scatter", Fake)
    monkeypatch.setattr(scatter, "find_spec", lambda name: object())
    edge_index, ptr = graph()
    o = operands(torch.float32)
    out = gather_scatter(o["h"], o["edge_weight"], edge_index, ptr, "sum", backend="torch_scatter")
    wanted = gather_scatter(o["h"], o["edge_weight"], edge_index, ptr, "sum", backend="reference")
    assert torch.allclose(out, wanted, atol=1e-6)
