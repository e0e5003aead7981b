"""Options of `geograph sample`: text of the command line into what the sampler takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geograph.errors import ConfigError

if TYPE_CHECKING:
    from geograph.records import Molecule
    from geograph.tasks.generation import GenerationTask

_FORMULA_PART = re.compile(r"([A-Z][a-z]?)([1-9]\d*)?")


@dataclass(frozen=True)
class SampleOptions:
    """What the command line says about the molecules, as text.

    Attributes
    ----------
    num, seed
        Number of molecules (of each value of a sweep), and seed of the set.
    sizes, composition
        `--sizes`, `--composition`.
    fragment, fragment_atoms, smarts, resamplings
        `--fragment`, `--fragment-atoms`, `--smarts`, `--resamplings`.
    start, noise_level
        `--start`, `--noise-level`.
    targets, sweep
        `--target`, `--sweep`.
    """

    num: int
    seed: int
    sizes: str | None = None
    composition: str | None = None
    fragment: Path | None = None
    fragment_atoms: str | None = None
    smarts: str | None = None
    resamplings: int | None = None
    start: Path | None = None
    noise_level: float | None = None
    targets: Sequence[str] = ()
    sweep: str | None = None

    def request(self, task: GenerationTask) -> dict[str, Any]:
        """Make the arguments of `GenerationTask.sample`, files read.

        Raises
        ------
        ConfigError
            If an option cannot be read, or options contradict each other.
        DataError
            If a file cannot be read.
        """
        self._check()
        targets: dict[str, float | list[float]] = {**parse_targets(self.targets)}
        total = self.num
        if self.sweep is not None:
            name, values = parse_sweep(self.sweep)
            if name in targets:
                raise ConfigError(f"`--sweep` and `--target` both set {name}; give one of them.")
            targets[name] = [value for value in values for _ in range(self.num)]
            total = self.num * len(values)
        made: dict[str, Any] = {"num": total, "seed": self.seed}
        if targets:
            made["targets"] = targets
        return made | self._sizes_and_constraints(task, total)

    def _check(self) -> None:
        if self.fragment is None and (self.fragment_atoms or self.smarts):
            raise ConfigError(
                "`--fragment-atoms` and `--smarts` choose atoms of `--fragment`; give its file as well."
            )
        if self.start is not None and (self.fragment is not None or self.composition is not None):
            raise ConfigError(
                "`--start` noises whole molecules and contradicts `--fragment` and `--composition`; "
                "omit one of them."
            )
        if (self.start is None) != (self.noise_level is None):
            raise ConfigError("`--start` and `--noise-level` belong together; give both or none.")
        if self.resamplings is not None and self.fragment is None and self.composition is None:
            raise ConfigError(
                "`--resamplings` belongs to `--fragment` or `--composition`; give one of them or omit it."
            )

    def _sizes_and_constraints(self, task: GenerationTask, total: int) -> dict[str, Any]:
        sizes = parse_sizes(self.sizes, total)
        if self.start is not None and self.noise_level is not None:
            return _started(self.start, self.noise_level, sizes, total)
        if self.fragment is None and self.composition is None:
            return {"sizes": sizes}
        from geograph.diffusion.constraints import Constraints

        fragment = None if self.fragment is None else self._fragment(self.fragment)
        composition = None if self.composition is None else parse_formula(self.composition)
        constraints = Constraints(
            fragment, composition, **({} if self.resamplings is None else {"resamplings": self.resamplings})
        )
        if sizes is None and composition is not None:
            sizes = [len(composition)] * total
        if sizes is None and fragment is not None:
            sizes = _larger_sizes(task, self.seed, total, len(fragment.z))
        return {"sizes": sizes, "constraints": constraints}

    def _fragment(self, path: Path) -> Molecule:
        from geograph.interop.fragments import read_fragment

        atoms = None if self.fragment_atoms is None else parse_atoms(self.fragment_atoms)
        return read_fragment(path, atoms=atoms, smarts=self.smarts)


def parse_sizes(text: str | None, num: int) -> list[int] | None:
    """Read `--sizes`: one number of atoms for all molecules, or one for each, separated by commas.

    Raises
    ------
    ConfigError
        If it is not a list of positive whole numbers of the right length.
    """
    if text is None:
        return None
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"`--sizes` must be whole numbers separated by commas, got {text!r}.") from error
    if len(sizes) not in (1, num) or min(sizes) < 1:
        raise ConfigError(f"`--sizes` must be 1 or {num} positive numbers, got {text!r}.")
    return sizes * num if len(sizes) == 1 else sizes


def parse_atoms(text: str) -> list[int]:
    """Read `--fragment-atoms`: numbers from 0, separated by commas.

    Raises
    ------
    ConfigError
        If it is no such list.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"`--fragment-atoms` must be whole numbers separated by commas, got {text!r}."
        ) from error


