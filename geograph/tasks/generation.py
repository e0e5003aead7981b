"""Generation of molecules by diffusion: training, likelihood, and sampling without the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from geograph.diffusion.condition import PropertyCondition, guided
from geograph.diffusion.molecules import Samples, sample_molecules
from geograph.diffusion.process import DiffusionProcess, fixed_noise
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.schedule import build_schedule
from geograph.diffusion.sizes import SizeDistribution, molecule_seeds
from geograph.errors import ConfigError, DataError, ShapeError
from geograph.tasks.base import Task
from geograph.tasks.generation_request import choose_conditions, labelled
from geograph.tasks.generation_settings import MAX_ATOMIC_NUMBER, checked_elements, with_inputs
from geograph.tasks.generation_settings import fit_statistics as fit_statistics
from geograph.tasks.stability import stable_fractions

#: Seed of the molecules that are generated at each validation.
_VALIDATION_SEED = 0


class GenerationTask(Task):
    """Learns to generate molecules from `batch.z` and `batch.pos`, and generates them.

    Validation uses times and noise that depend on a molecule's number in its data set alone, so that epochs,
    batch sizes and models can be compared. Where the statistics name properties (`batch.y` has their values),
    the model is conditioned on them, and its likelihoods are those given the properties.

    Parameters
    ----------
    model, model_params, optimizer
        As for `Task`; the numbers of features and of conditions are filled in from the statistics.
    statistics
        As from `fit_statistics`, for a conditional model with those of `fit_properties`: all that sampling
        needs besides the weights.
    schedule, num_steps, precision
        As for `build_schedule`.
    norm_values
        Scales that positions (angstrom), one-hot elements and charge numbers are divided by.
    has_charge
        Whether the charge number is a feature beside the one-hot element.
    property_dropout
        Share of the training molecules whose properties are hidden, so that the network learns to do without.
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
        property_dropout: float = 0.1,
        validation_samples: int = 0,
        validation_steps: int = 100,
    ) -> None:
        if validation_samples < 0:
            raise ConfigError(f"`validation_samples` must be at least 0, got {validation_samples}.")
        if not 0 <= property_dropout < 1:
            raise ConfigError(f"`property_dropout` must lie in [0, 1), got {property_dropout}.")
        elements = checked_elements(model, statistics)
        condition = PropertyCondition.from_statistics(statistics or {})
        process = DiffusionProcess(
            build_schedule(schedule, num_steps, precision=precision),
            len(elements),
            tuple(float(value) for value in norm_values),  # type: ignore[arg-type]
            has_charge,
        )
        super().__init__(
            model=model,
            model_params=with_inputs(
                model_params,
                num_features=process.num_features,
                num_context=0 if condition is None else condition.width,
            ),
            optimizer=optimizer,
            statistics=statistics,
            schedule=schedule,
            num_steps=num_steps,
            precision=precision,
            norm_values=list(norm_values),
            has_charge=has_charge,
            property_dropout=property_dropout,
            validation_samples=validation_samples,
            validation_steps=validation_steps,
        )
        self.process, self.condition = process, condition
        self.sizes = SizeDistribution.from_histogram(self.statistics["size_histogram"])
        self.atomic_numbers = elements
        types = torch.full((MAX_ATOMIC_NUMBER + 1,), -1, dtype=torch.int64)
        types[elements] = torch.arange(len(elements))
        self.register_buffer("type_of_element", types, persistent=False)

    def noise(
        self, state: Float[Tensor, "n f"], time: Float[Tensor, " g"], graph: RaggedBatch
    ) -> Float[Tensor, "n f"]:
        """Noise that the model predicts for a state; all pairs of atoms of a molecule are edges.

        A conditional model takes a layout without context as one of whose molecules nothing is known.
        """
        edge_index, edge_ptr = graph.edges
        batch = Data(
            state=state, time=time, batch=graph.batch, ptr=graph.ptr, edge_index=edge_index, edge_ptr=edge_ptr
        )
        if self.condition is not None:
            context = state.new_zeros(graph.num_graphs, self.condition.width)
            batch.context = (context if graph.context is None else graph.context.to(context))[graph.batch]
        batch.num_graphs = graph.num_graphs
        return self(batch)

    def encode(self, batch: Data) -> tuple[Float[Tensor, "n f"], RaggedBatch]:
        """State and layout of a batch of molecules, with their properties `y` as context where there are any.

        Raises
        ------
        DataError
            If a molecule has an element that the statistics do not name.
        ShapeError
            If the model is conditioned on another number of properties than the batch has.
        """
        types = self.type_of_element[batch.z]
        if bool((types < 0).any()):
            raise self._unknown_element(batch, int((types < 0).nonzero()[0, 0]))
        graph = RaggedBatch(batch.batch, batch.ptr, self._context(batch))
        return self.process.encode(batch.pos, types, batch.z, graph), graph

    def _context(self, batch: Data) -> Tensor | None:
        if self.condition is None or "y" not in batch:
            return None
        if batch.y.ndim != 2 or batch.y.shape[1] != len(self.condition.names):
            raise ShapeError(
                f"`y` must have one column for each of {', '.join(self.condition.names)}, got shape "
                f"{tuple(batch.y.shape)}."
            )
        return self.condition.encode(batch.y.double()).to(batch.pos.dtype)

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
        if self.condition is not None and graph.context is not None:
            shown = self.condition.hide(graph.context, self.settings["property_dropout"])
            graph = replace(graph, context=shown)
        step = torch.randint(0, self.process.num_steps + 1, (graph.num_graphs,), device=state.device)
        noise = graph.noise(self.process.width, dtype=state.dtype)
        return self.process.training_loss(self.noise, state, noise, step, graph).mean()

    def evaluation_terms(self, batch: Data) -> dict[str, Tensor]:
        """Return simple loss, bound of the NLL given the size, size prior, and whether the size was seen."""
        state, graph = self.encode(batch)
        step, noise, noise_0 = fixed_noise(self.process, batch.record_index.tolist(), graph, state.dtype)
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

    def sample(
        self,
        num: int,
        seed: int,
        sizes: Sequence[int] | int | None = None,
        *,
        targets: Mapping[str, float | Sequence[float]] | None = None,
        guidance: float = 0.0,
        **options: Any,
    ) -> Samples:
        """Generate molecules; the k-th of a seed is the same for any number of molecules and any batch size.

        A conditional model draws sizes and properties together from the training part; where sizes or targets
        are given, the other is drawn to suit. The molecules carry what they were conditioned on as properties
        `target_<name>`.

        Parameters
        ----------
        num
            Number of molecules.
        seed
            Seed of the whole set.
        sizes
            Number of atoms of all or of each molecule; None draws them from the training part.
        targets
            Value of a property by its name, for all or for each molecule; those that are not named are left
            open, and with an empty mapping all are. None draws the properties from the training part.
        guidance
            Scale of the guidance towards the properties (see `guided`); 0 is the conditional model itself.
        **options
            As for `sample_molecules`: sampler, steps, constraints, batch size, progress, ...

        Raises
        ------
        ConfigError
            If a value is out of range, there is not one size for each molecule, or the model has no property
            to aim at.
        """
        if num < 1:
            raise ConfigError(f"`num` must be at least 1, got {num}.")
        seeds = molecule_seeds(seed, num)
        wanted = [sizes] * num if isinstance(sizes, int) else sizes
        chosen, values = choose_conditions(self.condition, self.sizes, seeds, wanted, targets, guidance)
        context = None if self.condition is None or values is None else self.condition.encode(values)
        was_training = self.training
        self.eval()
        try:
            samples = sample_molecules(
                guided(self.noise, guidance),
                self.process,
                chosen,
                seeds=seeds,
                atomic_numbers=self.atomic_numbers,
                context=context,
                dtype=next(self.model.parameters()).dtype,
                device=self.device,
                **options,
            )
        finally:
            self.train(was_training)
        if self.condition is None or values is None:
            return samples
        return labelled(samples, self.condition.names, values)
