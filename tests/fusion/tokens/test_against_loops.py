"""Every attention block against loops over scalars in double precision, with masks and a modality that is missing."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from helpers import attention_reference as ref
from mmfusion.fusion.tokens import Bottleneck, Directional, GatedQuery, JointAttention, Latent, Query, SelfAttention
from mmfusion.tokens import Tokens

NAMES = ("a", "b", "c")
COUNTS = {"a": 3, "b": 2, "c": 2}
DIM, HEADS = 4, 2
Case = tuple[dict[str, ref.Rows], dict[str, list[bool]]]


def batch() -> dict[str, Tokens]:
    """Case 0 has everything, case 1 a masked token of a and of c, case 2 no b, case 3 no c but for its first token."""
    g = torch.Generator().manual_seed(0)
    x = {name: torch.randn(4, n, DIM, generator=g, dtype=torch.float64) for name, n in COUNTS.items()}
    mask = {name: torch.ones(4, n, dtype=torch.bool) for name, n in COUNTS.items()}
    mask["a"][1, 2] = mask["c"][1, 1] = mask["c"][3, 1] = False
    mask["b"][2] = False
    return {name: Tokens(x[name], mask[name]) for name in NAMES}


def random(block: nn.Module) -> nn.Module:
    """In double precision, with weights that make every part count."""
    g = torch.Generator().manual_seed(1)
    block = block.double().eval()
    for parameter in block.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return block


def cases(tokens: dict[str, Tokens]) -> list[Case]:
    return [
        ({k: one.x[i].tolist() for k, one in tokens.items()}, {k: one.mask[i].tolist() for k, one in tokens.items()})
        for i in range(4)
    ]


def agree(block: nn.Module, by_hand: Callable[[dict[str, object], Case], dict[str, ref.Rows]]) -> None:
    """At every real token, of what the reference says something of."""
    tokens = batch()
    out, state = block(tokens), ref.plain(block.state_dict())
    for i, case in enumerate(cases(tokens)):
        for name, rows in by_hand(state, case).items():
            found, mask = out[name].x[i], out[name].mask
            real = [True] * len(rows) if mask is None else mask[i].tolist()
            assert len(real) == len(rows)
            for row, expected, counts in zip(found.tolist(), rows, real, strict=True):
                if counts:
                    assert row == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("out_norm", [False, True])
@pytest.mark.parametrize("input_norm", [False, True])
def test_self_attention_matches_loops(input_norm: bool, out_norm: bool) -> None:
    """Each modality by itself; normalization before the attention and after the block, or neither."""

    def by_hand(state: dict[str, object], case: Case) -> dict[str, ref.Rows]:
        tokens, real = case
        out = {
            name: ref.transformer(ref.under(state, f"blocks.{name}"), tokens[name], HEADS, real[name]) for name in NAMES
        }
        if out_norm:
            out = {name: [ref.norm(ref.under(state, f"out_norms.{name}"), row) for row in x] for name, x in out.items()}
        return out

    block = random(SelfAttention(NAMES, dim=DIM, n_heads=HEADS, input_norm=input_norm, out_norm=out_norm))
    assert ("blocks.a.norm1.weight" in block.state_dict()) == input_norm
    agree(block, by_hand)


def test_joint_attention_matches_loops() -> None:
    """All tokens are one sequence."""

    def by_hand(state: dict[str, object], case: Case) -> dict[str, ref.Rows]:
        tokens, real = case
        x, seen = [row for name in NAMES for row in tokens[name]], [r for name in NAMES for r in real[name]]
        for i in range(2):
            x = ref.transformer(ref.under(state, f"blocks.{i}"), x, HEADS, seen)
        return {"a": x[:3], "b": x[3:5], "c": x[5:]}

    agree(random(JointAttention(NAMES, dim=DIM, depth=2, n_heads=HEADS)), by_hand)


@pytest.mark.parametrize("fusion_layer", [0, 1, 2])
def test_bottleneck_matches_loops(fusion_layer: int) -> None:
    """MBT: separate below the fusion layer, then each attends with the bottlenecks, which are averaged."""

    def by_hand(state: dict[str, object], case: Case) -> dict[str, ref.Rows]:
        tokens, real = case
        tokens, shared = dict(tokens), state["bottlenecks"]
        for i in range(3):
            made = []
            for name in NAMES:
                block = ref.under(state, f"layers.{i}.{name}")
                if i < fusion_layer:
                    tokens[name] = ref.transformer(block, tokens[name], HEADS, real[name])
                    continue
                x = ref.transformer(block, tokens[name] + shared, HEADS, [*real[name], True, True])
                tokens[name] = x[: COUNTS[name]]
                if any(real[name]):
                    made.append(x[COUNTS[name] :])
            shared = ref.average(made) if made else shared
        return tokens

    block = Bottleneck(NAMES, dim=DIM, depth=3, fusion_layer=fusion_layer, n_bottlenecks=2, n_heads=HEADS)
    agree(random(block), by_hand)


@pytest.mark.parametrize(("expansion", "out_norm"), [(0, False), (2, False), (2, True)])
def test_directional_matches_loops(expansion: int, out_norm: bool) -> None:
    """MulT: for each ordered pair, the target's tokens attend to the source's; concatenated."""

    def by_hand(state: dict[str, object], case: Case) -> dict[str, ref.Rows]:
        tokens, real = case
        out = {}
        for target in NAMES:
            seen = []
            for source in (name for name in NAMES if name != target):
                x = [row if r else [0.0] * DIM for row, r in zip(tokens[target], real[target], strict=True)]
                for i in range(2):
                    block = ref.under(state, f"pairs.{target}.{source}.{i}")
                    x = ref.cross(block, x, tokens[source], HEADS, real[source])
                if out_norm:
                    x = [ref.norm(ref.under(state, f"out_norms.{target}.{source}"), row) for row in x]
                seen.append(x)
            out[target] = [one + other for one, other in zip(*seen, strict=True)]
        return out

    block = Directional(NAMES, dim=DIM, depth=2, n_heads=HEADS, expansion=expansion, out_norm=out_norm)
    agree(random(block), by_hand)


@pytest.mark.parametrize("share_layers", [False, True])
@pytest.mark.parametrize("self_attention", [False, True])
def test_latent_matches_loops(self_attention: bool, share_layers: bool) -> None:
    """HEALNet: one modality after the other; a missing one is skipped."""

    def by_hand(state: dict[str, object], case: Case) -> dict[str, ref.Rows]:
        tokens, real = case
        x = state["latents"]
        for i in range(2):
            layer = 0 if share_layers else i
            for name in NAMES:
                if any(real[name]):
                    x = ref.cross(ref.under(state, f"layers.{layer}.{name}"), x, tokens[name], HEADS, real[name])
            if self_attention:
                x = ref.transformer(ref.under(state, f"among.{layer}"), x, HEADS, [True] * len(x))
        return {"latents": x}

    block = Latent(
        NAMES,
        dim=DIM,
        n_latents=3,
        depth=2,
        n_heads=HEADS,
        self_attention=self_attention,
        share_layers=share_layers,
    )
    agree(random(block), by_hand)


def test_query_matches_loops() -> None:
    """TIP: the queries attend to each other and to the normalized others."""

    def by_hand(state: dict[str, object], case: Case) -> dict[str, ref.Rows]:
        tokens, real = case
        if not all(real["c"]):  # the reference's queries are all real
            return {}
        context = [ref.norm(ref.under(state, "norm_context"), row) for row in tokens["a"] + tokens["b"]]
        x = tokens["c"]
        for i in range(2):
            x = ref.query(ref.under(state, f"blocks.{i}"), x, context, HEADS, real["a"] + real["b"])
        return {"joint": [ref.norm(ref.under(state, "out_norm"), row) for row in x]}

    agree(random(Query(NAMES, dim=DIM, depth=2, n_heads=HEADS)), by_hand)


def test_gated_query_matches_loops() -> None:
    """RoVTL with two sources: the gate of a source whose tokens after the first are all masked is 0."""

    def by_hand(state: dict[str, object], case: Case) -> dict[str, ref.Rows]:
        tokens, real = case
        if not all(real["a"]):  # the reference's queries are all real
            return {}
        x = tokens["a"]
        for i in range(2):
            sources = {name: (tokens[name], real[name]) for name in ("b", "c")}
            x = ref.gated(ref.under(state, f"asking.a.{i}"), x, sources, HEADS)
        return {"a": x, "b": tokens["b"], "c": tokens["c"]}

    agree(random(GatedQuery(NAMES, dim=DIM, sources=("b", "c"), depth=2, n_heads=HEADS)), by_hand)
