import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from helpers.small import make_inputs, make_labels, make_spec, spoilt
from mmfusion.experiments import folder, run, settings
from mmfusion.tokens import LossInputs
from mmfusion.training import checkpoints
from mmfusion.training.loop import Training
from mmfusion.training.phases import phases_of
from mmfusion.training.result_files import read_json

SPEC = make_spec(images=2)
N = 5
BOTH = ("mmcl", "mmcl_image")


def cosine(a: list[float], b: list[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths


def clip_by_hand(image: list[list[float]], table: list[list[float]], tau: float, weight: float) -> float:
    n, total = len(image), 0.0
    for i in range(n):
        row = [math.exp(cosine(image[i], table[j]) / tau) for j in range(n)]
        column = [math.exp(cosine(image[j], table[i]) / tau) for j in range(n)]
        total -= weight * math.log(row[i] / sum(row)) + (1 - weight) * math.log(column[i] / sum(column))
    return total / n


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
def test_pretraining_loss_matches_clip(name: str) -> None:
    """CLIP's, between each image and the table, by loops over scalars."""
    model = mmf.create_model(name, SPEC, dim=8, projection_dim=4, temperature=0.2, image_weight=0.7).double().eval()
    pretrain, _ = phases_of(model)
    pretrain.model.double().eval()
    inputs = {key: x.double() if isinstance(x, Tensor) else x for key, x in make_inputs(SPEC, N).items()}
    inputs["table0"] = inputs["table0"]._replace(numerical=inputs["table0"].numerical.double())
    output = pretrain.model(inputs)
    assert {key: tuple(x.shape) for key, x in output.embeddings.items()} == dict.fromkeys(SPEC.names, (N, 4))
    losses = pretrain.loss(LossInputs({}, output.embeddings, {}, {}, {}))
    z = {key: x.tolist() for key, x in output.embeddings.items()}
    expected = [clip_by_hand(z[image], z["table0"], 0.2, 0.7) for image in ("image0", "image1")]
    assert list(losses) == ["clip"]
    assert losses["clip"].item() == pytest.approx(sum(expected) / 2, rel=1e-9)


@pytest.mark.slow
def test_defaults_match_paper() -> None:
    contrast = phases_of(mmf.create_model("mmcl", SPEC))[0].model
    assert float(contrast.loss.terms["clip"].temperature()) == pytest.approx(0.1)
    assert contrast.loss.terms["clip"].first_weight == 0.5
    assert contrast.corruption["table0"].rate == 0.3
    assert contrast.project["image0"][-1].out_features == 128


@pytest.mark.slow
def test_table_is_corrupted_only_in_pretraining() -> None:
    model = mmf.create_model("mmcl", SPEC, dim=8, corruption_rate=1.0).eval()
    pretrain, train = phases_of(model)
    inputs = make_inputs(SPEC, N)
    first, second = (pretrain.model(inputs).embeddings["table0"] for _ in range(2))
    assert not torch.equal(first, second)
    assert train.model is None
    kept = mmf.create_model("mmcl", SPEC, dim=8, corruption_rate=0.0).eval()
    contrast = phases_of(kept)[0].model.eval()
    projected = contrast(inputs).embeddings
    embeddings = kept(inputs).embeddings
    for name in SPEC.names:
        torch.testing.assert_close(projected[name], contrast.project[name](embeddings[name]))


@pytest.mark.slow
def test_image_variant_ignores_table() -> None:
    model, inputs = mmf.create_model("mmcl_image", SPEC, dim=8).eval(), make_inputs(SPEC, N)
    assert model.names == ("image0", "image1")
    images = {name: inputs[name] for name in model.names}
    assert torch.equal(model(images).logits, model(inputs).logits)
    # The table counts in pretraining.
    pretrain, _ = phases_of(model)
    assert set(pretrain.model(inputs).embeddings) == set(SPEC.names)
    with pytest.raises(ValueError, match=r"inputs lacks the modalities \['table0'\]"):
        pretrain.model(images)


@pytest.mark.slow
def test_multimodal_variant_equals_concat() -> None:
    model, plain = (mmf.create_model(name, SPEC, dim=8).eval() for name in ("mmcl", "concat"))
    plain.load_state_dict(model.state_dict())
    inputs = make_inputs(SPEC, N, missing_cells=True)
    assert torch.equal(model(inputs).logits, plain(inputs).logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
def test_phases_train_reached_parameters(name: str) -> None:
    model = mmf.create_model(name, SPEC, dim=8)
    inputs, labels = make_inputs(SPEC, N), make_labels(SPEC, N)
    for phase in phases_of(model):
        # The pretraining holds the model.
        parameters = dict((phase.model or model).named_parameters())
        for p in parameters.values():
            p.grad = None
        output = (phase.model or model)(inputs)
        losses = phase.loss(LossInputs(output.outputs, output.embeddings, labels, {}, output.aux))
        sum(losses.values()).backward()
        reached = {key for key, p in parameters.items() if p.grad is not None and bool(p.grad.any())}
        given = {id(p) for group in phase.parameters for p in group.parameters}
        assert reached == {key for key, p in parameters.items() if id(p) in given}
    assert [phase.name for phase in phases_of(model)] == ["pretrain", "finetune"]


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("missing", ["image0", "table0"])
def test_missing_modality_has_no_effect_on_pretraining(name: str, missing: str) -> None:
    """Neither its content, nor its cells drawn for other cases."""
    model = mmf.create_model(name, SPEC, dim=8, corruption_rate=0.5).eval()
    pretrain, _ = phases_of(model)
    inputs, there = make_inputs(SPEC, N), torch.tensor([True, True, False, True, False])
    found = []
    for way in (inputs, spoilt(inputs, missing, there)):
        torch.manual_seed(4)
        output = pretrain.model(way, {missing: there})
        (loss,) = pretrain.loss(LossInputs({}, output.embeddings, {}, {missing: there}, {})).values()
        found.append(loss)
    assert bool(found[0].isfinite())
    assert torch.equal(*found)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("options", [{"images": 0}, {"tables": 0}])
def test_missing_required_modality_raises(name: str, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"'{name}': it needs an image and a table modality, the spec has"):
        mmf.create_model(name, make_spec(**options))


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Path]:
    def started(name: str, place: str, **train: Any) -> Path:
        base = {
            "run": {"out": str(tmp_path / place), "device": "cpu"},
            "train": {"epochs": 1, "batch_size": 16, "resamples": 20} | train,
            "data": {"n_train": 32, "n_validation": 16, "n_test": 16, "size": 32},
            "model": {"dim": 8},
        }
        return run.start(settings.resolve(name, "synthetic_derm7pt", [base])).folder

    return started


@pytest.mark.slow
@pytest.mark.parametrize("name", [BOTH[0], *(pytest.param(name, marks=pytest.mark.exhaustive) for name in BOTH[1:])])
def test_run_has_two_phases_and_resumes(
    name: str, start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marginals are of the training set; the loaded model predicts; a resumed run ends the same."""
    out = start(name, "whole", phase_epochs={"pretrain": 2})
    history = read_json(out / folder.HISTORY)
    assert [entry["phase"] for entry in history] == ["pretrain", "pretrain", "finetune"]
    assert [set(entry["losses"]) for entry in history] == [{"clip"}, {"clip"}, {"label"}]
    weights = checkpoints.load(out / checkpoints.BEST)[0]
    # What only the pretraining needs is not shipped: neither projections nor the marginals of the table.
    assert not [
        key for key in weights if "corruption" in key or ("project." in key and not key.startswith("tokenizers"))
    ]
    assert mmf.load(out).model.state_dict().keys() == weights.keys()
    real, left = Training._epoch, [0]

    def stopped(self: Any, *arguments: Any, **options: Any) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, *arguments, **options)

    monkeypatch.setattr(Training, "_epoch", stopped)
    begun = tmp_path / "cut"
    # In the middle of the first phase, then at its end.
    left[0] = 1
    with pytest.raises(run.Interrupted):
        start(name, "cut", phase_epochs={"pretrain": 2})
    # In the middle of pretraining, which holds the model: each tensor is kept once.
    kept = checkpoints.load(begun / checkpoints.LAST)[0]
    kept = {key: x for key, x in kept.items() if not key.startswith("optimizer.")}
    assert {"model", "pretraining"} <= {key.partition(".")[0] for key in kept} <= {"model", "loss", "pretraining"}
    matrices = [x.numpy().tobytes() for x in kept.values() if x.ndim > 1 and bool(x.any())]
    assert len(set(matrices)) == len(matrices)
    left[0] = 1
    with pytest.raises(run.Interrupted):
        run.resume(begun)
    left[0] = 1
    run.resume(begun)
    assert (begun / folder.PREDICTIONS).read_bytes() == (out / folder.PREDICTIONS).read_bytes()
