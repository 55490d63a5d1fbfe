import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import mmfusion as mmf
from helpers.small import loss_inputs, make_inputs, make_labels, make_spec, rows, spoilt
from helpers.text import FakeEncoder
from mmfusion.experiments import folder, run, settings
from mmfusion.losses.masked_columns import AUX
from mmfusion.models import FusionModel
from mmfusion.models.pretraining.tip_pretraining import COUNTED, MATCH, PREDICTED, TipLoss, TipPretraining
from mmfusion.spec import Columns
from mmfusion.tokens import FusionOutput, LossInputs, Table
from mmfusion.training import checkpoints
from mmfusion.training.phases import phases_of
from mmfusion.training.result_files import read_json

N = 8
SPEC = make_spec(images=2)
SMALL: dict[str, Any] = {
    "dim": 16, "n_heads": 2, "hidden": (), "projection": 6, "table_depth": 2, "joint_depth": 1
}  # fmt: skip


def made(**options: Any) -> tuple[FusionModel, TipPretraining]:
    """A model and its pretraining, in evaluation mode."""
    torch.manual_seed(0)
    model = mmf.create_model("tip", SPEC, **SMALL | options, pretrain=True).eval()
    return model, pretraining_of(model)


def pretraining_of(model: FusionModel) -> TipPretraining:
    part = phases_of(model)[0].model
    assert isinstance(part, TipPretraining)
    return part.eval()


def pretrained(part: Any, inputs: Any, present: Any = None, seed: int = 0) -> FusionOutput:
    torch.manual_seed(seed)
    output: FusionOutput = part(inputs, present)
    return output


@pytest.mark.slow
def test_phases_train_reached_parameters() -> None:
    (model, _), inputs, labels = made(), make_inputs(SPEC, N, missing_cells=True), make_labels(SPEC, N)
    phases = phases_of(model)
    assert [phase.name for phase in phases] == ["pretrain", "finetune"]
    for phase, terms in zip(phases, ({"contrast", "matching", "reconstruction"}, {"label"}), strict=True):
        given = loss_inputs((phase.model or model)(inputs), labels)
        phase.loss.check(given)
        losses = phase.loss(given)
        assert set(losses) == terms
        # The pretraining holds the model.
        parameters = dict((phase.model or model).named_parameters())
        for p in parameters.values():
            p.grad = None
        sum(losses.values()).backward()
        trained = {id(p) for group in phase.parameters for p in group.parameters}
        reached = {name for name, p in parameters.items() if p.grad is not None}
        assert reached == {name for name, p in parameters.items() if id(p) in trained}
        # The softmax does not change when all its scores move alike.
        unmoved = [name for name in reached if not bool(parameters[name].grad.any())]
        assert [name for name in unmoved if not name.endswith("key.bias")] == []


@pytest.mark.slow
def test_pretraining_state_dict_round_trip() -> None:
    """Its projections, heads and mask bookkeeping; nothing of the model or the loss."""
    (model, part), inputs = made(), make_inputs(SPEC, N)
    own = part.own_state()
    assert {name.partition(".")[0] for name in own} == {"projections", "match", "number", "category", "column_of"}
    model_state = model.state_dict()
    other = phases_of(model)[0].model
    assert other is not None
    assert not torch.equal(other.own_state()["match.weight"], own["match.weight"])
    other.load_own_state(own)
    found, expected = pretrained(other.eval(), inputs), pretrained(part, inputs)
    assert all(torch.equal(found.aux[name].nan_to_num(7), x.nan_to_num(7)) for name, x in expected.aux.items())
    assert all(torch.equal(x, model_state[name]) for name, x in model.state_dict().items())
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"match.weight\""):
        other.load_own_state({name: x for name, x in own.items() if name != "match.weight"})


