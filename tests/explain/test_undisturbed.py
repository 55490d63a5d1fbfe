import torch

from mmfusion.explain.undisturbed import plain, plain_present
from mmfusion.tokens import Table


def test_what_was_made_in_inference_mode_comes_back_as_normal_tensors() -> None:
    with torch.inference_mode():
        x, mask = torch.rand(2, 3), torch.ones(2, dtype=torch.bool)
        found = plain({"image": x, "table": Table(x, x.long())})
        present = plain_present({"image": mask})
    table = found["table"]
    assert isinstance(table, Table)
    for made in (found["image"], table.numerical, table.categorical, present["image"]):
        assert isinstance(made, torch.Tensor)
        assert not made.is_inference()
    normal = torch.rand(2)
    with torch.inference_mode():
        assert not plain({"image": normal})["image"].is_inference()  # type: ignore[union-attr]  # a tensor
