"""What a table and its files are warned of."""

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmfusion.data.checks.acquisition import acquisition_findings
from mmfusion.data.checks.checked_cases import Cohort
from mmfusion.data.checks.examine import examine
from mmfusion.data.checks.finding import Finding
from mmfusion.data.checks.image_files import ImageFile
from mmfusion.data.checks.no_measurements import sentinels_of
from mmfusion.data.checks.page import picture
from mmfusion.data.datasets.check import check
from mmfusion.data.datasets.table import TableDataset
from mmfusion.data.images.source import Source
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource

N = 60
LABELS = ["benign", "malignant"] * (N // 2)


def plain() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.integers(20, 80, N),
            "size": rng.normal(9, 2, N).round(2),
            "y": LABELS,
            "half": ["train", "test"] * 30,
        }
    ).assign(half=["train"] * 40 + ["validation"] * 10 + ["test"] * 10)


def warned(frame: pd.DataFrame, **options: Any) -> list[Finding]:
    plan = TableDataset(frame, label="y", test="half", **options)
    return list(examine(Cohort.of(plan), [], {}))


def test_plain_table_has_no_warning() -> None:
    assert warned(plain()) == []


TABLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "sentinel": ({"age": [999, 999, *range(20, 78)]}, "sentinels", "column 'age' has 999 in rows 0, 1 (2 cells)"),
    "negative": ({"crp": [-9.0, *np.linspace(0.1, 80, N - 1)]}, "sentinels", "column 'crp' has -9 in row 0"),
    "level": ({"score": [9, 9, *([1, 2, 3] * 20)[2:]]}, "sentinels", "column 'score' has '9' in rows 0, 1"),
    "word": ({"smoker": ["-", *["yes", "no"] * 29, "no"]}, "sentinels", "column 'smoker' has '-' in row 0"),
    "bound": ({"crp": ["<0.5", *(f"{v:.2f}" for v in np.linspace(1, 9, N - 1))]}, "cells", "1 cell in row 0 counts as"),
    "error": (
        {"crp": ["#DIV/0!", *(f"{v:.2f}" for v in np.linspace(1, 9, N - 1))]},
        "cells",
        "an error of a spreadshe",
    ),
    "no number": (
        {"crp": ["high", *(f"{v:.2f}" for v in np.linspace(1, 9, N - 1))]},
        "cells",
        "no number: 'high' (1x)",
    ),
    "units": ({"height": [*np.linspace(1.6, 1.9, 9), *np.linspace(160, 190, N - 9)]}, "units", "in rows 0, 1, 2"),
    "running": ({"nr": range(1, N + 1)}, "identifiers", "column 'nr' numbers the rows from 1 to 60"),
    "named by class": (
        {"case_id": [f"{label[:3]}-{i}" for i, label in enumerate(LABELS)]},
        "identifiers",
        "'case_id: text before the number' alone distinguishes",
    ),
    "numbered by class": (
        {"case_id": [f"P{i + 500 * (i % 2)}" for i in range(N)]},
        "identifiers",
        "'case_id: number' alone distinguishes",
    ),
    "scanner": (
        {"scanner": ["GE" if i % 6 in (1, 3) else "Toshiba" for i in range(N)]},
        "sites",
        "'benign' is 0% of the cases of 'GE' and 75% of 'Toshiba'",
    ),
    "site of one set": (
        {"hospital": ["A", "B"] * 25 + ["C"] * 10},
        "sites",
        "no training case has 'C'",
    ),
    "rare class": (
        {"y": ["benign", "malignant"] * 28 + ["benign"] * 4},
        "classes",
        "class 'malignant' has few cases: 3 in",
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_warning_names_column_rows_and_fix(kind: str) -> None:
    columns, topic, text = TABLES[kind]
    findings = [finding for finding in warned(plain().assign(**columns)) if finding.topic == topic]
    assert [text in finding.text for finding in findings].count(True) == 1
    assert all(finding.fix for finding in findings)


def test_sentinel_is_not_a_second_unit() -> None:
    assert {finding.topic for finding in warned(plain().assign(age=[999] * 9 + [40, 55, 65] * 17))} == {"sentinels"}


def test_table_without_features_is_reported(tmp_path: Path) -> None:
    """Its columns are left out, and their findings are reported all the same."""
    cells = [f"{i} {unit}" for i, unit in zip(range(N), ["mg", "g", "kg"] * 20)]
    frame = pd.DataFrame({"dose": cells, "case_id": [f"{label}{i}" for i, label in enumerate(LABELS)], "y": LABELS})
    plan = TableDataset(frame.assign(scan=[f"{i}.png" for i in range(N)]), label="y", images=["scan"], root=tmp_path)
    assert plan.schema is None
    by_topic = {finding.topic: str(finding) for finding in examine(Cohort.of(plan), [], {})}
    assert "column 'dose': its numbers have 3 different units" in by_topic["cells"]
    assert "case_id" in by_topic["identifiers"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, 9], [9]),
        ([5, 6, 7], []),
        ([-1, 0, 1], []),
        ([-1, 0, 1, 2, 5], [-1]),
        ([-9, -6, 0.5, 2.2], []),
        ([20, 50, 90, 99], []),
        ([20, 50, 90, 999, -9], [-9, 999]),
        ([0, 400, 500, 999], []),
        ([200, 400, 500, 999, 999, 999], [999]),
        ([999], []),
    ],
)
def test_sentinels_of_values(values: list[float], expected: list[float]) -> None:
    assert sorted(sentinels_of(np.array(values, dtype=float))) == expected


