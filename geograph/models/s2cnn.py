"""S2CNN: correlations on the sphere and on SO(3) with pointwise nonlinearities on samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.errors import ConfigError
from geograph.layers.inputs import MoleculeInputs
from geograph.layers.s2_correlation import MAX_BETA, S2Correlation
from geograph.layers.so3_correlation import SO3Activation, SO3BatchNorm, SO3Correlation
from geograph.models.sphere_graph import InputScales, SphereGraph, SphericalTrunk

_BANDLIMITS = (8, 6, 4, 2)


def _limits(features: Sequence[int], bandlimits: Sequence[int] | None, bandlimit: int) -> list[int]:
    """Band-limit of each layer's output."""
    limits = [min(each, bandlimit) for each in _BANDLIMITS] if bandlimits is None else list(bandlimits)
    if not features or len(limits) != len(features):
        raise ConfigError(
            "`bandlimits` must be as many as `features`, at least one, "
            f"got {len(limits)} and {len(features)}."
        )
    return limits


class S2CNN(SphericalTrunk):
    """One lifting correlation, then correlations on SO(3), each normalised and rectified.

    The features of a sphere are Haar integrals of the last functions, or their largest samples. Invariant up
    to the error of the nonlinearity on samples, which `oversampling` makes smaller at its cost cubed.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input.
    features
        Channels of each layer.
    bandlimits
        Band-limit of each layer's output, not rising; None for 8, 6, 4, 2, as far as the input has them.
    filters
        `near_identity` or `equator`; the equator has one ring and one turn.
    num_beta, num_gamma, max_beta
        Rings of a filter near the identity, turns at each point, and the colatitude of the widest ring in
        radians, pi / 8 as published. A narrow filter sees no details of a function of low band-limit: wider
        ones need fewer layers then.
    activation
        See `SO3Activation`; `relu` as published, `quadratic` for exact invariance from oversampling 1.5 on.
    oversampling
        Band-limit of the grids over that of the functions; 1 as published.
    pooling
        `mean` integrates over SO(3), `max` takes the largest sample.

    Raises
    ------
    ConfigError
        If the lists do not fit each other or the input, or a value is out of range.

    Notes
    -----
    Batch normalisation integrates over SO(3) (see `SO3BatchNorm`), filters and their scale are as
    `S2Correlation` and `SO3Correlation` say; the number of parameters is the published one.

    References
    ----------
    Cohen et al. (2018), arXiv:1801.10130, sections 3 to 5.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        features: Sequence[int] = (8, 16, 32, 64),
        bandlimits: Sequence[int] | None = None,
        filters: str = "near_identity",
        num_beta: int = 2,
        num_gamma: int = 2,
        max_beta: float = MAX_BETA,
        activation: str = "relu",
        oversampling: float = 1.0,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        limits = _limits(features, bandlimits, bandlimit)
        if pooling not in ("mean", "max"):
            raise ConfigError(f"`pooling` must be mean or max, got {pooling!r}.")
        self.num_channels, self.bandlimit, self.num_features = num_channels, bandlimit, features[-1]
        self.pooling = pooling
        on_equator = filters == "equator"
        num_beta, num_gamma = (1, 1) if on_equator else (num_beta, num_gamma)
        self.lift = S2Correlation(
            num_channels,
            features[0],
            bandlimit,
            limits[0],
            filters=filters,
            num_beta=num_beta,
            max_beta=max_beta,
        )
        self.correlations = nn.ModuleList(
            SO3Correlation(
                *widths, *limit, filters=filters, num_beta=num_beta, num_gamma=num_gamma, max_beta=max_beta
            )
            for widths, limit in zip(pairwise(features), pairwise(limits), strict=True)
        )
        self.norms = nn.ModuleList(SO3BatchNorm(width) for width in features)
        keep = [*limits[1:], 1]
        self.activations = nn.ModuleList(
            SO3Activation(limit, oversampling, kept, activation)
            for limit, kept in zip(limits, keep, strict=True)
        )

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres features"]:
        """Reduce real coefficients to invariants."""
        columns = self.norms[0](self.lift(harmonic))
        for correlation, norm, activation in zip(
            self.correlations, self.norms[1:], self.activations[:-1], strict=True
        ):
            columns = norm(correlation(activation(columns)))
        last = self.activations[-1]
        assert isinstance(last, SO3Activation)
        if self.pooling == "max":
            return last.largest(columns)
        integral: Tensor = last(columns)[0]
        return integral


class _NoElements(MoleculeInputs):
    """Element encoding of networks that see elements in the channels of the input alone."""

    def one_hot(self, batch: Data) -> Tensor:
        """Return no columns."""
        return batch.harmonic.new_zeros((batch.harmonic.shape[0], 0))


def _normed(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]


class S2CNNGraph(SphereGraph):
    """`S2CNN` on every sphere and a head for each graph.

    Parameters
    ----------
    num_channels, bandlimit, features, bandlimits, filters, num_beta, num_gamma, max_beta, activation,
    oversampling, pooling
        See `S2CNN`.
    num_outputs, head, num_hidden, dropout, elements, input_mean, input_scale
        See `SphereGraph`.
    use_published_head
        The heads of the released networks: one linear layer on a sphere, behind a normalisation where
        `pooling` is `max`; batch normalisation in front of every ReLU of the network over atoms, which then
        sees no elements. The numbers of parameters are the published ones.

    References
    ----------
    Cohen et al. (2018), arXiv:1801.10130, section 5.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        num_outputs: int,
        features: Sequence[int] = (8, 16, 32, 64),
        bandlimits: Sequence[int] | None = None,
        filters: str = "near_identity",
        num_beta: int = 2,
        num_gamma: int = 2,
        max_beta: float = MAX_BETA,
        activation: str = "relu",
        oversampling: float = 1.0,
        pooling: str = "mean",
        head: Literal["sphere", "atoms"] = "sphere",
        num_hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        elements: Sequence[int] | None = None,
        input_mean: Sequence[float] | None = None,
        input_scale: InputScales | None = None,
        use_published_head: bool = False,
    ) -> None:
        trunk = S2CNN(
            num_channels,
            bandlimit,
            features=features,
            bandlimits=bandlimits,
            filters=filters,
            num_beta=num_beta,
            num_gamma=num_gamma,
            max_beta=max_beta,
            activation=activation,
            oversampling=oversampling,
            pooling=pooling,
        )
        super().__init__(
            trunk,
            num_outputs=num_outputs,
            head=head,
            num_hidden=num_hidden,
            dropout=dropout,
            elements=elements,
            input_mean=input_mean,
            input_scale=input_scale,
        )
        if use_published_head:
            self._publish(num_outputs, list(num_hidden or (256, 64, 512)), pooling)

    def _publish(self, num_outputs: int, widths: list[int], pooling: str) -> None:
        inputs = self.trunk.num_features
        if self.atoms is None:
            norm = [nn.BatchNorm1d(inputs, affine=False)] if pooling == "max" else []
            self.per_graph = nn.Sequential(*norm, nn.Linear(inputs, num_outputs))
            return
        self.atoms = _NoElements([1])
        self.per_atom = nn.Sequential(*_normed(inputs, widths[0]), *_normed(widths[0], widths[1]))
        self.per_graph = nn.Sequential(*_normed(widths[1], widths[2]), nn.Linear(widths[2], num_outputs))
