"""Calls of the C++ kernel of mixed Clebsch-Gordan products: tables, tensors in, tensors out, no autograd."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geograph.algebra.clebsch_gordan import clebsch_gordan
from geograph.algebra.tables import cached_tables
from geograph.kernels.cpu.build import load

_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
_ARRAYS = (
    "pairs", "targets", "line_ptr", "line_product", "line_value", "back_ptr", "back_line", "back_value",
)  # fmt: skip
_SIZES = (
    "num_pairs", "rows_in", "rows_out", "num_weights", "num_products", "most_products", "most_lines",
    "most_tau",
)  # fmt: skip

#: Pairs (l1, l2) for each degree of the result.
DegreePairs = tuple[tuple[tuple[int, int], ...], ...]


class _Tables(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in _ARRAYS),
        *((name, ctypes.c_long) for name in _SIZES),
    ]


def _first_rows(tau: Sequence[int]) -> list[int]:
    sizes = [(2 * degree + 1) * count for degree, count in enumerate(tau)]
    return [sum(sizes[:degree]) for degree in range(len(tau) + 1)]


class FragmentTables:
    """Lists of the nonzero coupling coefficients, as the kernel reads them.

    Parameters
    ----------
    tau_in, tau_out
        Fragments of each degree.
    pairs
        Pairs (l1, l2), l1 <= l2, for each degree of the result. Weights and products are numbered degree by
        degree in this order; the weights of a degree are [tau_out, products].
    """

    def __init__(self, tau_in: tuple[int, ...], tau_out: tuple[int, ...], pairs: DegreePairs) -> None:
        self.rows_in, self.rows_out = _first_rows(tau_in), _first_rows(tau_out)
        self._lists: dict[str, list[Any]] = {name: [] for name in _ARRAYS}
        self._lists["line_ptr"].append(0)
        self._lists["back_ptr"].append(0)
        self.sizes = dict.fromkeys(_SIZES, 0)
        into: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
        weight = product = 0
        for degree, each in enumerate(pairs):
            counts = [tau_in[a] * tau_in[b] for a, b in each]
            for place, pair in enumerate(each):
                if counts[place] and tau_out[degree]:
                    before = sum(counts[:place])
                    into.setdefault(pair, []).append((degree, weight + before, sum(counts), product + before))
            weight += tau_out[degree] * sum(counts)
            product += sum(counts)
        for (a, b), targets in sorted(into.items()):
            self._add_pair(a, b, tau_in, tau_out, targets)
        self.sizes |= {
            "num_pairs": len(into), "rows_in": self.rows_in[-1], "rows_out": self.rows_out[-1],
            "num_weights": weight, "num_products": product, "most_tau": max(tau_out),
        }  # fmt: skip
        self._ready: dict[torch.dtype, tuple[_Tables, list[Any]]] = {}

    def _add_pair(
        self,
        a: int,
        b: int,
        tau_in: tuple[int, ...],
        tau_out: tuple[int, ...],
        targets: list[tuple[int, int, int, int]],
    ) -> None:
        lists, coupling = self._lists, []
        first = len(lists["targets"])
        back = len(lists["back_ptr"]) - 1
        for degree, weight, stride, product in targets:
            size, begin = 2 * degree + 1, len(lists["line_ptr"]) - 1
            lists["targets"].append(
                (self.rows_out[degree], size, tau_out[degree], weight, stride, product, begin)
            )
            # Line by line: a component of the result, its pairs of components and their coefficients.
            matrix = clebsch_gordan(a, b, degree).numpy().reshape(-1, size).T
            self._add_lines("line", "line_product", matrix)
            coupling.append(matrix)
        self._add_lines("back", "back_line", np.concatenate(coupling).T)
        lists["pairs"].append(
            (
                self.rows_in[a], 2 * a + 1, tau_in[a], self.rows_in[b], 2 * b + 1, tau_in[b],
                first, len(lists["targets"]), back,
            )
        )  # fmt: skip
        products, lines = (2 * a + 1) * (2 * b + 1), sum(len(matrix) for matrix in coupling)
        self.sizes["most_products"] = max(self.sizes["most_products"], products)
        self.sizes["most_lines"] = max(self.sizes["most_lines"], lines)

    def _add_lines(self, name: str, index: str, matrix: np.ndarray) -> None:
        rows, columns = np.nonzero(matrix)
        counts = np.bincount(rows, minlength=len(matrix))
        last = self._lists[f"{name}_ptr"][-1]
        self._lists[f"{name}_ptr"].extend((last + np.cumsum(counts)).tolist())
        self._lists[index].extend(columns.tolist())
        self._lists[f"{name}_value"].extend(matrix[rows, columns].tolist())

    def of(self, dtype: torch.dtype) -> _Tables:
        """Tables with coefficients of one type."""
        if dtype not in self._ready:
            real = np.float32 if dtype == torch.float32 else np.float64
            kinds = {"pairs": np.int64, "targets": np.int64, "line_value": real, "back_value": real}
            kept = [np.array(self._lists[name], dtype=kinds.get(name, np.int32)) for name in _ARRAYS]
            tables = _Tables(*[array.ctypes.data for array in kept], *[self.sizes[name] for name in _SIZES])
            self._ready[dtype] = tables, kept
        return self._ready[dtype][0]


@cached_tables(maxsize=64)
def fragment_tables(tau_in: tuple[int, ...], tau_out: tuple[int, ...], pairs: DegreePairs) -> FragmentTables:
    """Tables of one operation, shared by everything that does it."""
    return FragmentTables(tau_in, tau_out, pairs)


def _run(name: str, tables: FragmentTables, tensors: list[Tensor | None], columns: int) -> None:
    first = tensors[0]
    assert first is not None
    function = getattr(load(), f"gg_fragment_products_{name}_{_SUFFIX[first.dtype]}")
    addresses = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in tensors]
    inputs, outputs = addresses[:-2], addresses[-2:]
    function(
        ctypes.byref(tables.of(first.dtype)), *inputs, ctypes.c_long(columns), *outputs,
        ctypes.c_int(torch.get_num_threads()),
    )  # fmt: skip


def fragment_products_forward(
    tables: FragmentTables, x: Tensor, weight: Tensor, has_squares: bool
) -> tuple[Tensor, Tensor]:
    """Mixed products [rows, columns], and the sum of squares of each product (zeros if not asked for)."""
    x, weight = x.contiguous(), weight.contiguous()
    result = x.new_empty((tables.rows_out[-1], x.shape[1]))
    squares = x.new_zeros(tables.sizes["num_products"])
    _run("forward", tables, [x, weight, result, squares if has_squares else None], x.shape[1])
    return result, squares


def fragment_products_backward(
    tables: FragmentTables, x: Tensor, weight: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients by input and weights."""
    x, weight, gradient = x.contiguous(), weight.contiguous(), gradient.contiguous()
    by_x, by_weight = torch.empty_like(x), torch.zeros_like(weight)
    _run("backward", tables, [x, weight, gradient, by_x, by_weight], x.shape[1])
    return by_x, by_weight
