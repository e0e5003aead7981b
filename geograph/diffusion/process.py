r"""The diffusion process on molecules: encoding, forward noise, reverse steps, training loss and bound.

A state has one row for each atom: position (3), one-hot element (K), and where wanted the atomic charge
number (1), each divided by its scale. Positions and their noise have zero centre of mass. A network predicts
the noise :math:`\epsilon` of :math:`x_t = \alpha_t x + \sigma_t \epsilon`. Randomness comes in as arguments.

References
----------
Hoogeboom et al. (2022), arXiv:2203.17003, sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geograph.diffusion import likelihood
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.schedule import NoiseSchedule, alpha, sigma, transition
from geograph.diffusion.sizes import EVALUATION_STREAM, random_stream
from geograph.errors import ConfigError

#: Predicts the noise of a state [n, f] at times [g] in [0, 1].
NoisePredictor: TypeAlias = Callable[[Tensor, Tensor, RaggedBatch], Tensor]


class Objective(NamedTuple):
    """What a network is judged by, one value for each molecule.

    Attributes
    ----------
    nll
        Bound of the negative log-likelihood given the size, in nats.
    loss
        Simple loss, as in training at the same times.
    """

    nll: Tensor
    loss: Tensor


@dataclass(frozen=True)
class DiffusionProcess:
    """Forward and reverse process with its losses.

    Attributes
    ----------
    schedule
        Noise schedule.
    num_types
        Number K of elements.
    norm_values
        Scales that positions (angstrom), one-hot elements and charges are divided by.
    has_charge
        Whether the state has the integer charge number beside the one-hot element.
    """

    schedule: NoiseSchedule
    num_types: int
    norm_values: tuple[float, float, float] = (1.0, 4.0, 10.0)
    has_charge: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.num_types < 1:
            raise ConfigError(f"`num_types` must be at least 1, got {self.num_types}.")
        if len(self.norm_values) != 3 or min(self.norm_values) <= 0:
            raise ConfigError(f"`norm_values` must be three positive numbers, got {self.norm_values}.")

    @property
    def num_features(self) -> int:
        """Features of one atom besides its position."""
        return self.num_types + int(self.has_charge)

    @property
    def width(self) -> int:
        """Length of one row of the state."""
        return 3 + self.num_features

    @property
    def num_steps(self) -> int:
        """Number of steps T."""
        return self.schedule.num_steps

    def encode(
        self,
        pos: Float[Tensor, "n 3"],
        type_index: Int[Tensor, " n"],
        charge: Int[Tensor, " n"],
        graph: RaggedBatch,
    ) -> Float[Tensor, "n f"]:
        """State of molecules: centred positions (angstrom in), one-hot element and charge, scaled."""
        position_scale, type_scale, charge_scale = self.norm_values
        one_hot = torch.nn.functional.one_hot(type_index, self.num_types).to(pos.dtype)
        parts = [graph.centered(pos) / position_scale, one_hot / type_scale]
        if self.has_charge:
            parts.append(charge[:, None].to(pos.dtype) / charge_scale)
        return torch.cat(parts, dim=1)

    def diffuse(
        self,
        state: Float[Tensor, "n f"],
        noise: Float[Tensor, "n f"],
        step: Int[Tensor, " g"],
        graph: RaggedBatch,
    ) -> Float[Tensor, "n f"]:
        """Draw from q(x_t | x) at the integer time of each molecule, with the given (centred) noise."""
        gamma = self._of_atoms(self.schedule.gamma_at(step), graph)
        return alpha(gamma).to(state.dtype) * state + sigma(gamma).to(state.dtype) * noise

    def posterior(
        self,
        state_t: Float[Tensor, "n f"],
        predicted: Float[Tensor, "n f"],
        step_s: Int[Tensor, " g"],
        step_t: Int[Tensor, " g"],
        graph: RaggedBatch,
    ) -> tuple[Float[Tensor, "n f"], Float[Tensor, " g"]]:
        """Mean and standard deviation of p(x_s | x_t) for s < t, given the predicted noise.

        References: arXiv:2203.17003, Eq. (6) and (9).
        """
        gamma_s, gamma_t = self.schedule.gamma_at(step_s), self.schedule.gamma_at(step_t)
        alpha_ts, variance_ts = transition(gamma_s, gamma_t)
        weight = self._of_atoms(variance_ts / (alpha_ts * sigma(gamma_t)), graph).to(state_t.dtype)
        scale = self._of_atoms(alpha_ts, graph).to(state_t.dtype)
        mean = state_t / scale - weight * predicted
        return mean, variance_ts.sqrt() * sigma(gamma_s) / sigma(gamma_t)

    def denoised(
        self, state_0: Float[Tensor, "n f"], predicted: Float[Tensor, "n f"]
    ) -> tuple[Float[Tensor, "n f"], float]:
        """Mean and standard deviation of p(x | x_0), x_0 being the state at time 0.

        References: arXiv:2203.17003, Eq. (13).
        """
        gamma = self.schedule.gamma[0]
        mean = (state_0 - sigma(gamma).item() * predicted) / alpha(gamma).item()
        return mean, float((0.5 * gamma).exp())

    def decode(self, state: Float[Tensor, "n f"]) -> tuple[Float[Tensor, "n 3"], Int[Tensor, " n"]]:
        """Positions in angstrom and number of the likeliest element of each atom."""
        return state[:, :3] * self.norm_values[0], state[:, 3 : 3 + self.num_types].argmax(dim=1)

    def training_loss(
        self,
        predict: NoisePredictor,
        state: Float[Tensor, "n f"],
        noise: Float[Tensor, "n f"],
        step: Int[Tensor, " g"],
        graph: RaggedBatch,
        *,
        num_atoms_divisor: int | None = None,
    ) -> Float[Tensor, " g"]:
        """Return the simple loss of each molecule: half the mean squared error of the noise.

        At step 0 the discrete likelihood given x_0 takes the place of the features' error. The (tiny) prior
        term is added.

        Parameters
        ----------
        predict
            The network.
        state
            Encoded molecules.
        noise
            Centred noise.
        step
            Time of each molecule, 0 to T.
        graph
            Layout of the molecules.
        num_atoms_divisor
            Number of atoms that the squared error is averaged over. None takes each molecule's own; the
            released code took the padded size of its batch, so that neighbours changed a molecule's loss.
        """
        state_t = self.diffuse(state, noise, step, graph)
        predicted = predict(state_t, self._time(step, state.dtype), graph)
        size = graph.sizes if num_atoms_divisor is None else torch.full_like(graph.sizes, num_atoms_divisor)
        error = (noise - predicted).square()
        error_features = torch.where(step == 0, 0.0, graph.total(error[:, 3:]))
        error_mean = (graph.total(error[:, :3]) + error_features) / (size * self.width).to(state.dtype)
        discrete = torch.where(step == 0, self._log_discrete(state, state_t, graph), 0.0)
        return 0.5 * error_mean - discrete + self._prior(state, graph)

    def evaluate(
        self,
        predict: NoisePredictor,
        state: Float[Tensor, "n f"],
        noise: Float[Tensor, "n f"],
        noise_0: Float[Tensor, "n f"],
        step: Int[Tensor, " g"],
        graph: RaggedBatch,
    ) -> Objective:
        """Estimates of the likelihood bound given the size, and of the simple loss, from the same noise.

        Densities of positions are per cubic angstrom. The bound is unbiased for `step` uniform in 1 to T.

        Parameters
        ----------
        predict
            The network.
        state
            Encoded molecules.
        noise, noise_0
            Centred noise at time `step` and at time 0.
        step
            Time of each molecule, 1 to T.
        graph
            Layout of the molecules.

        References
        ----------
        arXiv:2203.17003, Eq. (5), (10), (13), (16), (17).
        """
        first = torch.zeros_like(step)
        state_t = self.diffuse(state, noise, step, graph)
        error = graph.total((noise - predict(state_t, self._time(step, state.dtype), graph)).square())
        gap = self.schedule.gamma_at(step) - self.schedule.gamma_at(step - 1)
        diffusion = self.num_steps * 0.5 * torch.expm1(gap).to(state.dtype) * error
        state_0 = self.diffuse(state, noise_0, first, graph)
        predicted_0 = predict(state_0, self._time(first, state.dtype), graph)
        error_0 = graph.total((noise_0 - predicted_0)[:, :3].square())
        reconstruction = 0.5 * error_0 - self._log_discrete(state, state_0, graph)
        constants = likelihood.log_position_constant(self.schedule.gamma[0].to(state.device), graph)
        volume = likelihood.log_scale_volume(self.norm_values[0], graph)
        prior = self._prior(state, graph)
        nll = diffusion + reconstruction + prior - (constants + volume).to(state.dtype)
        return Objective(nll, 0.5 * error / (graph.sizes * self.width).to(state.dtype) + prior)

    def _log_discrete(
        self, state: Float[Tensor, "n f"], noisy: Float[Tensor, "n f"], graph: RaggedBatch
    ) -> Float[Tensor, " g"]:
        """Log likelihood of elements and charges of each molecule given their values at time 0."""
        width = sigma(self.schedule.gamma[0]).to(state).expand(len(state), 1)
        _, type_scale, charge_scale = self.norm_values
        types = slice(3, 3 + self.num_types)
        total = likelihood.log_categorical(
            noisy[:, types] * type_scale, state[:, types] * type_scale, width * type_scale
        )
        if self.has_charge:
            charge = (state[:, -1:] * charge_scale).round()
            total = total + likelihood.log_integer(noisy[:, -1:] * charge_scale, charge, width * charge_scale)
        return graph.sum(total)

    def _prior(self, state: Float[Tensor, "n f"], graph: RaggedBatch) -> Float[Tensor, " g"]:
        return likelihood.kl_prior(state.double(), self.schedule.gamma[-1].to(state.device), graph).to(
            state.dtype
        )

    def _time(self, step: Int[Tensor, " g"], dtype: torch.dtype) -> Float[Tensor, " g"]:
        return (step.to(torch.float64) / self.num_steps).to(dtype)

    @staticmethod
    def _of_atoms(values: Float[Tensor, " g"], graph: RaggedBatch) -> Float[Tensor, "n 1"]:
        return values[graph.batch][:, None]


def fixed_noise(
    process: DiffusionProcess, records: Sequence[int], graph: RaggedBatch, dtype: torch.dtype
) -> tuple[Int[Tensor, " g"], Float[Tensor, "n f"], Float[Tensor, "n f"]]:
    """Step and two centred noises to evaluate molecules with, from the number of each record alone.

    A molecule's noise does not depend on its neighbours, so that epochs, batch sizes and models compare.
    """
    # One stream for each molecule is the point here, hence the loop.
    streams = [random_stream(record, EVALUATION_STREAM) for record in records]
    steps = [int(stream.integers(1, process.num_steps + 1)) for stream in streams]
    pairs = zip(streams, graph.sizes.tolist(), strict=True)
    draws = [stream.standard_normal((size, 2 * process.width)) for stream, size in pairs]
    noise = torch.from_numpy(np.concatenate(draws)).to(graph.batch.device)
    noise_t, noise_0 = (
        graph.centered_positions(part).to(dtype) for part in noise.split(process.width, dim=1)
    )
    return torch.tensor(steps, device=graph.batch.device), noise_t, noise_0
