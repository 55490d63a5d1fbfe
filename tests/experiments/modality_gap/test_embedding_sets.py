import numpy as np
import pandas as pd
import pytest
import torch

import mmfusion as mmf
from helpers.explained import small_model
from helpers.small import make_inputs, make_labels
from mmfusion.data.frame import FrameDataset
from mmfusion.experiments.modality_gap.embedding_sets import EmbeddingSets, all_sets, fused_name, sets_of
from mmfusion.experiments.modality_gap.gap_panels import ACROSS, panels_of
from mmfusion.experiments.modality_gap.projections import PCA
from mmfusion.models import FusionModel
from mmfusion.tokens import Table

CPU = torch.device("cpu")
HAS_IMAGE = torch.tensor([True, False, True, True, True])


def dataset(model: FusionModel) -> FrameDataset:
    assert model.spec is not None
    inputs = make_inputs(model.spec, 5)
    return FrameDataset(
        model.spec,
        pd.DataFrame(index=range(5)),
        images={name: x for name, x in inputs.items() if not isinstance(x, Table)},
        tables={name: x for name, x in inputs.items() if isinstance(x, Table)},
        targets=make_labels(model.spec, 5),
        present={"image0": HAS_IMAGE},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sets", "fused"),
    [
        ("concat", ["image0", "table0"], True),
        ("late", ["image0", "table0"], False),  # it fuses outputs
        ("film", ["image0"], True),  # the table acts inside the encoder
        ("tabular", ["table0"], True),
        ("healnet", ["image0", "table0"], True),  # latents are no modality
    ],
)
def test_embedding_sets_of_every_kind_of_model(name: str, sets: list[str], fused: bool) -> None:
    model = small_model(name)
    cases = dataset(model)
    found = sets_of(model, cases, 2, CPU)
    assert list(found.modalities) == sets
    assert (found.fused is not None) == fused
    inputs = {key: x for key, x in make_inputs(cases.spec, 5).items() if key in model.names}
    present = {"image0": HAS_IMAGE} if "image0" in model.names else {}
    with torch.no_grad():
        output = model(inputs, present)
    for key, x in found.modalities.items():
        has = found.present[key]
        assert has.tolist() == (HAS_IMAGE.tolist() if key == "image0" else [True] * 5)
        np.testing.assert_allclose(x[has], output.embeddings[key].numpy()[has], atol=1e-5)
    if found.fused is not None:
        torch.testing.assert_close(
            model.head(torch.tensor(found.fused).float())["label"], output.logits, atol=1e-5, rtol=0
        )
    panels = panels_of(found, np.array([0, 1, 2, 0, -1]), 3, (PCA,), 0)
    assert [cloud.name for cloud in panels[0].clouds] == [*sets, *([ACROSS] if len(sets) > 1 else [])]
    assert all(np.isfinite(cloud.points).all() for panel in panels for cloud in panel.clouds)


def test_modalities_can_have_any_name() -> None:
    rng = np.random.default_rng(0)
    names = ("fused", "fused embedding", "prototypes fused", "a and b", "across")
    sets = EmbeddingSets(
        {name: rng.normal(size=(6, 3)) for name in names},
        {name: np.ones(6, dtype=bool) for name in names},
        rng.normal(size=(6, 3)),
    )
    assert fused_name(sets) == "fused embedding embedding"
    assert list(all_sets(sets)) == [*names, "fused embedding embedding"]
    modalities, fused = panels_of(sets, np.arange(6) % 2, 2, (PCA,), 0)
    assert [cloud.name for cloud in modalities.clouds] == [*names, ACROSS]
    assert [cloud.name for cloud in fused.clouds] == ["fused embedding embedding"]
    shown = [x for cloud in modalities.clouds for x in (cloud.points, cloud.prototypes) if x is not None]
    assert len(np.unique(np.concatenate(shown), axis=0)) == 5 * (6 + 2) + 2


def test_sets_of_unequal_widths_have_separate_panels() -> None:
    rng = np.random.default_rng(0)
    has = np.array([True, True, False, True])
    sets = EmbeddingSets(
        {
            "a": rng.normal(size=(4, 3)),
            "b": rng.normal(size=(4, 2)),
            "c": rng.normal(size=(4, 3)),
            "d": np.zeros((4, 5)),
        },
        {"a": has, "b": has, "c": ~has, "d": np.zeros(4, dtype=bool)},
        None,
    )
    panels = panels_of(sets, np.full(4, -1), 2, (PCA,), 0)
    assert [[cloud.name for cloud in panel.clouds] for panel in panels] == [["a", "c"], ["b"]]  # no case has d
    assert [len(cloud.points) for cloud in panels[0].clouds] == [3, 1]


def test_model_without_embeddings_raises() -> None:
    class Logits(torch.nn.Module):
        def forward(self, inputs: object, present: object = None) -> mmf.FusionOutput:
            return mmf.FusionOutput({"label": torch.zeros(2, 3)}, {}, {})

    with pytest.raises(ValueError, match="Logits gives no embeddings"):
        sets_of(Logits(), dataset(small_model("concat")), 2, CPU)
