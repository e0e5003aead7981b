"""Released CGENN parameters: names, options and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from geograph.algebra.clifford import CliffordAlgebra
from geograph.errors import CheckpointError, ConfigError
from geograph.interop.released import from_released
from geograph.interop.released_cgenn import released_name
from geograph.layers.multivector import MVLayerNorm, MVLinear, MVSiLU
from geograph.models.cgenn_lorentz import CGENNLorentz
from geograph.models.cgenn_nbody import CGENNNBody

JET = {"num_hidden": 6, "num_multivectors": 2, "num_layers": 2, "num_decoder": 8}


def as_released(model: CGENNLorentz | CGENNNBody) -> dict[str, Tensor]:
    """Our parameters as the released implementation would store them, with some of its constants."""
    params: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        for ours, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            name = released_name(f"{path}.{ours}")
            stored = value.detach().clone()
            if isinstance(module, MVLinear) and ours == "bias":
                stored = stored[None, :, None]
            elif isinstance(module, MVSiLU | MVLayerNorm):
                stored = stored[None]
            params[name] = stored
    metric = tuple(model.algebra.metric)
    params["algebra.metric"] = torch.tensor(metric)
    params["layers.0.algebra.cayley"] = torch.tensor(CliffordAlgebra(metric).cayley).float()
    params["algebra.even_grades"] = torch.zeros(model.algebra.num_blades, dtype=torch.bool)
    return params


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    wanted = theirs.state_dict()
    assert wanted.keys() == ours.state_dict().keys()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, wanted[name]), name


@pytest.mark.parametrize("normalization_init", [None, 0.0])
@pytest.mark.parametrize("product", ["fully_connected", "elementwise"])
def test_structure_of_jet_networks_follows_from_the_parameters(
    product: str, normalization_init: float | None
) -> None:
    theirs = CGENNLorentz(2, **JET, product=product, normalization_init=normalization_init)
    ours = from_released("cgenn-lorentz", as_released(theirs))
    assert_same(ours, theirs)


@pytest.mark.parametrize("normalization_init", [None, 0.0])
def test_structure_of_body_networks_follows_from_the_parameters(normalization_init: float | None) -> None:
    theirs = CGENNNBody(5, 2, 3, num_blocks=3, normalization_init=normalization_init)
    assert_same(from_released("cgenn-nbody", as_released(theirs), n_layers=2, residual=True), theirs)


def test_gates_without_effect_are_dropped_knowingly() -> None:
    params = as_released(CGENNLorentz(2, **JET))
    options = {"use_invariants_to_update": False, "aggregation": "sum", "residual": True}
    ours = from_released("cgenn-lorentz", params, **options)
    assert not any("gate" in name for name, _ in ours.named_parameters())


def test_dtype_is_that_of_the_parameters() -> None:
    params = {name: value.double() for name, value in as_released(CGENNLorentz(2, **JET)).items()}
    assert from_released("cgenn-lorentz", params).embedding_scalar.weight.dtype == torch.float64


def test_what_does_not_fit_is_refused() -> None:
    params = as_released(CGENNLorentz(2, **JET))
    with pytest.raises(CheckpointError, match="1 released parameters have no place .*: CGLs.0.extra"):
        from_released("cgenn-lorentz", {**params, "CGLs.0.extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"`CGLs.1.psi_x.0.bias` is missing"):
        from_released("cgenn-lorentz", {k: v for k, v in params.items() if k != "CGLs.1.psi_x.0.bias"})
    with pytest.raises(CheckpointError, match="`n_layers` is 4, but the released parameters show 2"):
        from_released("cgenn-lorentz", params, n_layers=4)
    with pytest.raises(CheckpointError, match="must be the Cayley table of metric"):
        from_released("cgenn-lorentz", {**params, "layers.0.algebra.cayley": torch.zeros(16, 16, 16)})
    with pytest.raises(CheckpointError, match="must share one metric"):
        from_released("cgenn-lorentz", {**params, "CGLs.0.algebra.metric": torch.ones(4)})
    with pytest.raises(ConfigError, match="`width` is no option of this released CGENN: aggregation"):
        from_released("cgenn-lorentz", params, width=3)
    with pytest.raises(ConfigError, match="`use_invariant_network` must be True"):
        from_released("cgenn-lorentz", params, use_invariant_network=False)
