"""What every registered interaction keeps, whatever it is given: one contract over names, modalities and masks."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mmfusion as mmf
from helpers.marks import EXHAUSTIVE, every_compiler, within
from mmfusion.tokens import Tokens

NAMES = mmf.registry.token_fusions.list()
LAYOUTS: dict[str, dict[str, int]] = {
    # Tokens of each modality.
    "one": {"a": 5},
    "two": {"a": 5, "b": 3},
    "four": {"a": 5, "b": 3, "c": 2, "d": 4},
}
B, DIM = 5, 8
# The softmax does not change when all its scores move alike: the bias of a key has a gradient of zero.
WITHOUT_GRADIENT = ("key.bias",)
# Each token is followed by its completion, so there are twice as many.
DOUBLES = ("crossmodal_enhancement",)
# The first token of a source is its [CLS], by which its gate is set.
FIRST_TOKEN_COUNTS = ("gated_query",)

every_interaction = pytest.mark.parametrize("name", NAMES)
# Two have what four have, but for the set between without a mask; one has less.
every_layout = pytest.mark.parametrize(
    "layout", [pytest.param(layout, marks=() if layout == "four" else pytest.mark.slow) for layout in LAYOUTS]
)
masked_or_not = within("masked", [False, True])


@cache
def build_block(name: str, layout: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Built once, with its default options; tests leave it as they find it."""
    torch.manual_seed(0)
    block: nn.Module = mmf.registry.token_fusions.create(name, tuple(LAYOUTS[layout]), dim=DIM).to(dtype).eval()
    return block


def tokens_of(layout: str, masked: bool, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tokens]:
    """Random tokens. Where masked: case 0 lacks everything, case 1 the first modality, case 2 the last, and of the rest
    a third is masked but for the first token; the second modality has no mask.
    """
    g, counts = torch.Generator().manual_seed(seed), LAYOUTS[layout]
    tokens = {}
    for name, n in counts.items():
        x = torch.randn(B, n, DIM, generator=g).to(dtype)
        mask = torch.rand(B, n, generator=g) < 2 / 3
        mask[:, 0] = True
        mask[0] = False
        if name == next(iter(counts)):
            mask[1] = False
        if name == next(reversed(counts)):
            mask[2] = False
        tokens[name] = Tokens(x, mask if masked and (name != "b" or len(counts) < 3) else None)
    return tokens


def spoilt(tokens: dict[str, Tokens], content: float) -> dict[str, Tokens]:
    return {
        name: one if one.mask is None else Tokens(torch.where(one.mask.unsqueeze(-1), one.x, content), one.mask)
        for name, one in tokens.items()
    }


def rows(tokens: dict[str, Tokens], order: list[int]) -> dict[str, Tokens]:
    return {name: Tokens(one.x[order], None if one.mask is None else one.mask[order]) for name, one in tokens.items()}


def positions(tokens: Tokens, order: list[int]) -> Tokens:
    return Tokens(tokens.x[:, order], None if tokens.mask is None else tokens.mask[:, order])


def filled(out: dict[str, Tokens]) -> list[Tensor]:
    return [one.filled() for one in out.values()]


