import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given

from helpers.table_strategies import tables
from mmfusion.data.schema.columns import CategoricalColumn, NumericalColumn
from mmfusion.data.schema.table_file import read_table
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.spec import Columns, DataSpec

FRAME = pd.DataFrame({"age": [20.0, 40.0, np.nan], "sex": ["male", "female", "unknown"], "grade": [1.0, 2.0, np.nan]})


def test_fit_and_transform():
    schema = TableSchema.fit(FRAME, numerical=("age",), categorical=("sex", "grade"), min_cases=1)
    assert schema.numerical == (NumericalColumn("age", 30.0, 10.0, low=20.0, high=40.0, step=1.0),)
    # A whole number is the same category whether or not an empty cell has made floats of the column.
    assert schema.categorical == (CategoricalColumn("sex", ("female", "male")), CategoricalColumn("grade", ("1", "2")))
    assert schema.names == ("age", "sex", "grade")
    table = schema.transform(FRAME)
    assert table.numerical.dtype == torch.float32
    assert table.categorical.dtype == torch.int64
    assert table.numerical[:2].tolist() == [[-1.0], [1.0]]
    assert table.numerical[2].isnan().all()
    assert table.categorical.tolist() == [[1, 0], [0, 1], [-1, -1]]


def test_columns_for_the_model():
    schema = TableSchema.fit(
        FRAME, numerical=("age",), categorical=("sex", "grade"), options={"age": {"unit": "years"}}, min_cases=1
    )
    columns = schema.columns
    assert (columns.numerical, columns.categorical) == (("age",), (("sex", 2), ("grade", 2)))
    age, sex, grade = columns.wordings
    assert (age.unit, age.mean, age.std, age.low, age.high, age.step) == ("years", 30.0, 10.0, 20.0, 40.0, 1.0)
    assert (sex.categories, grade.categories) == (("female", "male"), ("1", "2"))
    spec = DataSpec({"meta": columns}, n_classes=2)
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_new_rows_use_training_statistics():
    schema = TableSchema.fit(FRAME, numerical=("age",), categorical=("sex", "grade"), min_cases=1)
    new = pd.DataFrame({"grade": [2, 3], "sex": [" male ", "diverse"], "age": ["50", "NA"], "more": [0, 0]})
    table = schema.transform(new)
    assert table.numerical[0].item() == 2.0
    assert table.numerical[1].isnan().all()
    assert table.categorical.tolist() == [[1, 1], [-1, -1]]
    assert schema.unseen(new) == {"sex": ["diverse"], "grade": ["3"]}
    assert schema.unseen(FRAME) == {}


def test_fit_on_one_row():
    schema = TableSchema.fit(FRAME.iloc[:1], numerical=("age",), categorical=("sex",), min_cases=1)
    assert schema.transform(FRAME.iloc[:1]).numerical.tolist() == [[0.0]]
    assert schema.transform(FRAME.iloc[1:2]).categorical.tolist() == [[-1]]
    with pytest.raises(ValueError, match=r"no column is left to learn from: 'age' has only one value"):
        TableSchema.infer(FRAME.iloc[:1])


def test_column_without_values():
    frame = pd.DataFrame({"x": [np.nan, np.nan], "c": [None, "unknown"]})
    schema = TableSchema.fit(frame, numerical=("x",), categorical=("c",))
    assert schema.numerical[0] == NumericalColumn("x", 0.0, 1.0)
    assert schema.columns.categorical == (("c", 1),)
    assert schema.transform(frame).numerical.isnan().all()
    assert schema.transform(pd.DataFrame({"x": [4.0], "c": ["a"]})).numerical.item() == 4.0
    assert schema.transform(pd.DataFrame({"x": [400.0], "c": ["a"]})).numerical.isnan().all()


@pytest.mark.parametrize("value", [3.0, 0.1, 1e-12])
def test_constant_column_is_centered_and_not_scaled(value):
    frame = pd.DataFrame({"x": [value] * 7})
    schema = TableSchema.fit(frame, numerical=("x",))
    assert schema.numerical[0].std == 1.0
    assert schema.transform(frame).numerical.abs().max() < 1e-6


def test_booleans_in_numerical_column_are_numbers():
    schema = TableSchema((NumericalColumn("x"),))
    assert schema.transform(pd.DataFrame({"x": [True, "False"]}, dtype=object)).numerical.flatten().tolist() == [1, 0]


