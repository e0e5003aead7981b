"""Normalisation of fragments by running statistics, which rotations leave alone.

Division by a number that does not depend on the sphere commutes with rotations and with everything linear.
The statistics used in a step are those of the steps before it, in training as in evaluation: after the first
batch no sphere ever sees the others in its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.errors import ConfigError, ShapeError

#: Below this root mean square a fragment is taken to be zero rather than blown up.
_FLOOR = 1e-4


class RunningScale(nn.Module):
    """Running mean square of `num_fragments` kinds of fragment.

    Parameters
    ----------
    num_fragments
        Number of running means.
    momentum
        Share of the newest batch in them. The first batch makes them alone.
    """

    mean_square: Tensor
    num_batches: Tensor

    def __init__(self, num_fragments: int, momentum: float = 0.1) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise ConfigError(f"`momentum` must be above 0 and at most 1, got {momentum}.")
        self.momentum = momentum
        self.register_buffer("mean_square", torch.ones(num_fragments))
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.int64))

    @property
    def is_set(self) -> bool:
        """Whether a batch has been seen."""
        return int(self.num_batches) > 0

    @torch.no_grad()
    def update(self, mean_square: Float[Tensor, " fragments"]) -> None:
        """Take the mean square of one batch into account."""
        share = self.momentum if self.is_set else 1.0
        self.mean_square.lerp_(mean_square.to(self.mean_square.dtype), share)
        self.num_batches += 1

    def inverse(self) -> Float[Tensor, " fragments"]:
        """One over the root mean square."""
        return self.mean_square.clamp_min(_FLOOR * _FLOOR).rsqrt()


class FragmentNorm(nn.Module):
    """Divide every fragment by its running root mean square.

    Equivariant under rotations. Rows are those of `geograph.layers.product_plan`: for each degree,
    [2 l + 1, tau_l].

    Parameters
    ----------
    tau
        Fragments of each degree.
    num_channels
        Channels, each with statistics of its own: the first axis after the rows. None if all columns are
        alike.
    momentum
        Share of the newest batch in the statistics.

    References
    ----------
    Kondor, Lin and Trivedi (2018), arXiv:1806.09231, section 4.4.
    """

    row_fragment: Tensor

    def __init__(self, tau: Sequence[int], num_channels: int | None = None, momentum: float = 0.1) -> None:
        super().__init__()
        self.tau, self.num_channels = tuple(tau), num_channels
        first = 0
        rows: list[Tensor] = []
        for degree, count in enumerate(self.tau):
            rows.append((first + torch.arange(count)).repeat(2 * degree + 1))
            first += count
        self.num_fragments = first
        self.register_buffer("row_fragment", torch.cat(rows), persistent=False)
        self.scale = RunningScale(first * (num_channels or 1), momentum)

    def _statistics(self, x: Tensor) -> Tensor:
        """Mean square of a component of each fragment (and channel)."""
        squares = x.detach().reshape(x.shape[0], self.num_channels or 1, -1).square().mean(2)
        total = squares.new_zeros((self.num_fragments, squares.shape[1]))
        total.index_add_(0, self.row_fragment, squares)
        return (total / torch.bincount(self.row_fragment)[:, None]).flatten()

    def forward(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        """Normalise.

        Raises
        ------
        ShapeError
            If the rows are not those of `tau`, or the channels are not as many as stated.
        """
        channels = self.num_channels
        if x.shape[0] != len(self.row_fragment) or (
            channels is not None and (x.dim() < 2 or x.shape[1] != channels)
        ):
            raise ShapeError(
                f"`x` must have {len(self.row_fragment)} rows"
                f"{'' if channels is None else f' and {channels} channels'}, got {tuple(x.shape)}."
            )
        if self.training and x.numel():
            statistics = self._statistics(x)
            if not self.scale.is_set:
                self.scale.update(statistics)
            inverse = self.scale.inverse()
            self.scale.update(statistics)
        else:
            inverse = self.scale.inverse()
        spare = x.dim() - (1 if channels is None else 2)
        factor = inverse.view(self.num_fragments, -1).to(x.dtype)[self.row_fragment]
        return x * factor.reshape(*(factor.shape if channels is not None else factor.shape[:1]), *[1] * spare)