def with_gradients(block: nn.Module, tokens: dict[str, Tokens]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """What goes out; the gradients of the tokens; those of the parameters."""
    leaves = {name: one.x.detach().requires_grad_() for name, one in tokens.items()}
    out = filled(block({name: Tokens(x, tokens[name].mask) for name, x in leaves.items()}))
    g = torch.Generator().manual_seed(1)
    total = sum((x * torch.randn(x.shape, generator=g).to(x.dtype)).sum() for x in out)
    grads = torch.autograd.grad(total, [*leaves.values(), *block.parameters()], allow_unused=True)
    n = len(leaves)
    of_tokens = [torch.zeros_like(x) if grad is None else grad for x, grad in zip(leaves.values(), grads)]
    return [x.detach() for x in out], of_tokens, [x for x in grads[n:] if x is not None]


@every_layout
@every_interaction
@masked_or_not
def test_output_sets_masks_and_shapes(name: str, layout: str, masked: bool) -> None:
    """The modalities in their order, then added sets; the same masks; finite; deterministic."""
    block, tokens = build_block(name, layout), tokens_of(layout, masked)
    out = block(tokens)
    assert tuple(out)[: len(tokens)] == tuple(tokens)
    width = getattr(block, "dim_out", DIM)
    for key, one in out.items():
        assert one.x.shape[0] == B
        assert one.x.shape[2] == width
        assert one.mask is None or (one.mask.dtype, one.mask.shape) == (torch.bool, one.x.shape[:2])
        assert bool(one.filled().isfinite().all())
        if key not in tokens:
            continue
        times = 2 if name in DOUBLES else 1
        assert one.x.shape[1] == times * tokens[key].x.shape[1]
        assert (one.mask is None) == (tokens[key].mask is None)
        if one.mask is not None:
            assert torch.equal(one.mask, tokens[key].mask.repeat(1, times))
    again = block(tokens)
    assert all(torch.equal(a, b) for a, b in zip(filled(out), filled(again), strict=True))


@given(st.integers(0, 10**6), st.sampled_from([math.nan, math.inf, -math.inf, 1e30]))
@settings(max_examples=2)
@every_layout
@every_interaction
def test_masked_content_has_no_effect(name: str, layout: str, seed: int, content: float) -> None:
    """On any bit of the output or of a gradient, and no gradient reaches it; also of a wholly masked modality."""
    block, tokens = build_block(name, layout), tokens_of(layout, True, seed=seed)
    one, other = with_gradients(block, tokens), with_gradients(block, spoilt(tokens, content))
    for expected, found in zip(one, other, strict=True):
        assert all(bool(x.isfinite().all()) for x in found)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    for grad, given_tokens in zip(other[1], tokens.values(), strict=True):
        if given_tokens.mask is not None:
            assert not bool(grad[~given_tokens.mask].any())


@every_layout
@every_interaction
def test_mask_of_ones_equals_no_mask(name: str, layout: str) -> None:
    block, tokens = build_block(name, layout), tokens_of(layout, False)
    full = {key: Tokens(one.x, torch.ones(one.x.shape[:2], dtype=torch.bool)) for key, one in tokens.items()}
    for one, other in zip(filled(block(full)), filled(block(tokens)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@every_layout
@every_interaction
def test_masked_tokens_equal_removed_tokens(name: str, layout: str) -> None:
    """Additional masked tokens at the end change nothing."""
    block, tokens = build_block(name, layout), tokens_of(layout, False)
    longer = {}
    for key, one in tokens.items():
        x = torch.cat([one.x, torch.full((B, 2, DIM), 7.0)], 1)
        longer[key] = Tokens(x, (torch.arange(x.shape[1]) < one.x.shape[1]).expand(B, -1))
    out, padded = block(tokens), block(longer)
    for key, one in out.items():
        found = padded[key].x
        if padded[key].mask is not None:
            found = found[padded[key].mask].view(B, -1, found.shape[2])
        torch.testing.assert_close(found, one.x, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 10**6), st.permutations(range(B)))
@settings(max_examples=2)
@every_layout
@every_interaction
@masked_or_not
def test_equivariant_to_case_order(name: str, layout: str, masked: bool, seed: int, order: list[int]) -> None:
    block, tokens = build_block(name, layout), tokens_of(layout, masked, seed=seed)
    whole = block(tokens)
    for chosen in (order, order[:1]):
        some = block(rows(tokens, chosen))
        for one, other in zip(filled(some), filled(rows(whole, chosen)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 10**6), st.data())
@settings(max_examples=2)
@every_layout
@every_interaction
@masked_or_not
def test_equivariant_to_token_order(name: str, layout: str, masked: bool, seed: int, data: st.DataObject) -> None:
    """Permuted tokens of a modality come out permuted, and all other sets are unchanged."""
    block, tokens = build_block(name, layout), tokens_of(layout, masked, seed=seed)
    out = block(tokens)
    for key, one in (next(iter(tokens.items())), *list(tokens.items())[1:][-1:]):
        n = one.x.shape[1]
        first = [0] if name in FIRST_TOKEN_COUNTS else []
        order = first + data.draw(st.permutations(range(len(first), n)))
        moved = block(tokens | {key: positions(one, order)})
        twice = order + [n + i for i in order] if name in DOUBLES else order
        for other, expected in out.items():
            if other == "joint" and other not in tokens and key in getattr(block, "queries", ()):
                expected = positions(expected, order)
            elif other == key:
                expected = positions(expected, twice)
            torch.testing.assert_close(moved[other].filled(), expected.filled(), rtol=1e-4, atol=1e-5)


@every_interaction
def test_modalities_exchange_information(name: str) -> None:
    """A change of one changes some other set; except for the blocks that keep them apart."""
    block, tokens = build_block(name, "four"), tokens_of("four", True)
    out = block(tokens)
    seen = set()
    for key in tokens:
        changed = block(tokens | {key: Tokens(tokens[key].x.flip(0), tokens[key].mask)})
        seen |= {
            other for other in out if other != key and not torch.equal(changed[other].filled(), out[other].filled())
        }
    assert bool(seen) == (name not in ("projection", "self_attention"))


@every_layout
@every_interaction
@masked_or_not
def test_every_parameter_gets_gradient(name: str, layout: str, masked: bool) -> None:
    block = build_block(name, layout)
    _, _, grads = with_gradients(block, tokens_of(layout, masked))
    names = [key for key, _ in block.named_parameters()]
    assert len(grads) == len(names)
    without = [key for key, grad in zip(names, grads, strict=True) if not bool(grad.any())]
    assert [key for key in without if not key.endswith(WITHOUT_GRADIENT)] == []


@every_interaction
def test_gradcheck(name: str) -> None:
    block, tokens = build_block(name, "two", torch.float64), tokens_of("two", True, dtype=torch.float64)

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        out = block({key: Tokens(x, tokens[key].mask) for key, x in zip(tokens, leaves, strict=True)})
        return tuple(filled(out))

    leaves = tuple(one.x.requires_grad_() for one in tokens.values())
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-2), (torch.bfloat16, 2e-1)])
@every_interaction
@masked_or_not
def test_half_precision_is_close_to_float64(name: str, dtype: torch.dtype, tolerance: float, masked: bool) -> None:
    """In the dtype of the input, and under autocast."""
    tokens = tokens_of("four", masked, dtype=dtype)
    exact = filled(build_block(name, "four", torch.float64)(tokens_of("four", masked, dtype=torch.float64)))
    for one, expected in zip(filled(build_block(name, "four", dtype)(tokens)), exact, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), expected, rtol=tolerance, atol=tolerance)
    with torch.autocast("cpu", dtype):
        found = with_gradients(build_block(name, "four"), tokens_of("four", masked))
    assert all(bool(x.isfinite().all()) for part in found for x in part)
    for one, expected in zip(found[0], exact, strict=True):
        torch.testing.assert_close(one.double(), expected, rtol=tolerance, atol=tolerance)