@pytest.mark.parametrize("text", ["forty", "4O"])
def test_text_in_numerical_column_raises(text):
    frame = pd.DataFrame({"age": ["40", text]}, index=[7, 11])
    with pytest.raises(ValueError, match=f"column 'age' expects numbers, but row 11 has '{text}'"):
        TableSchema.fit(frame, numerical=("age",))
    with pytest.raises(ValueError, match="row 11"):
        TableSchema((NumericalColumn("age"),)).transform(frame)


@pytest.mark.parametrize("cell", ["inf", "1e999", "-inf", "1e39", float("inf"), 10**400])
def test_numbers_beyond_range_are_missing(cell):
    cells = pd.Series([*(str(i / 4) for i in range(100)), cell], dtype=object)
    plain = TableSchema.infer(pd.DataFrame({"x": cells[:-1]}))
    for schema in (
        TableSchema.infer(pd.DataFrame({"x": cells})),
        TableSchema.fit(pd.DataFrame({"x": cells}), numerical=["x"]),
    ):
        [single], [other] = schema.numerical, plain.numerical
        assert (single.mean, single.std, single.low, single.high, single.step) == (
            other.mean,
            other.std,
            0.0,
            24.75,
            0.01,
        )
        assert schema.transform(pd.DataFrame({"x": cells})).numerical.isnan().flatten().nonzero().tolist() == [[100]]
        [remark] = schema.cell_remarks(pd.DataFrame({"x": cells}))
        assert str(remark).startswith("column 'x': 1 cell in row 100 counts as missing, infinite or beyond")


def test_mostly_numeric_column_is_numerical():
    values = [str(i / 4) for i in range(196)]
    frame = pd.DataFrame({"crp": [*values, "#DIV/0!", "<0.5", "<0.5", "<0.5"]})
    schema = TableSchema.infer(frame)
    assert [column.kind for column in schema] == ["numerical"]
    assert schema.remarks == (
        "column 'crp': 1 cell in row 196 counts as missing, an error of a spreadsheet: '#DIV/0!' (1x)",
        "column 'crp': 3 cells in rows 197, 198, 199 count as the number, each a bound: '<0.5' (3x)",
    )
    assert schema.transform(frame).numerical.isnan().sum() == 1
    # What is kept has counts and rows, but no cells.
    assert "DIV" not in json.dumps(schema.to_dict())
    assert "<0.5" not in json.dumps(schema.to_dict())
    assert not any("<0.5" in remark or "DIV" in remark for remark in schema.remarks_without_cells)
    flagged = TableSchema.infer(frame, overrides={"crp": {"censored": "flag"}})
    assert flagged.names == ("crp", "crp_censored")
    assert flagged.columns.categorical == (("crp_censored", 3),)
    assert flagged.transform(frame).categorical.flatten().tolist()[-5:] == [0, -1, 1, 1, 1]
    new = pd.DataFrame({"crp": [">90", "7", "soon", "1e400", "<1"]})
    again = TableSchema.from_dict(json.loads(json.dumps(flagged.to_dict())))
    assert again == flagged
    read = again.transform(new)
    assert read.categorical.flatten().tolist() == [2, 0, -1, -1, 1]
    assert read.numerical.isnan().flatten().tolist() == [False, False, True, True, False]
    assert len(again.cell_remarks(new)) == 3


def test_units_and_ratios_are_inferred():
    frame = pd.DataFrame({"dose": [f"{i} mg" for i in range(25, 65)], "bp": [f"{100 + i}/{60 + i}" for i in range(40)]})
    schema = TableSchema.infer(frame)
    assert schema.names == ("dose",)
    assert (schema.numerical[0].unit, schema.numerical[0].low, schema.numerical[0].high) == ("mg", 25, 64)
    assert any("overrides={'bp': 'ratio'} reads them as two columns" in remark for remark in schema.remarks)
    both = TableSchema.infer(frame, overrides={"bp": "ratio"})
    assert both.names == ("dose", "bp_1", "bp_2")
    assert both.sources == ("dose", "bp")
    assert [(column.low, column.high) for column in both.numerical[1:]] == [(100, 139), (60, 99)]
    new = both.transform(pd.DataFrame({"dose": ["30mg", "30", "30 g"], "bp": ["120/80", "?", "120"]})).numerical
    assert new[0, 0] == new[1, 0]
    assert new.isnan().tolist() == [[False] * 3, [False, True, True], [True] * 3]
    with pytest.raises(ValueError, match=r"adds columns \['bp_1'\], which the table has already"):
        TableSchema.infer(frame.assign(bp_1=range(40)), overrides={"bp": "ratio"})


