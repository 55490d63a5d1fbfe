"""What every registered tabular tokenizer keeps, whatever columns it is for and whatever is missing."""

import copy
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE, every_compiler, within
from helpers.small import loss_inputs, make_inputs, make_labels, spoilt
from helpers.text import FakeEncoder
from mmfusion.spec import Columns, DataSpec, Image, Wording
from mmfusion.tokenizers import TabularTokenizer, create_tabular_tokenizer
from mmfusion.tokens import Table, Tokens
from mmfusion.training.fitting import learners
from mmfusion.training.phases import phases_of

NAMES = mmf.registry.tabular_tokenizers.list()
NUMBERS, CATEGORIES = ("age", "size"), (("sex", 2), ("place", 4))
WORDINGS = (
    Wording(unit="years", mean=50.0, std=10.0, low=0.0, high=90.0, step=5.0),
    Wording("It measures {value} {unit}", "mm", mean=3.0, std=1.5, low=0.1, high=9.0),
    Wording(categories=("female", "male")),
    Wording("It is on the {value}", categories=("arm", "leg", "back", "face")),
)
COLUMNS: dict[str, Columns] = {
    "both": Columns(NUMBERS, CATEGORIES, WORDINGS),
    "numbers": Columns(NUMBERS, (), WORDINGS[:2]),
    "categories": Columns((), CATEGORIES, WORDINGS[2:]),
    "one_number": Columns(NUMBERS[:1]),
    "one_category": Columns((), CATEGORIES[:1]),
}
MISSING = ["token", "mask", "impute"]
CONDITIONS = ["everything", "cells_missing", "all_missing", "one_case"]
OPTIONS: dict[str, dict[str, Any]] = {
    "periodic": {"n_frequencies": 3, "scale": 0.1},
    "piecewise_linear": {"n_bins": 4},
    "text": {"encoder": FakeEncoder()},
    "trees": {"n_trees": 5, "depth": 3, "min_leaf": 1},
}
DIM, N = 8, 12
# The softmax does not change when all its scores move alike; over a single token it does not change at all.
WITHOUT_GRADIENT = ("key.bias",)
OF_SEVERAL_TOKENS = ("query.weight", "query.bias", "key.weight")

every_tokenizer = pytest.mark.parametrize("name", NAMES)
every_way = pytest.mark.parametrize("missing", MISSING)
some_columns = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in ("both", "one_number") else pytest.mark.slow) for kind in COLUMNS]
)


def choice(name: str, missing: str) -> dict[str, Any]:
    return {"name": name, "missing": missing, **OPTIONS.get(name, {})}


def empty(name: str, kind: str, missing: str, *, cls: bool = False) -> TabularTokenizer:
    return create_tabular_tokenizer(choice(name, missing), COLUMNS[kind], dim=DIM, cls=cls)


@cache
def build_tokenizer(name: str, kind: str, missing: str, cls: bool = False) -> TabularTokenizer:
    """Built and fitted once; tests leave it as they find it."""
    torch.manual_seed(0)
    tokenizer = empty(name, kind, missing, cls=cls)
    rows = table(kind, "cells_missing", n=80, seed=1)
    labels = (torch.cat([rows.numerical.nan_to_num(), rows.categorical.float()], 1).sum(1) > 1).long()
    tokenizer.fit(rows, labels)
    return tokenizer


def table(kind: str, condition: str, *, n: int = N, seed: int = 0) -> Table:
    """Random rows; the numbers are the same in half precision."""
    g, columns = torch.Generator().manual_seed(seed), COLUMNS[kind]
    n = 1 if condition == "one_case" else n
    numerical = torch.randn(n, len(columns.numerical), generator=g).bfloat16().float()
    categorical = torch.stack(
        [torch.randint(0, k, (n,), generator=g) for k in columns.cardinalities] or [torch.zeros(0, n).long()], -1
    ).view(n, -1)
    share = {"cells_missing": 0.35, "all_missing": 1.0}.get(condition, 0.0)
    numerical[torch.rand(numerical.shape, generator=g) < share] = torch.nan
    categorical[torch.rand(categorical.shape, generator=g) < share] = -1
    return Table(numerical, categorical)


