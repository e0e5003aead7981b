"""How far a trained model is from the symmetry that it claims, measured on its own data.

Batches are transformed field by field, by the representations in `geograph.fields`.
"""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.algebra.euclid import random_orthogonal, random_translation
from geograph.algebra.minkowski import random_lorentz
from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError
from geograph.fields import FIELDS, Level, Representation
from geograph.kernels import segment_index

#: Representations on which the matrices of each group act; everything else is left alone.
_ACTS_ON: dict[str, tuple[Representation, ...]] = {
    "E(3)": (Representation.POSITION, Representation.VECTOR, Representation.PSEUDOVECTOR),
    "E(4)": (Representation.FOUR_VECTOR,),
    "O(1,3)": (Representation.FOUR_VECTOR,),
    "SO(3)": (
        Representation.HARMONIC,
        Representation.POSITION,
        Representation.VECTOR,
        Representation.PSEUDOVECTOR,
    ),
    "S(n)": (),
}


def transform_values(
    values: Float[Tensor, "*rows dim"],
    representation: Representation,
    matrix: Float[Tensor, "axes axes"],
    translation: Float[Tensor, " axes"] | None = None,
) -> Float[Tensor, "*rows dim"]:
    """Transform rows by their representation; computed in float64, returned in the dtype of the rows.

    Harmonic coefficients stand along the last axis; everything else has one vector in each row. A
    translation moves positions and, where one is given for E(4), four-vectors; never vectors.
    """
    g = matrix.to(device=values.device, dtype=torch.float64)
    if representation is Representation.HARMONIC:
        return rotate(values.double(), g).to(values.dtype)
    result = values.double() @ g.T
    if representation is Representation.PSEUDOVECTOR:
        result = torch.linalg.det(g) * result
    is_moved = representation in (Representation.POSITION, Representation.FOUR_VECTOR)
    if translation is not None and is_moved:
        result = result + translation.to(device=values.device, dtype=torch.float64)
    return result.to(values.dtype)


def transform_batch(
    batch: Data,
    symmetry: str,
    matrix: Tensor,
    translation: Tensor | None = None,
) -> Data:
    """Return the batch with every field transformed by its representation.

    Parameters
    ----------
    batch
        Batch by the batch contract; it is not changed.
    symmetry
        "E(3)", "E(4)", "O(1,3)" or "SO(3)": says which fields the matrix acts on. For "S(n)" see
        `permute_nodes`.
    matrix
        Element of the group, [3, 3] or [4, 4]; rows transform as ``x @ matrix.T``.
    translation
        Added to positions ("E(3)") or four-momenta ("E(4)").

    Raises
    ------
    ConfigError
        If the group is unknown or the matrix has the wrong size.
    """
    if symmetry not in _ACTS_ON or symmetry == "S(n)":
        raise ConfigError(
            f"`symmetry` must be E(3), E(4), O(1,3) or SO(3), got {symmetry!r}; see permute_nodes for S(n)."
        )
    size = 3 if symmetry in ("E(3)", "SO(3)") else 4
    if tuple(matrix.shape) != (size, size):
        raise ConfigError(f"`matrix` must be {size} x {size} for {symmetry}, got {tuple(matrix.shape)}.")
    if translation is not None and symmetry in ("O(1,3)", "SO(3)"):
        raise ConfigError(f"`translation` is no element of {symmetry}; leave it out.")
    result = copy.copy(batch)
    for name, field in FIELDS.items():
        if name in batch and field.representation in _ACTS_ON[symmetry]:
            result[name] = transform_values(batch[name], field.representation, matrix, translation)
    return result


def permute_nodes(batch: Data, order: Int[Tensor, " nodes"]) -> Data:
    """Return the batch with its nodes in another order: new node k is old node order[k].

    The order must keep the nodes of each graph together, as `random_order` does.
    """
    result = copy.copy(batch)
    new_number = torch.empty_like(order)
    new_number[order] = torch.arange(len(order), device=order.device)
    for name, field in FIELDS.items():
        if name in batch and field.level is Level.NODE:
            result[name] = batch[name][order]
    source, target = new_number[batch.edge_index[0]], new_number[batch.edge_index[1]]
    edge_order = torch.argsort(target * len(order) + source)
    result.edge_index = torch.stack([source[edge_order], target[edge_order]])
    counts = torch.bincount(target, minlength=len(order))
    result.edge_ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    if "edge_attr" in batch and batch.edge_attr is not None:
        result.edge_attr = batch.edge_attr[edge_order]
    return result


