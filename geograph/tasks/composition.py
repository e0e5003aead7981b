r"""Composition baseline: the part of a target that the numbers of the elements explain.

The linear baseline of a molecule is y_0 = b + sum_e n_e c_e with n_e the number of atoms of element e. The
other kind, `mlp`, adds a small network on the same counts, fitted first and then frozen. What remains is what
a model has to learn from the geometry.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geograph.errors import ConfigError, DataError
from geograph.tasks.composition_network import evaluate_network, fit_network

KINDS = ("linear", "mlp")


def element_counts(
    z: Int[Tensor, " n"], batch: Int[Tensor, " n"], num_graphs: int, atomic_numbers: list[int]
) -> Float[Tensor, "graphs elements"]:
    """Count the atoms of each element in each graph, in float64.

    Raises
    ------
    DataError
        If an atom is of none of the elements.
    """
    elements = torch.tensor(sorted(atomic_numbers), device=z.device)
    column = torch.searchsorted(elements, z).clamp(max=len(elements) - 1)
    unknown = elements[column] != z
    if bool(unknown.any()):
        first = int(unknown.nonzero()[0])
        raise DataError(
            f"element with atomic number {int(z[first])} is not in the composition baseline, which knows "
            f"{elements.tolist()}",
            record=f"graph {int(batch[first])} of the batch",
            remedy="fit the baseline on data that has every element, or remove the molecule",
        )
    counts = torch.zeros(num_graphs * len(elements), dtype=torch.float64, device=z.device)
    counts.index_add_(0, batch * len(elements) + column, torch.ones_like(z, dtype=torch.float64))
    return counts.view(num_graphs, len(elements))


def fit_composition(
    z: Int[Tensor, " n"],
    batch: Int[Tensor, " n"],
    y: Float[Tensor, "graphs targets"],
    *,
    kind: str = "linear",
) -> dict[str, Any]:
    """Least squares of the targets on the element counts, with an intercept.

    The linear solution of smallest norm is taken, so that elements whose counts are proportional do no harm.

    Parameters
    ----------
    z
        Atomic numbers of all atoms.
    batch
        Graph of each atom.
    y
        Targets in their physical units; the coefficients have the same.
    kind
        `linear`, or `mlp`, which fits a network to what the linear solution leaves.

    Returns
    -------
    `atomic_numbers`, `coefficients` (one list for each target), `intercept` (one value for each target) and,
    for `mlp`, `network`; all as JSON values.

    Raises
    ------
    ConfigError
        If the kind is unknown.

    References
    ----------
    Cohen et al. 2018, "Spherical CNNs", section 5.4 (the network).
    """
    if kind not in KINDS:
        raise ConfigError(
            f"`kind` of a composition baseline must be one of {', '.join(KINDS)}, got {kind!r}."
        )
    atomic_numbers = sorted(int(number) for number in torch.unique(z))
    counts = element_counts(z, batch, len(y), atomic_numbers)
    design = torch.cat([counts, torch.ones_like(counts[:, :1])], dim=1)
    solution = torch.linalg.pinv(design) @ y.double()
    baseline = {
        "atomic_numbers": atomic_numbers,
        "coefficients": solution[:-1].T.tolist(),
        "intercept": solution[-1].tolist(),
    }
    if kind == "mlp":
        baseline["network"] = fit_network(counts, y.double() - design @ solution)
    return baseline


def composition_baseline(
    z: Int[Tensor, " n"], batch: Int[Tensor, " n"], num_graphs: int, baseline: dict[str, Any]
) -> Float[Tensor, "graphs targets"]:
    """Baseline of each graph in float64, in the units of the targets.

    Raises
    ------
    DataError
        If an atom is of an element that the baseline does not know.
    """
    counts = element_counts(z, batch, num_graphs, baseline["atomic_numbers"])
    coefficients = torch.tensor(baseline["coefficients"], dtype=torch.float64, device=z.device)
    intercept = torch.tensor(baseline["intercept"], dtype=torch.float64, device=z.device)
    values = counts @ coefficients.T + intercept
    network = baseline.get("network")
    return values if network is None else values + evaluate_network(counts, network)
