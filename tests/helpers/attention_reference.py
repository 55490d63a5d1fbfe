"""Attention blocks a scalar at a time, in plain Python floats: nothing of the package, of torch the weights alone.

A set of tokens is a list of rows, a row a list of floats; weights are looked up in a state dict by their prefix.
"""

import math
from collections.abc import Mapping, Sequence

Row = list[float]
Rows = list[Row]
Weights = Mapping[str, "list[float] | list[list[float]]"]


def plain(state: Mapping[str, object]) -> dict[str, object]:
    """A state dict as lists."""
    return {name: value.tolist() for name, value in state.items()}


def under(state: Mapping[str, object], prefix: str) -> dict[str, object]:
    """What stands under a prefix, without it."""
    return {name[len(prefix) + 1 :]: value for name, value in state.items() if name.startswith(prefix + ".")}


def linear(state: Mapping[str, object], x: Row) -> Row:
    weight, bias = state["weight"], state["bias"]
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def norm(state: Mapping[str, object], x: Row) -> Row:
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    scaled = [(v - mean) / math.sqrt(variance + 1e-5) for v in x]
    return [v * w + b for v, w, b in zip(scaled, state["weight"], state["bias"], strict=True)]


def gelu(v: float) -> float:
    return v * 0.5 * (1 + math.erf(v / math.sqrt(2)))


def feed_forward(state: Mapping[str, object], x: Row) -> Row:
    """Linear, GELU, linear, as entries 0 and 3 of a sequence."""
    return linear(under(state, "3"), [gelu(v) for v in linear(under(state, "0"), x)])


def attend(state: Mapping[str, object], queries: Rows, context: Rows, n_heads: int, real: Sequence[bool]) -> Rows:
    """Multi-head attention over the real rows of a context; zeros where there is none."""
    keys = [linear(under(state, "key"), row) for row, counts in zip(context, real, strict=True) if counts]
    values = [linear(under(state, "value"), row) for row, counts in zip(context, real, strict=True) if counts]
    out = []
    for row in queries:
        if not keys:
            out.append([0.0] * len(row))
            continue
        q = linear(under(state, "query"), row)
        width = len(q) // n_heads
        heads: Row = []
        for h in range(n_heads):
            part = range(h * width, (h + 1) * width)
            scores = [math.exp(sum(q[i] * k[i] for i in part) / math.sqrt(width)) for k in keys]
            heads += [sum(s * v[i] for s, v in zip(scores, values, strict=True)) / sum(scores) for i in part]
        out.append(linear(under(state, "out"), heads))
    return out


def plus(x: Rows, y: Rows) -> Rows:
    return [[a + b for a, b in zip(one, other, strict=True)] for one, other in zip(x, y, strict=True)]


def transformer(state: Mapping[str, object], x: Rows, n_heads: int, real: Sequence[bool]) -> Rows:
    """Self-attention and feed-forward, pre-norm; rows that are not real are zeros before.

    Without a first normalisation in the state there is none.
    """
    x = [row if counts else [0.0] * len(row) for row, counts in zip(x, real, strict=True)]
    normed = [norm(under(state, "norm1"), row) for row in x] if "norm1.weight" in state else x
    x = plus(x, attend(under(state, "attention"), normed, normed, n_heads, real))
    return plus(x, [feed_forward(under(state, "feed_forward"), norm(under(state, "norm2"), row)) for row in x])


def cross(state: Mapping[str, object], x: Rows, context: Rows, n_heads: int, real: Sequence[bool]) -> Rows:
    """Cross-attention and feed-forward, pre-norm."""
    normed = [norm(under(state, "norm1"), row) for row in x]
    seen = [norm(under(state, "norm_context"), row) for row in context]
    x = plus(x, attend(under(state, "attention"), normed, seen, n_heads, real))
    if "norm2.weight" not in state:
        return x
    return plus(x, [feed_forward(under(state, "feed_forward"), norm(under(state, "norm2"), row)) for row in x])


def query(state: Mapping[str, object], x: Rows, context: Rows, n_heads: int, real: Sequence[bool]) -> Rows:
    """Self-attention, cross-attention over a context that is normalised already, feed-forward; pre-norm."""
    normed = [norm(under(state, "norm1"), row) for row in x]
    x = plus(x, attend(under(state, "self_attention"), normed, normed, n_heads, [True] * len(x)))
    asked = [norm(under(state, "norm_query"), row) for row in x]
    x = plus(x, attend(under(state, "cross_attention"), asked, context, n_heads, real))
    return plus(x, [feed_forward(under(state, "feed_forward"), norm(under(state, "norm2"), row)) for row in x])


def gated(
    state: Mapping[str, object], x: Rows, sources: Mapping[str, tuple[Rows, Sequence[bool]]], n_heads: int
) -> Rows:
    """Self-attention, each source through its gate, feed-forward; pre-norm."""
    normed = [norm(under(state, "norm1"), row) for row in x]
    x = plus(x, attend(under(state, "self_attention"), normed, normed, n_heads, [True] * len(x)))
    for name, (rows, real) in sources.items():
        layers = under(state, f"gate.{name}")
        hidden = [gelu(v) for v in linear(under(layers, "0"), rows[0])]
        hidden = [gelu(v) for v in linear(under(layers, "3"), hidden)]
        (score,) = linear(under(layers, "5"), hidden)
        gate = 1 / (1 + math.exp(-score)) if any(real[1:]) else 0.0
        asked = [norm(under(state, f"norm_query.{name}"), row) for row in x]
        found = attend(under(state, f"attention.{name}"), asked, rows, n_heads, real)
        x = plus(x, [[gate * v for v in row] for row in found])
    return plus(x, [feed_forward(under(state, "feed_forward"), norm(under(state, "norm2"), row)) for row in x])


def average(sets: Sequence[Rows]) -> Rows:
    return [[sum(values) / len(sets) for values in zip(*rows, strict=True)] for rows in zip(*sets, strict=True)]
