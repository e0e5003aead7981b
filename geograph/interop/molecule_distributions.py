"""Distributions of sizes, elements, rings, bonds and angles, and their distances to a reference set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from geograph.interop.distances import circular_wasserstein, total_variation, wasserstein
from geograph.interop.internal_coordinates import bond_angles, bond_lengths, dihedral_angles, type_name
from geograph.interop.rdkit_perception import Perception

#: The most frequent types of the reference have a histogram; all types have a distance.
NUM_HISTOGRAMS = 12
_NUM_BINS = 60
_METRICS: dict[str, Callable[..., float]] = {
    "wasserstein": wasserstein,
    "circular_wasserstein": circular_wasserstein,
    "total_variation": total_variation,
}
#: Name -> unit, metric, and how the type (or the category) is spelt.
_QUANTITIES: dict[str, tuple[str, str, str]] = {
    "sizes": ("atoms", "wasserstein", ""),
    "ring_counts": ("rings", "wasserstein", ""),
    "elements": ("", "total_variation", "element"),
    "ring_sizes": ("", "total_variation", "number"),
    "bond_types": ("", "total_variation", "bond"),
    "bond_lengths": ("angstrom", "wasserstein", "bond"),
    "bond_angles": ("degree", "wasserstein", "angle"),
    "dihedral_angles": ("degree", "circular_wasserstein", "dihedral"),
}


@dataclass(frozen=True)
class Histogram:
    """Observations of one type, binned for a figure.

    Attributes
    ----------
    edges
        Bin edges in the unit of the quantity; empty for categories.
    labels
        Names of the categories; empty for numbers.
    samples, reference
        Density in each bin (its integral over all values is 1), or fraction of each category.
    """

    edges: tuple[float, ...]
    labels: tuple[str, ...]
    samples: tuple[float, ...]
    reference: tuple[float, ...]


@dataclass(frozen=True)
class TypeDistance:
    """Distance of one type, for instance of the C=O bond; None where the samples have none of it."""

    name: str
    distance: float | None
    num_samples: int
    num_reference: int
    histogram: Histogram | None


@dataclass(frozen=True)
class Distribution:
    """Distance of one quantity to the reference.

    Attributes
    ----------
    name, unit, metric
        Which quantity, the unit of its values and distances, and which distance.
    distance
        Mean over the types of the reference that the samples have too, weighted by how often they occur in
        the reference; None where there are none.
    floor
        The same between a random part of the reference, with as many molecules as were judged (at most
        half), and its rest: what the best model can reach. None with fewer than two reference molecules.
    covered
        Fraction of the reference's occurrences whose type the samples have too.
    types
        One by one, the most frequent in the reference first; those that only the samples have come last.
    """

    name: str
    unit: str
    metric: str
    distance: float | None
    floor: float | None
    covered: float
    types: tuple[TypeDistance, ...]


@dataclass(frozen=True)
class Observations:
    """Values [k] of one quantity, their type codes [k] and the number of their molecule [k]."""

    values: Float[np.ndarray, " k"] | Int[np.ndarray, " k"]
    codes: Int[np.ndarray, " k"]
    molecule: Int[np.ndarray, " k"]

    def of(self, chosen: np.ndarray) -> Observations:
        """Return those of the molecules for which `chosen` is True."""
        keep = chosen[self.molecule]
        return Observations(self.values[keep], self.codes[keep], self.molecule[keep])


def observe(
    z: Int[np.ndarray, " n"],
    pos: Float[np.ndarray, "n 3"],
    ptr: Int[np.ndarray, " starts"],
    perceived: Sequence[Perception],
) -> dict[str, Observations]:
    """Collect all quantities of a set of molecules.

    Sizes and elements are those of all molecules; rings, bonds and angles those of the molecules for which
    RDKit perceives a Lewis structure, since bond orders and rings are not defined for the others.

    Parameters
    ----------
    z
        Atomic numbers of all molecules, one after the other.
    pos
        Positions in angstrom.
    ptr
        Row where each molecule begins, and the total at the end.
    perceived
        What RDKit found in each molecule.
    """
    molecule = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    known = np.array([not one.reason for one in perceived], dtype=bool)
    shifted = [one.bonds + begin for one, begin in zip(perceived, ptr[:-1], strict=True) if not one.reason]
    bonds = np.concatenate([np.zeros((0, 2), dtype=np.int64), *shifted])
    none = np.zeros(0, dtype=np.int64)
    orders = np.concatenate([none, *(one.orders for one in perceived if not one.reason)])
    rings = np.concatenate([none, *(one.ring_sizes for one in perceived)])
    num_rings = np.array([len(one.ring_sizes) for one in perceived], dtype=np.int64)
    every, ringed = np.arange(len(ptr) - 1), np.flatnonzero(known)
    found = {
        "sizes": Observations(np.diff(ptr).astype(np.float64), np.zeros_like(every), every),
        "ring_counts": Observations(num_rings[known].astype(np.float64), np.zeros_like(ringed), ringed),
        "elements": Observations(z, np.zeros_like(z), molecule),
        "ring_sizes": Observations(rings, np.zeros_like(rings), np.repeat(every, num_rings)),
    }
    lengths = bond_lengths(z, pos, bonds, orders)
    found["bond_types"] = Observations(lengths.codes, np.zeros_like(lengths.codes), molecule[lengths.atoms])
    coordinates = {
        "bond_lengths": lengths,
        "bond_angles": bond_angles(z, pos, bonds),
        "dihedral_angles": dihedral_angles(z, pos, bonds, orders),
    }
    return found | {
        name: Observations(one.values, one.codes, molecule[one.atoms]) for name, one in coordinates.items()
    }


def compare(
    samples: dict[str, Observations],
    reference: dict[str, Observations],
    *,
    num_molecules: tuple[int, int],
    seed: int = 0,
) -> dict[str, Distribution]:
    """Compare what `observe` found in two sets of molecules.

    Parameters
    ----------
    samples, reference
        Observations of the two sets.
    num_molecules
        Number of molecules of the samples and of the reference.
    seed
        Seed of the random part of the reference that gives `Distribution.floor`.
    """
    num_samples, num_reference = num_molecules
    part = np.zeros(num_reference, dtype=bool)
    size = min(num_samples, num_reference // 2)
    part[np.random.default_rng(seed).permutation(num_reference)[:size]] = True
    compared = {}
    for name, (unit, metric, spelling) in _QUANTITIES.items():
        ours, theirs = samples[name], reference[name]
        types = _types(name, ours, theirs, metric, spelling)
        distance, covered = _aggregate(types)
        floor, _ = _aggregate(_types("", theirs.of(part), theirs.of(~part), metric, spelling))
        compared[name] = Distribution(name, unit, metric, distance, floor, covered, types)
    return compared


def _aggregate(types: Sequence[TypeDistance]) -> tuple[float | None, float]:
    total = sum(one.num_reference for one in types)
    shared = [(one.distance, one.num_reference) for one in types if one.distance is not None]
    weight = sum(count for _, count in shared)
    if not weight:
        return None, 0.0
    return sum(distance * count for distance, count in shared) / weight, weight / total


def _types(
    name: str, ours: Observations, theirs: Observations, metric: str, spelling: str
) -> tuple[TypeDistance, ...]:
    """Compare type by type; without a `name` no histograms are made."""
    left, right = _by_type(ours), _by_type(theirs)
    none = ours.values[:0]
    counts = {code: len(right.get(code, none)) for code in {*left, *right}}
    ranked = sorted(counts, key=lambda code: (-counts[code], code))
    types = []
    for rank, code in enumerate(ranked):
        one, two = left.get(code, none), right.get(code, none)
        shared = len(one) > 0 and len(two) > 0
        histogram = _histogram(name, one, two, spelling) if name and rank < NUM_HISTOGRAMS else None
        spelt = (
            type_name(spelling, code) if name in ("bond_lengths", "bond_angles", "dihedral_angles") else ""
        )
        distance = _METRICS[metric](one, two) if shared else None
        types.append(TypeDistance(spelt, distance, len(one), len(two), histogram))
    return tuple(types)


def _by_type(observations: Observations) -> dict[int, np.ndarray]:
    order = np.argsort(observations.codes, kind="stable")
    codes, starts = np.unique(observations.codes[order], return_index=True)
    parts = np.split(observations.values[order], starts[1:]) if len(codes) else []
    return dict(zip(codes.tolist(), parts, strict=True))


def _histogram(name: str, samples: np.ndarray, reference: np.ndarray, spelling: str) -> Histogram:
    if _QUANTITIES[name][1] == "total_variation":
        return _categories(samples, reference, spelling)
    edges = _edges(name, np.concatenate([samples, reference]))
    sides = [
        np.histogram(side, edges)[0] / np.diff(edges) / max(1, len(side)) for side in (samples, reference)
    ]
    return Histogram(tuple(edges.tolist()), (), *(tuple(side.tolist()) for side in sides))


def _edges(name: str, values: np.ndarray) -> np.ndarray:
    if name == "bond_angles":
        return np.linspace(0.0, 180.0, _NUM_BINS + 1)
    if name == "dihedral_angles":
        return np.linspace(-180.0, 180.0, _NUM_BINS + 1)
    if name == "bond_lengths":  # single outliers would leave all others in one bin
        low, high = np.quantile(values, [0.001, 0.999])
        return np.linspace(low - 0.01, high + 0.01, _NUM_BINS + 1)
    return np.arange(values.min(), values.max() + 2) - 0.5


def _categories(samples: np.ndarray, reference: np.ndarray, spelling: str) -> Histogram:
    both, category = np.unique(np.concatenate([samples, reference]), return_inverse=True)
    sides = [
        np.bincount(part, minlength=len(both)) / max(1, len(part))
        for part in (category[: len(samples)], category[len(samples) :])
    ]
    labels = tuple(_label(spelling, code) for code in both.tolist())
    return Histogram((), labels, *(tuple(side.tolist()) for side in sides))


def _label(spelling: str, code: int) -> str:
    if spelling == "bond":
        return type_name("bond", code)
    if spelling == "element":
        from ase.data import chemical_symbols

        return str(chemical_symbols[code])
    return str(code)