def gone(rows: Table) -> Tensor:
    return torch.cat([rows.numerical.isnan(), rows.categorical < 0], 1)


def with_gradients(tokenizer: nn.Module, rows: Table) -> list[Tensor]:
    """Tokens, mask, then the gradient of every parameter."""
    (tokens,) = tokenizer(rows)
    mask = torch.ones(tokens.x.shape[:2], dtype=torch.bool) if tokens.mask is None else tokens.mask
    weights = torch.randn(tokens.x.shape, generator=torch.Generator().manual_seed(1)).to(tokens.x.dtype)
    return [
        tokens.filled().detach(),
        mask,
        *torch.autograd.grad((tokens.filled() * weights).sum(), tuple(tokenizer.parameters())),
    ]


@some_columns
@every_tokenizer
@within("missing", MISSING)
@within("condition", CONDITIONS)
def test_output_shape_is_finite_and_deterministic(name: str, kind: str, missing: str, condition: str) -> None:
    """Shapes; finite tokens and gradients; deterministic; a mask only where cells are masked."""
    tokenizer, rows = build_tokenizer(name, kind, missing), table(kind, condition)
    (tokens,) = tokenizer(rows)
    n = len(rows.numerical)
    assert tokens.x.shape == (n, tokenizer.n_tokens, tokenizer.dim) == (n, tokenizer.n_tokens, DIM)
    assert tokenizer.columns is COLUMNS[kind]
    assert (tokens.mask is None) == (missing != "mask")
    if tokens.mask is not None:
        assert (tokens.mask.dtype, tokens.mask.shape) == (torch.bool, tokens.x.shape[:2])
        assert bool(tokens.mask[~gone(rows).any(1)].all())
        assert not bool(tokens.mask[gone(rows).all(1)].any())
    found, again = (with_gradients(tokenizer, rows) for _ in range(2))
    assert all(bool(x.isfinite().all()) for x in [tokens.x, *found])
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