def test_several_numbers_in_a_cell_are_remarked():
    frame = pd.DataFrame({"mean": [f"{50 + i / 10}±0.3" for i in range(200)], "x": range(200)})
    schema = TableSchema.infer(frame)
    assert schema.names == ("x",)
    (remark,) = schema.remarks
    assert remark.startswith("column 'mean': its cells hold several numbers each")


def test_kinds_use_all_rows_and_statistics_training_rows():
    frame = pd.DataFrame({"x": ["soon", *map(str, range(39))], "c": ["a", "b"] * 19 + ["z", "z"]})
    folds = [range(20), range(20, 40)]
    first, second = (TableSchema.infer(frame, train=rows, min_cases=1) for rows in folds)
    assert [column.kind for column in first] == [column.kind for column in second] == ["numerical", "categorical"]
    assert (first.numerical[0].low, first.numerical[0].high) == (0, 18)
    assert (second.numerical[0].low, second.numerical[0].high) == (19, 38)
    assert (first.categorical[0].categories, second.categorical[0].categories) == (("a", "b"), ("a", "b", "z"))


def test_missing_column_raises():
    schema = TableSchema.fit(FRAME, numerical=("age",), categorical=("sex",))
    lacks = pd.DataFrame({"age": [20], "Sex": ["male"]})
    with pytest.raises(ValueError, match=r"no column 'sex'; its columns are: age, Sex"):
        schema.transform(lacks)
    with pytest.raises(ValueError, match=r"no column 'weight', 'site'"):
        TableSchema.fit(FRAME, numerical=("weight",), categorical=("site",))
    taken = schema.transform(lacks, absent="missing")
    assert taken.numerical.tolist() == [[-1.0]]
    assert taken.categorical.tolist() == [[-1]]
    with pytest.raises(ValueError, match="absent expects 'error' or 'missing', got 'drop'"):
        schema.transform(lacks, absent="drop")


def test_invalid_options_raise():
    with pytest.raises(ValueError, match=r"options are given for \['age'\], which are not among the columns"):
        TableSchema.fit(FRAME, categorical=("sex",), options={"age": {}})
    with pytest.raises(ValueError, match=r"no option \['units'\]; valid: .*unit"):
        TableSchema.fit(FRAME, numerical=("age",), options={"age": {"units": "years"}})


CLINIC = pd.DataFrame(
    {
        "patient_id": [f"P{i}" for i in range(60)],
        "photo": [f"{i}.jpg" for i in range(60)],
        "age": [str(20 + i) for i in range(60)],
        "thickness": [f"{i % 7},{i % 10}" if i % 9 else "" for i in range(60)],
        "seen": [f"{1 + i % 28}.{1 + i % 12}.2019" for i in range(60)],
        "smoker": ["yes", "No", "unknown"] * 20,
        "stage": ["II", "I", "III"] * 20,
        "site": ["arm", "Arm", "leg", "nose", "?", "leg"] * 10,
        "hospital": ["A"] * 60,
        "letter": [f"dear colleague, I saw patient {i} again" for i in range(60)],
        "age_again": [20.0 + i for i in range(60)],
        "diagnosis": ["nevus", "melanoma"] * 30,
    }
)


def test_infer_kinds_of_columns():
    schema = TableSchema.infer(CLINIC, drop=["diagnosis"], overrides={"age": {"unit": "years"}})
    assert {column.name: column.kind for column in schema} == {
        "age": "numerical",
        "thickness": "numerical",
        "seen": "date",
        "smoker": "boolean",
        "stage": "ordinal",
        "site": "categorical",
    }
    assert schema.numerical[0].unit == "years"
    assert schema.numerical[1].decimal == ","
    assert schema.categorical[1].categories == ("I", "II", "III")
    assert schema.categorical[2].categories == ("Arm", "leg", "nose")
    said = schema.describe().splitlines()
    assert said[0].split()[:2] == ["age", "numerical"]
    assert {line.split()[0] for line in said if "left out" in line} == {
        "patient_id",
        "photo",
        "hospital",
        "letter",
        "age_again",
        "diagnosis",
    }
    assert [line for line in said if line.startswith("!")] == [
        "! column 'thickness': commas are read as decimal marks",
    ]


