from importlib import metadata

import pytest
import torch

import mmfusion as mmf
from helpers.small import make_inputs, make_spec
from mmfusion.experiments.environment import describe, flops


def test_flops_of_a_linear_layer_by_hand() -> None:
    layer = torch.nn.Linear(5, 3).train()
    assert flops(layer, torch.ones(2, 5)) == 2 * 2 * 5 * 3
    assert layer.training


@pytest.mark.slow
@pytest.mark.parametrize("compression", mmf.registry.compressions.list())
def test_flops_count_every_compression(compression: str) -> None:
    """Modules that use a view of a parameter are counted too, and nothing stays frozen."""
    spec = make_spec()
    model = mmf.create_model("cfcml", spec, compression=compression)
    model.encoders.backbones["image0"].freeze("all")
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert flops(model, make_inputs(spec, 1)) > 10**6
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == frozen


@pytest.mark.parametrize("package", ["torch", "numpy", "scikit-learn", "scipy"])
def test_package_versions_are_recorded(package: str) -> None:
    assert describe(torch.device("cpu"))["versions"][package] == metadata.version(package)
