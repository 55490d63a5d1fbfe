import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmfusion.data import DataBundle, export
from mmfusion.data.samplers import ShuffledBatches
from mmfusion.registry import datasets, models

SMALL = {"n_train": 24, "n_validation": 12, "n_test": 16}
SIZES = {"synthetic_derm7pt": 32, "synthetic_men": (32, 32, 8)}
EACH = pytest.mark.parametrize("name", SIZES)


def create(name: str, **options) -> DataBundle:
    return datasets.create(name, **{**SMALL, "size": SIZES[name], **options})


@EACH
def test_synthetic_datasets_share_options(name):
    wanted = {
        "preset", "coarse", "fine", "tabular", "interaction", "prevalence", "label_noise", "missing", "missing_images",
        "data_seed",
    }  # fmt: skip
    assert wanted <= set(datasets.options(name))


@pytest.mark.slow
@EACH
def test_strengths_override_preset(name):
    pure, more = create(name, preset="pure-interaction"), create(name, preset="pure-interaction", coarse=3.0)
    assert [pure.ceilings["image"], pure.ceilings["table"]] == pytest.approx([0.5, 0.5], abs=1e-12)
    assert pure.ceilings["both"] > 0.95
    assert more.ceilings["image"] > 0.6
    assert more.ceilings["table"] == pytest.approx(0.5, abs=1e-12)


@pytest.mark.slow
@EACH
def test_missing_data_leaves_the_rest_unchanged(name):
    """Runs with and without missing data are compared on the same cases."""
    full, less = create(name).train, create(name, missing=0.3, missing_images=0.3).train
    assert torch.equal(full.labels("label"), less.labels("label"))
    for column in full.frame:
        mask = less.frame[column].notna()
        assert (full.frame[column][mask] == less.frame[column][mask]).all()
    assert less.frame.isna().to_numpy().any()
    for view in full.spec.images:
        mask = torch.tensor(less.frame[view].notna().to_numpy())
        assert torch.equal(full.pixels(view)[mask], less.pixels(view)[mask])
        assert not less.pixels(view)[~mask].any()


@EACH
@pytest.mark.slow
def test_trains_one_epoch(name):
    bundle = create(name, missing=0.1, missing_images=0.2)
    torch.manual_seed(0)
    model = models.create("cfcml", bundle.spec)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = ShuffledBatches(len(bundle.train), batch_size=8, seed=0)
    for indices in itertools.chain(batches):
        cases = bundle.train.__getitems__(indices)
        output = model(cases.inputs, cases.present)
        loss = torch.nn.functional.cross_entropy(output.logits, cases.targets["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    moved = [not torch.equal(item, other) for item, other in zip(before, model.parameters())]
    assert np.mean(moved) > 0.9
    model.eval()
    cases = bundle.test.__getitems__(range(len(bundle.test)))
    probabilities = model(cases.inputs, cases.present).logits.softmax(dim=1)
    assert probabilities.isfinite().all()
    assert (probabilities.std(dim=0) > 0).all()


def test_export_of_lazy_dataset_raises(tmp_path):
    bundle = create("synthetic_derm7pt")
    elsewhere = DataBundle("x", bundle.train, bundle.validation, object(), bundle.reader)
    with pytest.raises(ValueError, match="a test set in memory, got a object"):
        export(elsewhere, tmp_path)


@pytest.mark.slow
def test_import_mmfusion_does_not_load_data():
    code = "import sys, mmfusion; print([m for m in ('mmfusion.data', 'pandas', 'PIL', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_import_of_data_needs_no_extra():
    code = (
        "import sys, mmfusion.data; "
        "print([m for m in ('PIL', 'sklearn', 'scipy', 'timm', 'nibabel') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