@some_columns
@every_tokenizer
@within("missing", MISSING)
def test_missing_cell_is_invariant_to_its_code(name: str, kind: str, missing: str) -> None:
    """Any NaN, any negative code: no bit of tokens, mask or gradients changes."""
    tokenizer, rows = build_tokenizer(name, kind, missing), table(kind, "cells_missing")
    other = torch.full_like(rows.numerical, -1).sqrt()  # of another sign than the constant
    changed = Table(
        torch.where(rows.numerical.isnan(), other, rows.numerical),
        torch.where(rows.categorical < 0, -7, rows.categorical),
    )
    pairs = zip(with_gradients(tokenizer, rows), with_gradients(tokenizer, changed), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


@every_tokenizer
@within("missing", MISSING)
def test_missing_cell_differs_from_present_cell(name: str, missing: str) -> None:
    """Each column alone changes the tokens, or their mask, when it is missing."""
    tokenizer, rows = build_tokenizer(name, "both", missing), table("both", "everything", n=40)
    (before,) = tokenizer(rows)
    for j in range(4):
        numerical, categorical = rows.numerical.clone(), rows.categorical.clone()
        part, column = (numerical, j) if j < 2 else (categorical, j - 2)
        part[:, column] = torch.nan if j < 2 else -1
        (after,) = tokenizer(Table(numerical, categorical))
        assert not torch.equal(after.filled(), before.filled())


@given(st.integers(0, 10**6), st.permutations(range(N)))
@settings(max_examples=2)
@some_columns
@every_tokenizer
@within("missing", MISSING)
def test_equivariant_to_case_order(name: str, kind: str, missing: str, seed: int, order: list[int]) -> None:
    tokenizer, rows = build_tokenizer(name, kind, missing), table(kind, "cells_missing", seed=seed)
    (whole,) = tokenizer(rows)
    for some in (order, order[:1]):
        (tokens,) = tokenizer(Table(rows.numerical[some], rows.categorical[some]))
        torch.testing.assert_close(tokens.filled(), whole.filled()[some], rtol=1e-4, atol=1e-5)
        assert tokens.mask is None or torch.equal(tokens.mask, whole.mask[some])


@some_columns
@every_tokenizer
@within("missing", MISSING)
def test_every_parameter_gets_gradient(name: str, kind: str, missing: str) -> None:
    tokenizer = build_tokenizer(name, kind, missing, True)
    _, _, *grads = with_gradients(tokenizer, table(kind, "cells_missing", n=40))
    names = [key for key, _ in tokenizer.named_parameters()]
    without = [key for key, grad in zip(names, grads, strict=True) if grad.numel() and not bool(grad.any())]
    exempt = WITHOUT_GRADIENT + (OF_SEVERAL_TOKENS if len(COLUMNS[kind].categorical) == 1 else ())
    assert [key for key in without if not key.endswith(exempt)] == []


@some_columns
@every_tokenizer
@within("missing", MISSING)
def test_state_dict_round_trip(name: str, kind: str, missing: str) -> None:
    """Into an unfitted instance, and into one built on the meta device: no state outside."""
    tokenizer, rows = build_tokenizer(name, kind, missing, True), table(kind, "cells_missing")
    with torch.device("meta"):
        elsewhere = empty(name, kind, missing, cls=True).to_empty(device="cpu")
    for other in (empty(name, kind, missing, cls=True), elsewhere, copy.deepcopy(tokenizer)):
        other.load_state_dict(tokenizer.state_dict())
        pairs = zip(with_gradients(other, rows), with_gradients(tokenizer, rows), strict=True)
        assert all(torch.equal(one, two) for one, two in pairs)


@every_tokenizer
@within("missing", MISSING)
def test_cls_token_comes_first(name: str, missing: str) -> None:
    """One token before the others, the same for all cases, unmasked also where all cells are missing."""
    tokenizer = build_tokenizer(name, "both", missing, True)
    for condition in CONDITIONS:
        rows = table("both", condition)
        (tokens,), own = tokenizer(rows), tokenizer.tokens(rows)
        assert tokens.x.shape[1] == tokenizer.n_tokens == own.x.shape[1] + 1
        assert torch.equal(tokens.x[:, 0], tokenizer.cls[0].expand(len(tokens.x), -1))
        assert torch.equal(tokens.x[:, 1:], own.x)
        if missing == "mask":
            assert bool(tokens.mask[:, 0].all())
            assert torch.equal(tokens.mask[:, 1:], own.mask)


@some_columns
@every_tokenizer
@within("missing", MISSING)
def test_runs_on_meta_device(name: str, kind: str, missing: str) -> None:
    """Built and run there unfitted, backward too: shapes only."""
    with torch.device("meta"):
        tokenizer = empty(name, kind, missing, cls=True)
    rows = Table(*(part.to("meta") for part in table(kind, "everything")))
    (tokens,) = tokenizer(rows)
    tokens.filled().sum().backward()
    assert (tokens.x.shape, tokens.x.device.type) == ((N, tokenizer.n_tokens, DIM), "meta")


@some_columns
@every_tokenizer
@within("missing", MISSING)
@within("dtype", [torch.float32, torch.bfloat16])
def test_precision_follows_module_dtype(name: str, kind: str, missing: str, dtype: torch.dtype) -> None:
    """A module cast to another precision computes in it, close to float64."""
    rows = table(kind, "cells_missing")
    double = rows.numerical.double()
    double[0, :1] = 0.1  # not a number of float32
    rows = Table(double.to(dtype), rows.categorical)
    half = copy.deepcopy(build_tokenizer(name, kind, missing, True)).to(dtype)
    exact = copy.deepcopy(build_tokenizer(name, kind, missing, True)).to(dtype).double()
    (found,), (expected,) = half(rows), exact(Table(rows.numerical.double(), rows.categorical))
    assert (found.x.dtype, expected.x.dtype) == (dtype, torch.float64)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 1e-1}[dtype]
    torch.testing.assert_close(found.filled().double(), expected.filled(), rtol=tolerance, atol=tolerance)


@every_tokenizer
@within("missing", MISSING)
def test_autocast_is_close_to_float32(name: str, missing: str) -> None:
    tokenizer, rows = build_tokenizer(name, "both", missing, True), table("both", "cells_missing")
    expected = with_gradients(tokenizer, rows)
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(tokenizer, rows)
    assert all(bool(x.isfinite().all()) for x in found)
    torch.testing.assert_close(found[0].float(), expected[0], rtol=5e-2, atol=5e-2)


