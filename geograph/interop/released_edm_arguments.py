"""Arguments of a released EDM training (`args.pickle`) in the words of our generation task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geograph.errors import CheckpointError

#: Order of the elements in the one-hot features by name of the data set; hydrogen is first and may be absent.
ELEMENTS: dict[str, tuple[int, ...]] = {
    name: (1, 6, 7, 8, 9) for name in ("qm9", "qm9_first_half", "qm9_second_half")
}
#: Arguments that releases before the current one did not have, with what they did.
_DEFAULTS: dict[str, Any] = {
    "model": "egnn_dynamics",
    "probabilistic_model": "diffusion",
    "condition_time": True,
    "sin_embedding": False,
    "aggregation_method": "sum",
    "normalization_factor": 1,
    "context_node_nf": 0,
    "conditioning": (),
    "remove_h": False,
}
#: What our network and process do not do, as argument -> (the one value that they do, why).
_ONLY: dict[str, tuple[Any, str]] = {
    "model": ("egnn_dynamics", "the equivariant network is the only one that there is here"),
    "probabilistic_model": ("diffusion", "flows are not read"),
    "condition_time": (True, "the network always reads the time"),
    "sin_embedding": (False, "distances enter the network as they are"),
    "aggregation_method": ("sum", "sums over neighbours are divided by a constant"),
    "context_node_nf": (0, "checkpoints that were conditioned on a property are not read"),
}
_NUMBERS = {
    "diffusion_steps": int,
    "diffusion_noise_precision": float,
    "n_layers": int,
    "nf": int,
    "inv_sublayers": int,
    "norm_constant": float,
    "normalization_factor": float,
}
_FLAGS = ("include_charges", "attention", "tanh")


def elements_of(arguments: Mapping[str, Any], given: Sequence[int] | None = None) -> list[int]:
    """Atomic numbers in the order of the one-hot features.

    Parameters
    ----------
    arguments
        As from `read_arguments`.
    given
        What the user says; needed for data sets whose order is not known here.

    Raises
    ------
    CheckpointError
        If it is neither known nor given.
    """
    if given is not None:
        return list(given)
    name = arguments.get("dataset")
    if name not in ELEMENTS:
        raise CheckpointError(
            f"the order of the elements of the data set {name!r} is not known (known: "
            f"{', '.join(ELEMENTS)}); give it with `--elements`, such as H,C,N,O,F."
        )
    return [number for number in ELEMENTS[name] if number > 1 or not _argument(arguments, "remove_h")]


def network_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the network that leave no trace in the shapes of its parameters.

    Raises
    ------
    CheckpointError
        If an argument is missing, of the wrong type, or asks for what our network does not do.
    """
    for name, (only, why) in _ONLY.items():
        if _argument(arguments, name) != only:
            raise CheckpointError(
                f"`args.{name}` must be {only!r}, got {_argument(arguments, name)!r}: {why}."
            )
    if list(_argument(arguments, "conditioning")):
        raise CheckpointError(
            f"`args.conditioning` must be empty, got {_argument(arguments, 'conditioning')!r}: checkpoints "
            "that were conditioned on a property are not read."
        )
    return {
        "has_tanh": _flag(arguments, "tanh"),
        "norm_constant": _number(arguments, "norm_constant"),
        "normalization_factor": _number(arguments, "normalization_factor"),
    }


def process_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the diffusion process for `GenerationTask`.

    Raises
    ------
    CheckpointError
        If an argument is missing or of the wrong type, or the noise schedule is learned.
    """
    schedule, factors = (
        _argument(arguments, name) for name in ("diffusion_noise_schedule", "normalize_factors")
    )
    if not isinstance(schedule, str) or schedule == "learned":
        raise CheckpointError(
            f"`args.diffusion_noise_schedule` must be 'cosine' or 'polynomial_p', got {schedule!r}: a "
            "learned schedule is not read."
        )
    if not isinstance(factors, list | tuple) or len(factors) != 3 or not all(_is_number(f) for f in factors):
        raise CheckpointError(f"`args.normalize_factors` must be three numbers, got {factors!r}.")
    return {
        "schedule": schedule,
        "num_steps": int(_number(arguments, "diffusion_steps")),
        "precision": _number(arguments, "diffusion_noise_precision"),
        "norm_values": [float(factor) for factor in factors],
        "has_charge": _flag(arguments, "include_charges"),
    }


def check_shapes(arguments: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    """Compare the arguments with what the shapes of the parameters show.

    Parameters
    ----------
    arguments
        As from `read_arguments`.
    shown
        `nf`, `n_layers`, `inv_sublayers` and `attention` of the parameters.

    Raises
    ------
    CheckpointError
        If they differ.
    """
    for name, value in shown.items():
        stated = _flag(arguments, name) if name in _FLAGS else int(_number(arguments, name))
        if stated != value:
            raise CheckpointError(
                f"`args.{name}` is {stated}, but the parameters show {value}; do the two files belong "
                "together?"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _argument(arguments: Mapping[str, Any], name: str) -> Any:
    if name not in arguments and name not in _DEFAULTS:
        raise CheckpointError(f"`args.{name}` is missing; are these the arguments of an EDM training?")
    return arguments.get(name, _DEFAULTS.get(name))


def _number(arguments: Mapping[str, Any], name: str) -> float:
    value = _argument(arguments, name)
    is_whole = isinstance(value, int)
    if not (_is_number(value) or (name == "norm_constant" and value == 0)) or (
        _NUMBERS[name] is int and not is_whole
    ):
        kind = "a positive whole number" if _NUMBERS[name] is int else "a positive number"
        raise CheckpointError(f"`args.{name}` must be {kind}, got {value!r}.")
    return float(value)


def _flag(arguments: Mapping[str, Any], name: str) -> bool:
    value = _argument(arguments, name)
    if value not in (True, False, 0, 1):
        raise CheckpointError(f"`args.{name}` must be True or False, got {value!r}.")
    return bool(value)
