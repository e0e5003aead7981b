r"""Grade-wise layers on multivector features [items, channels, blades].

Every layer commutes with the Clifford group, so with O(p, q) on the vectors: weights mix channels within
one grade, biases stand on scalars only, and gates and norms depend on the quadratic forms of the grades.

References
----------
Ruhe et al. (2023), arXiv:2305.11141, section 4 and appendix.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.clifford import CliffordAlgebra
from geograph.kernels.clifford import (
    grade_gate,
    grade_linear,
    grade_normalization,
    invariants,
    layer_norm,
    smooth_norm,
)

__all__ = ["GradeNormalization", "MVLayerNorm", "MVLinear", "MVSiLU", "invariants", "smooth_norm"]


class MVLinear(nn.Module):
    r"""Linear map of the channels, grade by grade.

    :math:`y_m^{(k)} = \sum_n w_{mnk} x_n^{(k)} + b_m \delta_{k0}`.
    Weights start normal with standard deviation :math:`1/\sqrt{n}`, biases at zero.

    Parameters
    ----------
    algebra
        Algebra of the features.
    in_features, out_features
        Numbers of channels.
    is_grade_wise
        One weight for each grade; otherwise one for all of them, [out, in].
    has_bias
        Add a bias to the scalar part.
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        in_features: int,
        out_features: int,
        *,
        is_grade_wise: bool = True,
        has_bias: bool = True,
    ) -> None:
        super().__init__()
        self.algebra = algebra
        self.is_grade_wise = is_grade_wise
        grades = (algebra.num_grades,) if is_grade_wise else ()
        self.weight = nn.Parameter(torch.randn(out_features, in_features, *grades) / in_features**0.5)
        self.bias = nn.Parameter(torch.zeros(out_features)) if has_bias else None

    def forward(self, x: Float[Tensor, "items channels blades"]) -> Float[Tensor, "items out blades"]:
        """Map the channels."""
        if self.is_grade_wise:
            return grade_linear(x, self.weight, self.bias, self.algebra)
        y = torch.einsum("bni,mn->bmi", x, self.weight)
        return y if self.bias is None else y + self.algebra.embed(self.bias[:, None], 0)


class GradeNormalization(nn.Module):
    r"""Divide each grade by a learned interpolation between 1 and its norm.

    :math:`x^{(k)} / (\sigma(a_{nk}) (\lVert x^{(k)} \rVert - 1) + 1 + 10^{-6})`.

    Parameters
    ----------
    algebra
        Algebra of the features.
    features
        Number of channels.
    init
        Start value of a.
    """

    def __init__(self, algebra: CliffordAlgebra, features: int, init: float = 0.0) -> None:
        super().__init__()
        self.algebra = algebra
        self.a = nn.Parameter(torch.full((features, algebra.num_grades), float(init)))

    def forward(self, x: Float[Tensor, "items channels blades"]) -> Float[Tensor, "items channels blades"]:
        """Normalise each grade of each channel."""
        return grade_normalization(x, self.a, self.algebra)


class MVSiLU(nn.Module):
    r"""Gate each grade by its invariant: :math:`x^{(k)} \sigma(a_{nk} I_k + b_{nk})`.

    The invariant is the scalar part for k = 0 and the quadratic form for the others.

    Parameters
    ----------
    algebra
        Algebra of the features.
    features
        Number of channels.
    """

    def __init__(self, algebra: CliffordAlgebra, features: int) -> None:
        super().__init__()
        self.algebra = algebra
        self.a = nn.Parameter(torch.ones(features, algebra.num_grades))
        self.b = nn.Parameter(torch.zeros(features, algebra.num_grades))

    def forward(self, x: Float[Tensor, "items channels blades"]) -> Float[Tensor, "items channels blades"]:
        """Gate each grade of each channel."""
        return grade_gate(x, self.a, self.b, self.algebra)


class MVLayerNorm(nn.Module):
    r"""Divide by the mean norm of the channels.

    :math:`a_n x_n / (\mathrm{mean}_m \lVert x_m \rVert + 10^{-6})`.
    The norm is that of the whole multivector, its grades' quadratic forms summed.

    Parameters
    ----------
    algebra
        Algebra of the features.
    features
        Number of channels.
    """

    def __init__(self, algebra: CliffordAlgebra, features: int) -> None:
        super().__init__()
        self.algebra = algebra
        self.a = nn.Parameter(torch.ones(features))

    def forward(self, x: Float[Tensor, "items channels blades"]) -> Float[Tensor, "items channels blades"]:
        """Normalise all channels of an item together."""
        return layer_norm(x, self.a, self.algebra)
