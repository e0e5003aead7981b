r"""Tables for all Clebsch-Gordan products of the fragments of a signal, mixed by weights.

A signal of type tau has tau_l fragments of each degree l, each with 2 l + 1 real components. It stands in a
tensor [rows, columns]: the rows of degree l, which follow those of lower degrees, are [2 l + 1, tau_l]; the
columns are everything that is treated alike (channels, spheres). Degree l of the result is

    y^l_t' = sum_{(l1, l2), t1, t2} W^l_{t', (l1 l2 t1 t2)} C^{l1 l2 l} (x^{l1}_{t1} x x^{l2}_{t2}).

Real harmonics have two parities that multiply like signs: whether they go with sin or cos of m phi, and
whether m is odd. Components are sorted into these four classes, so that all products that make one class
are one matrix product with a quarter of the rows and a quarter of the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from geograph.algebra.clebsch_gordan import clebsch_gordan
from geograph.algebra.mixing_sets import Pairs
from geograph.algebra.tables import cached_tables
from geograph.errors import ConfigError

#: Numbers in the largest intermediate array of one block: fits the caches of a core, or feeds a GPU.
_BLOCK_CPU, _BLOCK_CUDA = 1 << 19, 1 << 26


def _class_orders(degree: int) -> list[list[int]]:
    """Orders m of the components of each class: cos even, cos odd, sin even, sin odd."""
    even, odd = list(range(2, degree + 1, 2)), list(range(1, degree + 1, 2))
    return [[0, *even], odd, [-m for m in even], [-m for m in odd]]


def class_width(degree: int) -> int:
    """Places for each class, filled up to the largest class."""
    return degree // 2 + 1


def row_offsets(tau: Sequence[int]) -> list[int]:
    """First row of each degree, and the number of rows at the end."""
    offsets = [0]
    for degree, count in enumerate(tau):
        offsets.append(offsets[-1] + (2 * degree + 1) * count)
    return offsets


def _sorted_rows(degree: int, count: int, first: int) -> Tensor:
    """Row of each place [4, width, count]; places that stay empty repeat the first row."""
    places = torch.full((4, class_width(degree), count), first)
    for kind, members in enumerate(_class_orders(degree)):
        for place, m in enumerate(members):
            places[kind, place] = first + (degree + m) * count + torch.arange(count)
    return places


def _sorted_coupling(l1: int, l2: int, degree: int) -> Tensor:
    """Coefficients [class of the product, place, (class 1, place 1, place 2)]; zero at empty places."""
    full = clebsch_gordan(l1, l2, degree)
    flip = 2 * ((l1 + l2 + degree) % 2)
    first, second, result = _class_orders(l1), _class_orders(l2), _class_orders(degree)
    coupling = torch.zeros(4, class_width(degree), 4, class_width(l1), class_width(l2), dtype=torch.float64)
    for kind in range(4):
        rows = [m + degree for m in result[kind ^ flip]]
        for left in range(4):
            lefts, rights = [m + l1 for m in first[left]], [m + l2 for m in second[kind ^ left]]
            if rows and lefts and rights:
                block = full[lefts][:, rights][:, :, rows].permute(2, 0, 1)
                coupling[kind, : len(rows), left, : len(lefts), : len(rights)] = block
    return coupling.flatten(2)


@dataclass(frozen=True)
class PairTables:
    """One pair of degrees and everything that its products go into.

    Attributes
    ----------
    coupling
        [4, R, 4 * width * width], R the places of all result degrees.
    rows
        Places [4 * R] in the sorted result.
    weights
        Index [R, T, tau1 * tau2] into the weights; one past the end where T exceeds tau of that degree.
    products
        Index [R, tau1 * tau2] of each product among those of all degrees.
    """

    l1: int
    l2: int
    coupling: Tensor
    rows: Tensor
    weights: Tensor
    products: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> PairTables:
        """Tables on a device."""
        return PairTables(
            self.l1,
            self.l2,
            self.coupling.to(device, dtype),
            self.rows.to(device),
            self.weights.to(device),
            self.products.to(device),
        )


class ProductPlan:
    """Tables of the operation for one input type, one output type and one set of pairs.

    Parameters
    ----------
    tau_in, tau_out
        Fragments of each degree.
    pairs
        Pairs (l1, l2), l1 <= l2, for each degree of the result.

    Attributes
    ----------
    num_products
        Products of each degree, in the order of the pairs, then t1, then t2.
    num_weights
        Sum over the degrees of tau_out times the products; degree by degree, row by row.
    product_of_weight
        Index of the product, among those of all degrees, that each weight multiplies.
    is_alive
        False for products that vanish: a fragment with itself to an odd degree.

    Raises
    ------
    ConfigError
        If a degree of the result that should have fragments has no products.
    """

    def __init__(self, tau_in: tuple[int, ...], tau_out: tuple[int, ...], pairs: tuple[Pairs, ...]) -> None:
        self.tau_in, self.tau_out, self.pairs = tau_in, tau_out, pairs
        self.num_products = [sum(tau_in[a] * tau_in[b] for a, b in each) for each in pairs]
        for degree, (count, wanted) in enumerate(zip(self.num_products, tau_out, strict=True)):
            if wanted and not count:
                raise ConfigError(f"no products of the given fragments have degree {degree}.")
        self.num_weights = sum(p * t for p, t in zip(self.num_products, tau_out, strict=True))
        self.rows_in, self.rows_out = row_offsets(tau_in), row_offsets(tau_out)
        self.first_product = [sum(self.num_products[:degree]) for degree in range(len(pairs) + 1)]
        self.product_of_weight = torch.cat(
            [
                torch.arange(self.first_product[degree], self.first_product[degree + 1]).repeat(count)
                for degree, count in enumerate(tau_out)
            ]
        )
        self.is_alive = self._alive()
        self.sorted_in = [
            _sorted_rows(degree, count, first).flatten()
            for degree, (count, first) in enumerate(zip(tau_in, self.rows_in[:-1], strict=True))
        ]
        self._layout_out()
        clebsch_gordan(0, 0, 0)  # fails here, not in the first step, where e3nn is missing
        self._on: dict[tuple[torch.device, torch.dtype], list[PairTables]] = {}

    def _alive(self) -> Tensor:
        alive: list[Tensor] = []
        for degree, each in enumerate(self.pairs):
            for a, b in each:
                if a == b and degree % 2:
                    alive.append(~torch.eye(self.tau_in[a], dtype=torch.bool).flatten())
                else:
                    alive.append(torch.ones(self.tau_in[a] * self.tau_in[b], dtype=torch.bool))
        return torch.cat(alive) if alive else torch.ones(0, dtype=torch.bool)

    def _layout_out(self) -> None:
        """Places of the sorted result [4, places, T], and where each row of the result is among them."""
        self.width_out = max(self.tau_out)
        widths = [class_width(degree) if count else 0 for degree, count in enumerate(self.tau_out)]
        self.first_place = [sum(widths[:degree]) for degree in range(len(widths) + 1)]
        self.num_places = self.first_place[-1]
        gather = torch.zeros(self.rows_out[-1], dtype=torch.int64)
        for degree, count in enumerate(self.tau_out):
            for kind, members in enumerate(_class_orders(degree)) if count else ():
                for place, m in enumerate(members):
                    row = self.rows_out[degree] + (degree + m) * count
                    start = (kind * self.num_places + self.first_place[degree] + place) * self.width_out
                    gather[row : row + count] = start + torch.arange(count)
        self.gather_out = gather

    @cached_property
    def _pairs(self) -> list[PairTables]:
        with torch.inference_mode(False), torch.no_grad():
            return self._build_pairs()

    def _build_pairs(self) -> list[PairTables]:
        into: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        weight = 0
        for degree, each in enumerate(self.pairs):
            product = 0
            for a, b in each:
                size = self.tau_in[a] * self.tau_in[b]
                if size and self.tau_out[degree]:
                    into.setdefault((a, b), []).append((degree, weight + product, product))
                product += size
            weight += self.tau_out[degree] * self.num_products[degree]
        return [self._build_pair(a, b, targets) for (a, b), targets in sorted(into.items())]

    def _build_pair(self, a: int, b: int, targets: list[tuple[int, int, int]]) -> PairTables:
        coupling, rows, weights, products = [], [], [], []
        size = torch.arange(self.tau_in[a] * self.tau_in[b])
        for degree, weight, product in targets:
            width, flip = class_width(degree), 2 * ((a + b + degree) % 2)
            coupling.append(_sorted_coupling(a, b, degree))
            kinds = torch.arange(4)[:, None] ^ flip
            rows.append(kinds * self.num_places + self.first_place[degree] + torch.arange(width))
            index = torch.full((self.width_out, len(size)), self.num_weights)
            lines = torch.arange(self.tau_out[degree])[:, None] * self.num_products[degree]
            index[: self.tau_out[degree]] = weight + lines + size
            weights.append(index.expand(width, -1, -1))
            products.append((self.first_product[degree] + product + size).expand(width, -1))
        return PairTables(
            a,
            b,
            torch.cat(coupling, 1),
            torch.cat(rows, 1).flatten(),
            torch.cat(weights),
            torch.cat(products),
        )

    def on(self, device: torch.device, dtype: torch.dtype) -> list[PairTables]:
        """Tables of every pair on a device."""
        key = (device, dtype)
        if key not in self._on:
            with torch.inference_mode(False):
                self._on[key] = [pair.to(device, dtype) for pair in self._pairs]
        return self._on[key]

    def block(self, device: torch.device) -> int:
        """Columns that are worked on together."""
        largest = max(
            16 * class_width(pair.l1) * class_width(pair.l2) * self.tau_in[pair.l1] * self.tau_in[pair.l2]
            for pair in self._pairs
        )
        return max(32, (_BLOCK_CUDA if device.type == "cuda" else _BLOCK_CPU) // largest)


@cached_tables(maxsize=64)
def product_plan(tau_in: tuple[int, ...], tau_out: tuple[int, ...], pairs: tuple[Pairs, ...]) -> ProductPlan:
    """Tables of one operation, shared by everything that does it (see `ProductPlan`)."""
    return ProductPlan(tau_in, tau_out, pairs)
