"""A frozen encoder's maps from disk: the same cases, the same numbers, and nothing stale."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mmfusion as mmf
from helpers.small import make_inputs, make_labels, make_spec
from mmfusion.data.frame import FrameDataset
from mmfusion.data.images.bag_rows import BagRows
from mmfusion.data.images.intensity import Intensity
from mmfusion.experiments import evaluation, run, settings
from mmfusion.spec import DataSpec, Image
from mmfusion.tokens import Maps, Table
from mmfusion.training import precompute as module
from mmfusion.training.arithmetic import arithmetic, in_use
from mmfusion.training.precompute import MapsDataset, precompute
from mmfusion.training.result_files import read_json

SPEC = make_spec(images=2, tables=1)
N = 7
CPU = torch.device("cpu")


def dataset(seed: int = 0) -> FrameDataset:
    inputs = make_inputs(SPEC, N, seed=seed)
    there = torch.arange(N) != 2
    return FrameDataset(
        SPEC,
        pd.DataFrame(index=range(N)),
        images={name: inputs[name] for name in SPEC.images},
        tables={name: inputs[name] for name in SPEC.tables},
        targets=make_labels(SPEC, N),
        present={"image1": there},
    )


def model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return mmf.create_model("cfcml", SPEC, dim=8, image_latents=2, table_latents=2, hidden=(8,)).eval()


def cached(tmp_path: Path, of: Any = None, data: FrameDataset | None = None) -> MapsDataset:
    return precompute(of or model(), data or dataset(), tmp_path / "maps", batch_size=3, device=CPU)


def entries(tmp_path: Path) -> int:
    return len(list((tmp_path / "maps").iterdir()))


@pytest.mark.slow
def test_outputs_from_maps_match_outputs_from_images(tmp_path: Path) -> None:
    data, net = dataset(), model()
    indices = [5, 2, 0, 6]
    images, maps = data.__getitems__(indices), cached(tmp_path, net, data).__getitems__(indices)
    assert all(isinstance(maps.inputs[name], Maps) for name in SPEC.images)
    assert isinstance(maps.inputs["table0"], Table)
    assert torch.equal(maps.targets["label"], images.targets["label"])
    assert torch.equal(maps.position, images.position)
    for present in (None, images.present):
        expected, found = net(images.inputs, present), net(maps.inputs, present)
        torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_precomputed_dataset_has_same_interface(tmp_path: Path) -> None:
    data = dataset()
    maps = cached(tmp_path, data=data)
    assert (len(maps), list(maps.ids), list(maps.groups), maps.spec) == (len(data), data.ids, data.groups, data.spec)
    assert torch.equal(maps.labels("label"), data.labels("label"))
    one, batch = maps[3], maps.__getitems__([3])
    for s, stage in enumerate(one.inputs["image0"].stages):
        assert torch.equal(stage, batch.inputs["image0"].stages[s][0])


@pytest.mark.slow
def test_subset_has_its_cases(tmp_path: Path) -> None:
    data, net = dataset(), model()
    part = data.subset([4, 1])
    found = cached(tmp_path, net, part).__getitems__([1])
    expected = net.encode(data.__getitems__([1]).inputs)
    torch.testing.assert_close(found.inputs["image0"].stages[0], expected["image0"].stages[0])


@pytest.mark.slow
def test_maps_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(tmp_path)
    monkeypatch.setattr(module, "_compute", lambda *args, **kw: pytest.fail("computed again"))
    cached(tmp_path)
    assert entries(tmp_path) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image0.0.npy", "image1.1.npy", "maps.json"])
def test_damaged_maps_are_recomputed(tmp_path: Path, name: str) -> None:
    first = cached(tmp_path).__getitems__([0, 6]).inputs["image0"].stages
    (home,) = (tmp_path / "maps").iterdir()
    whole = (home / name).read_bytes()
    for content in (whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], whole[:-9], b""):
        (home / name).write_bytes(content)
        again = cached(tmp_path).__getitems__([0, 6]).inputs["image0"].stages
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        assert (home / name).read_bytes() == whole


@pytest.mark.slow
def test_truncated_maps_during_run_raise(tmp_path: Path) -> None:
    maps = cached(tmp_path)
    (home,) = (tmp_path / "maps").iterdir()
    os.truncate(home / "image0.0.npy", 200)
    with pytest.raises(ValueError, match=r"image0\.0\.npy ends before its slot 6.*resume the run: the maps"):
        maps.__getitems__([6])


@pytest.mark.slow
def test_damaged_maps_during_run_raise(tmp_path: Path) -> None:
    maps = cached(tmp_path)
    (home,) = (tmp_path / "maps").iterdir()
    content = bytearray((home / "image1.0.npy").read_bytes())
    content[-1] ^= 1
    (home / "image1.0.npy").write_bytes(content)
    # Every eighth row that is read is verified.
    with pytest.raises(ValueError, match=r"does not match its checksum.*the maps are computed anew"):
        maps.__getitems__([len(maps) - 1] * 8)


@pytest.mark.slow
def test_changed_weight_or_pixel_recomputes_maps(tmp_path: Path) -> None:
    cached(tmp_path)
    changed = model()
    with torch.no_grad():
        next(iter(changed.encoders.backbones["image0"].parameters())).view(-1)[0] += 1e-3
    cached(tmp_path, changed)
    assert entries(tmp_path) == 2
    pixels = dataset()
    pixels.pixels("image1")
    pixels._images["image1"][3, 0, 0, 0] += 1e-3
    found = cached(tmp_path, data=pixels)
    assert entries(tmp_path) == 3
    old = cached(tmp_path)
    assert not torch.equal(
        found.__getitems__([3]).inputs["image1"].stages[0], old.__getitems__([3]).inputs["image1"].stages[0]
    )


@pytest.mark.slow
def test_changed_precision_recomputes_maps(tmp_path: Path) -> None:
    """Maps are named by the precision of their computation, whatever the settings call it."""
    net = model()
    plain = cached(tmp_path, net)
    with arithmetic(CPU):
        cached(tmp_path, net)
    assert entries(tmp_path) == 1
    with torch.autocast("cpu", torch.bfloat16):
        half = cached(tmp_path, net)
    assert entries(tmp_path) == 2
    one, two = (maps[0].inputs["image0"].stages[0] for maps in (plain, half))
    assert not torch.equal(one, two)
    again = cached(tmp_path, net)
    assert entries(tmp_path) == 2
    assert torch.equal(again[0].inputs["image0"].stages[0], one)


@pytest.mark.slow
@pytest.mark.parametrize("tf32", [False, True])
def test_gpu_maps_are_named_by_precision(tf32: bool) -> None:
    gpu, net = torch.device("cuda"), model()
    names = [module._weights_digest(net, in_use(gpu))]
    with arithmetic(gpu, tf32=tf32):
        names.append(module._weights_digest(net, in_use(gpu)))
    assert len(set(names)) == 2  # torch's own setting is a mixture of both
    assert (names[1] == module._weights_digest(net, in_use(CPU))) is not tf32


@pytest.mark.slow
def test_changed_intensity_scaling_recomputes_maps(tmp_path: Path) -> None:
    net, plain = model(), dataset()
    scaled = plain.scaled({"image0": Intensity("image")})
    found = [cached(tmp_path, net, data)[0].inputs["image0"].stages[0] for data in (plain, scaled)]
    assert entries(tmp_path) == 2
    assert not torch.equal(*found)
    expected = net.encode({name: x.unsqueeze(0) for name, x in scaled[0].inputs.items() if name in SPEC.images})
    torch.testing.assert_close(found[1], expected["image0"].stages[0][0])
    cached(tmp_path, net, plain.scaled({"image0": Intensity()}))
    assert entries(tmp_path) == 2


@pytest.mark.slow
def test_changed_head_keeps_maps(tmp_path: Path) -> None:
    """The encoder's weights count, and nothing else of the model."""
    cached(tmp_path)
    changed = model()
    with torch.no_grad():
        for parameter in changed.head.parameters():
            parameter += 1
    cached(tmp_path, changed)
    assert entries(tmp_path) == 1


