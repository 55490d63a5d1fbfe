import json

import numpy as np
import pandas as pd
import pytest
import torch

from mmfusion.data.images.intensity import Intensity
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.spec import Classes, Columns, Image

FRAME = pd.DataFrame(
    {
        "name": ["a", "b", "c"],
        "patient": ["p1", "p1", None],
        "file": ["a.png", "b.png", "c.png"],
        "age": [20, 40, None],
        "sex": ["male", "female", None],
        "diagnosis": ["nevus", "melanoma", "nevus"],
    }
)
TARGET = TargetColumn("diagnosis", ("NEV", "MEL"), {"nevus": "NEV", "melanoma": "MEL"})


def reader(**changes) -> CaseReader:
    return CaseReader(
        **{
            "targets": {"label": TARGET},
            "images": {"derm": ImageSource("file", (8, 8))},
            "schema": TableSchema.fit(FRAME, numerical=("age",), categorical=("sex",), min_cases=1),
            "id_column": "name",
            "group_column": "patient",
            **changes,
        }
    )


@pytest.fixture
def root(tmp_path, write_image):
    for i, name in enumerate(FRAME["file"]):
        write_image(tmp_path / name, seed=i)
    return tmp_path


def test_spec_lists_images_first():
    spec = reader().spec
    assert spec.names == ("derm", "meta")
    assert spec["derm"] == Image(3, (8, 8))
    meta = spec["meta"]
    assert meta == Columns(numerical=("age",), categorical=(("sex", 2),), wordings=meta.wordings)
    assert meta.wordings[1].categories == ("female", "male")
    assert spec.targets == {"label": Classes(2, ("NEV", "MEL"))}


def test_read_gives_dataset(root):
    data = reader().read(FRAME, root)
    assert data.spec == reader().spec
    assert data.ids == ["a", "b", "c"]
    # A case of unknown patient is a group of its own.
    assert data.groups == ["p1", "p1", "case c"]
    assert data.labels("label").tolist() == [0, 1, 0]
    batch = data.__getitems__([0, 2])
    assert batch.inputs["meta"].numerical[0].tolist() == [-1.0]
    # A row whose cells are all missing is there, with missing cells.
    assert batch.present["meta"].tolist() == [True, True]
    assert batch.inputs["meta"].numerical[1].isnan().all()
    assert batch.inputs["meta"].categorical.tolist() == [[1], [-1]]


def test_json_round_trip(root):
    first = reader()
    second = CaseReader.from_dict(json.loads(json.dumps(first.to_dict())))
    assert second == first
    assert second.spec == first.spec
    a, b = first.read(FRAME, root), second.read(FRAME, str(root))
    assert torch.equal(a.pixels("derm"), b.pixels("derm"))


def test_new_cases_need_no_labels_or_names(root):
    new = FRAME.drop(columns=["diagnosis", "name", "patient"])
    data = reader().read(new, root, with_targets=False)
    assert data.ids == data.groups == ["0", "1", "2"]
    assert data[0].targets == {}


def test_absent_images_if_allowed(root):
    (root / "b.png").unlink()
    data = reader().read(FRAME, root, missing_images="absent")
    assert data.__getitems__([0, 1, 2]).present["derm"].tolist() == [True, False, True]
    assert not data.pixels("derm")[1].any()
    with pytest.raises(FileNotFoundError, match=r"row 1, column 'file': b\.png"):
        reader().read(FRAME, root)


def test_images_only_and_table_only(root):
    assert reader(schema=None).read(FRAME, root).spec.names == ("derm",)
    assert reader(images={}).read(FRAME).spec.names == ("meta",)


def test_assemble_with_images_in_memory():
    pixels = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(reader().assemble(FRAME, {"derm": pixels}).pixels("derm"), pixels)
    mask = torch.arange(len(FRAME)) != 1
    part = reader().assemble(FRAME, {"derm": pixels}, present={"derm": mask})
    assert torch.equal(part.__getitems__(range(len(FRAME))).present["derm"], mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.iloc[:0], "no rows"),
        (lambda f: f.drop(columns="sex"), "no column 'sex'"),
        (lambda f: f.drop(columns="diagnosis"), "no column 'diagnosis'"),
        (lambda f: f.drop(columns="file"), "no column 'file'"),
        (lambda f: f.assign(age=["20", "old", "30"]), "column 'age' expects numbers, but row 1 has 'old'"),
        (lambda f: f.assign(diagnosis=["nevus", "wart", "NEV"]), "the label 'wart' in row 1; known are: NEV, MEL"),
        (lambda f: f.assign(diagnosis=["nevus", None, "MEL"]), "no label in row 1"),
        (lambda f: f.assign(diagnosis="nevus"), "only one class, 'NEV', in all 3 rows"),
        (lambda f: f.assign(name=["a", "b", "a"]), "'a' occurs 2 times"),
    ],
)
def test_invalid_tables_raise(root, change, message):
    with pytest.raises(ValueError, match=message):
        reader().read(change(FRAME), root)