def test_pretraining_loss_by_hand() -> None:
    """A third each: InfoNCE at its temperature, binary cross-entropy of the counted pairs, the masked cells."""
    columns = Columns(("age",), (("sex", 2),))
    loss_of_all = TipLoss(("image",), "table", columns, temperature=0.5)
    eye = torch.eye(2)
    logits, counted = torch.tensor([[1.0, 9.0], [2.0, 9.0], [-1.0, 9.0]]), torch.tensor([[True, False]] * 3)
    aux = {
        AUX[0]: torch.tensor([[1.0], [5.0]]),
        AUX[1]: torch.tensor([[1], [0]]),
        AUX[2]: torch.tensor([[True, True], [False, False]]),
        PREDICTED: torch.tensor([[3.0, 0.0, math.log(3)], [7.0, 7.0, 7.0]]),
        MATCH: logits.T,
        COUNTED: counted.T,
    }
    losses = loss_of_all(LossInputs({}, {"image": eye, "table": eye}, {}, {}, aux))
    contrast = math.log(1 + math.exp(-2))  # cosine 1 to its own, 0 to the other
    matching = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2)) + math.log(1 + math.exp(-1))) / 3
    reconstruction = ((3 - 1) ** 2 + -math.log(3 / 4)) / 2
    expected = {"contrast": contrast / 3, "matching": matching / 3, "reconstruction": reconstruction / 3}
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"\['match.logits'\] must be finite"):
        loss_of_all.check(LossInputs({}, {"image": eye}, {}, {}, aux | {MATCH: logits.T * math.inf}))


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "n"), [(0.01, 1), (0.3, 1), (0.5, 2), (1.0, 4)])
def test_number_of_masked_cells_matches_rate(rate: float, n: int) -> None:
    """Of 4 columns, others in each case and step; the targets are the original cells."""
    (_, part), inputs = made(mask_rate=rate), make_inputs(SPEC, 64)
    output, again = pretrained(part, inputs), pretrained(part, inputs, seed=1)
    hidden = output.aux[AUX[2]]
    assert hidden.sum(1).tolist() == [n] * 64
    assert bool(hidden.any(0).all())
    assert torch.equal(hidden, again.aux[AUX[2]]) == (rate == 1)
    assert torch.equal(output.aux[AUX[0]], inputs["table0"].numerical)
    assert torch.equal(output.aux[AUX[1]], inputs["table0"].categorical)


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice",
    [None, "feature", {"name": "periodic", "missing": "mask"}, {"name": "piecewise_linear", "missing": "impute"}],
)
def test_masked_cells_do_not_reach_predictions(choice: Any) -> None:
    """With all cells masked, their predictions depend on the image and not on the cells."""
    (_, part), inputs = made(mask_rate=1.0, tabular_tokenizer=choice), make_inputs(SPEC, N)
    told = pretrained(part, inputs).aux[PREDICTED]
    other = make_inputs(SPEC, N, seed=1)
    assert torch.equal(pretrained(part, inputs | {"table0": other["table0"]}).aux[PREDICTED], told)
    assert not torch.equal(pretrained(part, inputs | {"image0": other["image0"]}).aux[PREDICTED], told)


@pytest.mark.slow
def test_cells_are_predicted_from_their_own_tokens() -> None:
    """Values of the numbers, then each column's categories, from that column's token."""
    (model, part), inputs = made(mask_rate=1.0), make_inputs(SPEC, N)
    told = pretrained(part, inputs).aux[PREDICTED]
    assert isinstance(part, TipPretraining)
    tokens = model.tokenize(inputs)[-1]
    nothing = Table(torch.full((N, 2), torch.nan), torch.full((N, 2), -1))
    x = model.layers[0].ask(tokens | {"table0": model.tokenizers["table0"](nothing)[0]}).x
    values = [F.linear(x[:, 1 + j], part.number.weight, part.number.bias) for j in range(2)]
    sex, place = part.category(x[:, 3])[:, :2], part.category(x[:, 4])[:, 2:]
    torch.testing.assert_close(told, torch.cat([*values, sex, place], 1))


