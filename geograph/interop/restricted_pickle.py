"""Files of other programs without running their code: pickled arguments, and dictionaries of tensors.

A pickle is a program that may call anything it can name. Here it can name nothing but `argparse.Namespace`,
which an empty class of our own stands in for, and `set`; what comes out is checked once more.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geograph.errors import CheckpointError

#: Names that a pickle of arguments may ask for. Pickles before protocol 4 need `set` to make a set.
ALLOWED = {("argparse", "Namespace"), ("builtins", "set"), ("__builtin__", "set")}
_PLAIN = (int, float, str, bool, type(None))
_MAX_BYTES, _MAX_DEPTH = 1 << 20, 64
_MEMO_OPCODES = {"PUT", "BINPUT", "LONG_BINPUT"}
#: What the unpicklers raise on bytes that are damaged or are no pickle.
_DAMAGED = (
    EOFError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RuntimeError, OSError,
    zipfile.BadZipFile,
)  # fmt: skip


class _Restricted(pickle.Unpickler):
    """Finds no class but a stand-in for the namespace, new for each file: what the pickle does to it ends."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.namespace = type("Namespace", (), {})

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in or `set`.

        Raises
        ------
        UnpicklingError
            If the pickle names anything else.
        """
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return set if name == "set" else self.namespace


def read_arguments(path: str | Path) -> dict[str, Any]:
    """Read a pickled `argparse.Namespace` (or dictionary) of plain values.

    Plain are int, float, str, bool, None and lists, tuples, dicts, sets and namespaces of plain values;
    namespaces become dicts.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, larger than 1 MiB, or holds anything else; the message names what.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the pickled arguments of the training.")
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes are too many for pickled arguments.")
    data = path.read_bytes()
    try:
        _check_memo(data)
        unpickler = _Restricted(data)
        found = unpickler.load()
        arguments = _plain(found, unpickler.namespace, {}, 0)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, {error}; only plain values and argparse.Namespace are read. Nothing was run."
        ) from error
    except _DAMAGED as error:
        raise CheckpointError(f"{path}: damaged, or no pickle ({error}); copy the file again.") from error
    if not isinstance(arguments, dict) or not all(isinstance(name, str) for name in arguments):
        raise CheckpointError(f"{path}: must hold a namespace of arguments, found a {type(found).__name__}.")
    return arguments


def _check_memo(data: bytes) -> None:
    """Refuse numbers of remembered objects that would make the unpickler reserve memory for millions."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _MEMO_OPCODES and isinstance(argument, int) and argument > len(data):
            raise pickle.UnpicklingError(f"it remembers an object under the number {argument}")


def _plain(value: Any, namespace: type, done: dict[int, Any], depth: int) -> Any:
    """Copy a value of plain parts; `done` holds what was copied, so that shared parts are copied once."""
    if type(value) in _PLAIN:
        return value
    if id(value) in done:
        if done[id(value)] is done:
            raise pickle.UnpicklingError("it holds itself")
        return done[id(value)]
    if depth >= _MAX_DEPTH:
        raise pickle.UnpicklingError(f"it is nested more than {_MAX_DEPTH} deep")
    done[id(value)] = done  # a mark: this one is under way
    result = _copied(value, namespace, done, depth + 1)
    done[id(value)] = result
    return result


def _copied(value: Any, namespace: type, done: dict[int, Any], depth: int) -> Any:
    if type(value) is namespace:
        value = vars(value)
    if type(value) is dict:
        pairs = [[_plain(part, namespace, done, depth) for part in pair] for pair in value.items()]
        return {name: part for name, part in pairs}
    if type(value) in (list, tuple, set):
        return type(value)(_plain(part, namespace, done, depth) for part in value)
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")


def read_tensors(path: str | Path) -> dict[str, Any]:
    """Read what `torch.save` wrote, if it is a dictionary of tensors and plain values.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, would run code when it is loaded, or holds no dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the state dictionary that torch.save wrote.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it asks for {asked[1]}" if asked else "it is no file of torch.save, or would run code"
        raise CheckpointError(
            f"{path}: refused, {what}; only tensors and plain values are read. Save `model.state_dict()`."
        ) from error
    except _DAMAGED as error:
        raise CheckpointError(f"{path}: damaged, or no file of torch.save ({error}).") from error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path}: must hold a state dictionary, found a {type(found).__name__}.")
    return {str(name): value for name, value in found.items()}