def test_table_is_checked_before_images_are_read(tmp_path):
    with pytest.raises(ValueError, match="column 'age'"):
        reader().read(FRAME.assign(age="x"), tmp_path / "nowhere")


def test_invalid_readers_raise():
    with pytest.raises(ValueError, match="both called 'derm'"):
        reader(table_name="derm")
    with pytest.raises(ValueError, match=r"aliases of \['SK'\]"):
        TargetColumn("diagnosis", ("NEV", "MEL"), {"wart": "SK"})


def test_numeric_classes():
    target = TargetColumn("y", ("0", "1"))
    assert target.encode(pd.DataFrame({"y": np.array([0.0, 1.0])})).tolist() == [0, 1]


def test_labels_are_case_insensitive():
    frame = pd.DataFrame({"diagnosis": ["Nevus", " MELANOMA", "nev", "MEL"]})
    assert TARGET.encode(frame).tolist() == [0, 1, 0, 1]
    # Where classes differ by capitals alone, these count.
    exact = TargetColumn("diagnosis", ("a", "A"))
    assert exact.encode(pd.DataFrame({"diagnosis": ["A", "a"]})).tolist() == [1, 0]


def test_wrong_labels_are_reported_together():
    frame = pd.DataFrame({"diagnosis": ["nevus", "wart", None, "nevi"]}, index=[3, 5, 7, 9])
    with pytest.raises(ValueError, match="'wart' in row 5, no label in row 7, the label 'nevi' in row 9; known"):
        TARGET.encode(frame)
    assert [fault.split(";")[0] for fault in TARGET.faults(frame)] == [
        "label column 'diagnosis' has the label 'wart' in row 5",
        "label column 'diagnosis' has no label in row 7",
        "label column 'diagnosis' has the label 'nevi' in row 9",
    ]


def test_json_round_trip_with_intensities(root):
    scaled = reader(intensities={"derm": Intensity("image")})
    again = CaseReader.from_dict(json.loads(json.dumps(scaled.to_dict())))
    assert again == scaled
    result = again.read(FRAME, root, with_targets=False)[1].inputs["derm"]
    assert result.mean().abs() < 1e-5
    assert result.std(correction=0) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match=r"intensities are given for \['clinic'\]"):
        reader(intensities={"clinic": Intensity("image")})


def test_json_without_intensities_is_read():
    packed = reader().to_dict()
    del packed["intensities"]
    assert CaseReader.from_dict(packed) == reader()


def test_omitted_modality_is_not_read(root):
    image_alone = reader().read(FRAME.drop(columns=["age", "sex"]), root, without=["meta"])
    batch = image_alone.__getitems__([0, 2])
    assert batch.present["meta"].tolist() == [False, False]
    assert batch.present["derm"].tolist() == [True, True]
    assert batch.inputs["meta"].numerical.isnan().all()
    assert (batch.inputs["meta"].categorical == -1).all()
    whole = reader().read(FRAME, root).__getitems__([0, 2])
    assert torch.equal(batch.inputs["derm"], whole.inputs["derm"])
    table_alone = reader().read(FRAME.drop(columns="file"), "nowhere", without=["derm"])
    batch = table_alone.__getitems__([0, 2])
    assert batch.present["derm"].tolist() == [False, False]
    assert torch.equal(batch.inputs["derm"], torch.zeros(2, 3, 8, 8))
    assert torch.equal(batch.inputs["meta"].categorical, whole.inputs["meta"].categorical)
    # Cells that are there are not looked at either.
    reader().read(FRAME.assign(age="old"), root, without=["meta"])
    with pytest.raises(ValueError, match=r"without names \['mate'\]; the modalities are: derm, meta"):
        reader().read(FRAME, root, without=["mate"])


def test_columns_of_modality():
    pattern = reader(images={"derm": ImageSource("{patient}/{file}", (8, 8))})
    assert pattern.columns_of("derm") == ("patient", "file")
    assert pattern.columns_of("meta") == ("age", "sex")
    with pytest.raises(ValueError, match="unknown modality 'mate'; valid: derm, meta"):
        pattern.columns_of("mate")
