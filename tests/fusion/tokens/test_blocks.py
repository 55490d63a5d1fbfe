import torch
import torch.nn.functional as F
from torch import nn

from mmfusion.fusion.tokens.blocks import CrossBlock
from mmfusion.fusion.tokens.directional import folded, folded_block, standardized
from mmfusion.tokens import Tokens

DIM, HEADS = 6, 2


def random(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double()


def test_folded_norm_and_linear_match_separate_layers() -> None:
    """The same numbers, and the same gradients of all five tensors."""
    norm, linear = random(nn.LayerNorm(DIM)), random(nn.Linear(DIM, 4))
    x, direction = torch.randn(3, 5, DIM).double().requires_grad_(), torch.randn(3, 5, 4).double()
    leaves = [x, *norm.parameters(), *linear.parameters()]
    results = [linear(norm(x)), F.linear(standardized(x), *folded(norm, linear))]
    gradients = [torch.autograd.grad((out * direction).sum(), leaves) for out in results]
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_block_matches_its_layers_in_sequence() -> None:
    """Values and gradients, with a masked token and a case whose context is masked; normalizations folded or not."""
    block = random(CrossBlock(DIM, n_heads=HEADS, expansion=0))
    x, content = (torch.randn(3, n, DIM).double().requires_grad_() for n in (2, 4))
    context = Tokens(content, torch.tensor([[True] * 4, [True, False, True, True], [False] * 4]))
    direction = torch.randn(3, 2, DIM).double()
    found = [
        x + block.attention(block.norm1(x), Tokens(block.norm_context(context.filled()), context.mask)),
        block(x, context),
        folded_block(block, x, standardized(x), standardized(context.filled()), context.mask),
    ]
    leaves = [x, content, *block.parameters()]
    gradients = [torch.autograd.grad((out * direction).sum(), leaves) for out in found]
    for out, grads in zip(found[1:], gradients[1:], strict=True):
        torch.testing.assert_close(out, found[0])
        torch.testing.assert_close(grads, gradients[0], rtol=1e-7, atol=1e-12)
