import json
import time

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from mmfusion.data import CaseReader, DataBundle, export
from mmfusion.data.synthetic.synthetic_men import (
    ADC,
    AGES,
    CLASSES,
    CUES,
    LOCATION,
    PRESETS,
    SEX,
    draw_records,
    tumour_model,
)
from mmfusion.data.synthetic.tumours import SEQUENCES
from mmfusion.registry import datasets

SMALL = {"n_train": 40, "n_validation": 10, "n_test": 20}


def create(**options) -> DataBundle:
    return datasets.create("synthetic_men", **{**SMALL, **options})


def records(n: int, **change: object) -> tuple[dict[str, np.ndarray], pd.DataFrame, np.ndarray]:
    """What lies behind some cases, their table, and the probability of each class."""
    model = tumour_model(**vars(PRESETS["default"]) | change)
    hidden, frame = draw_records(model, "x", n, np.random.default_rng(0))
    return hidden, frame, model.given(hidden)


@pytest.mark.slow
def test_bundle_has_sizes_and_spec():
    bundle = create()
    assert [len(part) for part in (bundle.train, bundle.validation, bundle.test)] == [40, 10, 20]
    spec = bundle.spec
    assert spec.names == ("t1", "t2", "adc", "meta")
    assert all(spec[name].shape == (1, 32, 32, 8) for name in SEQUENCES)
    assert spec["t1"].spacing == (3.125, 3.125, 15.0)
    assert spec["meta"].numerical == ("age", "adc_value", "tumour_area", "oedema_area")
    assert spec["meta"].categorical == (("location", 3), ("sex", 2))
    assert spec.targets["label"].names == CLASSES == ("Grade_1", "Grade_2_invasion", "Grade_2_noninvasion")
    assert list(bundle.test.frame.columns) == [
        "patient", "t1", "t2", "adc", "location", "sex", "age", "adc_value", "tumour_area", "oedema_area", "diagnosis",
    ]  # fmt: skip
    assert bundle.test.ids[0] == "test-00000"
    batch = bundle.test.__getitems__([0, 5])
    assert batch.inputs["t1"].shape == (2, 1, 32, 32, 8)
    assert 0 <= batch.inputs["t1"].min() < batch.inputs["t1"].max() < 1
    assert any("upper bounds" in note for note in bundle.notes)


@pytest.mark.slow
def test_published_size_of_men():
    bundle = create(size=[128, 128, 24], n_train=4, n_validation=4, n_test=4, prevalence=(0.34, 0.33, 0.33))
    assert bundle.spec["t2"].shape == (1, 128, 128, 24)
    assert bundle.spec["t2"].spacing == (0.78125, 0.78125, 5.0)


def everything(bundle: DataBundle) -> bytes:
    parts = (bundle.train, bundle.validation, bundle.test)
    voxels = b"".join(part.pixels(name).numpy().tobytes() for part in parts for name in SEQUENCES)
    return voxels + "".join(part.frame.to_csv() for part in parts).encode()


@pytest.mark.slow
def test_same_seed_gives_same_bytes():
    first = everything(create())
    assert first == everything(create())
    assert first != everything(create(data_seed=1))


@pytest.mark.slow
def test_set_does_not_depend_on_size_of_another():
    small, large = create(), create(n_train=50)
    assert torch.equal(small.test.pixels("adc"), large.test.pixels("adc"))
    assert small.test.frame.equals(large.test.frame)


def test_table_shows_cues_and_labels_match_probability():
    hidden, frame, p = records(20_000)
    assert (np.array(LOCATION, dtype=object)[hidden["location"]] == frame["location"]).all()
    assert (np.array(SEX, dtype=object)[hidden["sex"]] == frame["sex"]).all()
    for column, cue, bands in (("age", "age", AGES), ("adc_value", "adc", ADC)):
        low, high = np.array(bands)[hidden[cue]].T
        assert ((low <= frame[column]) & (frame[column] < high)).all()
    for k, name in enumerate(CLASSES):
        label = frame["diagnosis"] == name
        assert label.mean() == pytest.approx(PRESETS["default"].prevalence[k], abs=0.012)
        for low in np.arange(0, 1, 0.2):
            band = (low <= p[:, k]) & (p[:, k] < low + 0.2)
            # Four standard errors of a share.
            assert label[band].mean() == pytest.approx(p[band, k].mean(), abs=2 / np.sqrt(band.sum()))
        # Where a value lies in its band, and the areas, have no say.
        for column in ("age", "adc_value", "tumour_area", "oedema_area"):
            assert np.corrcoef(label - p[:, k], frame[column])[0, 1] == pytest.approx(0, abs=0.025)


def test_areas_match_drawn_ellipses():
    hidden, frame, _ = records(500)
    (a, b), rim = hidden["axes"].T, hidden["rim"]
    assert frame["tumour_area"].to_numpy() == pytest.approx(np.pi * a * b, abs=0.51)
    assert frame["oedema_area"].to_numpy() == pytest.approx(np.pi * ((a + rim) * (b + rim) - a * b), abs=0.51)
    assert frame["tumour_area"].between(1800, 3250).all()
    assert frame["oedema_area"].between(0, 2900).all()


def test_cues_are_independent():
    states = tumour_model(**vars(PRESETS["default"])).draw(20_000, np.random.default_rng(1))
    assert list(states) == [cue.name for cue in CUES]
    assert np.abs(np.corrcoef(np.stack(list(states.values()))) - np.eye(6)).max() < 0.03
    for cue in CUES:
        assert np.bincount(states[cue.name], minlength=len(cue.prior)) / 20_000 == pytest.approx(cue.prior, abs=0.015)