@pytest.mark.slow
def test_interrupted_computation_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = model()

    def stop(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(net, "encode", stop)
    net.train()
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, net)
    assert entries(tmp_path) == 0
    assert net.training


@pytest.mark.slow
def test_insufficient_disk_space_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(OSError, match=r"the maps of 7 cases take .* GB, .* free: make room"):
        cached(tmp_path)


@pytest.mark.slow
def test_maps_of_other_encoder_raise() -> None:
    net, data = model(), dataset()
    maps = net.encode(data.__getitems__([0, 1]).inputs)
    inputs = data.__getitems__([0, 1]).inputs | maps
    net(inputs)
    with pytest.raises(ValueError, match=r"the maps of 'image0' must be .*encode with this model"):
        net(inputs | {"image0": Maps(maps["image0"].stages[1:])})
    with pytest.raises(ValueError, match="'image1' has a map that is NaN or infinite in 1 of 2 cases"):
        net(
            inputs
            | {
                "image1": Maps(
                    tuple(s.clone().index_fill_(0, torch.tensor([1]), torch.nan) for s in maps["image1"].stages)
                )
            }
        )


@pytest.mark.slow
def test_maps_of_missing_image_have_no_effect() -> None:
    net, data = model(), dataset()
    cases = data.__getitems__([0, 1, 2])
    maps = net.encode(cases.inputs)
    spoilt = Maps(
        tuple(torch.where(cases.present["image1"].view(-1, 1, 1, 1), s, torch.nan) for s in maps["image1"].stages)
    )
    one, two = (net(cases.inputs | maps | more, cases.present) for more in ({}, {"image1": spoilt}))
    assert torch.equal(one.logits, two.logits)


@pytest.mark.slow
def test_encode_without_images_is_empty() -> None:
    spec = DataSpec(SPEC.tables, targets=SPEC.targets)
    assert mmf.create_model("tabular", spec).encode(make_inputs(spec, 2)) == {}


