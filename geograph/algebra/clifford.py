r"""Clifford algebras Cl(p, q, r) with diagonal metrics, their tables and their group actions.

A multivector is a last axis of length :math:`2^n` over basis blades in short-lex order: by grade, then
lexicographically (1, e0, e1, ..., e01, e02, ...). The basis obeys :math:`e_i e_i` = ``metric[i]`` and
:math:`e_i e_j = -e_j e_i`. The Cayley table is indexed [left, out, right].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from geograph.algebra.clifford_tables import CliffordTables, clifford_tables
from geograph.errors import ConfigError, ShapeError

_MAX_DIMENSION = 8


@cache
def _constant(metric: tuple[float, ...], name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Table as a tensor. Made outside inference mode, because autograd may save it later."""
    algebra = CliffordAlgebra(metric)
    with torch.inference_mode(False):
        return torch.tensor(getattr(algebra, name), dtype=dtype, device=device)


@dataclass(frozen=True)
class CliffordAlgebra:
    r"""Clifford algebra of a diagonal metric; immutable, equal metrics share their tables.

    Parameters
    ----------
    metric
        Squares of the basis vectors, each 1, -1 or 0: (1, -1, -1, -1) for Cl(1, 3).

    Raises
    ------
    ConfigError
        If an entry is not 1, -1 or 0, or if there are none or more than eight.

    References
    ----------
    Ruhe et al. (2023), arXiv:2305.11141, section 2 and appendix C.
    """

    metric: Sequence[float | int]

    def __post_init__(self) -> None:
        """Check the metric and store it as a tuple of floats."""
        metric = tuple(float(square) for square in self.metric)
        if not 1 <= len(metric) <= _MAX_DIMENSION:
            raise ConfigError(f"`metric` must have 1 to {_MAX_DIMENSION} entries, got {len(metric)}.")
        bad = [square for square in metric if square not in (1.0, -1.0, 0.0)]
        if bad:
            raise ConfigError(f"`metric` entries must be 1, -1 or 0, got {bad[0]}; rescale the basis.")
        object.__setattr__(self, "metric", metric)

    @property
    def tables(self) -> CliffordTables:
        """Blades, signs and paths."""
        return clifford_tables(tuple(self.metric))

    @property
    def dim(self) -> int:
        """Dimension n of the vector space."""
        return len(self.metric)

    @property
    def num_blades(self) -> int:
        """Dimension 2^n of the algebra."""
        return 1 << self.dim

    @property
    def num_grades(self) -> int:
        """Number n + 1 of grades."""
        return self.dim + 1

    @property
    def subspaces(self) -> tuple[int, ...]:
        """Number of blades of each grade."""
        return tuple(math.comb(self.dim, grade) for grade in range(self.num_grades))

    @property
    def slices(self) -> tuple[slice, ...]:
        """Blades of each grade."""
        ends = tuple(itertools.accumulate(self.subspaces))
        return tuple(slice(end - size, end) for end, size in zip(ends, self.subspaces, strict=True))

    @property
    def grades(self) -> NDArray[np.int64]:
        """Grade of each blade."""
        return self.tables.grades

    @property
    def paths(self) -> tuple[tuple[int, int, int], ...]:
        """Grade triples (left, out, right) whose product is not identically zero, in lexical order."""
        return self.tables.paths

    @property
    def path_mask(self) -> NDArray[np.bool_]:
        """Whether grades (left, out, right) form a path."""
        mask = np.zeros((self.num_grades,) * 3, dtype=bool)
        mask[tuple(np.array(self.paths).T)] = True
        return mask

    @property
    def cayley(self) -> NDArray[np.float64]:
        """Dense structure constants, [left, out, right]."""
        table = np.zeros((self.num_blades,) * 3)
        left, out = np.indices((self.num_blades,) * 2)
        table[left, out, self.tables.right] = self.tables.signs
        return table

    @property
    def reverse_signs(self) -> NDArray[np.float64]:
        """Sign of each blade under reversal of the factors, (-1)^(k(k-1)/2)."""
        return np.where(self.grades * (self.grades - 1) // 2 % 2, -1.0, 1.0)

    @property
    def involution_signs(self) -> NDArray[np.float64]:
        """Sign of each blade under the grade involution, (-1)^k."""
        return np.where(self.grades % 2, -1.0, 1.0)

    @property
    def squares(self) -> NDArray[np.float64]:
        """Scalar <reverse(e_B) e_B>_0 of each blade: the product of its vectors' squares."""
        masks = self.tables.masks
        return np.array([math.prod(s for i, s in enumerate(self.metric) if m >> i & 1) for m in masks], float)

    @property
    def grade_squares(self) -> NDArray[np.float64]:
        """`squares` sorted by grade, [blade, grade]: maps x * x to the quadratic form of each grade."""
        return self.squares[:, None] * (self.grades[:, None] == np.arange(self.num_grades))

    @property
    def grade_blades(self) -> NDArray[np.float64]:
        """1 where a blade has a grade, [grade, blade]: maps one value for each grade to its blades."""
        return (np.arange(self.num_grades)[:, None] == self.grades).astype(float)

    @property
    def right(self) -> NDArray[np.int64]:
        """Right factor of each pair (left, out); see `CliffordTables`."""
        return self.tables.right

    @property
    def signs(self) -> NDArray[np.float64]:
        """Sign of each pair (left, out); see `CliffordTables`."""
        return self.tables.signs

    @property
    def path_index(self) -> NDArray[np.int64]:
        """Path of each pair (left, out); see `CliffordTables`."""
        return self.tables.path_index

    def constant(self, name: str, like: Tensor) -> Tensor:
        """Array property `name` as a tensor on the device of `like`; floats take its dtype too."""
        is_index = name in ("right", "path_index", "grades")
        dtype = torch.int64 if is_index else like.dtype
        return _constant(tuple(self.metric), name, dtype, like.device)

    def embed(self, values: Float[Tensor, "*batch k"], grade: int) -> Float[Tensor, "*batch blades"]:
        """Multivector that has `values` in one grade and zeros elsewhere.

        Raises
        ------
        ShapeError
            If the last axis is not as long as the grade.
        """
        place = self.slices[self._grade(grade)]
        if values.shape[-1] != self.subspaces[grade]:
            raise ShapeError(
                f"`values` must have a last axis of length {self.subspaces[grade]} for grade {grade}, "
                f"got shape {tuple(values.shape)}."
            )
        return torch.nn.functional.pad(values, (place.start, self.num_blades - place.stop))

    def take(self, x: Float[Tensor, "*batch blades"], grade: int) -> Float[Tensor, "*batch k"]:
        """Return the components of one grade."""
        return self._checked(x)[..., self.slices[self._grade(grade)]]

    def project(self, x: Float[Tensor, "*batch blades"], grade: int) -> Float[Tensor, "*batch blades"]:
        """Return the part of one grade, as a multivector."""
        return self.embed(self.take(x, grade), grade)

    def reverse(self, x: Float[Tensor, "*batch blades"]) -> Float[Tensor, "*batch blades"]:
        """Reverse the order of the factors; an anti-automorphism."""
        return self._checked(x) * self.constant("reverse_signs", x)

    def involute(self, x: Float[Tensor, "*batch blades"]) -> Float[Tensor, "*batch blades"]:
        """Grade involution, x -> -x on vectors; an automorphism."""
        return self._checked(x) * self.constant("involution_signs", x)

    def product(
        self, x: Float[Tensor, "*left_batch blades"], y: Float[Tensor, "*right_batch blades"]
    ) -> Float[Tensor, "*batch blades"]:
        """Geometric product of multivectors whose batch axes broadcast."""
        signed = self._checked(x)[..., :, None] * self.constant("signs", x)
        return (signed * self._checked(y)[..., self.constant("right", x)]).sum(dim=-2)

    def quadratic(self, x: Float[Tensor, "*batch blades"]) -> Float[Tensor, "*batch grades"]:
        r"""Quadratic form :math:`q_k(x) = \langle \tilde{x}_k x_k \rangle_0` of each grade.

        Invariant under the Clifford group; indefinite where the metric is.
        """
        x = self._checked(x)
        return (x * x) @ self.constant("grade_squares", x)

    def spread(self, values: Float[Tensor, "*batch grades"]) -> Float[Tensor, "*batch blades"]:
        """Repeat one value for each grade over the blades of that grade."""
        return values @ self.constant("grade_blades", values)

    def act(
        self, versor: Float[Tensor, " blades"], x: Float[Tensor, "*batch blades"]
    ) -> Float[Tensor, "*batch blades"]:
        r"""Act on `x` with a versor: :math:`\rho(w)(x) = w x_+ w^{-1} + \hat{w} x_- w^{-1}`.

        Here x+ and x- are the even and the odd part and the hat is the grade involution, so that an odd
        versor (a vector) reflects. An automorphism of the algebra that keeps grades and q.

        Raises
        ------
        ConfigError
            If `versor` is null and so has no inverse.

        References
        ----------
        Ruhe et al. (2023), arXiv:2305.11141, section 3 (the adjusted twisted conjugation).
        """
        square = self.product(self.reverse(versor), versor)[0]
        if float(square.abs()) <= torch.finfo(versor.dtype).eps * float(versor.square().sum()):
            raise ConfigError("`versor` must be invertible, got a null one; draw another.")
        inverse = self.reverse(versor) / square
        odd = (x - self.involute(x)) / 2
        left = self.product(versor, x - odd) + self.product(self.involute(versor), odd)
        return self.product(left, inverse)

    def outermorphism(self, matrix: Float[Tensor, "n n"]) -> Float[Tensor, "blades blades"]:
        """Extend a linear map of vectors to multivectors: a matrix M that acts as ``x @ M.T``.

        Its blocks hold the minors of `matrix`. If that is orthogonal for the metric, the extension is an
        automorphism of the algebra, and the same as the action of a versor.

        Raises
        ------
        ShapeError
            If the matrix has another dimension than the algebra.
        """
        if matrix.shape != (self.dim, self.dim):
            raise ShapeError(
                f"`matrix` must have shape {(self.dim, self.dim)}, got {tuple(matrix.shape)}; "
                f"the metric has {self.dim} entries."
            )
        blocks = []
        for grade in range(self.num_grades):
            blade = torch.tensor(list(itertools.combinations(range(self.dim), grade)), dtype=torch.int64)
            minors = matrix[blade[:, None, :, None], blade[None, :, None, :]]
            blocks.append(torch.linalg.det(minors))
        return torch.block_diag(*blocks)

    def _grade(self, grade: int) -> int:
        if not 0 <= grade <= self.dim:
            raise ConfigError(f"`grade` must be from 0 to {self.dim}, got {grade}.")
        return grade

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.num_blades:
            raise ShapeError(
                f"a multivector must have a last axis of length {self.num_blades}, got {tuple(x.shape)}; "
                "use `embed` for the components of one grade."
            )
        return x