@pytest.mark.slow
def test_matching_pairs_and_negatives() -> None:
    """The first row pairs a case with itself; the others are with another case's table or images."""
    (model, part), inputs = made(), make_inputs(SPEC, N)
    logits = pretrained(part, inputs).aux[MATCH].T
    joint, match, tokens = model.layers[0], part.match, model.tokenize(inputs)[-1]
    every = torch.stack(
        [
            match(joint.ask(tokens | {"table0": type(one)(one.x.roll(-shift, 0))}).x[:, 0]).squeeze(1)
            for one in [tokens["table0"]]
            for shift in range(N)
        ]
    )  # (shift, case of the images): the table of case i + shift
    torch.testing.assert_close(logits[0], every[0])
    for i in range(N):
        other_tables = every[1:, i]
        other_images = torch.stack([every[(i - j) % N, j] for j in range(N) if j != i])
        assert (other_tables - logits[1, i]).abs().min() < 1e-5
        assert (other_images - logits[2, i]).abs().min() < 1e-5


@pytest.mark.slow
def test_missing_modality_has_no_effect_on_pretraining() -> None:
    """Bit for bit, table or image; a case that lacks a side is in no pair and its cells are not predicted."""
    (_, part), inputs = made(), make_inputs(SPEC, N)
    there = torch.arange(N) % 3 != 0
    for missing in ("table0", "image0"):
        present = {missing: there}
        output, other = pretrained(part, inputs, present), pretrained(part, spoilt(inputs, missing, there), present)
        pairs = zip(
            (*output.embeddings.values(), *output.aux.values()), (*other.embeddings.values(), *other.aux.values())
        )
        assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in pairs)
        if missing == "table0":
            assert output.aux[COUNTED].tolist() == [[one] * 3 for one in there.tolist()]
            assert not bool(output.aux[AUX[2]][~there].any())
            assert not bool(output.embeddings["table0"][~there].any())
        else:  # the other image is left
            assert bool(output.aux[COUNTED].all())


@pytest.mark.slow
@pytest.mark.parametrize("left_out", [False, True])
def test_pretraining_without_tables_is_zero(left_out: bool) -> None:
    (_, part), inputs = made(), make_inputs(SPEC, N)
    present = {"table0": torch.zeros(N, dtype=torch.bool)}
    if left_out:
        del inputs["table0"]
    output = pretrained(part, inputs, present)
    losses = part.loss(loss_inputs(output, {}, present))
    assert {name: loss.item() for name, loss in losses.items()} == {
        "contrast": 0,
        "matching": 0,
        "reconstruction": 0,
    }


@pytest.mark.slow
def test_pretraining_of_batch_of_one() -> None:
    """No other case to contrast or match with; its cells can be predicted."""
    (_, part), inputs = made(), rows(make_inputs(SPEC, N), torch.tensor([0]))
    output = pretrained(part, inputs)
    losses = part.loss(loss_inputs(output, {}, {}))
    assert losses["contrast"].item() == losses["matching"].item() == 0
    assert losses["reconstruction"].item() > 0


@pytest.mark.slow
@pytest.mark.parametrize("columns", [Columns(("age",)), Columns((), (("sex", 2),))])
def test_one_kind_of_columns(columns: Columns) -> None:
    spec = mmf.DataSpec({"photo": mmf.Image(1, (16, 16)), "meta": columns}, n_classes=2)
    model = mmf.create_model("tip", spec, **SMALL, pretrain=True)
    part = pretraining_of(model)
    table = Table(torch.randn(N, len(columns.numerical)), torch.zeros(N, len(columns.categorical)).long())
    inputs: dict[str, Tensor | Table] = {"photo": torch.rand(N, 1, 16, 16), "meta": table}
    losses = part.loss(loss_inputs(pretrained(part, inputs), {}, {}))
    assert all(bool(loss.isfinite()) for loss in losses.values())
    sum(losses.values()).backward()
    assert [key for key, p in part.named_parameters() if p.grad is None and "head" not in key] == []


@pytest.mark.slow
def test_pretraining_runs_on_meta_device() -> None:
    with torch.device("meta"):
        part = pretraining_of(mmf.create_model("tip", SPEC, **SMALL, pretrain=True))
    inputs = {
        key: Table(*(part.to("meta") for part in value)) if isinstance(value, Table) else value.to("meta")
        for key, value in make_inputs(SPEC, N).items()
    }
    losses = part.loss(loss_inputs(pretrained(part, inputs), {}, {}))
    sum(losses.values()).backward()
    assert all(loss.device.type == "meta" for loss in losses.values())