def random_order(ptr: Int[Tensor, " graphs_plus_one"], generator: torch.Generator) -> Int[Tensor, " nodes"]:
    """Random order of the nodes of each graph, graph by graph."""
    num_nodes = int(ptr[-1])
    graph = segment_index(ptr, num_nodes).to(torch.float64)
    key = torch.rand(num_nodes, generator=generator, dtype=torch.float64).to(ptr.device)
    return torch.argsort(graph + key)


def equivariance_error(
    model: nn.Module,
    batch: Data,
    symmetry: str,
    generator: torch.Generator,
    num_elements: int = 4,
    *,
    output: str = "graph",
    max_rapidity: float = 2.0,
    is_translated: bool = True,
) -> float:
    """Largest relative change of the output under random elements of a group.

    Graph outputs must be invariant and position outputs covariant. The model runs in evaluation mode and in
    its own dtype, so a float32 model shows the rounding that it has in use: massless four-momenta stored in
    float32 acquire a mass of about E / 3000, which no network can undo. Give a float64 model and batch to
    see the architecture alone.

    Parameters
    ----------
    model
        Takes a batch.
    batch
        Any batch by the contract that the model accepts.
    symmetry
        "E(3)", "E(4)", "O(1,3)", "SO(3)" or "S(n)".
    generator
        Source of the random elements.
    num_elements
        Number of random elements.
    output
        "graph" or "node_position".
    max_rapidity
        Bound on the boosts of O(1,3).
    is_translated
        Whether elements of E(3) translate; those of E(4) never do, because nothing asks a jet to be invariant
        under translations of momenta.

    Returns
    -------
    Largest absolute deviation divided by the largest absolute output, over all elements.

    Raises
    ------
    ConfigError
        If the group or the kind of output is unknown.
    """
    if symmetry not in _ACTS_ON:
        raise ConfigError(f"`symmetry` must be one of {', '.join(_ACTS_ON)}, got {symmetry!r}.")
    if output not in ("graph", "node_position"):
        raise ConfigError(f"`output` must be graph or node_position, got {output!r}.")
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            before = model(batch)
            errors = [
                _one_error(model, batch, before, symmetry, generator, output, max_rapidity, is_translated)
                for _ in range(num_elements)
            ]
    finally:
        model.train(was_training)
    return max(errors)


def _one_error(
    model: nn.Module,
    batch: Data,
    before: Tensor,
    symmetry: str,
    generator: torch.Generator,
    output: str,
    max_rapidity: float,
    is_translated: bool,
) -> float:
    expected = before
    if symmetry == "S(n)":
        order = random_order(batch.ptr, generator)
        after = model(permute_nodes(batch, order))
        expected = before[order] if output == "node_position" else before
    else:
        matrix, shift = random_element(symmetry, generator, max_rapidity)
        shift = shift if is_translated else None
        after = model(transform_batch(batch, symmetry, matrix, shift))
        if output == "node_position" and symmetry == "E(3)":
            expected = transform_values(before, Representation.POSITION, matrix, shift)
    scale = max(float(expected.abs().max()), torch.finfo(expected.dtype).tiny)
    return float((after - expected).abs().max()) / scale


def random_element(
    symmetry: str, generator: torch.Generator, max_rapidity: float = 2.0
) -> tuple[Tensor, Tensor | None]:
    """Draw a matrix (float64) and a translation, which only E(3) has; improper elements are among them.

    Raises
    ------
    ConfigError
        If the group has no matrices.
    """
    if symmetry == "E(3)":
        return random_orthogonal(generator, 3), random_translation(generator, 3)
    if symmetry == "E(4)":
        return random_orthogonal(generator, 4), None
    if symmetry == "O(1,3)":
        return random_lorentz(generator, max_rapidity), None
    if symmetry == "SO(3)":
        return random_rotation(generator, 1)[0], None
    raise ConfigError(f"`symmetry` must be E(3), E(4), O(1,3) or SO(3), got {symmetry!r}.")
