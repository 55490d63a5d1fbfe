import pytest
import torch

from helpers.small import make_spec
from mmfusion import registry
from mmfusion.fusion.vectors import SplitFusion
from mmfusion.fusion.vectors.split import shares
from mmfusion.spec import DataSpec

SPEC = make_spec()


def test_each_modality_gives_its_share() -> None:
    fusion = SplitFusion({"a": 1, "b": 2, "t": 1})
    x = {name: torch.arange(4.0).repeat(2, 1) + shift for name, shift in (("t", 100), ("a", 0), ("b", 10))}
    assert fusion(x).tolist() == [[0.0, 11.0, 12.0, 103.0]] * 2
    present = {"b": torch.tensor([False, True])}
    assert fusion(x, present).tolist() == [[0.0, 0.0, 0.0, 103.0], [0.0, 11.0, 12.0, 103.0]]
    assert not list(fusion.parameters())


@pytest.mark.parametrize(
    ("images", "tables", "dim", "confidence", "expected"),
    [
        (1, 1, 8, 1.0, {"image0": 4, "table0": 4}),
        (1, 1, 9, 1.0, {"image0": 5, "table0": 4}),
        (1, 1, 128, 0.95, {"image0": 63, "table0": 65}),
        (1, 1, 12, 3.0, {"image0": 9, "table0": 3}),
        (2, 1, 9, 2.0, {"image0": 3, "image1": 3, "table0": 3}),
        (3, 1, 10, 1.0, {"image0": 2, "image1": 2, "image2": 1, "table0": 5}),
        (2, 0, 7, 0.1, {"image0": 4, "image1": 3}),
        (0, 2, 6, 100.0, {"table0": 3, "table1": 3}),
    ],
)
def test_shares_follow_confidence(
    images: int, tables: int, dim: int, confidence: float, expected: dict[str, int]
) -> None:
    found = shares(make_spec(images=images, tables=tables), dim, confidence)
    assert found == expected
    assert list(found) == list(expected)
    assert sum(found.values()) == dim


def test_shares_follow_spec_order() -> None:
    other = DataSpec({name: SPEC[name] for name in reversed(SPEC.names)}, targets=SPEC.targets)
    assert list(shares(other, 8, 3.0).items()) == [("table0", 2), ("image0", 6)]


def test_split_created_by_name_gets_shares() -> None:
    fusion = registry.vector_fusions.build({"name": "split", "confidence": 3.0}, spec=SPEC, dim=8)
    assert fusion.parts == {"image0": 6, "table0": 2}
    assert (fusion.names, fusion.dim_out) == (("image0", "table0"), 8)
