import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers import run_folders
from mmfusion import registry
from mmfusion.comparison import presets
from mmfusion.comparison.analysis.cautions import data
from mmfusion.comparison.analysis.grouping import Table, tables
from mmfusion.comparison.collect import collect

FROZEN = {"train": {"freeze": "all", "augment": {"flips": False}}}


def grouped(path: Path, *runs: tuple[str, dict[str, Any]]) -> list[Table]:
    for at, (model, options) in enumerate(runs):
        run_folders.write(path / str(at), model, **{"n": 6, **options})
    result = collect([path])
    assert not result.skipped
    return tables(result.runs)


def labels(table: Table) -> list[str]:
    return [group.label for group in table.groups]


def test_runs_of_a_method_are_grouped(tmp_path: Path) -> None:
    [table] = grouped(
        tmp_path,
        ("concat", {"seed": 1}),
        ("concat", {"seed": 0, "overrides": {"run": {"device": "cpu", "cache": "x"}, "train": {"workers": 2}}}),
        ("concat", {"seed": 0, "fold": 1}),
        ("cfcml", {"seed": 0}),
    )
    assert labels(table) == ["cfcml", "concat"]
    assert [(run.fold, run.seed) for run in table.groups[1].runs] == [(0, 0), (0, 1), (1, 0)]
    assert table.name == "synthetic_derm7pt-tiny_convnet-trained"
    assert "fold" not in table.shared["data"]
    assert table.shared["model"] == {"encoder": "tiny_convnet", "weights": "none"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        {"train": {"epochs": 6}},
        {"train": {"freeze": "all"}},
        {"train": {"sampler": "shuffled"}},
        {"data": {"size": 32}},
        {"model": {"encoder": "resnet18"}},
    ],
)
def test_unequal_shared_settings_split_tables(tmp_path: Path, other: dict[str, Any]) -> None:
    result = grouped(tmp_path, ("concat", {}), ("cfcml", {}), ("concat", {"overrides": other}))
    assert sorted(labels(table) for table in result) == [["cfcml", "concat"], ["concat"]]
    assert len({table.name for table in result}) == 2


def test_unequal_learning_rates_share_a_table(tmp_path: Path) -> None:
    [table] = grouped(tmp_path, ("concat", {}), ("cfcml", {"overrides": {"train": {"lr": 1e-4}}}))
    assert labels(table) == ["cfcml", "concat"]


def test_model_without_encoder_is_in_every_matching_table(tmp_path: Path) -> None:
    result = grouped(
        tmp_path,
        ("concat", {}),
        ("concat", {"overrides": {"train": {"freeze": "all"}}}),
        ("concat", {"overrides": {"train": {"epochs": 6}}}),
        ("tabular", {}),
    )
    by_name = {table.name: labels(table) for table in result}
    assert by_name == {
        "synthetic_derm7pt-tiny_convnet-frozen": ["concat", "tabular"],
        "synthetic_derm7pt-tiny_convnet-trained": ["concat", "tabular"],
        "synthetic_derm7pt-tiny_convnet-trained-2": ["concat"],
    }


def test_table_of_tabular_models(tmp_path: Path) -> None:
    [table] = grouped(tmp_path, ("tabular", {}), ("tabular", {"seed": 1}))
    assert table.name == "synthetic_derm7pt"
    assert table.shared["model"] == {}


def test_reference_row_joins_table_of_its_cases(tmp_path: Path) -> None:
    row = {"row": True, "overrides": {"data": {"size": 32}}}
    result = grouped(
        tmp_path,
        ("concat", {}),
        ("concat", {"overrides": {"train": {"freeze": "all"}}}),
        ("logistic regression", row),
        ("gradient boosting", {**row, "fold": 1}),
    )
    assert sorted(labels(table) for table in result) == [
        ["concat", "logistic regression"],
        ["concat", "logistic regression"],
        ["gradient boosting"],
    ]


def test_reference_row_of_other_table_is_separate(tmp_path: Path) -> None:
    """Other columns of the same cases; rows that differ in image size go to their own table."""
    result = grouped(
        tmp_path,
        ("concat", {"overrides": {"data": {"size": 32}}}),
        ("concat", {"overrides": {"data": {"size": 48}}}),
        ("logistic regression", {"row": True, "overrides": {"data": {"size": 32}}}),
        ("logistic regression", {"row": True, "overrides": {"data": {"size": 48}}}),
        ("gradient boosting", {"row": True, "overrides": {"data": {"n_train": 100}}}),
    )
    assert sorted(labels(table) for table in result) == [
        ["concat", "logistic regression"],
        ["concat", "logistic regression"],
        ["gradient boosting"],
    ]


def shifted(column: str) -> pd.DataFrame:
    """The usual cases but for a cell of the test part."""
    frame = run_folders.predictions(n=6).astype({column: object})
    frame.loc[7, column] = {"id": "new", "group": "new", "label": "nevus"}[column]
    return frame