def parse_formula(text: str) -> list[int]:
    """Read `--composition`, such as C6H6, as atomic numbers, heavy atoms first.

    Raises
    ------
    ConfigError
        If it is no formula of known elements.
    """
    from ase.data import atomic_numbers

    parts = _FORMULA_PART.findall(text)
    if not parts or "".join(symbol + count for symbol, count in parts) != text:
        raise ConfigError(f"`--composition` must be a formula such as C6H6, got {text!r}.")
    unknown = [symbol for symbol, _ in parts if not atomic_numbers.get(symbol)]
    if unknown:
        raise ConfigError(f"`--composition` {text!r} has unknown elements: {', '.join(unknown)}.")
    elements = [atomic_numbers[symbol] for symbol, count in parts for _ in range(int(count or 1))]
    return sorted(elements, reverse=True)


def parse_targets(texts: Sequence[str]) -> dict[str, float]:
    """Read every `--target NAME=VALUE`.

    Raises
    ------
    ConfigError
        If one is not of that form, or a name comes twice.
    """
    targets: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or name in targets:
            raise ConfigError(f"`--target` must be NAME=VALUE, each name once, got {text!r}.")
        targets[name] = _number("--target", value, text, "NAME=VALUE")
    return targets


def parse_sweep(text: str) -> tuple[str, list[float]]:
    """Read `--sweep NAME=FROM:TO:COUNT` as a name and its evenly spaced values, both ends included.

    Raises
    ------
    ConfigError
        If it is not of that form.
    """
    form = "NAME=FROM:TO:COUNT"
    name, _, span = text.partition("=")
    parts = span.split(":")
    if not name or len(parts) != 3 or not parts[2].isdigit() or int(parts[2]) < 1:
        raise ConfigError(f"`--sweep` must be {form} with COUNT >= 1, got {text!r}.")
    first, last = (_number("--sweep", part, text, form) for part in parts[:2])
    return name, np.linspace(first, last, int(parts[2])).tolist()


def _number(option: str, value: str, text: str, form: str) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise ConfigError(f"`{option}` must be {form} with numbers, got {text!r}.") from error
    if not np.isfinite(number):
        raise ConfigError(f"`{option}` must be {form} with finite numbers, got {text!r}.")
    return number


def _larger_sizes(task: GenerationTask, seed: int, num: int, num_fixed: int) -> list[int]:
    """Sizes as in training, of those that leave room beside the fragment."""
    from geograph.diffusion.sizes import SizeDistribution, molecule_seeds

    counts = {size: count for size, count in task.sizes.counts.items() if size > num_fixed}
    if not counts:
        raise ConfigError(
            f"`--fragment` has {num_fixed} atoms, as many as the largest training molecules or more; "
            "say with `--sizes` how many atoms there shall be."
        )
    return SizeDistribution(counts).sample(molecule_seeds(seed, num))


def _started(path: Path, noise_level: float, sizes: list[int] | None, total: int) -> dict[str, Any]:
    """Begin with the molecules of a file, each in its turn until all samples have one."""
    from geograph.diffusion.start import Start
    from geograph.interop.molecule_files import read_molecule_files

    molecules = read_molecule_files(path)
    if len(molecules) > total:
        raise ConfigError(
            f"`--start` {path} has {len(molecules)} molecules, but `--num` asks for {total}; "
            "ask for as many or more."
        )
    chosen = [molecules[index % len(molecules)] for index in range(total)]
    start = Start(chosen, noise_level)
    return {"sizes": [len(m.z) for m in chosen] if sizes is None else sizes, "start": start}