@every_tokenizer
def test_invalid_options_raise(name: str) -> None:
    columns = COLUMNS["both"]
    with pytest.raises(ValueError, match="missing expects one of token, mask, impute, got 'zero'"):
        create_tabular_tokenizer(choice(name, "zero"), columns, dim=DIM)
    with pytest.raises(ValueError, match="dim expects int from 1 to 16384, got 0"):
        create_tabular_tokenizer(choice(name, "token"), columns, dim=0)
    with pytest.raises(
        ValueError, match=f"tabular tokenizer {name!r} has no option 'missings'; did you mean 'missing'"
    ):
        create_tabular_tokenizer({"name": name, "missings": "mask"}, columns, dim=DIM)


@every_tokenizer
@within(
    "cells",
    [
        (torch.zeros(2, 1), torch.zeros(2, 2).long()),
        (torch.zeros(2, 2), torch.zeros(2, 3).long()),
        (torch.zeros(2, 2), torch.zeros(3, 2).long()),
        (torch.zeros(2, 2).long(), torch.zeros(2, 2).long()),
        (torch.zeros(2, 2), torch.zeros(2, 2)),
        (torch.zeros(2, 2), torch.zeros(2, 2).int()),
        (torch.zeros(2), torch.zeros(2).long()),
        (torch.tensor(0.0), torch.zeros(2, 2).long()),
    ],
)
def test_mismatched_table_raises(name: str, cells: tuple[Tensor, Tensor]) -> None:
    tokenizer = build_tokenizer(name, "both", "impute")
    tokenizer(Table(torch.zeros(2, 2), torch.zeros(2, 2).long()))
    for method in (tokenizer, lambda rows: tokenizer.fit(rows, torch.tensor([0, 1]))):
        with pytest.raises(ValueError, match=r"(numerical|categorical) cells must be .* of shape \(.*, 2\)"):
            method(Table(*cells))