@pytest.mark.slow
@pytest.mark.parametrize("column", ["id", "group", "label"])
def test_runs_on_other_cases_are_in_separate_tables(tmp_path: Path, column: str) -> None:
    """Runs without a recorded version of their files, models without an encoder and rows among them."""
    row = {"row": True}
    result = grouped(
        tmp_path,
        ("concat", {}),
        ("concat", {"seed": 1}),
        ("concat", {"frame": shifted(column)}),
        ("tabular", {}),
        ("tabular", {"frame": shifted(column)}),
        ("logistic regression", row),
        ("logistic regression", {**row, "frame": shifted(column)}),
    )
    names = [[run.folder.name for group in table.groups for run in group.runs] for table in result]
    assert names == [["0", "1", "5", "3"], ["2", "6", "4"]]
    assert result[0].shared == result[1].shared
    assert [table.conflict for table in result] == [None, (tmp_path / "2", tmp_path / "0")]
    [caution] = data(result[1])
    assert caution.startswith(f"{tmp_path / '2'} has the settings of {tmp_path / '0'}, but different test cases")
    assert list(data(result[0])) == []


ONE, OTHER = "1" * 64, "2" * 64


def test_runs_on_other_files_are_in_separate_tables(tmp_path: Path) -> None:
    """The same path and cases, but other cells; a row is listed with the models that saw its table."""
    split = {"overrides": {"data": {"n_train": 60}}}
    first, other = ({**split, "metrics": {"content": {"data": {"table": digest}}}} for digest in (ONE, OTHER))
    result = grouped(
        tmp_path,
        ("concat", first),
        ("concat", {**other, "seed": 1}),
        ("logistic regression", {**first, "row": True}),
        ("logistic regression", {**other, "row": True}),
    )
    assert [table.shared["data"]["table"] for table in result] == ["sha256:1111111111", "sha256:2222222222"]
    names = [[run.folder.name for group in table.groups for run in group.runs] for table in result]
    assert names == [["0", "2"], ["1", "3"]]


def test_other_plugin_version_is_another_method(tmp_path: Path) -> None:
    """In the same table, if the dataset is not the plug-in's."""
    [table] = grouped(
        tmp_path,
        ("concat", {}),
        ("concat", {"seed": 1, "metrics": {"content": {"plugins": [ONE]}}}),
        ("concat", {"seed": 1, "metrics": {"content": {"plugins": [OTHER]}}}),
        ("cfcml", {"metrics": {"content": {"plugins": [ONE]}}}),
    )
    assert labels(table) == [
        "cfcml",
        "concat",
        "concat[run.plugins=sha256:1111111111]",
        "concat[run.plugins=sha256:2222222222]",
    ]


@pytest.mark.slow
def test_other_version_of_dataset_plugin_is_another_table(tmp_path: Path) -> None:
    for at, digest in enumerate((ONE, OTHER)):
        content = {"metrics": {"content": {"plugins": [digest]}}, "n": 6}
        for model, options in (("concat", {"seed": at}), ("logistic regression", {"row": True})):
            place = run_folders.write(tmp_path / f"{at}-{model}", model, **content, **options)
            path = place / "settings.json"
            path.write_text(path.read_text().replace('"synthetic_derm7pt"', '"mine"').replace('"size": 64', '"x": 1'))
    result = tables(collect([tmp_path]).runs)
    assert [table.shared["data"]["plugins"] for table in result] == ["sha256:1111111111", "sha256:2222222222"]
    assert [[group.runs[0].folder.name for group in table.groups] for table in result] == [
        [f"{at}-concat", f"{at}-logistic regression"] for at in (0, 1)
    ]


def test_explicit_default_is_the_same_data(tmp_path: Path) -> None:
    default = registry.datasets.options("synthetic_derm7pt")["n_train"].default
    [table] = grouped(tmp_path, ("concat", {}), ("cfcml", {"overrides": {"data": {"n_train": default}}}))
    assert labels(table) == ["cfcml", "concat"]


def test_labels_distinguish_options_of_a_model(tmp_path: Path) -> None:
    [table] = grouped(
        tmp_path,
        ("concat", {}),
        ("concat", {"overrides": {"model": {"dim": 16, "dropout": 0.3}}}),
        ("concat", {"overrides": {"model": {"dim": 16}}}),
        ("concat", {"overrides": {"train": {"lr": 0.5}}}),
        ("tabular", {"overrides": {"model": {"dim": 16}}}),
    )
    assert labels(table) == [
        "concat",
        "concat[dim=16, dropout=0.3]",
        "concat[dim=16]",
        "concat[train.lr=0.5]",
        "tabular[dim=16]",
    ]
    options = {group.label: group.options for group in table.groups}
    assert options["concat[dim=16]"]["dim"] == 16
    assert set(options["concat"]) == {"dim", "dropout", "train.lr"}
    assert options["tabular[dim=16]"] == {"dim": 16}


