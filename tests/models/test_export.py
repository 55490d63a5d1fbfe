"""The names of an exported model's tensors, and the error of a part that cannot be exported."""

from collections.abc import Mapping

import pytest
from torch import Tensor, nn

import mmfusion as mmf
from helpers.small import make_spec
from mmfusion.models.export import ExportError, tensor_names, to_program

SPEC = make_spec(images=1, size=(8, 8))


def test_tensor_names_follow_spec() -> None:
    """Modalities in the order of the spec, only those that the model reads."""
    model = mmf.create_model("concat", SPEC)
    assert tensor_names(model, SPEC) == (
        "image0", "image0.present", "table0.numerical", "table0.categorical", "table0.present",
    )  # fmt: skip
    assert tensor_names(mmf.create_model("image", SPEC), SPEC) == ("image0", "image0.present")


class Reading(nn.Module):
    """A head that reads a value back."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(256, 3)

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:
        return {"label": self.linear(x) if x.sum() > 0 else -self.linear(x)}


@pytest.mark.slow
def test_unexportable_part_raises_with_its_name() -> None:
    """The innermost part and the reason, in one line; the model stays in its mode."""
    model = mmf.create_model("concat", SPEC)
    model.head = Reading()
    model.train()
    with pytest.raises(ExportError, match=r"its part head \(Reading\) raises GuardOnDataDependentSymNode") as caught:
        to_program(model, SPEC)
    assert "\n" not in str(caught.value)
    assert model.training
    assert model.head.training