@pytest.mark.slow
def test_pretraining_lowers_losses() -> None:
    """A table that describes the image: in a few steps contrast and matching fall well below chance."""
    spec = mmf.DataSpec({"photo": mmf.Image(1, (16, 16)), "meta": Columns((), (("shade", 4),))}, n_classes=2)
    torch.manual_seed(0)
    model = mmf.create_model("tip", spec, **SMALL | {"projection": 16}, pretrain=True)
    codes = torch.arange(N) % 4
    photo = (codes.float() / 3).view(-1, 1, 1, 1).expand(-1, 1, 16, 16)
    inputs = {"photo": photo, "meta": Table(torch.zeros(N, 0), codes.unsqueeze(1))}
    phase = phases_of(model)[0]
    optimizer = torch.optim.Adam([p for group in phase.parameters for p in group.parameters], lr=3e-3)
    seen = []
    for _ in range(60):
        losses = phase.loss(loss_inputs(phase.model(inputs), {}, {}))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        seen.append({name: loss.item() for name, loss in losses.items()})
    assert seen[-1]["reconstruction"] < 0.3 * seen[0]["reconstruction"]
    assert seen[-1]["contrast"] < 0.6 * math.log(N) / 3  # two cases of each shade: ln 2 is the least


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_rate": 0.0}, "mask_rate expects float above 0 to 1, got 0.0"),
        ({"mask_rate": 1.1}, "mask_rate expects float above 0 to 1, got 1.1"),
        ({"projection": 0}, "projection expects int from 1 to 16384, got 0"),
        ({"temperature": 0.0}, "temperature expects float from 0.0001 to 10000, got 0.0"),
    ],
)
def test_invalid_options_raise(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)


@pytest.mark.slow
def test_pretraining_without_column_tokens_raises() -> None:
    """The error names the tokenizer; without pretraining it works, as the contract of tokenizers has it."""
    for name, kind in (("mlp", "TableMLP"), ("tabtransformer", "TabTransformer"), ("trees", "TreeTokenizer")):
        with pytest.raises(ValueError, match=f"{kind} does not make one token per column: take one that does"):
            made(tabular_tokenizer=name)
    assert made(tabular_tokenizer={"name": "text", "encoder": FakeEncoder()})[1] is not None


@pytest.mark.slow
def test_run_resumed_in_pretraining_matches_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmfusion.training.loop import Training

    def started(name: str) -> Path:
        base = {
            "run": {"out": str(tmp_path / name), "device": "cpu"},
            "train": {"epochs": 2, "batch_size": 16, "resamples": 20, "phase_epochs": {"pretrain": 3}},
            "data": {"n_train": 48, "n_validation": 32, "n_test": 32, "size": 32},
            "model": {"dim": 16, "n_heads": 2, "hidden": [16], "pretrain": True},
        }
        return run.start(settings.resolve("tip", "synthetic_derm7pt", [base])).folder

    whole = started("whole")
    assert [entry["phase"] for entry in read_json(whole / folder.HISTORY)] == ["pretrain"] * 3 + ["finetune"] * 2
    real, left = Training._epoch, [2]

    def stopped(self: Any, *arguments: Any, **options: Any) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, *arguments, **options)

    monkeypatch.setattr(Training, "_epoch", stopped)
    with pytest.raises(run.Interrupted):
        started("cut")
    left[0] = 2
    with pytest.raises(run.Interrupted):
        run.resume(tmp_path / "cut")
    left[0] = 9
    run.resume(tmp_path / "cut")
    assert (tmp_path / "cut" / folder.PREDICTIONS).read_bytes() == (whole / folder.PREDICTIONS).read_bytes()
    found, expected = (checkpoints.load(out / checkpoints.BEST)[0] for out in (tmp_path / "cut", whole))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