def test_toml_round_trip(tmp_path: Path):
    schema = TableSchema.infer(CLINIC, drop=["diagnosis"], overrides={"site": {"aliases": {"nase": "nose"}}})
    schema.save(tmp_path / "schema.toml")
    again = TableSchema.load(tmp_path / "schema.toml")
    assert again == schema
    # Remarks may quote cells, and no file has them.
    assert again.remarks == ()
    assert again.describe() == "\n".join(line for line in schema.describe().splitlines() if not line.startswith("!"))
    text = (tmp_path / "schema.toml").read_text()
    assert 'reason = "free text, 60 different texts in 60 rows"' in text
    edited = text.replace('name = "site"', 'name = "site"\ntemplate = "It is on the {value}"', 1)
    (tmp_path / "schema.toml").write_text(edited)
    assert TableSchema.load(tmp_path / "schema.toml").columns.wordings[-1].sentence("site", "arm") == "It is on the arm"
    with pytest.raises(FileExistsError, match="exists already"):
        schema.save(tmp_path / "schema.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = 1\nnumerical = [", "not a schema file"),
        ("format = 9\nnumerical = []\ncategorical = []", "its format is 9, expected 1"),
        ("format = 1\ncategorical = []", "numerical"),
        ('format = 1\nnumerical = [{name = "x", sigma = 3}]\ncategorical = []', "sigma"),
        ('format = 1\nnumerical = [{name = "x", decimal = ";"}]\ncategorical = []', "decimal"),
    ],
)
def test_invalid_schema_file_raises(tmp_path: Path, text: str, message: str):
    path = tmp_path / "schema.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        TableSchema.load(path)
    with pytest.raises(FileNotFoundError, match=r"the schema .* does not exist"):
        TableSchema.load(tmp_path / "none.toml")


def test_schema_of_older_runs_is_read():
    packed = {
        "numerical": [{"name": "age", "mean": 1.5, "std": 2.0}],
        "categorical": [{"name": "sex", "categories": ["f", "m"]}],
    }
    schema = TableSchema.from_dict(packed)
    assert schema.numerical == (NumericalColumn("age", 1.5, 2.0),)
    assert schema.columns == Columns(("age",), (("sex", 2),), schema.columns.wordings)


@pytest.mark.slow
@given(tables())
def test_any_table_is_transformed_or_raises(frame):
    try:
        schema = TableSchema.infer(frame)
    except ValueError as error:
        assert "no column is left to learn from" in str(error)  # noqa: PT017  (nothing else may be raised)
        return
    table = schema.transform(frame)
    assert not table.numerical.isinf().any()
    sizes = torch.tensor(schema.columns.cardinalities, dtype=torch.int64)
    assert (table.categorical < sizes).all()
    assert (table.categorical >= -1).all()
    again = TableSchema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again == schema
    for first, second in zip(table, again.transform(frame[list(reversed(frame.columns))]), strict=True):
        assert torch.equal(torch.nan_to_num(first), torch.nan_to_num(second))
    # As text, from a file, the same cells are the same numbers.
    texts = TableSchema.infer(frame.map(lambda value: "" if value is None else str(value)))
    assert {c.name for c in texts} == {c.name for c in schema}


PAD = Path(__file__).parents[4] / "shared" / "data" / "pad_ufes_20" / "metadata.csv"


