"""The matrix products that a model cannot avoid, counted from the model and its batch, and timed alone.

What counts:

- every product that one forward pass runs in the backend `native`, which splits the first linear layer of an
  edge network into node products: so the node networks and projections on N rows, and the later linear layers
  of the edge networks on E rows;
- in their number linear maps of multivectors, blade by blade; a geometric product as one matrix product with
  as many multiply-adds as the algebra has non-zero structure constants (4^n for each pair of input and
  output channels);
- for the training step, besides, two products of the same size for each: the gradients of input and weight.

What has a side shorter than 8 (gates, lengths, edge scalars, embeddings of a few inputs) does not count: it
costs no time beside the others where it is done on data that are at hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Data

from geograph.algebra.clifford import CliffordAlgebra
from geograph.kernels import geometric_product, use_backend

_BACKEND = "native"
_SHORTEST = 8
#: Products, and the position of their first factor among the arguments.
_OPERATIONS: dict[Any, int] = {
    torch.ops.aten.mm: 0,
    torch.ops.aten.bmm: 0,
    torch.ops.aten.addmm: 1,
    torch.ops.aten.baddbmm: 1,
}


@dataclass(frozen=True)
class Product:
    """Shape of a product [batch, rows, inner] x [batch, inner, columns]; batch 1 is a plain one."""

    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """Additions and multiplications."""
        return 2 * self.batch * self.rows * self.inner * self.columns

    @property
    def counts(self) -> bool:
        """Whether no side is too short."""
        return min(self.rows, self.inner, self.columns) >= _SHORTEST


def products_of(model: nn.Module, batch: Data) -> Counter[Product]:
    """Products of a forward pass, with how often each occurs.

    Parameters
    ----------
    model
        Any model that reads the batch; it is run once, in evaluation mode.
    batch
        Its input.
    """
    recorder = _Recorder()
    model.eval()
    with torch.no_grad(), use_backend(_BACKEND), _geometric_products_noted(recorder), recorder:
        model(batch)
    return Counter({product: count for product, count in recorder.found.items() if product.counts})


class _Recorder(TorchDispatchMode):
    """Notes the shapes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Product] = Counter()
        self.is_paused = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        place = _OPERATIONS.get(func.overloadpacket)
        if place is not None and not self.is_paused:
            left, right = args[place].shape, args[place + 1].shape
            self.found[Product(left[0] if len(left) == 3 else 1, left[-2], left[-1], right[-1])] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def _geometric_products_noted(recorder: _Recorder) -> Iterator[None]:
    """Note geometric products by formula, and nothing of what runs inside of them."""
    run = geometric_product.BACKENDS[_BACKEND]

    def noted(left: Tensor, right: Tensor, weight: Tensor, algebra: CliffordAlgebra) -> Tensor:
        recorder.found[sparse_product(left.shape[0], weight, algebra)] += 1
        recorder.is_paused = True
        result = run(left, right, weight, algebra)
        recorder.is_paused = False
        return result

    geometric_product.BACKENDS[_BACKEND] = noted
    try:
        yield
    finally:
        geometric_product.BACKENDS[_BACKEND] = run


def sparse_product(items: int, weight: Tensor, algebra: CliffordAlgebra) -> Product:
    """Matrix product with as many multiply-adds as a geometric product of so many items.

    Parameters
    ----------
    items
        Number of pairs of factors.
    weight
        Path weights, [channels, paths] or [out channels, channels, paths].
    algebra
        Its non-zero structure constants count.
    """
    blades, channels = algebra.num_blades, weight.shape[-2]
    columns = int(np.count_nonzero(algebra.signs)) // blades
    if weight.ndim == 2:
        return Product(1, items * channels, blades, columns)
    return Product(1, items, channels * blades, weight.shape[0] * columns)


class Products:
    """The products of a model, timed one after another.

    Parameters
    ----------
    model, batch
        What the products are counted from.
    device
        Where they are run.
    clock
        Seconds of a call on a device.
    """

    def __init__(
        self, model: nn.Module, batch: Data, device: str, clock: Callable[[Callable[[], None], str], float]
    ) -> None:
        self.device, self._clock = device, clock
        generator = torch.Generator(device).manual_seed(0)
        self._work: list[tuple[int, tuple[Tensor, ...]]] = []
        for product, count in products_of(model, batch).items():
            b, n, k, m = product.batch, product.rows, product.inner, product.columns
            shapes = [(n, k), (m, k), (n, m)] if b == 1 else [(b, n, k), (b, m, k), (b, n, m)]
            factors = [torch.randn(shape, device=device, generator=generator) for shape in shapes]
            self._work.append((count, (*factors, *map(torch.empty_like, factors))))

    def forward(self) -> None:
        """Run the products of the forward pass."""
        for count, (inputs, weight, _, _, _, out) in self._work:
            for _ in range(count):
                torch.matmul(inputs, weight.mT, out=out)

    def backward(self) -> None:
        """Run the products of the backward pass."""
        for count, (inputs, weight, grad, grad_inputs, grad_weight, _) in self._work:
            for _ in range(count):
                torch.matmul(grad, weight, out=grad_inputs)
                torch.matmul(grad.mT, inputs, out=grad_weight)

    def first(self) -> tuple[None, tuple[float, float]]:
        """Run everything once; its memory says nothing."""
        return None, self.round()

    def round(self) -> tuple[float, float]:
        """Seconds of the products of a forward pass, and of a training step."""
        forward = self._clock(self.forward, self.device)
        return forward, forward + self._clock(self.backward, self.device)
