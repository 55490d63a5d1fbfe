import pickle

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from mmfusion.data.frame import FrameDataset
from mmfusion.data.synthetic import lesions, tumours
from mmfusion.data.synthetic.planted import PlantedMasks
from mmfusion.registry import datasets

SMALL = {"size": 32, "n_train": 12, "n_validation": 12, "n_test": 40}


def test_fine_cue_of_lesion_is_inside_its_mask() -> None:
    off, on = np.zeros(8, dtype=bool), np.ones(8, dtype=bool)
    plain, changed = (lesions.draw(off, fine, 64, np.random.default_rng(0)) for fine in (off, on))
    masks = lesions.draw_masks(off, off, 64, np.random.default_rng(0))
    for view in lesions.VIEWS:
        assert masks[view].shape == (8, 64, 64)
        differs = (np.abs(plain[view].astype(int) - changed[view].astype(int)) > 8).any(axis=1)
        # The outline is soft, and the lens blurs it.
        near = binary_dilation(masks[view], np.ones((1, 7, 7)))
        assert not (differs & ~near).any()
        assert (differs & masks[view]).sum() / masks[view].sum() > 0.3
        assert not masks[view][:, [0, 0, -1, -1], [0, -1, 0, -1]].any()


@pytest.mark.parametrize("cue", ["coarse", "fine"])
def test_cue_of_tumor_is_inside_its_masks(cue: str) -> None:
    off, on = np.zeros(4, dtype=bool), np.ones(4, dtype=bool)
    axes, rim, size = np.full((4, 2), 28.0), np.full(4, 5.0), (32, 32, 8)
    which = [(off, off), (on, off) if cue == "coarse" else (off, on)]
    plain, changed = (tumours.draw(*cues, axes, rim, size, np.random.default_rng(0)) for cues in which)
    masks = [tumours.draw_masks(*cues, axes, rim, size, np.random.default_rng(0)) for cues in which]
    for name in tumours.SEQUENCES:
        inside = masks[0][name] | masks[1][name]
        assert inside.shape == (4, *size)
        differs = (np.abs(plain[name].astype(int) - changed[name].astype(int)) > 8)[:, 0]
        if name in (tumours.SHOW_COARSE if cue == "coarse" else tumours.SHOW_FINE):
            assert not (differs & ~binary_dilation(inside, np.ones((1, 5, 5, 3)))).any()
            assert (differs & inside).sum() > 0.2 * differs.sum()
    core, tumor = masks[0]["t1"], masks[0]["t2"]
    assert (core <= tumor).all()
    assert 0 < core.sum() < 0.3 * tumor.sum()
    assert np.array_equal(tumor, masks[0]["adc"])


def test_dataset_masks_follow_images() -> None:
    """Across chunks, in a subset, after pickling, and none where the image is absent."""
    bundle = datasets.create("synthetic_derm7pt", missing_images=0.3, **SMALL)
    cases = bundle.test
    assert isinstance(cases, FrameDataset)
    for view in lesions.VIEWS:
        masks = [cases.mask(view, i) for i in range(40)]
        assert [mask is not None for mask in masks] == cases.present(view).tolist()
        for i, mask in enumerate(masks):
            if mask is None:
                continue
            assert mask.shape == (32, 32)
            assert mask.dtype == torch.bool
            # Lesions are darker than skin.
            image = cases[i].inputs[view]
            assert isinstance(image, torch.Tensor)
            assert image.mean(0)[mask].mean() < image.mean(0)[~mask].mean() - 0.05
    order = [39, 2, 33]
    again = pickle.loads(pickle.dumps(cases.subset(order)))  # our own
    for i, row in enumerate(order):
        one, other = cases.mask("derm", row), again.mask("derm", i)
        assert (one is None and other is None) or torch.equal(one, other)
    larger = datasets.create("synthetic_derm7pt", missing_images=0.3, **SMALL | {"n_train": 20})
    assert isinstance(larger.test, FrameDataset)
    present = int(cases.present("derm").nonzero()[-1])
    assert torch.equal(larger.test.mask("derm", present), cases.mask("derm", present))  # type: ignore[arg-type]  # present


def test_volumes_have_masks() -> None:
    bundle = datasets.create("synthetic_men", size=(32, 32, 4), n_train=6, n_validation=6, n_test=6)
    assert isinstance(bundle.test, FrameDataset)
    sizes = {name: torch.stack([bundle.test.mask(name, i) for i in range(6)]) for name in tumours.SEQUENCES}
    assert all(masks.shape == (6, 32, 32, 4) for masks in sizes.values())
    assert sizes["t1"].sum() < sizes["t2"].sum()
    with pytest.raises(IndexError):
        bundle.test.mask("t1", 6)


def test_chunk_is_drawn_once() -> None:
    calls = []

    def draw(hidden: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        calls.append(len(hidden["cue"]))
        return {"view": np.repeat(hidden["cue"][:, None], 2, 1) > 0}

    cue = np.array([1, 0, 1, 0, 1])
    masks = PlantedMasks(draw, "view", {"cue": cue}, np.array([True, True, True, False, True]), [0, 1], 2)
    found = [masks[i] for i in range(5)]
    assert [None if mask is None else mask.tolist() for mask in found] == [
        [True, True],
        [False, False],
        [True, True],
        None,
        [True, True],
    ]
    assert calls == [2, 2, 1]
    assert masks[-1] is not None
    assert masks[-1].tolist() == [True, True]