@pytest.mark.slow
@pytest.mark.skipif(not PAD.is_file(), reason="needs the metadata of PAD-UFES-20 beside the checkout")
def test_schema_of_pad_ufes_20():
    typed = pd.read_csv(PAD)
    options = {"background_father": {"aliases": {"BRASIL": "BRAZIL"}}}
    schema = TableSchema.infer(read_table(PAD), drop=["diagnostic", "img_id"], overrides=options, min_cases=1)
    kinds = {column.name: column.kind for column in schema}
    numerical = dict.fromkeys(("age", "diameter_1", "diameter_2"), "numerical")
    named = dict.fromkeys(("background_father", "background_mother", "gender", "region"), "categorical")
    requested = (
        *("smoke", "drink", "pesticide", "skin_cancer_history", "cancer_history", "has_piped_water"),
        *("has_sewage_system", "itch", "grew", "hurt", "changed", "bleed", "elevation", "biopsed"),
    )
    assert kinds == numerical | named | dict.fromkeys(requested, "boolean") | {"fitspatrick": "ordinal"}
    assert {single.name for single in schema.decisions} - set(kinds) == {
        "patient_id",
        "lesion_id",
        "diagnostic",
        "img_id",
    }
    # The same however pandas read it.
    assert TableSchema.infer(typed, drop=["diagnostic", "img_id"], overrides=options, min_cases=1) == schema
    table = schema.transform(typed)
    missing = dict(
        zip(schema.names, [*table.numerical.isnan().sum(0).tolist(), *(table.categorical < 0).sum(0).tolist()])
    )
    lacking_anamnesis = (
        *("diameter_1", "diameter_2", "smoke", "drink", "pesticide", "gender", "skin_cancer_history"),
        *("cancer_history", "has_piped_water", "has_sewage_system", "fitspatrick"),
    )
    assert missing == dict.fromkeys(lacking_anamnesis, 804) | {
        "age": 0,
        "region": 0,
        "biopsed": 0,
        "background_father": 818 + 95,
        "background_mother": 822 + 84,
        "itch": 6,
        "grew": 402,
        "hurt": 10,
        "changed": 396,
        "bleed": 6,
        "elevation": 2,
    }
    father = next(column for column in schema.categorical if column.name == "background_father")
    codes = father.encode(typed)
    assert int((codes == father.categories.index("BRAZIL")).sum()) == 89 + 3
    assert schema.columns.cardinalities[schema.columns.categorical.index(("background_father", 11))] == 11
    unmerged = TableSchema.infer(typed, drop=["diagnostic", "img_id"])
    assert any("'BRASIL' (3 rows) looks like 'BRAZIL' (89 rows)" in remark for remark in unmerged.remarks)


def test_schema_reveals_no_rare_category_or_cell():
    n = 60
    frame = pd.DataFrame(
        {
            "physician": [*["Schmidt"] * 30, *["Huber"] * 26, "Okonkwo", "Petrov", "Lindqvist", "Huberr"],
            "seen": [f"{i % 27 + 1:02d}.03.2019" for i in range(n)],
            "ward": ["Ward Okonkwo"] * n,
            "photo": [f"okonkwo_{i}.png" for i in range(n)],
            "name": [f"Okonkwo {i}x" for i in range(n)],
            "grade": [*[1, 2] * 28, 9, 9, 9, 2],
            "age": range(n),
        }
    )
    schema = TableSchema.infer(frame)
    assert any("Huberr" in remark for remark in schema.remarks)  # said, not kept
    kept = json.dumps(schema.to_dict())
    for secret in ("Okonkwo", "Petrov", "Lindqvist", "Huberr", ".03.2019", "okonkwo"):
        assert secret not in kept
    assert {column.name: column.categories for column in schema.categorical} == {
        "physician": ("Huber", "Schmidt", "rare"),
        "grade": ("1", "2", "rare"),
    }
    assert (schema.transform(frame).categorical >= 0).all()
    (seen, _) = schema.numerical
    assert (seen.low, seen.high) == (2019.0, 2020.0)
    assert "categorical  6 values: Huber, Schmidt, rare" in schema.describe()
    every = TableSchema.infer(frame, overrides={"physician": {"min_cases": 1}}, min_cases=30)
    assert every.categorical[0].categories == tuple(sorted(set(frame["physician"])))
    assert every.categorical[1].categories == ("rare",)
    fitted = TableSchema.fit(frame, categorical=["physician"])
    assert fitted.categorical[0].categories == ("Huber", "Schmidt", "rare")
    with pytest.raises(ValueError, match="has no option \\['min_cases'\\]"):
        TableSchema.fit(frame, numerical=["age"], options={"age": {"min_cases": 2}})


def test_leak_quotes_no_rare_value():
    frame = pd.DataFrame({"n": [7.125] * 4 + [float(i) for i in range(36)]})
    labels = [1] * 4 + [0] * 34 + [1] * 2
    schema = TableSchema.fit(frame, numerical=["n"])
    (leak,) = [leak for leak in schema.check(frame, labels) if leak.sign == "never"]
    assert str(leak).startswith("column 'n': the 4 rows of one value never occur with '0' (3 expected)")