CELLS = st.one_of(
    st.sampled_from(
        ["", "-9", "999", "<0.5", "#DIV/0!", "inf", "1e999", "NaN", "yes", "a b", "2020-01-01", "\0", "{x}", "0"]
    ),
    st.text(max_size=8),
    st.floats(allow_nan=True).map(str),
)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.lists(CELLS, min_size=24, max_size=24), st.sampled_from(["age", "id", "scanner", "{a}", "missing"]))
def test_any_column_is_examined_without_error(cells: list[str], name: str) -> None:
    frame = pd.DataFrame(
        {name: cells, "other": range(24), "y": ["a", "b"] * 12, "half": ["train", "train", "test"] * 8}
    )
    for finding in warned(frame):
        str(finding)


def save(path: Path, seed: int, *, size: int = 40, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    coarse.resize((size, size), Image.Resampling.BICUBIC).save(path, **options)


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """24 photographs: those of one class are JPEG; rows 20 and 21 are rows 1 and 2 again."""
    rows = []
    for i in range(24):
        name = f"{i}.{'jpg' if i % 2 else 'png'}"
        save(tmp_path / name, i)
        rows.append({"photo": name, "y": "ab"[i % 2], "half": "train" if i < 16 else "test", "second": name})
    (tmp_path / "20.png").write_bytes((tmp_path / "1.jpg").read_bytes())
    save(tmp_path / "21.jpg", 2, quality=60, size=50)
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


@pytest.mark.slow
def test_duplicates_across_sets_and_revealing_files_are_reported(clinic: Path) -> None:
    options = {"table": str(clinic / "t.csv"), "label": "y", "images": ["photo"], "test": "half", "size": 8}
    report = check("table", **options)
    assert report.faults == ()
    by_topic = {topic: [f for f in report.warnings if f.topic == topic] for topic in ("duplicates", "files")}
    across, labels = by_topic["duplicates"]
    assert "2 pairs of images are in two sets" in across.text
    assert "row 1 [train, b] 1.jpg and row 20 [test, a] 20.png (identical content)" in across.text
    assert "row 2 [train, a] 2.png and row 21 [test, b] 21.jpg (nearly the same" in across.text
    assert sorted(across.rows) == [1, 2, 20, 21]
    assert "two different labels" in labels.text
    assert any("'photo: format' alone distinguishes classes" in finding.text for finding in by_topic["files"])
    fast = [finding.text for finding in check("table", fast=True, **options).warnings if finding.topic == "duplicates"]
    assert fast[0].startswith("1 pair of images are in two sets")


@pytest.mark.slow
def test_image_in_two_columns_and_damaged_files_are_reported(clinic: Path) -> None:
    (clinic / "5.jpg").write_bytes(b"nothing")
    (clinic / "6.png").write_bytes((clinic / "6.png").read_bytes()[:-60])
    options = {"table": str(clinic / "t.csv"), "label": "y", "images": ["photo", "second"], "size": 8}
    report = check("table", **options)
    assert len(report.faults) == 4
    assert sum("row 6, column" in fault for fault in report.faults) == 2
    assert any("23 pairs of cases have one image twice, in two columns" in str(finding) for finding in report.warnings)
    assert len(check("table", fast=True, **options).faults) == 2


@pytest.mark.slow
def test_page_has_thumbnails_by_class(clinic: Path) -> None:
    """Names of files and classes cannot inject markup."""
    frame = pd.read_csv(clinic / "t.csv")
    (clinic / "4.png").rename(clinic / "<b>.png")
    (clinic / "5.jpg").write_bytes(b"nothing")
    frame.loc[4, "photo"] = "<b>.png"
    frame["y"] = frame["y"].replace("a", "<i>")
    frame.to_csv(clinic / "t.csv", index=False)
    report = check("table", table=str(clinic / "t.csv"), label="y", images=["photo"], test="half", size=8)
    report.write_page(clinic / "page.html")
    page = (clinic / "page.html").read_text()
    assert page.count("data:image/png;base64,") >= 23
    assert "&lt;b&gt;.png" in page
    assert "<b>" not in page
    assert "<h3>&lt;i&gt;: 12</h3>" in page
    assert "cannot identify image file" in page
    assert page.count("<li>duplicates: ") == 2
    # Every image has words, no size is fixed beyond a phone, nothing is loaded from elsewhere.
    assert page.count("<img ") == len(re.findall(r'<img [^>]* alt="[^"]*row \d+, [^"]+">', page))
    assert all(int(width) <= 360 for width in re.findall(r"[^-]width: (\d+)px", page.replace("max-width: 1240px", "")))
    assert not re.search(r"(src|href)=.?(https?:|//)|url\(", page)
    # A class shows its label once, as its heading.
    assert "<figcaption>row 0, train<span>" in page
    damaged = check("table", table=str(clinic / "t.csv"), label="no such")
    with pytest.raises(ValueError, match="before its table is without faults"):
        damaged.write_page(clinic / "other.html")


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("resample", [False, True])
def test_unequal_spacings_are_reported_unless_resampled(stacked: bool, resample: bool) -> None:
    cohort = Cohort.of(TableDataset(plain(), label="y", test="half"))
    volume = VolumeSource("scan", (4, 4, 4), axes="hws", spacing=(1, 1, 1) if resample else None, resample=resample)
    files = [
        ImageFile("image", i, i, Path(f"{i}.nii"), None, {"spacing of height": 1.0, "spacing of slices": slices})
        for i, slices in enumerate([1.0, 1.05, 3.0, 1.0, 0.5, *[1.0] * 9])
    ]
    source: Source = StackSource(volume, ("a.nii",)) if stacked else volume
    findings = [found for found in acquisition_findings(cohort, files, {"image": source}) if found.topic == "spacings"]
    assert [(found.rows, "slices 0.5 to 3" in found.text) for found in findings] == (
        [] if resample else [((2, 4), True)]
    )


def test_thumbnail_of_volume(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4)), tmp_path / "a.nii")
    content = picture(VolumeSource("file", (4, 4, 4), axes="hws"), tmp_path / "a.nii")
    assert Image.open(BytesIO(b64decode(content))).size == (112, 112)
