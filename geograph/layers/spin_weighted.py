"""Layers of spin-weighted functions: convolution in the spectrum, and nonlinearities of the modulus.

Arrays are those of `geograph.layers.spin_parts`: `[spheres, spins, 2, channels, coefficients]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.layers.sampled_nonlinearity import full_precision, oversampled_grid
from geograph.layers.spin_parts import check_parts, check_spins, spin_coefficients, spin_samples
from geograph.layers.zonal import anchor_interpolation, mix_degrees
from geograph.sphere.sht import analysis


class SpinConvolution(nn.Module):
    """Complex filters that mix channels and spins at each degree; equivariant.

    out^{s'}_{lm, c'} = sum_{s, c} in^s_{lm, c} K^l_{s s' c c'}, with the spectrum K^l interpolated between
    parameters at a few degrees; entries with l < |s| or l < |s'| vanish, as those coefficients do.

    Parameters
    ----------
    num_channels, num_outputs
        Complex channels of each spin, in and out.
    bandlimit
        Of the output; at most that of the input.
    spins_in, spins_out
        Spins, 0 first. None for `spins_in` means real functions of spin 0, one part only.
    num_anchors
        Degrees at which the spectrum is a parameter.

    References
    ----------
    Esteves et al. (2020), arXiv:2006.10731, Eq. (10); Esteves et al. (2023), arXiv:2306.05420.
    """

    interpolation: Tensor
    allowed: Tensor

    def __init__(
        self,
        num_channels: int,
        num_outputs: int,
        bandlimit: int,
        spins_in: Sequence[int] | None = (0, 1),
        spins_out: Sequence[int] = (0, 1),
        num_anchors: int = 8,
    ) -> None:
        super().__init__()
        self.is_input_real = spins_in is None
        inputs, outputs = (
            check_spins(each, bandlimit) for each in ((0,) if spins_in is None else spins_in, spins_out)
        )
        self.num_outputs, self.num_spins = num_outputs, len(outputs)
        table = anchor_interpolation(num_anchors, bandlimit)
        degree = torch.arange(bandlimit)
        has_in = degree[:, None] >= torch.tensor(inputs).abs()
        has_out = degree[:, None] >= torch.tensor(outputs).abs()
        self.register_buffer("interpolation", table, persistent=False)
        self.register_buffer("allowed", has_out[:, :, None] & has_in[:, None, :], persistent=False)
        shape = (2, table.shape[1], len(outputs), num_outputs, len(inputs), num_channels)
        self.anchors = nn.Parameter(torch.empty(shape))
        nn.init.normal_(self.anchors, std=math.sqrt(0.5 / (len(inputs) * num_channels)))

    def forward(
        self, parts: Float[Tensor, "spheres *rows coefficients"]
    ) -> Float[Tensor, "spheres spins 2 outputs truncated"]:
        """Convolve.

        Parameters
        ----------
        parts
            `[spheres, spins, 2, channels, coefficients]`, or `[spheres, channels, coefficients]` of real
            functions.

        Raises
        ------
        ShapeError
            If the input has a smaller band-limit or other spins or channels.
        """
        table = self.interpolation.to(self.anchors.dtype)
        spectrum = torch.tensordot(table, self.anchors, dims=([1], [1])).movedim(0, 1)
        real, imaginary = spectrum * self.allowed[:, :, None, :, None]
        if self.is_input_real:
            blocks = torch.stack([real, imaginary], dim=2)
        else:
            upper = torch.stack([real, -imaginary], dim=4)
            blocks = torch.stack([upper, torch.stack([imaginary, real], dim=4)], dim=2)
        weight = blocks.reshape(len(table), self.num_spins * 2 * self.num_outputs, -1)
        mixed = mix_degrees(parts.flatten(1, -2), weight)
        return mixed.reshape(len(parts), self.num_spins, 2, self.num_outputs, mixed.shape[-1])


class PhaseCollapse(nn.Module):
    """Nonlinearity of spin 0 alone: (A x_0 + B concat_s |x_s|) / 2; the other spins pass unchanged.

    A is a complex and B a complex matrix of channels. The modulus of a function of any spin is a function of
    spin 0, and the one step that needs a grid; with `is_squared` it is |x_s|^2, whose transform is exact from
    oversampling 1.5 on.

    Parameters
    ----------
    num_channels, bandlimit
        Of input and output.
    spins
        Spins, 0 first.
    oversampling
        Band-limit of the grid over that of the input.
    is_squared
        Use the square of the modulus.
    is_spin_dropped
        Return spin 0 only, for the last layer of a stack.

    References
    ----------
    Guth et al. (2021), arXiv:2110.05283; Esteves et al. (2023), arXiv:2306.05420 (on the sphere).
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        spins: Sequence[int] = (0, 1),
        *,
        oversampling: float = 1.0,
        is_squared: bool = False,
        is_spin_dropped: bool = False,
    ) -> None:
        super().__init__()
        self.spins, self.bandlimit = check_spins(spins, bandlimit), bandlimit
        self.is_squared, self.is_spin_dropped = is_squared, is_spin_dropped
        self.grid = oversampled_grid(bandlimit, oversampling)
        self.linear = nn.Parameter(torch.empty(2, num_channels, num_channels))
        self.collapse = nn.Parameter(torch.empty(2, num_channels, len(spins), num_channels))
        nn.init.normal_(self.linear, std=math.sqrt(0.5 / num_channels))
        nn.init.normal_(self.collapse, std=math.sqrt(0.5 / (len(spins) * num_channels)))

    def forward(
        self, parts: Float[Tensor, "spheres spins 2 channels coefficients"]
    ) -> Float[Tensor, "spheres spins_out 2 channels coefficients"]:
        """Apply the nonlinearity.

        Raises
        ------
        ShapeError
            If the input has another band-limit or other spins.
        """
        check_parts(parts, self.spins, self.bandlimit)
        each = full_precision(parts).unbind(1)
        moduli = torch.cat(
            [self._modulus(part, spin) for part, spin in zip(each, self.spins, strict=True)], 1
        )
        collapsed = analysis(moduli, self.grid, self.bandlimit)
        real, imaginary = self.linear
        complex_linear = torch.cat([torch.cat([real, -imaginary], 1), torch.cat([imaginary, real], 1)])
        weight = 0.5 * torch.cat([complex_linear, self.collapse.flatten(2).flatten(0, 1)], dim=1)
        scalar = weight @ torch.cat([each[0].flatten(1, 2), collapsed], dim=1)
        scalar = scalar.reshape(len(parts), 2, -1, parts.shape[-1])
        return torch.stack([scalar] if self.is_spin_dropped else [scalar, *each[1:]], dim=1)

    def _modulus(self, parts: Tensor, spin: int) -> Tensor:
        samples = spin_samples(parts, spin, self.grid)
        return samples.real.square() + samples.imag.square() if self.is_squared else samples.abs()


