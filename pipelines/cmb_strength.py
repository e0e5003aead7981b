"""How strong the non-Gaussianity of the generated maps must be: accuracy with and without scattering.

    python -m pipelines.cmb_strength --strengths 0.02,0.04,0.06

For every strength, maps of both classes are made; then two classifiers see the power spectrum of the maps,
and the power spectra of their scattering coefficients: a linear one (ridge regression on the logarithms) and
the network `power-spectrum`. The first input must leave them at chance, or the spectra are not matched.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch_geometric.data import Data

from geograph.algebra.harmonics import power_spectrum
from geograph.generate.cmb import generate_cmb
from geograph.models.power_spectrum import PowerSpectrumGraph
from geograph.sphere.scattering import scatter
from geograph.sphere.scattering_plan import ScatteringPlan
from pipelines.stage import write_metrics

_TEST_FRACTION = 0.2
_MAPS_AT_ONCE = 50
#: Of the ridge regression, in units of the variance of a standardised feature, for each map.
_RIDGE = 0.02
_EPOCHS, _BATCH, _LEARNING_RATE, _WEIGHT_DECAY = 20, 32, 1e-3, 0.1


def split(label: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the maps for training and for testing, the same share of each class.

    With other shares, what is more frequent in training would be rarer in testing, and a classifier that
    knows nothing would come out below chance.
    """
    rng = np.random.default_rng(seed)
    classes = [rng.permutation(np.flatnonzero(label == one)) for one in (0, 1)]
    cuts = [round(_TEST_FRACTION * len(one)) for one in classes]
    train = np.concatenate([one[cut:] for one, cut in zip(classes, cuts, strict=True)])
    return train, np.concatenate([one[:cut] for one, cut in zip(classes, cuts, strict=True)])


def linear_accuracy(harmonic: torch.Tensor, label: np.ndarray, seed: int) -> float:
    """Accuracy on the test part of ridge regression on log C_l of every channel.

    Parameters
    ----------
    harmonic
        Coefficients [maps, channels, L^2].
    label
        0 or 1.
    seed
        Of the split.
    """
    spectra = power_spectrum(harmonic.double()).flatten(1).numpy()
    features = np.log(spectra[:, (spectra > 0).all(axis=0)])
    train, test = split(label, seed)
    features = (features - features[train].mean(axis=0)) / features[train].std(axis=0)
    known = features[train]
    penalty = _RIDGE * len(train) * np.eye(known.shape[1])
    weight = np.linalg.solve(known.T @ known + penalty, known.T @ (2.0 * label[train] - 1.0))
    return float(((features[test] @ weight > 0) == (label[test] == 1)).mean())


def _batch(harmonic: torch.Tensor, label: torch.Tensor, rows: np.ndarray) -> Data:
    count = len(rows)
    return Data(
        harmonic=harmonic[rows], y=label[rows], ptr=torch.arange(count + 1), batch=torch.arange(count)
    )


