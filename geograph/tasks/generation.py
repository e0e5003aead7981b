"""Generation of molecules by diffusion: training, likelihood, and sampling without the training data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data

from geograph.diffusion.molecules import Samples, sample_molecules
from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.schedule import build_schedule
from geograph.diffusion.sizes import EVALUATION_STREAM, SizeDistribution, molecule_seeds, random_stream
from geograph.errors import ConfigError, DataError
from geograph.models import model_spec
from geograph.tasks.base import Task
from geograph.tasks.stability import stable_fractions

_MAX_ATOMIC_NUMBER = 118
#: Seed of the molecules that are generated at each validation.
_VALIDATION_SEED = 0


def fit_statistics(z: Int[Tensor, " n"], batch: Int[Tensor, " n"]) -> dict[str, Any]:
    """Statistics of the training part for `GenerationTask`, as JSON values.

    Parameters
    ----------
    z
        Atomic numbers of all molecules.
    batch
        Molecule of each atom.

    Returns
    -------
    `atomic_numbers` (sorted) and `size_histogram` (number of atoms, as text, to number of molecules).
    """
    sizes, counts = torch.bincount(batch).unique(return_counts=True)
    histogram = {
        str(size): count for size, count in zip(sizes.tolist(), counts.tolist(), strict=True) if size
    }
    return {"atomic_numbers": z.unique().tolist(), "size_histogram": histogram}


class GenerationTask(Task):
    """Learns to generate molecules from `batch.z` and `batch.pos`, and generates them.

    Validation uses times and noise that depend on a molecule's number in its data set alone, so that epochs,
    batch sizes and models can be compared.

    Parameters
    ----------
    model, model_params, optimizer
        As for `Task`; the number of features is filled in from the statistics.
    statistics
        As from `fit_statistics`: all that sampling needs besides the weights.
    schedule, num_steps, precision
        As for `build_schedule`.
    norm_values
        Scales that positions (angstrom), one-hot elements and charge numbers are divided by.
    has_charge
        Whether the charge number is a feature beside the one-hot element.
    validation_samples, validation_steps
        Molecules generated at each validation, with that many reverse steps, to log `atom_stability` and
        `molecule_stability`; 0 generates none. They are the same molecules of the same seed every time, and
        drawing them moves no other random number.

    Raises
    ------
    ConfigError
        If the model does not predict noise, a value is out of range, or the statistics are incomplete.

    References
    ----------
    Hoogeboom et al. (2022), arXiv:2203.17003. Deviation: a molecule's loss is averaged over its own atoms;
    the released code divides by the size of the largest molecule of the batch.
    """

    kind: ClassVar[str] = "generation"
    type_of_element: Tensor

    def __init__(
        self,
        *,
        model: str = "edm-dynamics",
        model_params: dict[str, Any],
        optimizer: dict[str, Any] | None = None,
        statistics: dict[str, Any] | None = None,
        schedule: str = "polynomial_2",
        num_steps: int = 1000,
        precision: float = 1e-5,
        norm_values: Sequence[float | int] = (1.0, 4.0, 10.0),
        has_charge: bool = True,
        validation_samples: int = 0,
        validation_steps: int = 100,
    ) -> None:
        if validation_samples < 0:
            raise ConfigError(f"`validation_samples` must be at least 0, got {validation_samples}.")
        elements = _checked_elements(model, statistics)
        process = DiffusionProcess(
            build_schedule(schedule, num_steps, precision=precision),
            len(elements),
            tuple(float(value) for value in norm_values),  # type: ignore[arg-type]
            has_charge,
        )
        super().__init__(
            model=model,
            model_params=_with_features(model_params, process.num_features),
            optimizer=optimizer,
            statistics=statistics,
            schedule=schedule,
            num_steps=num_steps,
            precision=precision,
            norm_values=list(norm_values),
            has_charge=has_charge,
            validation_samples=validation_samples,
            validation_steps=validation_steps,
        )
        self.process = process
        self.sizes = SizeDistribution.from_histogram(self.statistics["size_histogram"])
        self.atomic_numbers = elements
        types = torch.full((_MAX_ATOMIC_NUMBER + 1,), -1, dtype=torch.int64)
        types[elements] = torch.arange(len(elements))
        self.register_buffer("type_of_element", types, persistent=False)

    def noise(
        self, state: Float[Tensor, "n f"], time: Float[Tensor, " g"], graph: RaggedBatch
    ) -> Float[Tensor, "n f"]:
        """Noise that the model predicts for a state; all pairs of atoms of a molecule are edges."""
        edge_index, edge_ptr = graph.edges
        batch = Data(
            state=state, time=time, batch=graph.batch, ptr=graph.ptr, edge_index=edge_index, edge_ptr=edge_ptr
        )
        batch.num_graphs = graph.num_graphs
        return self(batch)

    def encode(self, batch: Data) -> tuple[Float[Tensor, "n f"], RaggedBatch]:
        """State and layout of a batch of molecules.

        Raises
        ------
        DataError
            If a molecule has an element that the statistics do not name.
        """
        types = self.type_of_element[batch.z]
        if bool((types < 0).any()):
            raise self._unknown_element(batch, int((types < 0).nonzero()[0, 0]))
        graph = RaggedBatch(batch.batch, batch.ptr)
        return self.process.encode(batch.pos, types, batch.z, graph), graph

    def _unknown_element(self, batch: Data, atom: int) -> DataError:
        molecule = int(batch.batch[atom])
        return DataError(
            f"atom {atom - int(batch.ptr[molecule])} has atomic number {int(batch.z[atom])}, but the "
            f"generator knows {', '.join(map(str, self.atomic_numbers))} only",
            record=int(batch.record_index[molecule]),
            remedy="remove the molecule or fit the statistics on data that have the element",
        )

    def training_loss(self, batch: Data) -> Float[Tensor, ""]:
        """Mean simple loss at a random time of each molecule, from torch's global random generator."""
        state, graph = self.encode(batch)
        step = torch.randint(0, self.process.num_steps + 1, (graph.num_graphs,), device=state.device)
        noise = graph.noise(self.process.width, dtype=state.dtype)
        return self.process.training_loss(self.noise, state, noise, step, graph).mean()

    def evaluation_terms(self, batch: Data) -> dict[str, Tensor]:
        """Return simple loss, bound of the NLL given the size, size prior, and whether the size was seen."""
        state, graph = self.encode(batch)
        step, noise, noise_0 = self._evaluation_noise(batch, graph, state.dtype)
        objective = self.process.evaluate(self.noise, state, noise, noise_0, step, graph)
        return {
            "loss": objective.loss,
            "nll_given_size": objective.nll.double(),
            "log_size_prior": self.sizes.log_prob(graph.sizes),
            "is_known_size": self.sizes.is_known(graph.sizes),
        }

    def metrics(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """Mean loss and NLL (nats for each molecule, size prior included), and molecules of unseen size."""
        nll = terms["nll_given_size"] - terms["log_size_prior"]
        return {
            "loss": float(terms["loss"].double().mean()),
            "nll": float(nll.mean()),
            "nll_given_size": float(terms["nll_given_size"].mean()),
            "num_unseen_sizes": float((1 - terms["is_known_size"]).sum()),
        }

    def on_validation_epoch_end(self) -> None:
        """Log the metrics, and how stable the molecules are that the present weights generate."""
        super().on_validation_epoch_end()
        num = self.settings["validation_samples"]
        if num:
            samples = self.sample(
                num, _VALIDATION_SEED, batch_size=num, num_steps=self.settings["validation_steps"]
            )
            lost = sum(failure.size for failure in samples.failures), len(samples.failures)
            fractions = stable_fractions(samples.molecules, num_lost=lost)
            self.log_dict({f"val/{name}": value for name, value in fractions.items()}, batch_size=1)

    def predict(self, batch: Data) -> Float[Tensor, "n 3"]:
        """Denoised positions in angstrom of molecules that are, without noise, half-way to noise.

        A deterministic, E(3)-covariant output, to time the network and to measure its equivariance.
        """
        state, graph = self.encode(batch)
        step = torch.full_like(graph.sizes, self.process.num_steps // 2)
        state_t = self.process.diffuse(state, torch.zeros_like(state), step, graph)
        predicted = self.noise(state_t, (step / self.process.num_steps).to(state.dtype), graph)
        alpha, sigma = (
            values[graph.batch][:, None].to(state.dtype)
            for values in (self.process.schedule.alpha_at(step), self.process.schedule.sigma_at(step))
        )
        denoised = ((state_t - sigma * predicted) / alpha)[:, :3] * self.process.norm_values[0]
        return denoised + batch.pos - graph.centered(batch.pos)

    def _evaluation_noise(
        self, batch: Data, graph: RaggedBatch, dtype: torch.dtype
    ) -> tuple[Int[Tensor, " g"], Float[Tensor, "n f"], Float[Tensor, "n f"]]:
        # One stream for each molecule, so that its noise does not depend on its neighbours: hence the loop.
        streams = [random_stream(record, EVALUATION_STREAM) for record in batch.record_index.tolist()]
        steps = [int(stream.integers(1, self.process.num_steps + 1)) for stream in streams]
        pairs = zip(streams, graph.sizes.tolist(), strict=True)
        draws = [stream.standard_normal((size, 2 * self.process.width)) for stream, size in pairs]
        noise = torch.from_numpy(np.concatenate(draws)).to(graph.batch.device)
        noise_t, noise_0 = (
            graph.centered_positions(part).to(dtype) for part in noise.split(self.process.width, dim=1)
        )
        return torch.tensor(steps, device=graph.batch.device), noise_t, noise_0

    def sample(
        self,
        num: int,
        seed: int,
        sizes: Sequence[int] | int | None = None,
        batch_size: int = 64,
        num_steps: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        frame_every: int | None = None,
    ) -> Samples:
        """Generate molecules; the k-th of a seed is the same for any number of molecules and any batch size.

        Parameters
        ----------
        num
            Number of molecules.
        seed
            Seed of the whole set.
        sizes
            Number of atoms of all or of each molecule; None draws them from the training histogram.
        batch_size
            Molecules that go through the network together.
        num_steps
            Reverse steps; None takes every step of the schedule.
        progress
            Called with the network evaluations done and their total.
        frame_every
            Record the way from noise to molecule every so many steps.

        Raises
        ------
        ConfigError
            If a value is out of range, or there is not one size for each molecule.
        """
        if num < 1:
            raise ConfigError(f"`num` must be at least 1, got {num}.")
        seeds = molecule_seeds(seed, num)
        if sizes is None:
            sizes = self.sizes.sample(seeds)
        was_training = self.training
        self.eval()
        try:
            return sample_molecules(
                self.noise,
                self.process,
                [sizes] * num if isinstance(sizes, int) else sizes,
                seeds=seeds,
                atomic_numbers=self.atomic_numbers,
                batch_size=batch_size,
                num_steps=num_steps,
                dtype=next(self.model.parameters()).dtype,
                device=self.device,
                frame_every=frame_every,
                progress=progress,
            )
        finally:
            self.train(was_training)


def _checked_elements(model: str, statistics: dict[str, Any] | None) -> list[int]:
    output = model_spec(model).output
    if output != "noise":
        raise ConfigError(f"`model` must predict noise for generation, but {model} predicts {output}.")
    missing = {"atomic_numbers", "size_histogram"} - (statistics or {}).keys()
    if statistics is None or missing:
        raise ConfigError(
            f"`statistics` must hold {', '.join(sorted(missing))}; fit them on the training part with "
            "`geograph.tasks.generation.fit_statistics`."
        )
    elements = [int(number) for number in statistics["atomic_numbers"]]
    if (
        not elements
        or len(set(elements)) < len(elements)
        or min(elements) < 1
        or max(elements) > _MAX_ATOMIC_NUMBER
    ):
        raise ConfigError(f"`atomic_numbers` must be different numbers from 1 to 118, got {elements}.")
    return elements


def _with_features(model_params: dict[str, Any], num_features: int) -> dict[str, Any]:
    given = model_params.get("num_features", num_features)
    if given != num_features:
        raise ConfigError(
            f"`model_params.num_features` must be {num_features} (elements, charge), got {given}; omit it."
        )
    return {**model_params, "num_features": num_features}
