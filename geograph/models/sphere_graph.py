"""Functions on spheres -> one output for each graph: a trunk of any kind, and a head.

A graph is one sphere (a mesh, a jet, a map) or one sphere for each atom of a molecule. The trunk turns the
function on each sphere into numbers that rotations leave alone; the head adds nothing that could break this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.algebra.harmonics import bandlimit_of, degrees
from geograph.errors import ConfigError, ShapeError
from geograph.kernels import segment_reduce
from geograph.layers.inputs import MoleculeInputs

#: One number for each channel or for each degree of it, or for each degree a matrix over the channels.
InputScales: TypeAlias = Sequence[float] | Sequence[Sequence[Sequence[float]]]


class SphericalTrunk(nn.Module):
    """What every trunk offers: `num_features` invariants of the functions on each sphere.

    Attributes
    ----------
    num_channels, bandlimit
        Of the input.
    num_features
        Of the output.
    """

    num_channels: int
    bandlimit: int
    num_features: int

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres features"]:
        """Reduce real coefficients (see `geograph.algebra.harmonics`) to invariants."""
        raise NotImplementedError


class InputScale(nn.Module):
    """(f - mean) / scale for each channel, each degree, or all channels of a degree together.

    Rotations commute with all three: they mix the orders of one degree of one channel, and nothing else.

    Parameters
    ----------
    mean
        Mean of the coefficient l = 0 of each channel: the mean is a constant function.
    scale
        Root mean square of a coefficient around that mean: one number for each channel, or one for each
        degree, channel by channel. Or for each degree a matrix over the channels, a square root of their
        covariance, through which the channels are divided: what comes out is white.

    Raises
    ------
    ConfigError
        If the numbers do not fit each other, a scale is not positive or a matrix has no inverse.
    """

    mean: Tensor
    scale: Tensor
    mixing: Tensor

    def __init__(self, mean: Sequence[float], scale: InputScales) -> None:
        super().__init__()
        if not mean or not bool(torch.tensor(mean).isfinite().all()):
            raise ConfigError(f"`input_mean` must be a finite number for each channel, got {list(mean)}.")
        self.register_buffer("mean", torch.tensor(mean))
        self.is_white = bool(scale) and isinstance(scale[0], Sequence)
        if self.is_white:
            self.register_buffer("mixing", _inverse(scale, len(mean)))
            return
        flat = torch.tensor(scale)
        if not scale or len(scale) % len(mean) or not bool(((flat > 0) & flat.isfinite()).all()):
            raise ConfigError(
                f"`input_scale` must be positive, one for each of {len(mean)} channels or for each degree of "
                f"them, got {list(scale)}."
            )
        self.register_buffer("scale", flat.view(len(mean), -1))

    def check(self, num_channels: int, bandlimit: int) -> None:
        """Raise a ConfigError unless this scales functions with these channels and degrees."""
        num_degrees = len(self.mixing) if self.is_white else self.scale.shape[1]
        allowed = {bandlimit} if self.is_white else {1, bandlimit}
        if len(self.mean) != num_channels or num_degrees not in allowed:
            raise ConfigError(
                f"`input_mean` and `input_scale` must be for {num_channels} channels and band-limit "
                f"{bandlimit}, got {len(self.mean)} channels and {num_degrees} degrees."
            )

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres channels coefficients"]:
        """Normalise the input."""
        constant = torch.nn.functional.pad(self.mean.to(harmonic.dtype)[:, None], (0, harmonic.shape[-1] - 1))
        if self.is_white:
            return _mix_degrees(self.mixing.to(harmonic.dtype), harmonic - constant)
        scale = self.scale.to(harmonic.dtype)
        if scale.shape[1] > 1:
            scale = scale[:, degrees(scale.shape[1]).to(scale.device)]
        return (harmonic - constant) / scale


def _inverse(scale: InputScales, num_channels: int) -> Float[Tensor, "degrees channels channels"]:
    """Inverse of each matrix, computed in float64."""
    try:
        matrices = torch.tensor(scale, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError("`input_scale` must have matrices of one size, one for each degree.") from error
    if matrices.ndim != 3 or matrices.shape[1:] != (num_channels, num_channels):
        raise ConfigError(
            f"`input_scale` must have matrices of {num_channels} x {num_channels} channels, one for each "
            f"degree, got the shape {tuple(matrices.shape)}."
        )
    inverse, failed = torch.linalg.inv_ex(matrices)
    inverse = inverse.to(torch.get_default_dtype())
    is_bad = (failed != 0) | ~inverse.flatten(1).isfinite().all(dim=1)
    if bool(is_bad.any()):
        degree = int(torch.argmax(is_bad.int()))
        raise ConfigError(
            f"`input_scale` must have matrices with inverses; that of degree {degree} has none."
        )
    return inverse


def _mix_degrees(
    mixing: Float[Tensor, "degrees channels channels"],
    harmonic: Float[Tensor, "spheres channels coefficients"],
) -> Float[Tensor, "spheres channels coefficients"]:
    """Multiply the channels of each degree by the matrix of that degree."""
    return torch.cat(
        [matrix @ harmonic[..., low**2 : (low + 1) ** 2] for low, matrix in enumerate(mixing)], dim=-1
    )


class SphereGraph(nn.Module):
    """A trunk on every sphere, then a head for each graph.

    Parameters
    ----------
    trunk
        Invariants of each sphere.
    num_outputs
        Outputs of each graph.
    head
        `sphere`: mean over the spheres of a graph (usually there is one), then an MLP. `atoms`: the network
        of Zaheer et al. (2017) over the atoms as Cohen et al. (2018) use it: an MLP for each atom, which also
        sees its element, the sum over the atoms, and another MLP.
    num_hidden
        Widths of the hidden layers: one for `sphere`; for `atoms` those of the first MLP, of its output, and
        of the second MLP.
    dropout
        Before the last layer.
    elements
        `atoms`: atomic numbers that may occur; None for all.
    input_mean, input_scale
        Of each channel (see `InputScale`); None leaves the input as it is.

    Raises
    ------
    ConfigError
        If the head is unknown, the widths do not fit it, or mean and scale do not fit the trunk.

    References
    ----------
    Cohen et al. (2018), arXiv:1801.10130, section 5.4; Zaheer et al. (2017), arXiv:1703.06114, Theorem 2.
    """

    def __init__(
        self,
        trunk: SphericalTrunk,
        *,
        num_outputs: int,
        head: Literal["sphere", "atoms"] = "sphere",
        num_hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        elements: Sequence[int] | None = None,
        input_mean: Sequence[float] | None = None,
        input_scale: InputScales | None = None,
    ) -> None:
        super().__init__()
        if head not in ("sphere", "atoms"):
            raise ConfigError(f"`head` must be sphere or atoms, got {head!r}.")
        widths = (
            list(num_hidden) if num_hidden is not None else {"sphere": [128], "atoms": [256, 64, 512]}[head]
        )
        if len(widths) != (1 if head == "sphere" else 3):
            raise ConfigError(f"`num_hidden` must be 1 width for sphere, 3 for atoms, got {widths}.")
        self.trunk, self.head = trunk, head
        if (input_mean is None) != (input_scale is None):
            raise ConfigError("`input_mean` and `input_scale` must be given together.")
        self.scale: InputScale | None = None
        if input_mean is not None and input_scale is not None:
            self.scale = InputScale(input_mean, input_scale)
            self.scale.check(trunk.num_channels, trunk.bandlimit)
        self.atoms = MoleculeInputs(elements) if head == "atoms" else None
        if self.atoms is not None:
            self.per_atom = nn.Sequential(
                nn.Linear(trunk.num_features + self.atoms.num_node_features, widths[0]),
                nn.ReLU(),
                nn.Linear(widths[0], widths[1]),
                nn.ReLU(),
            )
            inputs, hidden = widths[1], widths[2]
        else:
            inputs, hidden = trunk.num_features, widths[0]
        self.per_graph = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, num_outputs)
        )

    def forward(self, batch: Data) -> Float[Tensor, "graphs outputs"]:
        """Compute the outputs of each graph.

        Raises
        ------
        ShapeError
            If the batch has other channels or another band-limit than the trunk was made for.
        """
        harmonic = batch.harmonic
        found = (harmonic.shape[1], bandlimit_of(harmonic.shape[-1]))
        if found != (self.trunk.num_channels, self.trunk.bandlimit):
            raise ShapeError(
                f"`harmonic` must have {self.trunk.num_channels} channels and band-limit "
                f"{self.trunk.bandlimit}, got {found[0]} and {found[1]}; was the data set projected anew?"
            )
        features = self.trunk(harmonic if self.scale is None else self.scale(harmonic))
        if self.atoms is None:
            pooled = segment_reduce(features, batch.ptr, "mean", index=batch.batch)
        else:
            element = self.atoms.one_hot(batch).to(features.dtype)
            each = self.per_atom(torch.cat([features, element], dim=1))
            pooled = segment_reduce(each, batch.ptr, "sum", index=batch.batch)
        output: Tensor = self.per_graph(pooled)
        return output
