"""Pickled arguments: plain values come in, nothing else, and nothing is run."""

from __future__ import annotations

import contextlib
import os
import pickle
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geograph.errors import CheckpointError
from geograph.interop.restricted_pickle import read_arguments, read_tensors


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def written(folder: Path, value: Any, protocol: int = 4) -> Path:
    path = folder / "args.pickle"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_back(tmp_path: Path, protocol: int) -> None:
    shared = [1, 4, 10]
    values = {
        "nf": 256, "lr": 1e-4, "tanh": True, "name": "edm", "none": None, "factors": shared, "again": shared,
        "pair": (1, "a"), "sets": {1, 2}, "nested": {"a": {"b": [1.5]}}, "big": 1 << 70,
    }  # fmt: skip
    assert read_arguments(written(tmp_path, Namespace(**values), protocol)) == values
    assert read_arguments(written(tmp_path, values, protocol)) == values
    assert read_arguments(written(tmp_path, Namespace(inner=Namespace(a=1)), protocol)) == {"inner": {"a": 1}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Call(os.system, "touch ran"), r"refused, it asks for (posix|nt)\.system; only plain values"),
        (Namespace(a=[{"b": Call(eval, "1")}]), r"it asks for (builtins|__builtin__)\.eval"),
        (Call(getattr, Namespace(), "a"), r"it asks for (builtins|__builtin__)\.getattr"),
        (Namespace(a=np.float64(1.0)), r"it asks for numpy\.\w+\.\w+"),
        (Namespace(a=torch.device("cpu")), r"it asks for torch\.device"),
        (Namespace(a=OrderedDict()), r"it asks for collections\.OrderedDict"),
        (Namespace(a=b"bytes"), "it (holds a bytes|asks for _codecs.encode)"),
        (Namespace(a=1 + 2j), r"it asks for (builtins|__builtin__)\.complex"),
        ([1, 2], "must hold a namespace of arguments, found a list"),
        ({1: 2}, "must hold a namespace of arguments, found a dict"),
        (Namespace(a=Namespace), "it holds a type"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_everything_else_is_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, message: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, value, protocol)
    with pytest.raises(CheckpointError, match=message):
        read_arguments(path)
    assert not (tmp_path / "ran").exists()


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_knots_depth_and_size_are_bounded(tmp_path: Path) -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(CheckpointError, match="it holds itself"):
        read_arguments(written(tmp_path, Namespace(a=ring)))
    with pytest.raises(CheckpointError, match="nested more than 64 deep"):
        read_arguments(written(tmp_path, Namespace(a=nested(100))))
    wide: list[Any] = []
    for _ in range(40):  # a tree of 2^40 leaves, if every part were copied on its own
        wide = [wide, wide]
    assert len(read_arguments(written(tmp_path, Namespace(a=wide)))["a"]) == 2
    (tmp_path / "memo").write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")
    with pytest.raises(CheckpointError, match="it remembers an object under the number 2147483647"):
        read_arguments(tmp_path / "memo")
    (tmp_path / "large").write_bytes(bytes(2 << 20))
    with pytest.raises(CheckpointError, match="2097152 bytes are too many for pickled arguments"):
        read_arguments(tmp_path / "large")


def test_a_pickle_cannot_change_the_classes_it_names(tmp_path: Path) -> None:
    # GLOBAL argparse.Namespace, then BUILD with a slot state: sets an attribute of the class itself.
    data = b"\x80\x02cargparse\nNamespace\nN}X\x05\x00\x00\x00wrongK\x01s\x86b0cargparse\nNamespace\n)\x81."
    path = tmp_path / "args.pickle"
    path.write_bytes(data)
    assert read_arguments(path) == {}
    assert not hasattr(Namespace, "wrong")


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none: no such file; give the pickled arguments"):
        read_arguments(tmp_path / "none")
    whole = written(tmp_path, Namespace(a=1, b="text")).read_bytes()
    for size in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut: (damaged, or no pickle|refused)"):
            read_arguments(tmp_path / "cut")
    generator = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(whole)
        broken[generator.integers(len(whole))] = generator.integers(256)
        (tmp_path / "flipped").write_bytes(broken)
        with contextlib.suppress(CheckpointError):  # any other error fails here
            read_arguments(tmp_path / "flipped")


def test_tensors_come_in_and_objects_do_not(tmp_path: Path) -> None:
    path = tmp_path / "model.npy"
    for legacy in (False, True):
        state = OrderedDict(a=torch.ones(2), b=3)
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
        assert set(read_tensors(path)) == {"a", "b"}
    torch.save(torch.nn.Linear(1, 1), path)
    with pytest.raises(CheckpointError, match=r"refused, it asks for torch\.nn\.modules\.linear\.Linear"):
        read_tensors(path)
    torch.save({"a": Call(os.system, "true")}, path)
    with pytest.raises(CheckpointError, match=r"refused, it asks for (posix|nt)\.system"):
        read_tensors(path)
    torch.save([torch.ones(1)], path)
    with pytest.raises(CheckpointError, match="must hold a state dictionary, found a list"):
        read_tensors(path)
    with pytest.raises(CheckpointError, match="none: no such file; give the state dictionary"):
        read_tensors(tmp_path / "none")
    for content in (b"", b"no checkpoint", b"PK\x03\x04 cut", np.zeros(3).tobytes()):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.npy: (damaged|refused)"):
            read_tensors(path)
