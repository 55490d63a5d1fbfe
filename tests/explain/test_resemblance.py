import pytest
import torch

from helpers.explained import batch_for, left_as_it_was, small_model
from mmfusion.explain import Embedded, embedded, nearest_cases, prototype_similarities
from mmfusion.explain.resemblance import ACROSS, FUSED, joined
from mmfusion.layers.directions import unit

SOME = torch.tensor([True, False, True])


def build_embeddings(a: list[list[float]], b: list[list[float]], present: list[bool] | None = None) -> Embedded:
    x, y = torch.tensor(a), torch.tensor(b)
    every = torch.ones(len(x), dtype=torch.bool)
    has = every if present is None else torch.tensor(present)
    return Embedded({"a": x, "b": y}, {"a": has, "b": every}, torch.cat([x, y], 1))


@pytest.mark.parametrize("name", ["concat", "late", "healnet"])
def test_embeddings_match_model_and_head_reproduces_output(name: str) -> None:
    model, present = small_model(name), {"image0": SOME}
    inputs = batch_for(model, 3)
    with torch.inference_mode(), left_as_it_was(model):
        found = embedded(model, inputs, present)
    with torch.no_grad():
        output = model(inputs, present)
        for key, x in output.embeddings.items():
            torch.testing.assert_close(found.modalities[key], x)
        if model.vectors is not None:
            torch.testing.assert_close(model.head(found.fused)["label"], output.logits)
    assert found.present["image0"].tolist() == SOME.tolist()
    assert not found.modalities["image0"][1].any()
    assert found.fused.shape[0] == 3


def test_nearest_cases_are_sorted_and_finite() -> None:
    reference = torch.tensor([[1.0, 0.0], [torch.nan, 1.0], [0.0, 2.0], [3.0, 3.0], [0.0, 0.0]])
    found = nearest_cases(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), reference, 9)
    assert found.rows[:, :2].tolist() == [[0, 3], [3, 0]]
    assert found.similarity[0].tolist() == pytest.approx([1, 0.5**0.5, 0, 0])
    assert found.rows.shape == (2, 4)
    with pytest.raises(ValueError, match="width 3, got 2"):
        nearest_cases(torch.zeros(1, 3), reference, 1)


def test_prototypes_are_mean_directions_by_class() -> None:
    reference = build_embeddings(
        [[5.0, 0.0], [0.0, 1.0], [0.0, 9.0]], [[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]], [True, False, True]
    )
    found = prototype_similarities(build_embeddings([[1.0, 0.0]], [[0.0, 2.0]]), reference, torch.tensor([0, 0, 1]), 3)
    assert list(found) == ["a", "b", ACROSS]
    assert found["a"][0, :2].tolist() == pytest.approx([1, 0])
    assert found["b"][0, :2].tolist() == pytest.approx([0, 1])
    across = unit(torch.tensor([[1.0, 1.0]])) @ unit(torch.tensor([[2.0, 0.0], [0.0, 2.0]])).mT
    torch.testing.assert_close(found[ACROSS][0, :2], across[0])
    assert found[ACROSS][0, 2].isnan()  # no case of the class
    absent = build_embeddings([[0.0, 0.0]], [[0.0, 2.0]], [False])
    assert prototype_similarities(absent, reference, torch.tensor([0, 0, 1]), 3)["a"].isnan().all()
    with pytest.raises(ValueError, match="3 reference cases, got 2"):
        prototype_similarities(absent, reference, torch.tensor([0, 1]), 2)


def test_unequal_widths_give_prototypes_of_fused_embedding() -> None:
    cases = build_embeddings([[1.0]], [[0.0, 2.0]])
    found = prototype_similarities(
        cases, joined([cases, build_embeddings([[-1.0]], [[1.0, 0.0]])]), torch.tensor([0, 1]), 2
    )
    assert list(found) == ["a", "b", FUSED]
    assert found["a"].tolist() == [[1, -1]]
    assert found["b"].tolist() == [[1, 0]]
    assert found[FUSED][0].tolist() == pytest.approx([1, float(-1 / 10**0.5)])