@masked_or_not
@pytest.mark.parametrize(
    "layout", [pytest.param(layout, marks=() if layout == "two" else pytest.mark.slow) for layout in LAYOUTS]
)
@every_interaction
def test_runs_on_meta_device(name: str, layout: str, masked: bool) -> None:
    """Built and run there, backward too: shapes only."""
    with torch.device("meta"):
        block = mmf.registry.token_fusions.create(name, tuple(LAYOUTS[layout]), dim=DIM)
    tokens = {
        key: Tokens(one.x.to("meta").requires_grad_(), None if one.mask is None else one.mask.to("meta"))
        for key, one in tokens_of(layout, masked).items()
    }
    out = block(tokens)
    sum(one.filled().sum() for one in out.values()).backward()
    here = build_block(name, layout)(tokens_of(layout, masked))
    assert {key: one.x.shape for key, one in out.items()} == {key: one.x.shape for key, one in here.items()}
    assert all(one.x.device.type == "meta" for one in out.values())


@every_layout
@every_interaction
def test_state_dict_round_trip(name: str, layout: str) -> None:
    """Into another instance, and into one built on the meta device: no state outside."""
    block, tokens, names = build_block(name, layout), tokens_of(layout, True), tuple(LAYOUTS[layout])
    with torch.device("meta"):
        empty = mmf.registry.token_fusions.create(name, names, dim=DIM).to_empty(device="cpu")
    for other in (mmf.registry.token_fusions.create(name, names, dim=DIM), empty):
        other.eval().load_state_dict(block.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(filled(other(tokens)), filled(block(tokens)), strict=True))


@pytest.mark.parametrize("names", [("a",), ("b", "a"), ("a", "b", "c"), ("a", "x")])
@every_interaction
def test_unknown_modalities_raise(name: str, names: tuple[str, ...]) -> None:
    given_tokens = {key: Tokens(torch.zeros(1, 2, DIM)) for key in names}
    with pytest.raises(ValueError, match=r"built for the modalities \('a', 'b'\), got"):
        build_block(name, "two")(given_tokens)


@pytest.mark.parametrize(
    ("layout", "masked"),
    [
        ("two", True),
        *(pytest.param("four", masked, marks=EXHAUSTIVE) for masked in (False, True)),
    ],
)
@every_compiler
@every_interaction
def test_compiles_without_graph_break(name: str, backend: str, layout: str, masked: bool) -> None:
    """As one graph, with the same numbers; masked content has no effect there either."""
    block, tokens = build_block(name, layout), tokens_of(layout, masked)
    torch.compiler.reset()
    compiled = torch.compile(block, backend=backend, fullgraph=True)
    found = filled(compiled(tokens))
    for one, other in zip(found, filled(block(tokens)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    if masked:
        again = filled(compiled(spoilt(tokens, math.nan)))
        assert all(torch.equal(one, other) for one, other in zip(again, found, strict=True))
