import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import mmfusion
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.experiments import folder, predictor
from mmfusion.metrics.calibration import apply_temperature
from mmfusion.tokens import FusionOutput
from mmfusion.training import checkpoints, result_files
from mmfusion.training.checkpoints import load_weights

Start = Callable[..., Path]


@pytest.mark.slow
def test_predictions_match_test_predictions_of_run(
    start: Start, fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = start(overrides={"model": {"weights": "some"}, "run": {"precision": "bf16"}})
    # The folder alone: elsewhere, without what a dataset or a download would need.
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in (folder.SETTINGS, folder.CASE, checkpoints.BEST, folder.LOCKED):
        shutil.move(out / name, moved / name)
    monkeypatch.setenv("TINY_OFFLINE", "1")
    frame = fakes.table(64, seed=2)
    found = mmfusion.load(moved).predict(frame.drop(columns="dx"))
    wanted = pd.read_csv(out / folder.PREDICTIONS).query("part == 'test'").reset_index(drop=True)
    probabilities = ["prob_good", "prob_bad", "calibrated_good", "calibrated_bad"]
    assert list(found.columns) == ["case", "patient", *probabilities, "label", "missing", "outside"]
    assert list(found["case"]) == list(wanted["id"])
    columns = ["prob_good", "prob_bad"]
    np.testing.assert_allclose(found[columns], wanted[columns], rtol=0, atol=1e-12)
    metrics = result_files.read_json(out / folder.METRICS)
    calibrated = apply_temperature(found[columns], metrics["temperature"])
    np.testing.assert_allclose(found[["calibrated_good", "calibrated_bad"]], calibrated, rtol=0, atol=1e-12)
    assert list(found["label"]) == list(np.where(found["prob_bad"] >= metrics["threshold"], "bad", "good"))
    # An older run has its metrics alone, an unfinished one neither.
    (moved / folder.LOCKED).unlink()
    shutil.copy(out / folder.METRICS, moved)
    pd.testing.assert_frame_equal(mmfusion.load(moved).predict(frame), found)
    (moved / folder.METRICS).unlink()
    with pytest.warns(UserWarning, match=r"neither locked\.json nor metrics\.json, .* label is the likeliest class"):
        likeliest = mmfusion.load(moved).predict(frame)
    assert not [name for name in likeliest if name.startswith("calibrated")]
    assert list(likeliest["label"]) == list(np.where(found["prob_bad"] > 0.5, "bad", "good"))
    assert set(found["missing"]) == {""}


@pytest.mark.slow
def test_batch_of_one_and_index_are_kept(start: Start, fakes: ModuleType) -> None:
    loaded = predictor.load(start())
    frame = fakes.table(6, seed=5).set_index(pd.Index(range(10, 16)))
    whole, one = loaded.predict(frame), loaded.predict(frame.loc[[13]])
    assert list(whole.index) == list(range(10, 16))
    assert list(one.index) == [13]
    np.testing.assert_allclose(one["prob_bad"], whole.loc[[13], "prob_bad"], atol=1e-6)


@pytest.mark.slow
def test_missing_values_are_listed(start: Start, fakes: ModuleType) -> None:
    frame = fakes.table(4, seed=5).astype({"site": object})
    frame.loc[1, "size"] = np.nan
    frame.loc[2, ["size", "site"]] = [np.nan, "ear"]
    found = predictor.load(start()).predict(frame)
    assert list(found["missing"]) == ["", "size", "size, site", ""]
    assert found["prob_bad"].between(0, 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [folder.SETTINGS, folder.CASE, checkpoints.BEST])
def test_missing_file_raises_with_its_name(start: Start, name: str) -> None:
    out = start()
    (out / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        predictor.load(out)


def test_nonexistent_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        predictor.load(tmp_path / "nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("name", [folder.SETTINGS, folder.CASE])
def test_newer_format_raises(start: Start, name: str) -> None:
    out = start()
    result_files.write_json(out / name, result_files.read_json(out / name) | {"format": checkpoints.FORMAT + 1})
    with pytest.raises(ValueError, match=f"{name} has format 2, this version of mmfusion reads up to 1"):
        predictor.load(out)


@pytest.mark.slow
def test_weights_of_other_model_raise(start: Start) -> None:
    out = start()
    settings = result_files.read_json(out / folder.SETTINGS)
    settings["model"]["width"] = 9
    result_files.write_json(out / folder.SETTINGS, settings)
    with pytest.raises(ValueError, match=r"best\.safetensors holds the weights of another model: size mismatch"):
        predictor.load(out)


@pytest.mark.slow
def test_invalid_cases_raise(start: Start, fakes: ModuleType) -> None:
    loaded = predictor.load(start())
    frame = fakes.table(4, seed=5)
    with pytest.raises(ValueError, match="size"):
        loaded.predict(frame.drop(columns="size"))
    with pytest.raises(ValueError, match="size"):
        loaded.predict(frame.assign(size="large"))


NEW = pd.DataFrame({"photo": ["a.png", "b.png"], "age": [30.0, np.nan], "sex": ["male", "female"]})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in NEW["photo"]:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def of_a_photo_and_a_table(model: str | nn.Module) -> predictor.Predictor:
    reader = CaseReader(
        {"label": TargetColumn("dx", ("good", "bad"))},
        images={"derm": ImageSource("photo", (32, 32))},
        schema=TableSchema.fit(NEW.assign(age=[30.0, 50.0]), numerical=("age",), categorical=("sex",)),
    )
    torch.manual_seed(0)
    built = mmfusion.create_model(model, reader.spec, dim=8) if isinstance(model, str) else model
    return predictor.Predictor(built, reader, device=torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "gone", "missing"),
    [
        ("image", ["age", "sex"], ["", ""]),
        ("mmcl_image", ["age", "sex"], ["", ""]),
        ("mmcl_image", ["sex"], ["", ""]),
        ("tabular", ["photo"], ["", "age"]),
    ],
)
def test_unused_modalities_are_not_needed(photos: Path, model: str, gone: list[str], missing: list[str]) -> None:
    loaded = of_a_photo_and_a_table(model)
    root = None if "photo" in gone else photos
    found, wanted = loaded.predict(NEW.drop(columns=gone), root), loaded.predict(NEW, photos)
    pd.testing.assert_frame_equal(found, wanted)
    assert list(found["missing"]) == missing
    assert loaded.absent(NEW.drop(columns=gone)) == ()
    # Nor need it be whole where it is there.
    pd.testing.assert_frame_equal(loaded.predict(NEW.assign(**dict.fromkeys(gone, "nowhere")), root), wanted)


@pytest.mark.slow
def test_modality_without_columns_is_absent(photos: Path) -> None:
    loaded = of_a_photo_and_a_table("concat")
    only_photo, only_table = NEW[["photo"]], NEW[["age", "sex"]]
    assert loaded.absent(only_photo) == ("meta",)
    found = loaded.predict(only_photo, photos)
    assert list(found["missing"]) == ["meta", "meta"]
    everything = loaded.reader.read(NEW, photos, with_targets=False).__getitems__([0, 1])
    present = {"meta": torch.tensor([False, False])}
    with torch.inference_mode():
        wanted = loaded.model(everything.inputs, present).outputs["label"].double().softmax(1).numpy()
    np.testing.assert_array_equal(found[["prob_good", "prob_bad"]], wanted)
    # A file's column, as a file, has to be there unless an option allows it to be absent.
    with pytest.raises(ValueError, match=r"no column 'photo' with the files of derm; .* missing_images='absent'"):
        loaded.predict(only_table, photos)
    found = loaded.predict(only_table, missing_images="absent")
    assert list(found["missing"]) == ["derm", "derm, age"]


@pytest.mark.slow
def test_partial_or_no_modality_raises(photos: Path) -> None:
    loaded = of_a_photo_and_a_table("concat")
    with pytest.raises(ValueError, match=r"the table has no column 'sex'; its columns are: photo, age"):
        loaded.predict(NEW.drop(columns="sex"), photos)
    with pytest.raises(ValueError, match=r"the table has no column 'photo', 'age', 'sex'; its columns are: id"):
        loaded.predict(pd.DataFrame({"id": [1]}), photos, missing_images="absent")
    with pytest.raises(ValueError, match=r"the table has no column 'photo'"):
        of_a_photo_and_a_table("image").predict(NEW[["age", "sex"]], photos, missing_images="absent")


def test_missing_modality_that_model_needs_raises(photos: Path) -> None:
    class Strict(nn.Module):
        def forward(self, inputs: object, present: object = None) -> None:
            raise ValueError("meta is needed")

    with pytest.raises(ValueError, match=r"none of the columns \['age', 'sex'\], .* needs \['meta'\]: meta is needed"):
        of_a_photo_and_a_table(Strict()).predict(NEW[["photo"]], photos)
    with pytest.raises(ValueError, match=r"^meta is needed"):
        of_a_photo_and_a_table(Strict()).predict(NEW, photos)


@pytest.mark.slow
@pytest.mark.parametrize("value", [1e6, 1e12, -1e30])
def test_far_out_of_range_number_is_reported_as_missing(photos: Path, value: float) -> None:
    loaded = of_a_photo_and_a_table("concat")
    odd, said = NEW.assign(age=[30.0, value]), list[str]()
    found = loaded.predict(odd, photos, say=said.append)
    assert said == [
        f"column 'age': 1 value far outside the training range of 30 to 50 counts as missing: {value:g} in row 1"
    ]
    pd.testing.assert_frame_equal(found.drop(columns="outside"), loaded.predict(NEW, photos).drop(columns="outside"))
    assert list(found["outside"]) == ["", "age"]
    with pytest.warns(UserWarning, match="far outside the training range"):
        loaded.predict(odd, photos)
    # What is not looked at is not said.
    image = of_a_photo_and_a_table("image").predict(odd, photos, say=said.append)
    assert list(image["outside"]) == ["", ""]
    assert len(said) == 1


@pytest.mark.parametrize("output", [[float("nan"), 0.0], [float("inf"), 0.0], [float("-inf")] * 2])
def test_nonfinite_output_has_no_label_and_is_counted(photos: Path, output: list[float]) -> None:
    class Broken(nn.Module):
        def forward(self, inputs: object, present: object = None) -> FusionOutput:
            return FusionOutput({"label": torch.tensor([[0.0, 1.0], output])}, {}, {})

    said: list[str] = []
    found = of_a_photo_and_a_table(Broken()).predict(NEW, photos, say=said.append)
    assert found["label"].isna().tolist() == [False, True]
    assert found["label"][0] == "bad"
    assert found[["prob_good", "prob_bad"]].isna().to_numpy().tolist() == [[False, False], [True, True]]
    assert said == ["1 of 2 rows have no label, since the model's output is not finite: 1"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nonfinite_weights_raise(tmp_path: Path, value: float) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    sound = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_weights(model, sound, tmp_path / "best.safetensors")  # what was built infinite may be so
    for name in ("0.weight", "1.running_var", "mask"):
        damaged = {key: tensor.clone() for key, tensor in sound.items()}
        damaged[name].view(-1)[0] = value
        with pytest.raises(ValueError, match=rf"best\.safetensors holds weights that are not finite, in {name} \(1 of"):
            load_weights(model, damaged, tmp_path / "best.safetensors")


@pytest.mark.slow
def test_run_with_nonfinite_weights_raises(start: Start) -> None:
    out = start(overrides={"train": {"epochs": 1}, "run": {"robustness": False}})
    tensors, about = checkpoints.load(out / checkpoints.BEST)
    tensors["last.weight"][0, 0] = torch.nan
    checkpoints.save(out / checkpoints.BEST, tensors, about)
    with pytest.raises(
        ValueError, match=r"best\.safetensors holds weights that are not finite, in last\.weight \(1 of"
    ):
        mmfusion.load(out)


@pytest.mark.slow
def test_odd_cells_are_reported(photos: Path) -> None:
    loaded = of_a_photo_and_a_table("concat")
    said = list[str]()
    found = loaded.predict(NEW.assign(age=["<30", "inf"]), photos, say=said.append)
    assert said == [
        "column 'age': 1 cell in row 1 counts as missing, infinite or beyond the range of float32: 'inf' (1x)",
        "column 'age': 1 cell in row 0 counts as the number, a bound: '<30' (1x)",
    ]
    assert found["missing"].tolist()[1].startswith("age")
