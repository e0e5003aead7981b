"""Released checkpoints become ours: golden values through written files, and refusals that say what came."""

from __future__ import annotations

import ast
import json
import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.case_cgenn import options_of
from golden.case_edm import Golden
from golden.case_lorentznet import logits_of, padded_graphs, state_dict_of
from golden.golden_tools import assert_agrees, group, read
from strategies import make_batch

from geograph.errors import CheckpointError, ConfigError, DataError
from geograph.interop.checkpoint_import import import_checkpoint
from geograph.interop.checkpoint_import_edm import read_sizes, sizes_of
from geograph.models.egnn import EGNNDynamics
from geograph.records import Molecule
from geograph.training.checkpoint import load_checkpoint, save_checkpoint

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SIZES = {"5": 2, "9": 7}


def edm_arguments(golden: Golden, **changes: Any) -> dict[str, Any]:
    """Arguments as the released training script pickles them, with some that nothing reads."""
    arrays = golden.arrays
    config = dict(ast.literal_eval(str(arrays["config"]))) if "config" in arrays else {}
    stated = {
        "model": "egnn_dynamics", "probabilistic_model": "diffusion", "condition_time": True,
        "diffusion_steps": int(arrays["timesteps"]), "diffusion_noise_schedule": str(arrays["schedule"]),
        "diffusion_noise_precision": float(arrays["precision"]), "diffusion_loss_type": "l2",
        "normalize_factors": [float(value) for value in arrays["norm_values"]], "include_charges": True,
        "n_layers": 3, "nf": 24, "attention": True, "tanh": bool(config.get("tanh", True)),
        "norm_constant": config.get("norm_constant", 1), "inv_sublayers": 1, "sin_embedding": False,
        "normalization_factor": 1, "aggregation_method": "sum", "context_node_nf": 0, "conditioning": [],
        "dataset": "qm9", "remove_h": False, "lr": 1e-4, "exp_name": "edm_qm9", "ema_decay": 0.9999,
    }  # fmt: skip
    return stated | changes


def edm_state(golden: Golden) -> dict[str, torch.Tensor]:
    """State dictionary of the whole released diffusion model."""
    state = {
        f"dynamics.{name}": torch.from_numpy(value) for name, value in group(golden.arrays, "param").items()
    }
    gamma = torch.from_numpy(np.load(GOLDEN / "edm_gamma_polynomial_2.npy"))
    return {"buffer": torch.zeros(1), "gamma.gamma": gamma.float(), **state}


@pytest.fixture
def golden() -> Golden:
    return Golden.load(GOLDEN / "edm_dynamics.npz")


@pytest.fixture
def edm_folder(tmp_path: Path, golden: Golden) -> Path:
    folder = tmp_path / "edm_qm9"
    folder.mkdir()
    state = edm_state(golden)
    torch.save(state, folder / "generative_model_ema.npy")
    raw = {key: value + 0.01 if key.startswith("dynamics") else value for key, value in state.items()}
    torch.save(raw, folder / "generative_model.npy")
    (folder / "args.pickle").write_bytes(pickle.dumps(Namespace(**edm_arguments(golden))))
    return folder


def rewrite(folder: Path, golden: Golden, **changes: Any) -> None:
    arguments = {name: value for name, value in edm_arguments(golden, **changes).items() if value is not ...}
    (folder / "args.pickle").write_bytes(pickle.dumps(Namespace(**arguments)))


