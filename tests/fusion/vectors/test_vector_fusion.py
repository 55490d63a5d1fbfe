"""What holds for every vector fusion."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from helpers.small import make_spec
from mmfusion import registry
from mmfusion.fusion.vectors import SplitFusion, TensorFusion, VectorFusion

SPEC = make_spec(images=2)
every = pytest.mark.parametrize("name", registry.vector_fusions.list())


def built(name: str) -> tuple[VectorFusion, dict[str, Tensor]]:
    names = SPEC.names[:1] if name == "single" else SPEC.names
    fusion = registry.vector_fusions.build(name, names=names, spec=SPEC, dim=6)
    return fusion.double(), {key: torch.randn(3, 6, dtype=torch.float64) for key in SPEC.names}


@every
def test_output_width_matches_dim_out(name: str) -> None:
    fusion, x = built(name)
    assert isinstance(fusion, VectorFusion)
    assert fusion(x).shape == (3, fusion.dim_out)


@every
def test_absent_modality_has_no_effect(name: str) -> None:
    """Whatever its content, bit for bit; zeros in a case that has the modality do not mean absent."""
    fusion, x = built(name)
    if name == "single":
        return
    there = {"table0": torch.tensor([True, False, True])}
    found = fusion(x, there)
    for content in (0.0, 7.0, float("nan")):
        spoilt = {**x, "table0": x["table0"].where(there["table0"][:, None], content)}
        assert torch.equal(fusion(spoilt, there), found)
    torch.testing.assert_close(found[there["table0"]], fusion(x)[there["table0"]])


@every
def test_empty_case_is_finite(name: str) -> None:
    fusion, x = built(name)
    for one in x.values():
        one.requires_grad_()
    nobody = dict.fromkeys(SPEC.names, torch.zeros(3, dtype=torch.bool))
    fused = fusion(x, nobody)
    assert bool(fused.isfinite().all())
    fused.sum().backward()
    assert all(one.grad is None or bool(one.grad.isfinite().all()) for one in x.values())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: registry.vector_fusions.create("gated", SPEC.names, dim=2**70), "gated': dim expects int"),
        (lambda: TensorFusion(SPEC.names, dim=8, project=0), "TensorFusion: project expects int from 1"),
        (lambda: registry.vector_fusions.build("concat", names=SPEC.names), "vector fusion 'concat' needs dim"),
    ],
)
def test_invalid_options_raise(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_missing_forward_raises() -> None:
    with pytest.raises(NotImplementedError, match=r"a vector fusion defines forward\(\)"):
        VectorFusion(("a",), dim_out=2)({})


def test_split_accepts_explicit_parts() -> None:
    assert SplitFusion({"a": 2, "b": 1}).dim_out == 3