@pytest.mark.slow
def test_run_from_maps_matches_run_from_images(tmp_path: Path) -> None:
    """Batch statistics frozen, no augmentation: up to the rounding of convolutions over other batch sizes."""

    def result(name: str, precomputed: bool) -> Any:
        overrides = {
            "run": {"out": str(tmp_path / name), "device": "cpu", "cache": str(tmp_path / "cache")},
            "train": {
                "epochs": 2,
                "freeze": "all",
                "precompute": precomputed,
                "augment": dict.fromkeys(("flips",), False),
            },
            "data": {"n_train": 60, "n_validation": 30, "n_test": 30, "size": 32},
            "model": {"dim": 16, "image_latents": 4, "table_latents": 4},
        }
        chosen = settings.resolve("cfcml", "synthetic_derm7pt", [overrides])
        chosen.train.augment = {}
        return run.start(chosen)

    without, first, second = (result(name, name != "without") for name in ("without", "first", "second"))
    one, two = (pd.read_csv(r.folder / "predictions.csv") for r in (without, first))
    np.testing.assert_allclose(one.filter(like="prob_"), two.filter(like="prob_"), atol=1e-4)
    again = pd.read_csv(second.folder / "predictions.csv")
    assert again.equals(two)
    losses = [[entry["losses"] for entry in read_json(r.folder / "history.json")] for r in (without, first)]
    for a, b in zip(*losses, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    tried = [read_json(r.folder / "robustness.json")["rows"] for r in (without, first, second)]
    assert tried[1] == tried[2]
    for a, b in zip(*tried[:2], strict=True):
        assert a["metrics"]["log_loss"]["value"] == pytest.approx(b["metrics"]["log_loss"]["value"], rel=1e-3)
    # Of training and validation, and of the test part, for what it is asked without cells and modalities.
    assert len(list((tmp_path / "cache" / "maps").iterdir())) == 3


@pytest.mark.slow
def test_no_space_for_test_maps_does_not_lose_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = evaluation.with_maps

    def full(parts: Any, name: str, reporter: Any) -> Any:
        if name == "test":
            raise OSError("no room")
        return real(parts, name, reporter)

    monkeypatch.setattr(evaluation, "with_maps", full)
    overrides = {
        "run": {"out": str(tmp_path / "run"), "device": "cpu", "cache": str(tmp_path / "cache")},
        "train": {"epochs": 1, "freeze": "all", "precompute": True, "augment": {"flips": False}, "resamples": 10},
        "data": {"n_train": 40, "n_validation": 30, "n_test": 30, "size": 32},
        "model": {"dim": 8},
    }
    result = run.start(settings.resolve("concat", "synthetic_derm7pt", [overrides]))
    assert len(read_json(result.folder / "robustness.json")["rows"]) == 6 + 2 * 3
    assert "robustness" in result.metrics


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"precompute": True}, "train.precompute needs an encoder that always sees the same"),
        ({"precompute": True, "freeze": "all", "augment": {"flips": True}}, "no train.augment"),
        ({"freeze": "some"}, "train.freeze expects int from 0 to 64 or one of all, none, got 'some'"),
        ({"freeze": -1}, "train.freeze expects int from 0 to 64 or one of all, none, got -1"),
        ({"layer_decay": 0.0}, "train.layer_decay expects float above 0 to 1000000, got 0.0"),
    ],
)
def test_invalid_settings_raise(train: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings.Settings.from_dict({"run": {"model": "cfcml"}, "train": train})


def test_table_augmentation_with_precomputed_maps() -> None:
    train = {"precompute": True, "freeze": "all", "augment": {"flips": False, "table": {"mask": 0.1}}}
    assert settings.Settings.from_dict({"run": {"model": "cfcml"}, "train": train}).augment.images_idle


def bag_model(sizes: list[int], *, how: str = "mean", seed: int = 0) -> tuple[Any, FrameDataset]:
    spec = DataSpec({"image0": Image(2, (16, 16), bag=3)}, n_classes=3)
    pixels = torch.rand(sum(sizes), 2, 16, 16, generator=torch.Generator().manual_seed(seed))
    data = FrameDataset(
        spec,
        pd.DataFrame(index=range(len(sizes))),
        images={"image0": BagRows(pixels, sizes)},
        tables={},
        targets=make_labels(spec, len(sizes)),
    )
    torch.manual_seed(0)
    return mmf.create_model(mmf.Blueprint(encoder={"name": "convnet", "bag": how}, dim=8), spec).eval(), data


def test_maps_of_bags_are_pooled_and_named_by_bags_and_pool(tmp_path: Path) -> None:
    of, data = bag_model([2, 0, 3, 1])
    maps = cached(tmp_path, of, data)
    cases = maps.__getitems__([0, 1, 2, 3])
    assert isinstance(cases.inputs["image0"], Maps)
    with torch.no_grad():
        expected = of(data.__getitems__([0, 1, 2, 3]).inputs).logits
        found = of(cases.inputs, cases.present).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for sizes, how in (([2, 1, 2, 1], "mean"), ([2, 0, 3, 1], "max")):
        cached(tmp_path, *bag_model(sizes, how=how))
    assert len([path for path in (tmp_path / "maps").iterdir() if path.is_dir()]) == 3