def test_released_diffusion_model_gives_its_golden_noise(
    edm_folder: Path, golden: Golden, tmp_path: Path
) -> None:
    made = import_checkpoint(edm_folder, tmp_path / "edm.pt", size_histogram=SIZES)
    assert (made.family, made.kind, made.has_ema, made.notes) == ("edm-dynamics", "generation", True, [])
    loaded = load_checkpoint(made.path, expected_kind="generation")
    task: Any = loaded.task
    state, time = golden.ragged("z"), torch.as_tensor(golden.arrays["t"])[:, 0]
    raw: Any = load_checkpoint(made.path, weights="raw").task
    with torch.no_grad():
        averaged, other = (model.noise(state, time, golden.graph) for model in (task, raw))
    assert_agrees("eps_hat", averaged, golden.ragged("eps_hat").numpy(), 1e-9)
    assert float((other - averaged).abs().max()) > 1e-3
    assert task.process.norm_values == (1.0, 4.0, 10.0)
    assert (task.process.num_steps, task.process.schedule.name) == (1000, "polynomial_2")
    assert (task.atomic_numbers, dict(task.sizes.counts)) == ([1, 6, 7, 8, 9], {5: 2, 9: 7})
    assert loaded.config["imported"]["arguments"]["exp_name"] == "edm_qm9"
    assert set(loaded.config["imported"]["files"]) == {"generative_model.npy", "generative_model_ema.npy"}


