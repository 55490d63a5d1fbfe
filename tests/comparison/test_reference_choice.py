import pytest

from mmfusion.comparison import reference_choice
from mmfusion.comparison.reference_choice import ROWS, choose, of_name, sees_embeddings
from mmfusion.utils.optional import need


def names(text: str | None = None) -> list[str]:
    return [row.name for row in choose(text).rows]


LEARNERS = ["logistic regression", "gradient boosting"]
ON_EMBEDDINGS = [f"{inputs}: {learner}" for inputs in ("embeddings", "embeddings + table") for learner in LEARNERS]


def test_row_names_round_trip() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) == 12
    assert all(of_name(row.name) == row for row in ROWS)
    assert of_name("concat") is None
    assert sees_embeddings("embeddings + table: TabPFN")
    assert not sees_embeddings("TabPFN")
    assert not sees_embeddings("concat")


def test_default_rows_are_installed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names() == [*LEARNERS, *ON_EMBEDDINGS]
    monkeypatch.setattr(reference_choice, "installed", lambda module: True)
    assert set(names()) - {*LEARNERS, *ON_EMBEDDINGS} == {
        *("LightGBM", "embeddings: LightGBM", "embeddings + table: LightGBM")
    }
    assert choose().left_out == ()


def test_choice_by_inputs_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_choice, "need", lambda *_: None)
    assert names("table") == LEARNERS
    assert names("embeddings") == ON_EMBEDDINGS
    assert names(" embeddings,table,") == names()
    assert names("table,tabpfn") == [*LEARNERS, "TabPFN"]
    assert names("lightgbm") == ["LightGBM", "embeddings: LightGBM", "embeddings + table: LightGBM"]
    assert names("none") == []


def test_all_reports_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_choice, "installed", lambda module: module == "lightgbm")
    choice = choose("all")
    assert len(choice.rows) == 9
    assert choice.left_out == ('No reference rows of TabPFN: it is not installed (pip install "mmfusion[tabpfn]")',)


def test_named_library_not_installed_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_choice, "need", lambda module, extra: need("mmfusion_no_such_module", extra))
    with pytest.raises(ImportError, match=r'pip install "mmfusion\[tabpfn\]"'):
        choose("table,tabpfn")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "concat, x",
            r"references expects table, embeddings, lightgbm, tabpfn .* got 'concat', 'x'.*reference=METHOD$",
        ),
        ("none,table", "or one of all and none, got 'none,table'"),
        ("all,tabpfn", "or one of all and none"),
        ("", "or one of all and none, got ''"),
    ],
)
def test_invalid_choices_raise(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(text)
