"""The attention blocks against one attention over all tokens."""

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmfusion.fusion.tokens import (
    Bottleneck,
    CrossmodalEnhancement,
    Directional,
    GatedQuery,
    JointAttention,
    Latent,
    Query,
)
from mmfusion.layers.attention import CrossAttention
from mmfusion.tokens import Tokens
from speed.timing import DEVICE, medians, spread, verdict

TARGET = 1.5
REFERENCE = "one attention over all tokens"


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("attention", help="the attention blocks against one attention over all tokens")
    parser.add_argument("--modalities", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=200, help="of each modality")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--masked", action="store_true", help="with a fifth of the tokens masked")
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--repeats", type=int, default=15)
    parser.set_defaults(function=attention)


class AllTokens(nn.Module):
    """What the blocks are compared with: four projections and one ``scaled_dot_product_attention``, nothing else."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = CrossAttention(dim)

    def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """All tokens as one sequence that attends to itself."""
        x = torch.cat([one.x for one in tokens.values()], 1)
        masks = [one.mask for one in tokens.values() if one.mask is not None]
        return {"all": Tokens(self.attention(x, Tokens(x, torch.cat(masks, 1) if masks else None)))}


def outputs(block: nn.Module, tokens: dict[str, Tokens]) -> list[Tensor]:
    """What a block changed or added."""
    return [one.x for one in block(tokens).values() if one.x.grad_fn is not None]


def attention(options: argparse.Namespace) -> None:
    """One layer of each block, forward and backward to tokens and weights, in turn with the reference."""
    torch.manual_seed(0)
    names, dim, device = tuple(f"m{i}" for i in range(options.modalities)), options.dim, options.device
    blocks: dict[str, tuple[nn.Module, bool]] = {
        # True: it has a target. The others are there for what they cost.
        REFERENCE: (AllTokens(dim), False),
        "bottleneck": (Bottleneck(names, dim=dim, depth=1), True),
        "crossmodal_enhancement": (CrossmodalEnhancement(names, dim=dim), True),
        "directional, no feed-forward": (Directional(names, dim=dim, expansion=0), True),
        "directional": (Directional(names, dim=dim), False),
        "joint_attention": (JointAttention(names, dim=dim), True),
        "latent": (Latent(names, dim=dim, n_latents=128, depth=1), False),
        "query": (Query(names, dim=dim, depth=1), False),
        "gated_query": (GatedQuery(names, dim=dim, depth=1), False),
    }
    shape = (options.batch_size, options.tokens, dim)
    leaves = {name: torch.randn(shape, device=device).requires_grad_() for name in names}
    masks = {name: torch.rand(shape[:2], device=device) < 0.8 if options.masked else None for name in names}

    def step(block: nn.Module) -> Callable[[], None]:
        tokens = {name: Tokens(x, masks[name]) for name, x in leaves.items()}
        # Backward from gradients that are given, so that no loss is timed with the block.
        gradients = [torch.randn_like(x) for x in outputs(block, tokens)]

        def run() -> None:
            block.zero_grad()
            for x in leaves.values():
                x.grad = None
            torch.autograd.backward(outputs(block, tokens), gradients)

        return run

    seconds = medians({label: step(block.to(device)) for label, (block, _) in blocks.items()}, options.repeats)
    print(
        f"{options.modalities} modalities of {options.tokens} tokens, batch {options.batch_size}, dim {dim}, masked "
        f"{options.masked}, forward and backward of one layer: seconds, and the ratio to {REFERENCE}, pair by pair"
    )
    for label, values in seconds.items():
        ratios = [value / reference for value, reference in zip(values, seconds[REFERENCE], strict=True)]
        n = sum(p.numel() for p in blocks[label][0].parameters())
        judged = verdict(statistics.median(ratios), at_most=TARGET) if blocks[label][1] else ""
        print(f"  {label:30s} {spread(values, '.3f')} s   {spread(ratios)}   {n:>9,} parameters   {judged}")