def test_one_file_with_its_arguments_elsewhere(edm_folder: Path, tmp_path: Path) -> None:
    (edm_folder / "args.pickle").rename(tmp_path / "other.pickle")
    file = edm_folder / "generative_model_ema.npy"
    with pytest.raises(ConfigError, match=r"there is no .*args\.pickle; give them with `--args`"):
        import_checkpoint(file, tmp_path / "a.pt", size_histogram=SIZES)
    made = import_checkpoint(
        file, tmp_path / "a.pt", arguments=tmp_path / "other.pickle", size_histogram=SIZES
    )
    assert not made.has_ema
    (edm_folder / "generative_model.npy").unlink()
    (tmp_path / "other.pickle").rename(edm_folder / "args.pickle")
    assert import_checkpoint(edm_folder, tmp_path / "b.pt", size_histogram=SIZES).has_ema is False
    file.unlink()
    with pytest.raises(CheckpointError, match="has neither generative_model.npy nor generative_model_ema"):
        import_checkpoint(edm_folder, tmp_path / "c.pt", size_histogram=SIZES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sin_embedding": True}, "`args.sin_embedding` must be False, got True: distances enter"),
        (
            {"conditioning": ["alpha"]},
            r"`args.conditioning` must be empty, got \['alpha'\]: checkpoints that",
        ),
        ({"context_node_nf": 1}, "`args.context_node_nf` must be 0, got 1"),
        ({"aggregation_method": "mean"}, "`args.aggregation_method` must be 'sum', got 'mean'"),
        ({"model": "gnn_dynamics"}, "`args.model` must be 'egnn_dynamics', got 'gnn_dynamics'"),
        ({"diffusion_noise_schedule": "learned"}, "got 'learned': a learned schedule is not read"),
        (
            {"diffusion_noise_schedule": "cosine"},
            "its noise schedule of 1001 times is not the cosine schedule",
        ),
        ({"diffusion_steps": 500}, "noise schedule of 1001 times is not the polynomial_2 schedule of 501"),
        ({"diffusion_steps": 0.5}, "`args.diffusion_steps` must be a positive whole number, got 0.5"),
        ({"normalize_factors": [1, 4]}, r"`args.normalize_factors` must be three numbers, got \[1, 4\]"),
        ({"include_charges": "yes"}, "`args.include_charges` must be True or False, got 'yes'"),
        (
            {"include_charges": False},
            "the network reads 6 features of an atom, but 5 elements without charge",
        ),
        ({"nf": 256}, "`args.nf` is 256, but the parameters show 24; do the two files belong together"),
        ({"attention": False}, "`args.attention` is False, but the parameters show True"),
        ({"n_layers": ...}, "`args.n_layers` is missing; are these the arguments of an EDM training"),
        ({"dataset": "geom"}, "order of the elements of the data set 'geom' is not known .*give it with"),
        ({"remove_h": True}, "the network reads 6 features of an atom, but 4 elements with charge number"),
    ],
)
def test_arguments_that_cannot_be_followed_are_refused(
    edm_folder: Path, golden: Golden, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    rewrite(edm_folder, golden, **changes)
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(edm_folder, tmp_path / "edm.pt", size_histogram=SIZES)
    assert not (tmp_path / "edm.pt").exists()


def test_arguments_of_older_releases_have_their_defaults(
    edm_folder: Path, golden: Golden, tmp_path: Path
) -> None:
    rewrite(edm_folder, golden, normalization_factor=..., aggregation_method=..., dataset="mine")
    made = import_checkpoint(edm_folder, tmp_path / "a.pt", size_histogram=SIZES, elements=[1, 6, 7, 8, 16])
    task: Any = load_checkpoint(made.path).task
    assert task.atomic_numbers == [1, 6, 7, 8, 16]


def test_sizes_must_be_given(edm_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`size_histogram` must be given.*`--sizes FILE.json`, or the data"):
        import_checkpoint(edm_folder, tmp_path / "edm.pt")
    with pytest.raises(ConfigError, match="`options` are for other families, EDM has its arguments"):
        import_checkpoint(edm_folder, tmp_path / "edm.pt", size_histogram=SIZES, options={"a": 1})


def test_sizes_from_files_and_molecules(tmp_path: Path) -> None:
    path = tmp_path / "sizes.json"
    path.write_text(json.dumps({"9": 7, "5": 2}))
    assert read_sizes(path) == SIZES
    for text, message in (
        ("[1]", "must map numbers of atoms to numbers of molecules"),
        ('{"a": 1}', "must map numbers of atoms"),
        ('{"0": 1}', "`size_histogram` must map numbers of atoms >= 1"),
        ("{", "no readable JSON file with a histogram of sizes"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_sizes(path)
    water = Molecule(np.array([8, 1, 1]), np.zeros((3, 3)) + np.eye(3), id="water")
    assert sizes_of([water, water], [1, 8]) == {"3": 2}
    assert sizes_of([water], [6, 8]) == {"1": 1}
    with pytest.raises(DataError, match=r"record water: atomic number 8 is not among the elements \[1, 6\]"):
        sizes_of([water], [6, 1])


def test_released_jet_tagger_gives_its_golden_logits(tmp_path: Path) -> None:
    outputs = GOLDEN / "lorentznet_top_pretrained_outputs.npz"
    arrays, state = read(outputs), state_dict_of(outputs)
    torch.save(state, tmp_path / "best-val-model.pt")
    options = {"c_weight": float(arrays["c_weight"])}
    made = import_checkpoint(tmp_path / "best-val-model.pt", tmp_path / "jets.pt", options=options)
    assert (made.family, made.kind, made.num_parameters) == ("lorentznet", "classification", 224_072)
    assert "padded length" in made.notes[0]
    task: Any = load_checkpoint(made.path).task
    graphs = padded_graphs(arrays["p4"])
    with torch.no_grad():
        single = logits_of(task.model.network, graphs, torch.float32)
        double = logits_of(task.double().model.network, graphs, torch.float64)
    assert_agrees("logits_float32", single, arrays["logits_float32"])
    assert_agrees("logits", double, arrays["logits"])


def saved_params(path: Path, arrays: dict[str, np.ndarray], prefix: str = "") -> Path:
    params = {prefix + name: torch.from_numpy(value) for name, value in group(arrays, "param").items()}
    torch.save({"model": params, "epoch": 3}, path)
    return path


@pytest.mark.parametrize(
    ("file", "family", "kind"),
    [("cgenn_lorentz", "cgenn-lorentz", "jet"), ("cgenn_nbody", "cgenn-nbody", "nbody")],
)
def test_released_clifford_networks(tmp_path: Path, file: str, family: str, kind: str) -> None:
    from geograph.interop.released import from_released

    arrays = read(GOLDEN / f"{file}.npz")
    source = saved_params(tmp_path / "clifford.pt", arrays, "module.")
    made = import_checkpoint(source, tmp_path / "ours.pt", options=options_of(arrays))
    assert made.family == family
    task: Any = load_checkpoint(made.path).task
    released = from_released(family, group(arrays, "param"), **options_of(arrays)).eval()
    ours = task.model.network.state_dict()
    for name, value in released.state_dict().items():
        assert torch.equal(ours[name], value), name
    with torch.no_grad():
        output = task.predict(make_batch(kind, 2, dtype=torch.float32))
    assert bool(output.isfinite().all())


def released_dynamics(model: EGNNDynamics) -> dict[str, torch.Tensor]:
    """Parameters of our network under the names of the released class for dynamics."""
    from geograph.interop.released_egnn import released_name

    state = {released_name(name): value.clone() for name, value in model.network.state_dict().items()}
    state = {name.replace("embedding_in", "embedding"): value for name, value in state.items()}
    unread = {"gcl_1.node_mlp.0.weight": torch.ones(8, 16), "gcl_1.node_mlp.0.bias": torch.ones(8)}
    return state | unread


def test_released_dynamics(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = EGNNDynamics(8, 2, has_tanh=True)
    torch.save(released_dynamics(model), tmp_path / "egnn.pt")
    made = import_checkpoint(tmp_path / "egnn.pt", tmp_path / "ours.pt", options={"tanh": True})
    assert (made.family, made.kind) == ("egnn", "trajectory")
    batch = make_batch("nbody", 2, dtype=torch.float32)
    assert torch.equal(load_checkpoint(made.path).task.predict(batch), model(batch))
    torch.save(released_dynamics(model) | {"gcl_0.extra": torch.ones(1)}, tmp_path / "egnn.pt")
    with pytest.raises(CheckpointError, match="have no place in egnn-dynamics: gcl_0.extra"):
        import_checkpoint(tmp_path / "egnn.pt", tmp_path / "ours.pt", options={"tanh": True})


def test_networks_without_a_task_say_so(tmp_path: Path) -> None:
    source = saved_params(tmp_path / "egnn.pt", read(GOLDEN / "egnn_attention_edgeattr.npz"))
    with pytest.raises(CheckpointError, match="only the EGNN for charged particles .*from_released"):
        import_checkpoint(source, tmp_path / "ours.pt")
    arrays = read(GOLDEN / "lorentznet_train_step.npz")
    source = saved_params(tmp_path / "jets.pt", arrays)
    with pytest.raises(ConfigError, match="`options.wrong` is no option of lorentznet; it has c_weight"):
        import_checkpoint(source, tmp_path / "ours.pt", options={"wrong": 1})
    with pytest.raises(CheckpointError, match="as cgenn-nbody: .*is missing.*found .* entries, the first"):
        import_checkpoint(source, tmp_path / "ours.pt", name="cgenn-nbody")
    with pytest.raises(ConfigError, match="`name` must be one of egnn, .*got 'schnet'"):
        import_checkpoint(source, tmp_path / "ours.pt", name="schnet")


def foreign(path: Path) -> None:
    torch.save({"schnet.embedding.weight": torch.ones(100, 64), "b": torch.ones(2).long()}, path)


def training_state(path: Path) -> None:
    torch.save({"epoch": 3, "optimizer": {"state": {}}, "loss": 0.5}, path)


def our_own(path: Path) -> None:
    from geograph.tasks import build_task

    save_checkpoint(path, build_task("trajectory", model="egnn-dynamics", model_params={"num_hidden": 4}))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            foreign,
            r"no family that is known here .*; found 2 entries, the first schnet\.embedding\.weight: float32 "
            r"\[100, 64\], b: int64 \[2\]",
        ),
        (
            training_state,
            "no state dictionary of a model; found 3 entries, the first epoch: int, optimizer: dict",
        ),
        (our_own, "is a geograph checkpoint already; use it as it is"),
        (lambda path: torch.save({}, path), "no state dictionary of a model; found 0 entries"),
        (lambda path: torch.save(torch.nn.Linear(1, 1), path), "refused, it asks for torch.nn.modules"),
        (lambda path: path.write_bytes(b"text"), "(damaged|refused)"),
    ],
)
def test_files_from_elsewhere_are_refused_with_what_was_found(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=rf"model\.pt: .*{message}"):
        import_checkpoint(tmp_path / "model.pt", tmp_path / "ours.pt")