class MagnitudeActivation(nn.Module):
    """relu(|x_s| + b) x_s / |x_s| of every spin: keeps the phase, so that the spin stays what it is.

    Parameters
    ----------
    num_channels, bandlimit, spins, oversampling
        See `PhaseCollapse`.

    References
    ----------
    Esteves et al. (2020), arXiv:2006.10731, section 4.2; Worrall et al. (2017), arXiv:1612.04642, Eq. (8).
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        spins: Sequence[int] = (0, 1),
        *,
        oversampling: float = 1.0,
    ) -> None:
        super().__init__()
        self.spins, self.bandlimit = check_spins(spins, bandlimit), bandlimit
        self.grid = oversampled_grid(bandlimit, oversampling)
        self.bias = nn.Parameter(torch.full((len(spins), num_channels), -0.1))

    def forward(
        self, parts: Float[Tensor, "spheres spins 2 channels coefficients"]
    ) -> Float[Tensor, "spheres spins 2 channels coefficients"]:
        """Apply the nonlinearity.

        Raises
        ------
        ShapeError
            If the input has another band-limit or other spins.
        """
        check_parts(parts, self.spins, self.bandlimit)
        outputs = []
        for i, (part, spin) in enumerate(zip(full_precision(parts).unbind(1), self.spins, strict=True)):
            samples = spin_samples(part, spin, self.grid)
            modulus = samples.abs()
            tiny = torch.finfo(modulus.dtype).tiny
            gain = torch.relu(modulus + self.bias[i, :, None, None]) / modulus.clamp(min=tiny)
            # Where a function vanishes there is no phase to keep.
            gain = torch.where(modulus > tiny, gain, torch.zeros_like(gain))
            outputs.append(spin_coefficients(samples * gain, spin, self.grid, self.bandlimit))
        return torch.stack(outputs, dim=1)