DIM, WEIGHT = {"model": {"dim": 16}}, {"model": {"sample_weight": 5.0}}


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # Alone with other options it is not the plain method; a rate of its own is told elsewhere.
        ([("cfcml", DIM)], ["cfcml[dim=16]"]),
        ([("cfcml", {"train": {"lr": 0.5}})], ["cfcml"]),
        ([("cfcml", {**DIM, "run": {"precision": "bf16"}}), ("concat", {})], ["cfcml[dim=16]", "concat"]),
        # What all models have sets none apart; what one model alone takes does, its ablations with it.
        ([("cfcml", DIM), ("concat", DIM), ("image", DIM)], ["cfcml", "concat", "image"]),
        ([("cfcml", DIM), ("concat", DIM), ("image", {})], ["cfcml[dim=16]", "concat[dim=16]", "image"]),
        ([("cfcml", WEIGHT), ("concat", {})], ["cfcml[sample_weight=5.0]", "concat"]),
        (
            [("cfcml", WEIGHT), ("cfcml", {"model": {"sample_weight": 5.0, "enhancement": False}}), ("concat", {})],
            ["cfcml[sample_weight=5.0]", "cfcml[sample_weight=5.0]: no-enhancement", "concat"],
        ),
        # The encoder is the comparison's, and its name says it.
        ([("cfcml", {"model": {"encoder": "resnet18"}})], ["cfcml"]),
    ],
)
def test_changed_method_has_its_own_label(
    tmp_path: Path, runs: list[tuple[str, dict[str, Any]]], expected: list[str]
) -> None:
    [table] = grouped(tmp_path, *((model, {"overrides": overrides}) for model, overrides in runs))
    assert labels(table) == expected


@pytest.mark.parametrize(
    ("preset", "changed"),
    [
        ("paper", {"eps"}),
        ("paper --parity", set()),
        (None, {"eps", "tabular_tokenizer"}),
        ("of another version", {"eps", "tabular_tokenizer"}),
    ],
)
def test_preset_options_are_not_changes(tmp_path: Path, preset: str | None, changed: set[str]) -> None:
    rows = presets.load("paper", "derm7pt", parity=True).of_model["cfcml"]
    place = run_folders.write(tmp_path / "run", "cfcml", n=6, overrides=rows)
    settings = json.loads((place / "settings.json").read_text())
    settings["run"] |= {"dataset": "derm7pt", "preset": preset}
    (place / "settings.json").write_text(json.dumps(settings))
    [table] = tables(collect([place]).runs)
    model = table.groups[0].settings["model"]
    assert {key for key in table.groups[0].changed if key in ("eps", "tabular_tokenizer")} == changed
    texts = table.groups[0].label.partition("[")[2]
    assert {key for key in model if f"{key}=" in texts} >= changed
    assert ("tabular_tokenizer=" in texts, "eps=" in texts) == ("tabular_tokenizer" in changed, "eps" in changed)


def test_changed_settings_are_listed(tmp_path: Path) -> None:
    changes = {"run": {"precision": "bf16"}, "train": {"lr": 0.5, "weight_decay": 0.25}, "model": {"dim": 16}}
    [table] = grouped(tmp_path, ("cfcml", {"overrides": changes}), ("concat", {}), ("gradient boosting", {"row": True}))
    assert [group.changed for group in table.groups] == [
        {"dim": 16, "run.precision": "bf16", "train.lr": 0.5, "train.weight_decay": 0.25},
        {},
        {},
    ]


def test_explicit_default_is_the_same_method(tmp_path: Path) -> None:
    first = run_folders.settings("concat")
    assert "dim" not in first.model
    [table] = grouped(tmp_path, ("concat", {}))
    dim = table.groups[0].settings["model"]["dim"]
    [table] = grouped(tmp_path / "again", ("concat", {}), ("concat", {"seed": 1, "overrides": {"model": {"dim": dim}}}))
    assert labels(table) == ["concat"]


@pytest.mark.slow
def test_ablations_are_labeled(tmp_path: Path) -> None:
    from mmfusion.models.ablations import ablate

    known = ablate("cfcml")
    [name, other] = [name for name, options in known.items() if options][:2]
    [table] = grouped(
        tmp_path,
        ("cfcml", {"overrides": {"model": {"dim": 16}}}),
        ("cfcml", {"overrides": {"model": {"dim": 16, **known[name]}}}),
        ("cfcml", {"overrides": {"model": {"dim": 16, **known[other]}}}),
    )
    assert labels(table) == sorted(["cfcml", f"cfcml: {name}", f"cfcml: {other}"])
    assert {group.ablation for group in table.groups} == {None, name, other}
    # Alone it is known by what the recipe's method would be.
    [table] = grouped(tmp_path / "alone", ("cfcml", {"overrides": {"model": known[name]}}))
    assert labels(table) == [f"cfcml: {name}"]


@pytest.mark.slow
def test_unregistered_model_is_labeled(tmp_path: Path) -> None:
    """A plug-in's: its options are those that were set."""
    for at, dim in enumerate((8, 16)):
        place = run_folders.write(tmp_path / str(at), n=6, overrides={"model": {"dim": dim}})
        text = (place / "settings.json").read_text().replace('"model": "concat"', '"model": "theirs"')
        (place / "settings.json").write_text(text)
    [table] = tables(collect([tmp_path]).runs)
    assert labels(table) == ["theirs[dim=16]", "theirs[dim=8]"]