def network_accuracy(harmonic: torch.Tensor, label: np.ndarray, seed: int) -> float:
    """Accuracy on the test part of the network `power-spectrum`, trained for a fixed number of epochs.

    Parameters
    ----------
    harmonic, label
        As in `linear_accuracy`.
    seed
        Of the split, the weights and the order of the maps.
    """
    train, test = split(label, seed)
    target, known = torch.from_numpy(label), harmonic[train]
    mean = known[:, :, 0].mean(dim=0)
    around = known - torch.nn.functional.pad(mean[:, None], (0, known.shape[-1] - 1))
    scale = around.square().mean(dim=(0, 2)).sqrt()
    torch.manual_seed(seed)
    model = PowerSpectrumGraph(
        num_channels=harmonic.shape[1],
        bandlimit=round(harmonic.shape[-1] ** 0.5),
        num_outputs=2,
        dropout=0.3,
        input_mean=mean.tolist(),
        input_scale=torch.where(scale > 0, scale, 1.0).tolist(),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    rng = np.random.default_rng(seed)
    for _ in range(_EPOCHS):
        order = rng.permutation(train)
        for rows in np.split(order, range(_BATCH, len(order), _BATCH)):
            batch = _batch(harmonic, target, rows)
            loss = torch.nn.functional.cross_entropy(model(batch), batch.y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        logits = model.eval()(_batch(harmonic, target, test))
    return float((logits.argmax(dim=1) == target[test]).double().mean())


def measure(
    strength: float, plan: ScatteringPlan, num_per_class: int, *, num_splits: int, seed: int, **options: Any
) -> dict[str, float]:
    """Accuracies, mean and standard deviation over random splits, with and without scattering.

    Parameters
    ----------
    strength
        Of the non-Gaussianity.
    plan
        Of the scattering transform.
    num_per_class
        Maps of each class.
    num_splits
        Splits into a train and a test part.
    seed
        Of the maps.
    **options
        Further parameters of `generate_cmb`.
    """
    start = time.perf_counter()
    maps = generate_cmb(num_per_class, bandlimit=plan.bandlimit, strength=strength, seed=seed, **options)
    label = np.array([record.label for record in maps])
    harmonic = torch.from_numpy(np.stack([record.harmonic for record in maps]))
    made = time.perf_counter()
    scattered = torch.cat([scatter(plan, part).flatten(1, 2) for part in harmonic.split(_MAPS_AT_ONCE)])
    done = time.perf_counter()
    result = {"strength": strength, "ms_per_map": 1e3 * (made - start) / len(maps)}
    result["scattering_ms_per_map"] = 1e3 * (done - made) / len(maps)
    for name, values in (("without", harmonic), ("with", scattered)):
        for kind, accuracy in (("linear", linear_accuracy), ("network", network_accuracy)):
            found = [accuracy(values, label, number) for number in range(num_splits)]
            result[f"{name}_scattering_{kind}_accuracy"] = float(np.mean(found))
            result[f"{name}_scattering_{kind}_spread"] = float(np.std(found))
    return result


def main(
    strengths: Annotated[
        str, typer.Option(help="Strengths, with commas between.")
    ] = "0.02,0.03,0.04,0.05,0.06,0.08",
    bandlimit: Annotated[int, typer.Option(help="L of the maps.")] = 128,
    smallest_scale: Annotated[int, typer.Option(help="J0 of the scattering.")] = 3,
    oversampling: Annotated[float, typer.Option(help="Of the moduli.")] = 2.0,
    num_per_class: Annotated[int, typer.Option(help="Maps of each class.")] = 500,
    num_splits: Annotated[int, typer.Option(help="Random splits, 80 % for training.")] = 5,
    transfer: Annotated[str, typer.Option(help="`ensemble` or `expectation`.")] = "ensemble",
    seed: Annotated[int, typer.Option(help="Of the maps.")] = 1,
    num_workers: Annotated[int, typer.Option(help="Processes that make maps.")] = 1,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("metrics/cmb_strength.json"),
) -> None:
    """Print and write the accuracies for every strength."""
    plan = ScatteringPlan(bandlimit, smallest_scale, oversampling=oversampling)
    rows = [
        measure(
            float(strength),
            plan,
            num_per_class,
            num_splits=num_splits,
            seed=seed,
            transfer=transfer,
            num_workers=num_workers,
        )
        for strength in strengths.split(",")
    ]
    table = Table(
        title=f"accuracy, L = {bandlimit}, {num_per_class} + {num_per_class} maps, {num_splits} splits"
    )
    names = [f"{name}_scattering_{kind}" for name in ("without", "with") for kind in ("linear", "network")]
    for column in ("strength", *(name.replace("_", " ") for name in names)):
        table.add_column(column)
    for row in rows:
        cells = [f"{row[f'{name}_accuracy']:.3f} ± {row[f'{name}_spread']:.3f}" for name in names]
        table.add_row(f"{row['strength']:g}", *cells)
    Console(width=110).print(table)
    write_metrics(out, {"bandlimit": bandlimit, "num_per_class": num_per_class, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
