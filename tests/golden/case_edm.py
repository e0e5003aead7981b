"""Golden values of the diffusion model: network, schedule, reverse step, losses, gradients."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden.golden_tools import assert_agrees, assert_gradients_agree, group, read
from torch import Tensor

from geograph.diffusion import likelihood
from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.schedule import build_schedule, transition
from geograph.interop import released_edm
from geograph.interop.released import from_released
from geograph.models.denoiser import EDMDynamics

#: Relative to the largest magnitude of the array. The released schedule is rounded to float32.
NETWORK_TOLERANCE, SCHEDULE_TOLERANCE = 1e-9, 1e-5

#: Released option -> ours, for those that leave no trace in the shapes.
_OPTIONS = {
    "tanh": "has_tanh",
    "coords_range": "coordinate_range",
    "norm_constant": "norm_constant",
    "normalization_factor": "normalization_factor",
    "context_node_nf": "num_context",
}


@dataclass(frozen=True)
class Golden:
    """A golden file, its padded arrays made ragged on demand."""

    arrays: Mapping[str, np.ndarray]
    sizes: list[int]

    @classmethod
    def load(cls, path: Path) -> Golden:
        arrays = read(path)
        return cls(arrays, [int(size) for size in arrays["sizes"]])

    @property
    def graph(self) -> RaggedBatch:
        return RaggedBatch.from_sizes(self.sizes)

    def ragged(self, name: str) -> Tensor:
        """Rows of real atoms of a padded array."""
        return torch.cat([torch.as_tensor(self.arrays[name][g, :n]) for g, n in enumerate(self.sizes)])

    def options(self) -> dict[str, Any]:
        stated = dict(ast.literal_eval(str(self.arrays["config"]))) if "config" in self.arrays else {}
        stated |= {name: self.arrays[name].item() for name in _OPTIONS if name in self.arrays}
        return {ours: stated[name] for name, ours in _OPTIONS.items() if name in stated}

    def process(self) -> DiffusionProcess:
        schedule = build_schedule(
            str(self.arrays["schedule"]),
            int(self.arrays["timesteps"]),
            precision=float(self.arrays["precision"]),
        )
        rounded = replace(schedule, gamma=schedule.gamma.float().double())
        position, types, charge = (float(value) for value in self.arrays["norm_values"])
        has_charge = "charge0" in self.arrays and self.arrays["charge0"].shape[-1] > 0
        num_types = self.arrays["one_hot0"].shape[-1]
        return DiffusionProcess(rounded, num_types, (position, types, charge), has_charge)

    def data(self, process: DiffusionProcess) -> Tensor:
        """Encode the molecules of the file."""
        one_hot = self.ragged("one_hot0")
        count = len(one_hot)
        charge = self.ragged("charge0")[:, 0] if process.has_charge else torch.zeros(count)
        return process.encode(self.ragged("x0"), one_hot.argmax(1), charge.round().long(), self.graph)


def _network(golden: Golden) -> tuple[EDMDynamics, Callable[[Tensor, Tensor, RaggedBatch], Tensor]]:
    model = from_released("edm-dynamics", group(golden.arrays, "param"), **golden.options())
    assert isinstance(model, EDMDynamics)
    return model, lambda state, time, graph: model.noise(state, time, graph.batch, *graph.edges)


def check_dynamics(path: Path) -> None:
    """Network, one reverse step and the likelihood terms that need no network."""
    golden = Golden.load(path)
    graph, arrays, process = golden.graph, golden.arrays, golden.process()
    _, predict = _network(golden)
    state, time = golden.ragged("z"), torch.as_tensor(arrays["t"])[:, 0]
    assert_agrees("eps_hat", predict(state, time, graph), golden.ragged("eps_hat").numpy(), NETWORK_TOLERANCE)
    assert_agrees("gamma", process.schedule.gamma, arrays["gamma"], SCHEDULE_TOLERANCE)
    _check_step(golden, process, predict)
    gamma, data = process.schedule.gamma, golden.data(process)
    terms = {
        "delta_log_px": likelihood.log_scale_volume(process.norm_values[0], graph),
        "kl_prior": likelihood.kl_prior(data, gamma[-1], graph),
        "log_constants_p_x_given_z0": likelihood.log_position_constant(gamma[0], graph),
    }
    for name, value in terms.items():
        assert_agrees(name, value, arrays[name], SCHEDULE_TOLERANCE)


def _check_step(golden: Golden, process: DiffusionProcess, predict: Callable[..., Tensor]) -> None:
    graph, arrays = golden.graph, golden.arrays
    step = {
        name: torch.full((graph.num_graphs,), round(float(arrays[f"{name}_step"]) * process.num_steps))
        for name in ("s", "t")
    }
    state = golden.ragged("z")
    time = step["t"].double() / process.num_steps
    mean, std = process.posterior(state, predict(state, time, graph), step["s"], step["t"], graph)
    assert_agrees("posterior_mean", mean, golden.ragged("posterior_mean").numpy(), SCHEDULE_TOLERANCE)
    assert_agrees("posterior_sigma", std, arrays["posterior_sigma"], SCHEDULE_TOLERANCE)
    gamma = {name: process.schedule.gamma_at(value) for name, value in step.items()}
    alpha_ts, variance_ts = transition(gamma["s"], gamma["t"])
    assert_agrees("alpha_t_given_s", alpha_ts, arrays["alpha_t_given_s"], SCHEDULE_TOLERANCE)
    assert_agrees("sigma2_t_given_s", variance_ts, arrays["sigma2_t_given_s"], SCHEDULE_TOLERANCE)


def check_likelihood(path: Path) -> None:
    """Check the evaluation objective, the training loss and its gradients, all randomness given."""
    golden = Golden.load(path)
    graph, arrays, process = golden.graph, golden.arrays, golden.process()
    model, predict = _network(golden)
    state = golden.data(process)
    noise, noise_0 = golden.ragged("noise_t"), golden.ragged("noise_0")
    step = torch.as_tensor(arrays["t_int"])[:, 0]
    nll = process.evaluate(predict, state, noise, noise_0, step, graph).nll
    assert_agrees("nll", nll, arrays["nll"], SCHEDULE_TOLERANCE)
    loss = process.training_loss(
        predict,
        state,
        noise,
        torch.as_tensor(arrays["t_int_train"])[:, 0],
        graph,
        num_atoms_divisor=arrays["noise_t"].shape[1],
    )
    assert_agrees("loss_train", loss, arrays["loss_train"], SCHEDULE_TOLERANCE)
    loss.sum().backward()
    released = released_edm.released_name
    assert_gradients_agree(model, group(arrays, "grad"), released, SCHEDULE_TOLERANCE)


CASES: dict[str, Callable[[Path], None]] = {
    "edm_dynamics": check_dynamics,
    "edm_likelihood": check_likelihood,
}
