import pytest

from mmfusion.comparison.analysis.families import family


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("concat", "embeddings"),
        ("late", "decisions"),
        ("cfcml", "tokens"),
        ("film", "maps"),
        ("image", "images alone"),
        ("tabular", "table alone"),
        ("of_a_plugin_that_is_absent", ""),
    ],
)
def test_family_follows_fusion_of_blueprint(model: str, expected: str) -> None:
    assert family(model, row=False) == expected


def test_family_of_reference_row() -> None:
    assert family("logistic regression", row=True) == "reference: table"
    assert family("embeddings + table: LightGBM", row=True) == "reference: embeddings + table"
    assert family("of a former version", row=True) == "reference: table"
