"""Linear maps between the fragments of signals: degree by degree, and never between the components of one.

By Schur's lemma these are all the linear maps that commute with rotations. Convolutions on the sphere,
liftings to the rotation group and convolutions on it are special cases (Cobb et al. 2021, section 2.3).

Signals stand in tensors [rows, channels, spheres], the rows as in `geograph.layers.product_plan`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.errors import ConfigError, ShapeError
from geograph.layers.product_plan import row_offsets


def fragment_type(bandlimit: int, max_fragments: int) -> tuple[int, ...]:
    """Type tau_l = min(2 l + 1, `max_fragments`): from functions on the sphere, 1, to those of rotations.

    Raises
    ------
    ConfigError
        If one of the numbers is below 1.
    """
    if bandlimit < 1 or max_fragments < 1:
        raise ConfigError(
            f"`bandlimit` and `max_fragments` must be at least 1, got {bandlimit} and {max_fragments}."
        )
    return tuple(min(2 * degree + 1, max_fragments) for degree in range(bandlimit))


def harmonic_to_rows(
    harmonic: Float[Tensor, "spheres channels coefficients"],
) -> Float[Tensor, "coefficients channels spheres"]:
    """Functions on spheres as signals with one fragment of each degree."""
    return harmonic.permute(2, 1, 0).contiguous()


class HarmonicLinear(nn.Module):
    """Generalized convolution: every fragment of every channel is mixed with all others of its degree.

    Equivariant under rotations and inversion. Initialised so that the mean square of a component is kept.

    Parameters
    ----------
    tau_in, tau_out
        Fragments of each degree; the output may have fewer degrees.
    num_inputs, num_outputs
        Channels.
    has_bias
        Whether degree 0, which rotations leave alone, gets a bias.

    Raises
    ------
    ConfigError
        If the output has a degree that the input has no fragments of.

    References
    ----------
    Cobb et al. (2021), arXiv:2010.11661, Eq. (7); Kondor, Lin and Trivedi (2018), arXiv:1806.09231, Eq. (9).
    """

    def __init__(
        self,
        tau_in: Sequence[int],
        tau_out: Sequence[int],
        num_inputs: int,
        num_outputs: int,
        *,
        has_bias: bool = True,
    ) -> None:
        super().__init__()
        self.tau_in, self.tau_out = _checked_types(tau_in, tau_out)
        self.num_inputs, self.num_outputs = num_inputs, num_outputs
        self.offsets = row_offsets(self.tau_in)
        self.weight = nn.ParameterList(
            torch.randn(out * num_outputs, into * num_inputs) / math.sqrt(into * num_inputs)
            for into, out in zip(self.tau_in, self.tau_out, strict=False)
            if out
        )
        self.bias = nn.Parameter(torch.zeros(self.tau_out[0] * num_outputs, 1)) if has_bias else None

    def degree_weight(self, index: int) -> Float[Tensor, "out into"]:
        """Matrix of the degree in place `index`: rows and columns are (fragment, channel)."""
        weight: Tensor = self.weight[index]
        return weight

    def forward(
        self, x: Float[Tensor, "rows channels spheres"]
    ) -> Float[Tensor, "mixed out_channels spheres"]:
        """Mix.

        Raises
        ------
        ShapeError
            If rows or channels are not those of the input type.
        """
        if x.shape[:2] != (self.offsets[-1], self.num_inputs):
            raise ShapeError(
                f"`x` must have {self.offsets[-1]} rows and {self.num_inputs} channels, "
                f"got {tuple(x.shape[:2])}."
            )
        # One split: its derivative writes each row once, those of slices would fill all rows for each degree.
        parts = x.split(torch.tensor(self.offsets).diff().tolist())
        mixed: list[Tensor] = []
        for degree, count in enumerate(self.tau_out):
            if count:
                part = parts[degree].reshape(
                    2 * degree + 1, self.tau_in[degree] * self.num_inputs, x.shape[2]
                )
                out = torch.matmul(self.degree_weight(len(mixed)), part)
                if degree == 0 and self.bias is not None:
                    out = out + self.bias
                mixed.append(out.reshape((2 * degree + 1) * count, self.num_outputs, x.shape[2]))
        return torch.cat(mixed)


def _checked_types(tau_in: Sequence[int], tau_out: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    into, out = tuple(tau_in), tuple(tau_out)
    if not out or len(out) > len(into) or any(o and not i for i, o in zip(into, out, strict=False)):
        raise ConfigError(
            f"`tau_out` may have only degrees of which `tau_in` has fragments, got {out} from {into}."
        )
    return into, out


class ConstrainedLinear(HarmonicLinear):
    """Generalized convolution in two factors: fragments are mixed in each channel, then channels alike.

    W_(t' k')(t k) = A_k'k D_k,t't for each degree: K tau' tau + K' K weights in place of K' tau' K tau.

    Parameters
    ----------
    tau_in, tau_out, num_inputs, num_outputs, has_bias
        As in `HarmonicLinear`.

    References
    ----------
    Cobb et al. (2021), arXiv:2010.11661, section 3.1: the last two of the three steps of the constrained
    convolution. The first, which the channels share, is the weight of
    `geograph.layers.tensor_product.TensorProduct`.
    """

    def __init__(
        self,
        tau_in: Sequence[int],
        tau_out: Sequence[int],
        num_inputs: int,
        num_outputs: int,
        *,
        has_bias: bool = True,
    ) -> None:
        super().__init__(tau_in, tau_out, num_inputs, num_outputs, has_bias=has_bias)
        kept = [(into, out) for into, out in zip(self.tau_in, self.tau_out, strict=False) if out]
        self.weight = nn.ParameterList(
            torch.randn(num_outputs, num_inputs) / math.sqrt(num_inputs) for _ in kept
        )
        self.fragment_weight = nn.ParameterList(
            torch.randn(num_inputs, out, into) / math.sqrt(into) for into, out in kept
        )

    def degree_weight(self, index: int) -> Float[Tensor, "out into"]:
        """Product of the two factors."""
        full = torch.einsum("ok,kut->uotk", self.weight[index], self.fragment_weight[index])
        return full.flatten(2).flatten(0, 1)
