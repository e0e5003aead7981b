r"""A small network on element counts, fitted once and then frozen: what composition alone says of a target.

Beside the linear baseline it knows that the energy of an atom depends on what else is in the molecule. With
n the counts of the elements, standardised, it adds

    s (W_3 silu(W_2 silu(W_1 n + b_1) + b_2) + b_3)

to the linear one, s being the standard deviation of what the linear one leaves. It sees no positions, so it
is invariant under everything that keeps the atoms.

Molecules of one composition have one prediction, so the fit needs the mean of their targets and their number
alone, which makes it a matter of seconds for any data set. Everything is float64, the initial weights come
from a fixed seed, and the number of steps is fixed: the same data give the same network.

References
----------
Cohen et al. 2018, "Spherical CNNs", section 5.4: a network on atom types alone, trained first, then frozen.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_HIDDEN = 16
_STEPS = 1000
_LEARNING_RATE = 1e-2
#: Of squared weights, relative to the loss in units of the variance that the linear baseline leaves.
_WEIGHT_DECAY = 1e-3
_SEED = 20_180_130


def fit_network(
    counts: Float[Tensor, "graphs elements"], rest: Float[Tensor, "graphs targets"]
) -> dict[str, Any]:
    """Fit the network to what the linear baseline leaves, by least squares with weight decay.

    Parameters
    ----------
    counts
        Atoms of each element.
    rest
        Targets less the linear baseline, in their units.

    Returns
    -------
    `count_mean`, `count_std`, `scale`, `weights` and `biases` as JSON values; a target without any rest has
    scale zero.
    """
    counts, rest = counts.double(), rest.double()
    mean, std = counts.mean(dim=0), counts.std(dim=0, unbiased=False)
    std = torch.where(std > 0, std, torch.ones_like(std))
    scale = rest.std(dim=0, unbiased=False)
    unique, number, sizes = torch.unique(counts, dim=0, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(unique), rest.shape[1], dtype=torch.float64, device=rest.device)
    means = sums.index_add_(0, number, rest) / sizes[:, None]
    target = means / torch.where(scale > 0, scale, torch.ones_like(scale))
    layers = _trained((unique - mean) / std, target, sizes / sizes.sum())
    return {
        "count_mean": mean.tolist(),
        "count_std": std.tolist(),
        "scale": scale.tolist(),
        "weights": [weight.tolist() for weight, _ in layers],
        "biases": [bias.tolist() for _, bias in layers],
    }


def evaluate_network(
    counts: Float[Tensor, "graphs elements"], network: dict[str, Any]
) -> Float[Tensor, "graphs targets"]:
    """Value of the network in the units of the targets, in float64."""

    def tensor(values: list[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=counts.device)

    layers = [
        (tensor(weight), tensor(bias))
        for weight, bias in zip(network["weights"], network["biases"], strict=True)
    ]
    inputs = (counts - tensor(network["count_mean"])) / tensor(network["count_std"])
    return _forward(inputs, layers) * tensor(network["scale"])


def _forward(values: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    for weight, bias in layers[:-1]:
        values = functional.silu(functional.linear(values, weight, bias))
    return functional.linear(values, *layers[-1])


def _trained(inputs: Tensor, target: Tensor, share: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Fit the layers by Adam with a cosine schedule; the squared error of each row counts by its share."""
    generator = torch.Generator().manual_seed(_SEED)
    layers = []
    for fan_in, fan_out in pairwise((inputs.shape[1], _HIDDEN, _HIDDEN, target.shape[1])):
        weight = torch.randn(fan_out, fan_in, generator=generator, dtype=torch.float64) / fan_in**0.5
        layers.append(
            (weight.to(inputs.device), torch.zeros(fan_out, dtype=inputs.dtype, device=inputs.device))
        )
    parameters = [part.requires_grad_() for layer in layers for part in layer]
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    with torch.enable_grad():
        for _ in range(_STEPS):
            optimizer.zero_grad()
            error = (share[:, None] * (_forward(inputs, layers) - target) ** 2).sum()
            squares = torch.stack([(weight**2).sum() for weight, _ in layers]).sum()
            (error + _WEIGHT_DECAY * squares).backward()
            optimizer.step()
            schedule.step()
    return [(weight.detach(), bias.detach()) for weight, bias in layers]
