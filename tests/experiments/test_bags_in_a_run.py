"""A run on cases with several images: trained, killed, resumed, used on new tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mmfusion as mmf
from mmfusion.experiments import folder
from mmfusion.training.result_files import read_json

pytestmark = pytest.mark.slow
N = 40


class Killed(Exception):
    pass


def stop(epoch: object) -> None:
    raise Killed


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(N):
        place = tmp_path / "images" / f"case{i}"
        place.mkdir(parents=True)
        for j in range(i % 4):
            pixels = rng.normal(90 + 60 * (i // 4 % 2), 40, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{j}.png")
        cell = f"case{i}/*.png" if i % 2 else ";".join(f"case{i}/{j}.png" for j in range(i % 4))
        rows.append(
            {"id": f"c{i}", "photo": cell if i % 4 else "", "age": float(rng.normal(50)), "y": "ab"[i // 4 % 2]}
        )
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


SETTINGS_ALONE = {"run.references": False}
SETTINGS = {
    "train.modality_dropout": 0.2,
    "train.augment.flips": True,
    "train.augment.rotate": 20,
    **SETTINGS_ALONE,
}


def test_trained_resumed_and_used(table: Path, tmp_path: Path) -> None:
    data = mmf.read_table(
        table, target="y", images=["photo"], id="id", root=tmp_path / "images", size=8,
        missing_images="absent", verbose=False,
    )  # fmt: skip
    options = {"epochs": 2, "device": "cpu", "settings": SETTINGS}
    whole = mmf.fit("film", data, out=tmp_path / "whole", **options)
    with pytest.raises(Killed):
        mmf.fit("film", data, out=tmp_path / "killed", callbacks=[stop], **options)
    mmf.fit(resume=tmp_path / "killed")
    for name in (folder.PREDICTIONS, folder.CASE):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    case = read_json(tmp_path / "whole" / folder.CASE)
    assert case["spec"]["modalities"]["photo"]["bag"] == case["reader"]["images"]["photo"]["bag"] == 32
    # New cases have the same cells; what the folder has of the test set comes again.
    frame = pd.read_csv(table).set_index("id", drop=False)
    test = whole.predictions.query("part == 'test'").set_index("id")
    found = whole.predict(frame.loc[test.index], tmp_path / "images", missing_images="absent").set_index("id")
    np.testing.assert_allclose(found["prob_b"], test["prob_b"], rtol=0, atol=1e-6)
    assert (found["missing"] == "photo").tolist() == [int(name[1:]) % 4 == 0 for name in test.index]
    with pytest.raises(FileNotFoundError, match=r"row .*column 'photo': gone\.png"):
        whole.predict(frame.iloc[1:2].assign(photo="case1/0.png;gone.png"), tmp_path / "images")
    # Evaluated on cases of which one shows a training image, among others.
    copy = frame.iloc[[2, 3, 6, 7]].assign(id=["n0", "n1", "n2", "n3"], age=[1.0, 2.0, 3.0, 4.0])
    result = whole.evaluate(copy, image_root=tmp_path / "images", missing_images="absent")
    assert "the image photo" in {one.what for one in result.duplicates}


def test_maps_of_a_frozen_encoder(table: Path, tmp_path: Path) -> None:
    """What was tested on precomputed maps is predicted from the images."""
    data = mmf.read_table(
        table, target="y", images=["photo"], id="id", root=tmp_path / "images", size=8,
        missing_images="absent", verbose=False,
    )  # fmt: skip
    settings = {"train.freeze": "all", "train.precompute": True, "run.cache": str(tmp_path / "cache")}
    run = mmf.fit("concat", data, out=tmp_path / "run", epochs=2, device="cpu", settings=SETTINGS_ALONE | settings)
    test = run.predictions.query("part == 'test'").set_index("id")
    frame = pd.read_csv(table).set_index("id", drop=False).loc[test.index]
    found = run.predict(frame, tmp_path / "images", missing_images="absent").set_index("id")
    np.testing.assert_allclose(found["prob_b"], test["prob_b"], rtol=0, atol=1e-5)
