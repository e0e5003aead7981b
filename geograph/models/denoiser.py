"""EDM's network: predicts the noise of noisy molecules, covariant under E(3) and permutations."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.errors import ConfigError, ShapeError
from geograph.layers.edm_block import EDMBlock, squared_distances


def _check_positive(**values: float | int) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ConfigError(f"`{name}` must be positive, got {value}.")


class EDMDynamics(nn.Module):
    """The published network: `noise` takes plain tensors, `forward` a batch that holds the same.

    Position noise is covariant under O(3) and unaffected by translations, its mean over each molecule is
    zero; feature noise is invariant. Published size: 256 hidden, 9 layers.

    Parameters
    ----------
    num_features
        Features of an atom besides its position (elements, and 1 for the charge number).
    num_hidden
        Width of the hidden features.
    num_layers
        Number of blocks.
    num_message_layers
        Message layers in each block.
    has_attention, has_tanh
        Gate messages; bound the moves.
    coordinate_range
        Bound of a move along one edge.
    norm_constant
        Added to the distance that a move is divided by.
    normalization_factor
        Divisor of every sum over neighbours; 1 for small molecules.
    num_context
        Conditioning features of each atom, known and without noise.

    References
    ----------
    Hoogeboom et al. (2022), arXiv:2203.17003, section 3.1, Eq. (12), and appendix B. As in the released code
    `coordinate_range` bounds each block by itself; it is not divided by the number of blocks.
    """

    def __init__(
        self,
        num_features: int,
        num_hidden: int = 256,
        num_layers: int = 9,
        *,
        num_message_layers: int = 1,
        has_attention: bool = True,
        has_tanh: bool = True,
        coordinate_range: float = 15.0,
        norm_constant: float = 1.0,
        normalization_factor: float = 1.0,
        num_context: int = 0,
    ) -> None:
        super().__init__()
        _check_positive(num_features=num_features, num_hidden=num_hidden, num_layers=num_layers)
        _check_positive(num_message_layers=num_message_layers, normalization_factor=normalization_factor)
        if num_context < 0:
            raise ConfigError(f"`num_context` must not be negative, got {num_context}.")
        self.num_features, self.num_context = num_features, num_context
        num_inputs = num_features + 1 + num_context
        self.embedding = nn.Linear(num_inputs, num_hidden)
        self.embedding_out = nn.Linear(num_hidden, num_inputs)
        self.blocks = nn.ModuleList(
            EDMBlock(
                num_hidden,
                num_message_layers=num_message_layers,
                has_attention=has_attention,
                has_tanh=has_tanh,
                coordinate_range=coordinate_range,
                norm_constant=norm_constant,
                normalization_factor=normalization_factor,
            )
            for _ in range(num_layers)
        )

    def forward(self, batch: Data) -> Float[Tensor, "n f"]:
        """Noise of a batch with the fields `state` [N, 3 + F], `time` [G], and `context` [N, C] if used."""
        context = batch.context if self.num_context else None
        return self.noise(batch.state, batch.time, batch.batch, batch.edge_index, batch.edge_ptr, context)

    def noise(
        self,
        state: Float[Tensor, "n f"],
        time: Float[Tensor, " g"],
        batch: Int[Tensor, " n"],
        edge_index: Int[Tensor, "2 e"],
        edge_ptr: Int[Tensor, " num_ptr"],
        context: Float[Tensor, "n c"] | None = None,
    ) -> Float[Tensor, "n f"]:
        """Noise of a state.

        Parameters
        ----------
        state
            Scaled positions (three columns) and features of each atom.
        time
            Time of each molecule in [0, 1].
        batch
            Molecule of each atom.
        edge_index, edge_ptr
            Edges sorted by target and their offsets.
        context
            Conditioning features, where the network has them.

        Raises
        ------
        ShapeError
            If the state or the context has another number of columns than the network.
        """
        self._check(state, context)
        pos, features = state[:, :3], [state[:, 3:], time[batch][:, None]]
        node = self.embedding(torch.cat([*features, *([] if context is None else [context])], dim=1))
        _, input_distance2 = squared_distances(pos, edge_index)
        moved = pos
        for block in self.blocks:
            node, moved = block(node, moved, input_distance2, edge_index, edge_ptr)
        # The outputs in the columns of time and context are not used.
        noise_features = self.embedding_out(node)[:, : self.num_features]
        return torch.cat([_centered(moved - pos, batch, len(time)), noise_features], dim=1)

    def _check(self, state: Tensor, context: Tensor | None) -> None:
        if state.shape[1] != 3 + self.num_features:
            raise ShapeError(
                f"`state` must have {3 + self.num_features} columns (3 for the position, {self.num_features} "
                f"features), got {state.shape[1]}; was the network made for other elements?"
            )
        columns = 0 if context is None else context.shape[1]
        if columns != self.num_context:
            raise ShapeError(
                f"`context` must have {self.num_context} columns, got {columns}; "
                "give one value for each property that the network is conditioned on."
            )


def _centered(
    values: Float[Tensor, "n 3"], batch: Int[Tensor, " n"], num_graphs: int
) -> Float[Tensor, "n 3"]:
    total = values.new_zeros(num_graphs, 3).index_add(0, batch, values)
    count = torch.bincount(batch, minlength=num_graphs).to(values.dtype)
    return values - (total / count[:, None])[batch]
