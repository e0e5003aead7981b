"""The released diffusion model as a generation task of ours, and what its files do not tell: the sizes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from geograph.diffusion.sizes import SizeDistribution
from geograph.errors import CheckpointError, ConfigError, DataError
from geograph.interop import released_edm_arguments as edm
from geograph.interop.released import from_released
from geograph.interop.transfer import count_blocks, filled
from geograph.records import Molecule
from geograph.tasks import Task, build_task

#: The released schedule is kept in float32.
_SCHEDULE_TOLERANCE = 1e-5


def read_sizes(path: str | Path) -> dict[str, int]:
    """Read a histogram of sizes: JSON that maps numbers of atoms to numbers of molecules.

    Raises
    ------
    ConfigError
        If the file is missing, is not such a map, or a number is out of range.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: no readable JSON file with a histogram of sizes ({error}).") from error
    is_map = isinstance(found, dict) and all(size.isdigit() and type(n) is int for size, n in found.items())
    if not is_map:
        raise ConfigError(
            f'{path}: must map numbers of atoms to numbers of molecules, such as {{"18": 13364}}.'
        )
    return {str(size): n for size, n in SizeDistribution.from_histogram(found).counts.items()}


def sizes_of(molecules: Iterable[Molecule], elements: Sequence[int]) -> dict[str, int]:
    """Histogram of the sizes of molecules; hydrogens do not count where the elements have none.

    Raises
    ------
    DataError
        If a molecule has an element that is not among `elements`.
    """
    known, counts = set(elements), Counter[int]()
    for index, molecule in enumerate(molecules):
        numbers = [z for z in molecule.z.tolist() if z != 1 or 1 in known]
        other = sorted(set(numbers) - known)
        if other:
            raise DataError(
                f"atomic number {other[0]} is not among the elements {sorted(known)} of the checkpoint",
                record=molecule.id or index,
                remedy="give the data that the model was trained on",
            )
        counts[len(numbers)] += 1
    return {str(size): count for size, count in sorted(counts.items()) if size}


def edm_task(
    path: Path,
    params: dict[str, Tensor],
    arguments: Mapping[str, Any],
    size_histogram: Mapping[str, int] | None,
    elements: Sequence[int] | None,
) -> Task:
    """Build a generation task from the parameters and arguments of an EDM training.

    Parameters
    ----------
    path
        File of the parameters, for messages.
    params, arguments
        Released parameters by name, and the arguments of the training.
    size_histogram
        Number of atoms (as text) to number of molecules in the training data.
    elements
        Atomic numbers in the order of the one-hot features, for data sets that are not known here.

    Raises
    ------
    CheckpointError
        If parameters and arguments contradict each other or ask for what is not there.
    ConfigError
        If the histogram was not given.
    """
    numbers = edm.elements_of(arguments, elements)
    settings = edm.process_settings(arguments)
    network = from_released("edm-dynamics", params, **edm.network_options(arguments))
    shown, num_features = _shown(network), len(numbers) + int(settings["has_charge"])
    edm.check_shapes(arguments, shown)
    if network.num_features != num_features:
        raise CheckpointError(
            f"{path}: the network reads {network.num_features} features of an atom, but {len(numbers)} "
            f"elements {'with' if settings['has_charge'] else 'without'} charge number make {num_features}; "
            "give the elements of its data set with `--elements`."
        )
    if size_histogram is None:
        raise ConfigError(
            "`size_histogram` must be given: the released files do not tell how many atoms the molecules of "
            "the training data have; give it with `--sizes FILE.json`, or the data with `--size-data FILE`."
        )
    model_params = {
        "num_hidden": shown["nf"],
        "num_layers": shown["n_layers"],
        "num_message_layers": shown["inv_sublayers"],
        "has_attention": shown["attention"],
        **edm.network_options(arguments),
    }
    statistics = {"atomic_numbers": numbers, "size_histogram": dict(size_histogram)}
    task = build_task(
        "generation", model="edm-dynamics", model_params=model_params, statistics=statistics, **settings
    )
    _check_schedule(path, task, params)
    return filled(task, task.model, network.state_dict())


def _shown(network: nn.Module) -> dict[str, Any]:
    """Sizes of a network by the names that the arguments have for them."""
    weights = network.state_dict()
    return {
        "nf": weights["embedding.weight"].shape[0],
        "n_layers": count_blocks(weights, r"blocks\.(\d+)\."),
        "inv_sublayers": count_blocks(weights, r"blocks\.0\.message_layers\.(\d+)\."),
        "attention": any(".attention." in name for name in weights),
    }


def _check_schedule(path: Path, task: Any, params: Mapping[str, Tensor]) -> None:
    """Compare the noise schedule with that of the file, if it has one.

    Raises
    ------
    CheckpointError
        If they differ.
    """
    stored = params.get("gamma.gamma")
    ours = task.process.schedule.gamma
    if stored is None:
        return
    scale = float(ours.abs().max())
    if (
        stored.shape != ours.shape
        or float((stored.double() - ours).abs().max()) > _SCHEDULE_TOLERANCE * scale
    ):
        raise CheckpointError(
            f"{path}: its noise schedule of {stored.numel()} times is not the {task.process.schedule.name} "
            f"schedule of {ours.numel()} times that its arguments name; do the two files belong together?"
        )
