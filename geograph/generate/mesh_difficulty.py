"""How hard the generated mesh classes are for a classifier of shape histograms.

Run `python -m geograph.generate.mesh_difficulty` for the figures of the data-set card.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from geograph.records import Mesh

_NUM_SAMPLES = 2048
_NUM_BINS = 48


def shape_histograms(mesh: Mesh, rng: np.random.Generator) -> Float[np.ndarray, " features"]:
    """Return histograms of the surface that do not change under rotation.

    Distances of random pairs of surface points (D2), their distances from the centroid (D1), and the cosines
    between the outward normals of the pairs.

    References
    ----------
    Osada et al. (2002), ACM Transactions on Graphics 21(4), section 3.
    """
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = np.linalg.norm(normals, axis=1)
    face = rng.choice(len(doubled), 2 * _NUM_SAMPLES, p=doubled / doubled.sum())
    u, v = np.sqrt(rng.random(len(face)))[:, None], rng.random(len(face))[:, None]
    points = (1 - u) * corners[face, 0] + u * (1 - v) * corners[face, 1] + u * v * corners[face, 2]
    points -= points.mean(axis=0)
    radius = np.linalg.norm(points, axis=1)
    first, second = points[:_NUM_SAMPLES], points[_NUM_SAMPLES:]
    distance = np.linalg.norm(first - second, axis=1)
    unit = normals[face] / doubled[face, None]
    cosine = (unit[:_NUM_SAMPLES] * unit[_NUM_SAMPLES:]).sum(axis=1)
    ranges = ((distance, 0.0, 2.0), (radius, 0.0, 1.2), (cosine, -1.0, 1.0))
    return np.concatenate([np.histogram(x, _NUM_BINS, (low, high))[0] / len(x) for x, low, high in ranges])


def difficulty(meshes: Sequence[Mesh], seed: int, *, train_fraction: float = 0.75) -> dict[str, float]:
    """Return test accuracies of a boosted-tree classifier of `shape_histograms`, from one stratified split.

    Parameters
    ----------
    meshes
        Labelled meshes.
    seed
        Seed of the sampling, the split and the classifier.
    train_fraction
        Share of the meshes that the classifier is trained on.

    Returns
    -------
    `accuracy` over all test meshes, `chance`, and `accuracy/LABEL` for each class.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import train_test_split

    rng = np.random.default_rng(seed)
    features = np.stack([shape_histograms(mesh, rng) for mesh in meshes])
    labels = np.array([mesh.label for mesh in meshes])
    train, test = train_test_split(
        np.arange(len(labels)), train_size=train_fraction, random_state=seed, stratify=labels
    )
    classifier = HistGradientBoostingClassifier(max_iter=100, random_state=seed)
    classifier.fit(features[train], labels[train])
    is_right = classifier.predict(features[test]) == labels[test]
    classes = np.unique(labels)
    result = {"accuracy": float(is_right.mean()), "chance": 1 / len(classes)}
    return result | {f"accuracy/{c}": float(is_right[labels[test] == c].mean()) for c in classes}


def main() -> None:
    """Generate meshes and print their difficulty, class by class."""
    from geograph.generate.meshes import MESH_CLASSES, generate_meshes

    parser = argparse.ArgumentParser(
        prog="python -m geograph.generate.mesh_difficulty", description=main.__doc__
    )
    parser.add_argument("--num-per-class", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, default=1)
    parser.add_argument("--anisotropy", type=float, default=0.45)
    parser.add_argument("--deformation", type=float, default=0.15)
    parser.add_argument("--max-faces", type=int, default=1000)
    options = vars(parser.parse_args())
    scores = difficulty(generate_meshes(options.pop("num_per_class"), **options), options["seed"])
    print(f"accuracy {scores['accuracy']:.3f} (chance {scores['chance']:.3f})")
    for label, name in enumerate(MESH_CLASSES):
        print(f"  {name:10s} {scores[f'accuracy/{label}']:.2f}")


if __name__ == "__main__":
    main()
