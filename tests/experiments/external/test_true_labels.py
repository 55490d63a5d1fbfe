import pandas as pd
import pytest

from mmfusion.data.reader import TargetColumn
from mmfusion.experiments.external.true_labels import read_labels

TARGET = TargetColumn("dx", ("nevus", "melanoma"), {"mel": "melanoma"})


def test_spellings_unknown_and_missing_labels_are_distinguished() -> None:
    frame = pd.DataFrame({"dx": [" Nevus", "mel", "MM", None, "", "keratosis", "keratosis"]})
    labels = read_labels(frame, TARGET, {"MM": "melanoma"})
    assert labels.codes.tolist() == [0, 1, 1, -1, -1, -1, -1]
    assert labels.names == ["nevus", "melanoma", "melanoma", None, None, None, None]
    assert labels.unknown == {"keratosis": 2}
    assert labels.unlabelled == 2
    assert labels.of_class == {"nevus": 1, "melanoma": 2}
    assert labels.rows.tolist() == [0, 1, 2]
    assert labels.sentences() == [
        "2 of 7 rows have no label and are in no metric.",
        "2 rows have labels that are no class of the run and are in no metric: 'keratosis' (2x). The classes are "
        "'nevus', 'melanoma'; another spelling of one is given by aliases={'keratosis': 'nevus'}.",
    ]


def test_absent_class_is_noted_and_unknown_alias_raises() -> None:
    frame = pd.DataFrame({"dx": ["nevus", "nevus"]})
    assert read_labels(frame, TARGET).sentences() == ["No row is of class 'melanoma'."]
    with pytest.raises(ValueError, match=r"classes of the run \(nevus, melanoma\), got 'cancer'"):
        read_labels(frame, TARGET, {"MM": "cancer"})