@pytest.mark.slow
def test_tree_on_table_reaches_ceiling():
    """A tree over the raw cells, areas included, on many cases: at the ceiling, and no more."""
    _, frame, _ = records(30_000)
    table = frame[["age", "adc_value", "tumour_area", "oedema_area"]].assign(
        location=[LOCATION.index(place) for place in frame["location"]],
        sex=[SEX.index(sex) for sex in frame["sex"]],
    )
    train, test = slice(0, 20_000), slice(20_000, None)
    labels = np.array([CLASSES.index(name) for name in frame["diagnosis"]])
    tree = DecisionTreeClassifier(min_samples_leaf=200, random_state=0).fit(table[train], labels[train])
    scores = tree.predict_proba(table[test])
    reached = np.mean([roc_auc_score(labels[test] == k, scores[:, k]) for k in range(3)])
    ceiling = tumour_model(**vars(PRESETS["default"])).ceilings()["table"]
    assert ceiling - 0.02 < reached < ceiling + 0.01


@pytest.mark.slow
def test_missing_cells_have_given_rate():
    train = create(missing=0.3, n_train=400).train
    table = train.__getitems__(range(len(train))).inputs["meta"]
    assert table.numerical.isnan().float().mean(dim=0).tolist() == pytest.approx([0.3] * 4, abs=0.08)
    assert (table.categorical == -1).float().mean(dim=0).tolist() == pytest.approx([0.3] * 2, abs=0.08)
    assert not train.frame["diagnosis"].isna().any()


@pytest.mark.slow
def test_absent_sequences_have_given_rate():
    part = create(missing_images=0.4, n_train=400).train
    batch = part.__getitems__(range(len(part)))
    away = torch.stack([~batch.present[name] for name in SEQUENCES]).float()
    assert away.mean(dim=1).tolist() == pytest.approx([0.4] * 3, abs=0.08)
    assert torch.corrcoef(away).sub(torch.eye(3)).abs().max() < 0.15
    assert batch.present["meta"].all()
    for name in SEQUENCES:
        assert part.frame[name].notna().tolist() == batch.present[name].tolist()
        assert not batch.inputs[name][~batch.present[name]].any()


@pytest.mark.slow
def test_exported_volumes_have_same_voxels(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    bundle = create(missing=0.2, missing_images=0.3)
    table = pd.read_csv(export(bundle, tmp_path))
    assert list(table["patient"]) == bundle.test.ids
    for name, source in bundle.reader.images.items():
        for i, file in enumerate(table[name]):
            if not bundle.test.__getitems__([i]).present[name]:
                assert pd.isna(file)
                continue
            voxels = source.decode(tmp_path / file)
            assert voxels.dtype == np.float16
            assert np.array_equal(voxels, bundle.test.pixels(name)[i].numpy())
    image = nibabel.load(next(tmp_path.rglob("*.nii.gz")))
    assert image.shape == (32, 32, 8)
    assert image.header.get_zooms() == (3.125, 3.125, 15.0)
    assert image.get_data_dtype() == np.uint8
    with pytest.raises(FileExistsError, match="choose another folder"):
        export(bundle, tmp_path)


@pytest.mark.slow
def test_export_round_trip(tmp_path):
    """Through files and a reader from JSON, absent sequences and empty cells included."""
    bundle = create(missing=0.2, missing_images=0.3)
    table = export(bundle, tmp_path)
    reader = CaseReader.from_dict(json.loads(json.dumps(bundle.reader.to_dict())))
    read = reader.read(pd.read_csv(table), tmp_path, missing_images="absent")
    created, again = (part.__getitems__(range(len(part))) for part in (bundle.test, read))
    assert read.ids == bundle.test.ids
    assert torch.equal(again.targets["label"], created.targets["label"])
    for name in bundle.reader.images:
        assert torch.equal(again.present[name], created.present[name])
        assert torch.equal(again.inputs[name], created.inputs[name])
    for item, other in zip(again.inputs["meta"], created.inputs["meta"], strict=True):
        assert torch.equal(torch.nan_to_num(item, nan=-9), torch.nan_to_num(other, nan=-9))


@pytest.mark.slow
def test_progress_reaches_total():
    seen = []
    create(progress=lambda *n: seen.append(n))
    assert seen[-1] == (70, 70)
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": "somewhere"}, "has no option 'root'"),
        ({"size": 32}, "size expects 3 values, a list of int from 1 to 8192, got 32"),
        ({"size": (16, 16, 8)}, r"at least 32, the last at least 4, got \(16, 16, 8\)"),
        ({"size": (32, 48, 8)}, "the first two equal"),
        ({"size": (32, 32)}, "size expects 3 values"),
        ({"size": (32, 32, 2)}, "the last at least 4"),
        ({"n_test": 1}, "n_test expects int from 2 to 1000000, got 1"),
        ({"prevalence": (0.5, 0.5)}, "prevalence expects 3 values"),
        ({"n_test": 4, "prevalence": (0.998, 0.001, 0.001)}, "only one class"),
        ({"coarce": 1.0}, "did you mean 'coarse'"),
        ({"preset": "hard"}, "preset expects one of default, additive, pure-interaction, got 'hard'"),
        ({"interaction": float("inf")}, "interaction expects float from -1000000 to 1000000 or none, got inf"),
        ({"label_noise": 0.7}, "label_noise expects a probability from 0 to below 0.667"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        create(**options)


@pytest.mark.slow
def test_default_dataset_is_generated_in_seconds():
    start = time.process_time()
    datasets.create("synthetic_men")
    # Processor time, so that a busy machine does not fail the test; the bound is generous for a slow one.
    assert time.process_time() - start < 40
