import inspect
from typing import Any

import pytest

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE
from helpers.small import make_inputs, make_labels, make_spec
from mmfusion import registry
from mmfusion.models.ablations import ablate
from mmfusion.training.fitting import learning


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """A model of one's own with ablations, and the table to change."""
    table: dict[str, dict[str, Any]] = {"no-gate": {"gate": False}, "narrow": {"dim": 4}}

    def build(spec: mmf.DataSpec, *, gate: bool = True, dim: int = 8) -> None: ...

    for kind, builder in ((registry.models, build), (registry.ablations, lambda: table)):
        kind.list()
        monkeypatch.setitem(kind._builders, "mine", builder)
    return table


def test_ablate_lists_full_method_first(mine: dict[str, dict[str, Any]]) -> None:
    assert ablate("mine") == {"full": {}, "no-gate": {"gate": False}, "narrow": {"dim": 4}}
    assert list(ablate("mine")) == ["full", "no-gate", "narrow"]
    assert ablate("mine", ["narrow", "full"]) == {"full": {}, "narrow": {"dim": 4}}


@pytest.mark.parametrize(
    ("model", "only", "change", "message"),
    [
        ("concat", (), {}, r"model 'concat' has no ablations; there are some of: .*cfcml"),
        ("mien", (), {}, "unknown model 'mien'; did you mean 'mine'"),
        ("mine", ("no-gat",), {}, "has no ablation 'no-gat'; did you mean 'no-gate'"),
        (
            "mine",
            (),
            {"odd": {"gat": False}},
            "ablation 'odd' of model 'mine' has no option 'gat'; did you mean 'gate'",
        ),
        ("mine", (), {"a/b": {}}, "becomes a folder's: letters, digits, - and _, got 'a/b'"),
    ],
)
def test_invalid_ablations_raise(
    mine: dict[str, dict[str, Any]], model: str, only: tuple[str, ...], change: dict[str, Any], message: str
) -> None:
    mine.update(change)
    with pytest.raises(ValueError, match=message):
        ablate(model, only)


def test_cfcml_ablations_cover_all_parts() -> None:
    table = ablate("cfcml")
    expected = {
        "full": {},
        "no-multigranularity": {"multigranularity": False},
        "no-enhancement": {"enhancement": False},
        "no-sample-anchor": {"sample_weight": 0.0},
        "no-unimodal-anchor": {"unimodal_weight": 0.0},
        "no-crossmodal-anchor": {"crossmodal_weight": 0.0},
        "no-anchors": {"sample_weight": 0.0, "unimodal_weight": 0.0, "crossmodal_weight": 0.0},
        "detached-stages": {"detach_stages": True},
        "attached-stages": {"detach_stages": False},
        "merge-single": {"merge": "single"},
    }
    expected |= {f"tokenizer-{name}": {"tabular_tokenizer": name} for name in registry.tabular_tokenizers.list()}
    expected |= {f"compression-{name}": {"compression": name} for name in registry.compressions.list()}
    assert table == expected
    defaults = {name: option.default for name, option in registry.models.options("cfcml").items()}
    assert defaults["tabular_tokenizer"] in registry.tabular_tokenizers
    assert defaults["compression"] in registry.compressions
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in registry.models.options("cfcml").values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if i % 3 == 0 else EXHAUSTIVE)
        for i, name in enumerate(ablate("cfcml"))
        if name != "tokenizer-text"
    ],
)
def test_cfcml_ablations_build(name: str) -> None:
    spec = make_spec(images=2)
    model = mmf.create_model("cfcml", spec, dim=16, image_latents=4, table_latents=4, **ablate("cfcml")[name])
    inputs = make_inputs(spec, 6)
    for key, tokenizer in learning(model):
        tokenizer.fit(inputs[key], make_labels(spec, 6)["label"])
    assert model.eval()(inputs).logits.shape == (6, 3)
