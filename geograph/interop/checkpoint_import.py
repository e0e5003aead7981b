"""Released checkpoints of EDM, EGNN, LorentzNet and CGENN as self-contained checkpoints of our own.

Nothing in the files is run: tensors are loaded with `weights_only=True`, pickled arguments by
`restricted_pickle`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from geograph.errors import CheckpointError, ConfigError
from geograph.interop.checkpoint_import_edm import edm_task
from geograph.interop.released import FAMILIES, family
from geograph.interop.restricted_pickle import read_arguments, read_tensors
from geograph.interop.transfer import Recipe, filled
from geograph.tasks import Task, build_task
from geograph.training.checkpoint import FORMAT, save_checkpoint

#: A parameter by which a family is recognised.
_MARKS: dict[str, str] = {
    "edm-dynamics": "egnn.e_block_0.gcl_0.edge_mlp.0.weight",
    "lorentznet": "LGEBs.0.phi_e.0.weight",
    "cgenn-lorentz": "CGLs.0.phi_h.0.weight",
    "cgenn-nbody": "layers.0.edge_model.layers.0.0.weight",
    "egnn": "gcl_0.edge_mlp.0.weight",
}
#: Keys under which training scripts put the state dictionary.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "dynamics.")
_RAW, _AVERAGED, _ARGUMENTS = "generative_model.npy", "generative_model_ema.npy", "args.pickle"


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes
    ----------
    path
        The new checkpoint.
    family, kind
        Released family, and kind of our task.
    num_parameters
        Trainable numbers of the network.
    has_ema
        Whether averaged weights came along beside the raw ones.
    notes
        Where our function differs from the released one.
    """

    path: Path
    family: str
    kind: str
    num_parameters: int
    has_ema: bool
    notes: list[str]


def import_checkpoint(
    path: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    arguments: str | Path | None = None,
    size_histogram: Mapping[str, int] | None = None,
    elements: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Imported:
    """Turn a released checkpoint into one of ours.

    Parameters
    ----------
    path
        State dictionary that `torch.save` wrote; for EDM also the folder of a training with
        `generative_model.npy`, `generative_model_ema.npy` and `args.pickle`.
    out
        Checkpoint to write.
    name
        Family, a key of `geograph.interop.released.FAMILIES`; None finds it from the names of the parameters.
    arguments
        EDM: the pickled arguments; None looks for `args.pickle` beside the state dictionary.
    size_histogram
        EDM: number of atoms (as text) to number of molecules in the training data, which no released file
        tells; see `checkpoint_import_edm.read_sizes` and `sizes_of`.
    elements
        EDM: atomic numbers in the order of the one-hot features, for data sets that are not known here.
    options
        Other families: options of the released constructor that shapes do not show, such as `c_weight`.

    Raises
    ------
    CheckpointError
        If a file is damaged, unsafe, not from these families, or contradicts the arguments or options.
    ConfigError
        If something that the family needs was not given, or an option is unknown.
    """
    source = Path(path)
    main, average = _files(source)
    params = _state(main)
    chosen = name or _recognised(main, params)
    described: dict[str, Any] = {"family": chosen, "files": {main.name: _sha256(main)}}
    if chosen == "edm-dynamics":
        if options:
            raise ConfigError(
                f"`options` are for other families, EDM has its arguments; got {dict(options)!r}."
            )
        given = read_arguments(arguments if arguments is not None else _arguments_beside(main))
        described["arguments"] = _json_values(given)
        task = edm_task(main, params, given, size_histogram, elements)
        notes: list[str] = []
    else:
        recipe = _recipe(main, chosen, params, dict(options or {}))
        task, notes = _task(recipe), recipe.notes
        described["options"] = dict(options or {})
    averaged = None
    if average is not None:
        described["files"][average.name] = _sha256(average)
        averaged = edm_task(average, _state(average), given, size_histogram, elements).state_dict()
    save_checkpoint(out, task, ema_weights=averaged, config={"imported": described})
    count = sum(parameter.numel() for parameter in task.model.parameters())
    return Imported(Path(out), chosen, task.kind, count, averaged is not None, notes)


def _files(source: Path) -> tuple[Path, Path | None]:
    """State dictionary with the raw weights, and that with the averaged ones if there are both."""
    if not source.is_dir():
        return source, None
    raw, averaged = source / _RAW, source / _AVERAGED
    if raw.is_file() and averaged.is_file():
        return raw, averaged
    for only in (raw, averaged):
        if only.is_file():
            return only, None
    raise CheckpointError(f"{source}: has neither {_RAW} nor {_AVERAGED}; name the file itself.")


def _arguments_beside(main: Path) -> Path:
    path = main.with_name(_ARGUMENTS)
    if not path.is_file():
        raise ConfigError(
            f"`arguments` must name the pickled arguments of the EDM training, there is no {path}; give them "
            "with `--args`."
        )
    return path


def _state(path: Path) -> dict[str, Tensor]:
    """Parameters of a file, without the prefixes of data-parallel training.

    Raises
    ------
    CheckpointError
        If it holds something else, which the message describes.
    """
    found = read_tensors(path)
    if found.get("format") == FORMAT:
        raise CheckpointError(f"{path}: is a geograph checkpoint already; use it as it is.")
    inner = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)), found)
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    if len(tensors) < len(inner) or not tensors:
        raise CheckpointError(f"{path}: no state dictionary of a model; {_description(inner)}.")
    return {key.removeprefix(_PREFIXES[0]): value for key, value in tensors.items()}


def _recognised(path: Path, params: Mapping[str, Tensor]) -> str:
    names = {key.removeprefix(_PREFIXES[1]) for key in params}
    for name, mark in _MARKS.items():
        if mark in names:
            return name
    raise CheckpointError(
        f"{path}: has the parameters of no family that is known here ({', '.join(FAMILIES)}); "
        f"{_description(params)}."
    )


def _description(found: Mapping[str, Any], count: int = 4) -> str:
    """Names and kinds of the first entries."""
    parts = []
    for key, value in list(found.items())[:count]:
        is_tensor = isinstance(value, Tensor)
        kind = (
            f"{value.dtype} {list(value.shape)}".removeprefix("torch.") if is_tensor else type(value).__name__
        )
        parts.append(f"{key}: {kind}")
    return f"found {len(found)} entries" + (f", the first {', '.join(parts)}" if parts else "")


def _recipe(path: Path, name: str, params: dict[str, Tensor], options: dict[str, Any]) -> Recipe:
    module = family(name)
    known = inspect.signature(module.build).parameters
    unknown = sorted(set(options) - set(known)) if "options" not in known else []
    if unknown:
        allowed = ", ".join(key for key in known if key != "params")
        raise ConfigError(f"`options.{unknown[0]}` is no option of {name}; it has {allowed}.")
    try:
        recipe: Recipe = module.recipe(params, **options)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: as {name}: {error} ({_description(params)})") from error
    return recipe


def _task(recipe: Recipe) -> Task:
    """Build our task around a released network."""
    statistics = (
        {"class_names": ["background", "signal"]} if recipe.model_params.get("num_outputs") == 2 else {}
    )
    task = build_task(
        recipe.kind, model=recipe.model, model_params=recipe.model_params, statistics=statistics
    )
    return filled(task, getattr(task.model, "network", task.model), recipe.weights)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _json_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [_json_values(part) for part in value]
    return value
