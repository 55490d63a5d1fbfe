import pandas as pd
import pytest
import torch
from torch import nn

from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.experiments.external.alignment import align, lenient
from mmfusion.experiments.predictor import Predictor

TRAIN = pd.DataFrame({"age": [20.0, 60.0] * 5, "skin_type": ["I", "II"] * 5})
TABLE = pd.DataFrame(
    {"case": ["a", "b"], "patient": ["p", "q"], "photo": ["a.png", "b.png"], "age": [30, 40], "skin_type": ["I", "II"]}
)


def member(id_column: str | None = "case", group_column: str | None = "patient") -> Predictor:
    reader = CaseReader(
        {"label": TargetColumn("dx", ("good", "bad"))},
        images={"derm": ImageSource("photo", (8, 8))},
        schema=TableSchema.fit(TRAIN, numerical=("age",), categorical=("skin_type",)),
        id_column=id_column,
        group_column=group_column,
    )
    return Predictor(nn.Identity(), reader, device=torch.device("cpu"))


def test_matching_headings_are_unchanged() -> None:
    aligned = align(TABLE.assign(dx="good", more=1), [member()])
    pd.testing.assert_frame_equal(aligned.frame, TABLE.assign(dx="good", more=1))
    assert (aligned.notes, aligned.lacking, aligned.labelled) == ((), (), True)
    assert not align(TABLE, [member()]).labelled


def test_similar_headings_are_matched_and_noted() -> None:
    other = TABLE.rename(columns={"age": " Age ", "skin_type": "Skin-Type"}).assign(DX="bad")
    aligned = align(other, [member()])
    assert list(aligned.frame) == ["case", "patient", "photo", "age", "skin_type", "dx"]
    assert aligned.labelled
    assert aligned.notes == (
        "The column 'dx' is read from 'DX', spelt almost the same.",
        "The column 'age' is read from ' Age ', spelt almost the same.",
        "The column 'skin_type' is read from 'Skin-Type', spelt almost the same.",
    )
    # Of two that are as close none is taken.
    twins = TABLE.rename(columns={"age": "Age"}).assign(AGE=1)
    assert align(twins, [member()]).lacking == ("age",)


def test_named_columns_replace_others() -> None:
    other = TABLE.rename(columns={"age": "years"}).assign(dx="x", diagnosis="good", subject="s")
    aligned = align(other, [member()], label="diagnosis", group="subject", rename={"years": "age"})
    assert list(aligned.frame["dx"]) == ["good", "good"]
    assert list(aligned.frame["patient"]) == ["s", "s"]
    assert list(aligned.frame["age"]) == [30, 40]
    assert "The table's own column 'dx' is not read." in aligned.notes
    assert "The column 'age' is read from 'years'." in aligned.notes
    # A run without groups takes the table's.
    own = lenient(member(group_column=None), "subject")
    assert list(align(other, [own], group="subject").frame["subject"]) == ["s", "s"]


def test_missing_column_is_empty_and_missing_modality_absent() -> None:
    aligned = align(TABLE.drop(columns="age").assign(agee=1), [member()])
    assert aligned.lacking == ("age",)
    assert aligned.frame["age"].isna().all()
    assert aligned.notes == (
        "The table has no column 'age': it counts as missing in all cases. Is it 'agee'? Then give "
        "rename={'agee': 'age'}.",
    )
    aligned = align(TABLE[["case", "patient", "photo"]], [member()])
    assert aligned.lacking == ("age", "skin_type")
    assert list(aligned.frame) == ["case", "patient", "photo"]
    assert align(TABLE.drop(columns="photo"), [member()]).lacking == ("photo",)


def test_duplicate_ids_are_replaced_by_row_numbers() -> None:
    aligned = align(TABLE.assign(case="a"), [member()])
    assert "case" not in aligned.frame
    assert aligned.notes == ("Names in the column 'case' occur several times: rows are called by their numbers.",)
    aligned = align(TABLE.assign(case=["a", "a"]).drop(columns="patient"), [member()])
    assert list(aligned.frame["patient"]) == ["a", "a"]
    assert aligned.notes[0].endswith("rows of one name count as one patient.")
    aligned = align(TABLE.drop(columns="patient"), [member()])
    assert "every row counts as another one" in aligned.notes[0]


def test_wrong_column_names_are_reported_together() -> None:
    with pytest.raises(ValueError, match="the table has no column 'no'; its columns are: case,") as info:
        align(TABLE, [member()], rename={"no": "age", "age": "height", "photo": "age"})
    assert "the run reads no column 'height'; it reads: photo, age, skin_type, dx, case, patient" in str(info.value)
    assert "two columns of the table are given for 'age'" in str(info.value)
    with pytest.raises(ValueError, match="several columns called 'age'"):
        align(pd.concat([TABLE, TABLE[["age"]]], axis=1), [member()])


def test_lenient_reader_reads_non_number_as_missing() -> None:
    schema = lenient(member()).reader.schema
    assert schema is not None
    odd = TABLE.assign(age=["30", "old"])
    assert schema.transform(odd).numerical.isnan()[:, 0].tolist() == [False, True]
    assert "'old'" in str(schema.cell_remarks(odd)[0])