@every_way
@pytest.mark.parametrize(
    "kind",
    [
        "both",
        *(pytest.param(kind, marks=EXHAUSTIVE) for kind in ("numbers", "categories")),
    ],
)
@every_compiler
@every_tokenizer
def test_compiles_without_graph_break(name: str, backend: str, kind: str, missing: str) -> None:
    """As one graph, with the same numbers and gradients."""
    tokenizer, rows = build_tokenizer(name, kind, missing, True), table(kind, "cells_missing")
    torch.compiler.reset()
    compiled = torch.compile(tokenizer, backend=backend, fullgraph=True)
    for one, other in zip(with_gradients(compiled, rows), with_gradients(tokenizer, rows), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@every_way
@every_tokenizer
def test_exports(name: str, missing: str) -> None:
    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = build_tokenizer(name, "both", missing, True)

        def forward(self, numerical: Tensor, categorical: Tensor) -> Tensor:
            (tokens,) = self.tokenizer(Table(numerical, categorical))
            return tokens.filled()

    rows = table("both", "cells_missing")
    program = torch.export.export(Made(), tuple(rows))
    other = table("both", "cells_missing", seed=3)
    torch.testing.assert_close(program.module()(*other), Made()(*other), rtol=1e-4, atol=1e-5)


SPEC = DataSpec({"image0": Image(2, (16, 16)), "table0": COLUMNS["both"]}, n_classes=3)
SMALL: dict[str, dict[str, Any]] = {
    "cfcml": {"image_latents": 3, "table_latents": 2},
    "gated_query": {"depth": 1, "table_depth": 1},
    "healnet": {"depth": 1, "n_latents": 3},
    "mbt": {"depth": 2, "fusion_layer": 1},
    "mult": {"depth": 1, "self_depth": 1},
    "tabular": {"depth": 1},
    "tip": {"table_depth": 1, "joint_depth": 1},
}
MODELS = [name for name in mmf.registry.models.list() if "tabular_tokenizer" in mmf.registry.models.options(name)]
# A [CLS] is real whatever is missing, and some heads are told who has a table, not what is in it.
SEES_AN_EMPTY_TABLE = {"mbt", "tabular", "tip"} | {"gmu", "late", "max"}
# Each way with the models that tokens go into as they are, behind a compression and averaged; elsewhere the way that
# makes masks, which is what a model must cope with, and each model with tokenizers by turns.
EACH_WAY = ("cfcml", "concat", "tabular")
IN_A_MODEL = [
    pytest.param(
        model_name,
        name,
        way,
        marks=pytest.mark.slow if (model_name == "cfcml" and way != "impute") or i == j else EXHAUSTIVE,
    )
    for i, model_name in enumerate(MODELS)
    for j, name in enumerate(NAMES)
    for way in (MISSING if model_name in EACH_WAY else ["mask"])
]


def small(model_name: str, tabular_tokenizer: Any) -> mmf.FusionModel:
    options = {"dim": DIM, "hidden": (8,), "tabular_tokenizer": tabular_tokenizer} | SMALL.get(model_name, {})
    model: mmf.FusionModel = mmf.create_model(model_name, SPEC, **options).eval()
    return model


def test_every_model_with_a_table_accepts_all_tokenizers() -> None:
    assert set(mmf.registry.models.list()) - set(MODELS) == {"image"}
    for name in MODELS:
        option = mmf.registry.models.options(name)["tabular_tokenizer"]
        assert option.default is None or option.default in NAMES


@pytest.mark.parametrize(("model_name", "name", "missing"), IN_A_MODEL)
def test_trains_in_model(model_name: str, name: str, missing: str) -> None:
    """Chosen by option; losses and gradients; a missing table has no effect; loads into a fresh model."""
    model = small(model_name, choice(name, missing))
    rows, inputs = table("both", "cells_missing", n=80, seed=1), make_inputs(SPEC, N, missing_cells=True)
    phases = phases_of(model)
    assert {key for key, _ in learners(model, phases)} <= {"table0"}
    for _, part in learners(model, phases):
        part.fit(rows, torch.arange(80) % 3)
    for phase in phases:
        losses = phase.loss(loss_inputs((phase.model or model)(inputs), make_labels(SPEC, N)))
        sum(losses.values()).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []
    there = torch.arange(N) % 3 > 0
    for row in (there, torch.zeros_like(there)):
        present = {"table0": row}
        expected = model(inputs, present).logits
        assert bool(expected.isfinite().all())
        assert torch.equal(model(spoilt(inputs, "table0", row), present).logits, expected)
    if missing == "mask" and model_name not in SEES_AN_EMPTY_TABLE:
        cells = Table(torch.full((N, 2), torch.nan), torch.full((N, 2), -1))
        without = model({**inputs, "table0": cells}).logits
        assert torch.equal(without, model(inputs, {"table0": torch.zeros(N, dtype=torch.bool)}).logits)
    other = small(model_name, choice(name, missing))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(inputs).logits, model(inputs).logits)


@pytest.mark.slow
def test_default_tokenizers_of_models() -> None:
    """The default of each model; the context of map fusions comes first, if any."""
    found: dict[str, list[str]] = {}
    for name in MODELS:
        model = mmf.create_model(name, SPEC, dim=DIM)
        context = {} if model.context is None else model.context.tokenizers
        parts = [places["table0"] for places in (context, model.tokenizers) if "table0" in places]
        found.setdefault(" ".join(type(part).__name__ for part in parts), []).append(name)
    assert found == {
        "": ["mmcl_image"],  # which looks at the table in its pretraining alone
        "CompressedTable": ["cfcml"],
        "FeatureTokenizer": ["healnet", "mbt", "mult", "tabular"],
        "KnownCells": ["gated_query"],
        "TableCells": ["daft", "film", "hyperfusion", "metablock", "metanet", "mul"],
        "TableCells TableMLP": ["mmtm"],
        "TipTableEncoder": ["tip"],
        "TableMLP": ["amf", "concat", "gmu", "late", "lmf", "max", "mmcl", "tabular_mlp", "tformer"],
    }
    assert type(mmf.create_model("cfcml", SPEC, dim=DIM).tokenizers["table0"].tokenizer).__name__ == "FeatureTokenizer"
    assert isinstance(build_tokenizer("feature", "both", "token")(table("both", "everything"))[0], Tokens)
