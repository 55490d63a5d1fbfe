"""The gap of a trained run, and the weights that it began with."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mmfusion as mmf
from helpers import trees
from mmfusion.experiments.modality_gap.gap import AFTER, BEFORE, ModalityGap
from mmfusion.experiments.modality_gap.gap_panels import ACROSS, Cloud, Panel
from mmfusion.experiments.modality_gap.initial_weights import initial_model
from mmfusion.losses.prototypes import membership, prototypes_of_units
from mmfusion.metrics.modality_gap import gap_numbers
from mmfusion.training.result_files import read_json, write_json

QUICK = {"train.resamples": 0, "run": {"cache_gb": 0, "references": False, "robustness": False}, "run.device": "cpu"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.own_table(tmp_path_factory.mktemp("own"), n=20)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> mmf.Run:
    """A training whose steps are too small to change a weight."""
    data = mmf.read_table(
        root / "table.csv", target="diagnosis", images="photo", group="patient", test="part", size=16, verbose=False
    )
    return mmf.fit(
        "concat",
        data,
        epochs=1,
        encoder="tiny_convnet",
        out=tmp_path_factory.mktemp("runs") / "run",
        settings={**QUICK, "train.lr": 1e-30, "run.seed": 3, "model": {"dim": 8, "tabular_tokenizer": "trees"}},
        verbose=False,
    )


def test_initial_model_has_initial_weights_of_run(run: mmf.Run) -> None:
    trained = dict(run.model.named_parameters())
    state = torch.random.get_rng_state()
    first = initial_model(run.folder, run.spec, run.model)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not first.training
    assert [name for name, x in first.named_parameters() if (x - trained[name]).abs().max() > 1e-25] == []
    # What the tokenizer learned from the rows before the first step is there as well.
    buffers = {name: x for name, x in run.model.named_buffers() if name.startswith("tokenizers.")}
    assert buffers
    assert [name for name, x in first.named_buffers() if name in buffers and not torch.equal(x, buffers[name])] == []
    # Statistics of batches are the trainings' own.
    means = [name for name, x in first.named_buffers() if name.endswith("running_mean") and x.any()]
    assert means == []


def test_other_seed_has_other_initial_weights(run: mmf.Run) -> None:
    path = run.folder / "settings.json"
    settings = read_json(path)
    write_json(path, {**settings, "run": {**settings["run"], "seed": 4}})
    try:
        other = initial_model(run.folder, run.spec, run.model)
    finally:
        write_json(path, settings)
    assert not torch.equal(other.head.state_dict().popitem()[1], run.model.head.state_dict().popitem()[1])


def test_shared_folder_without_seed_raises(run: mmf.Run, tmp_path: Path) -> None:
    run.share(tmp_path / "shared")
    with pytest.raises(ValueError, match=r"does not say which seed .* before=False"):
        initial_model(tmp_path / "shared", run.spec, run.model)
    with pytest.raises(ValueError, match="before=False"):
        mmf.load(tmp_path / "shared").modality_gap()


@pytest.fixture(scope="module")
def frame(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "table.csv")


@pytest.fixture(scope="module")
def gap(run: mmf.Run, root: Path) -> ModalityGap:
    return run.modality_gap(root / "table.csv", neighbors="none", n_resamples=50)


def test_numbers_match_embeddings(run: mmf.Run, root: Path, frame: pd.DataFrame, gap: ModalityGap) -> None:
    embeddings = run.embed(root / "table.csv")
    sets = {str(name): embeddings[name].to_numpy() for name in ("photo", "meta")}
    labels = np.arange(20) % 3
    expected = gap_numbers(sets, labels, groups=frame["patient"].tolist(), n_resamples=50)
    after = gap.numbers[(gap.numbers["when"] == AFTER) & (gap.numbers["of"] != "fused")]
    assert len(after) == len(expected) == 9
    for row, one in zip(after.itertuples(), expected, strict=True):
        assert (row.measure, row.of, row.to, row.cases) == (one.measure, one.of[0], "".join(one.of[1:]), one.n_cases)
        assert (row.value, row.low, row.high) == pytest.approx((one.value, one.low, one.high), abs=1e-5, nan_ok=True)
    fused = gap.numbers[gap.numbers["of"] == "fused"]
    assert fused["measure"].tolist() == ["uniformity", "class_share"] * 3
    # concat: the fused directions are those of both together.
    both = gap_numbers({"f": np.concatenate(list(sets.values()), 1)}, labels, groups=frame["patient"], n_resamples=0)
    of_fused = fused[fused["when"] == AFTER]["value"].tolist()
    assert of_fused == pytest.approx([one.value for one in both], abs=1e-5)


def test_change_is_after_less_before(gap: ModalityGap) -> None:
    table = gap.numbers.pivot_table(index=["measure", "of", "to"], columns="when", values="value", sort=False)
    np.testing.assert_allclose(table["change"], table[AFTER] - table[BEFORE], atol=1e-12)
    # The weights are the same and the statistics of batches are not.
    assert (table["change"].abs() > 1e-6).any()
    low, high = (gap.numbers[gap.numbers["when"] != "change"][end] for end in ("low", "high"))
    assert (low <= high).any()


def test_prototypes_match_anchor_losses(run: mmf.Run, root: Path, gap: ModalityGap) -> None:
    (modalities, fused) = gap.panels[AFTER]
    assert (modalities.title, fused.title) == ("photo, meta", "fused")
    assert [cloud.name for cloud in modalities.clouds] == ["photo", "meta", ACROSS]
    assert [cloud.name for cloud in fused.clouds] == ["fused"]
    embeddings = run.embed(root / "table.csv")
    x = torch.stack([torch.tensor(embeddings[name].to_numpy(), dtype=torch.float64) for name in ("photo", "meta")])
    units = x / x.norm(dim=-1, keepdim=True)
    directions = prototypes_of_units(units, membership(torch.arange(20) % 3, 3), torch.ones(2, 20, dtype=torch.bool))
    shown = [*(c.points for c in modalities.clouds[:2]), *(c.prototypes for c in modalities.clouds)]
    true = [*units.numpy(), *directions.directions.numpy()]
    points, space = (np.concatenate([part for part in parts if part is not None]) for parts in (shown, true))
    # PCA of all of them: distances in the plane are those along its two axes.
    centered = space - space.mean(0)
    plane = np.linalg.svd(centered, full_matrices=False)[2][:2]
    np.testing.assert_allclose(np.abs(points), np.abs(centered @ plane.T), atol=1e-4)


def test_missing_modality_and_label(run: mmf.Run, root: Path, frame: pd.DataFrame) -> None:
    some = frame.assign(photo=frame["photo"].where(frame.index != 2, ""))
    found = run.modality_gap(some.drop(columns="diagnosis"), root, "absent", before=False, neighbors="none")
    assert set(found.numbers["when"]) == {AFTER}
    assert set(found.numbers["measure"]) == {"distance", "modality_share", "alignment", "uniformity"}
    cases = found.numbers.set_index(["measure", "of", "to"])["cases"]
    assert cases["distance", "photo", "meta"] == cases["uniformity", "photo", ""] == 19
    assert cases["uniformity", "meta", ""] == 20
    photo, meta = found.panels[AFTER][0].clouds
    assert (len(photo.points), len(meta.points), photo.prototypes) == (19, 20, None)
    assert found.classes == ()
    assert found.png.startswith(b"\x89PNG")


def test_own_test_set_and_subset_of_cases(run: mmf.Run, root: Path) -> None:
    own = run.modality_gap(before=False, neighbors="none", n_resamples=0)
    assert own.about.startswith("4 cases of the run's test set")
    few = run.modality_gap(root / "table.csv", before=False, neighbors="none", n_cases=6, n_resamples=0)
    assert few.about.startswith("6 cases, drawn at random, of the 20 of table.csv")
    assert few.numbers["cases"].tolist() == [6] * len(few.numbers)
    assert few.numbers[["low", "high"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="n_cases expects"):
        run.modality_gap(n_cases=1)
    with pytest.raises(ValueError, match="neighbors expects"):
        run.modality_gap(neighbors="lda")  # type: ignore[arg-type]  # an unknown projection


def test_written_files_are_self_contained(gap: ModalityGap, tmp_path: Path) -> None:
    files = gap.write(tmp_path / "new" / "folder")
    assert [path.name for path in files] == ["gap.png", "gap.html", "gap.csv"]
    page = files[1].read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert page.count("data:image/png;base64,") == 4
    pd.testing.assert_frame_equal(pd.read_csv(files[2]).fillna({"to": ""}), gap.numbers)
    row = gap.numbers[gap.numbers["measure"] == "distance"].iloc[1]
    assert f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" in page
    assert gap._repr_html_() in page


def test_names_are_escaped() -> None:
    points, classes = np.array([[0.0, 1], [1, 0]]), np.array([0, -1])
    panel = Panel("<q>", "PCA", (0.5, 0.5), (Cloud("<i>", points, classes, np.array([[0.5, 0], [np.nan, np.nan]])),))
    numbers = pd.DataFrame([("<u>", "distance", "<i>", "<a>", np.nan, np.nan, np.nan, 2)])
    numbers.columns = pd.Index(["when", "measure", "of", "to", "value", "low", "high", "cases"])
    made = ModalityGap(numbers, {"<u>": [panel]}, ("<s>", "t"), "<em>", "<h1>")
    for tag in ("<q>", "<i>", "<u>", "<s>", "<em>", "<h1>", "<a>"):
        assert tag not in made.html
        assert tag.replace("<", "&lt;").replace(">", "&gt;") in made.html
    assert "undefined" in made.html
