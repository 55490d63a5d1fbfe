"""The anchor losses written out one by one in float64: what the vectorised ones are held to.

Slow, and as close to the formulas as it gets: a vector at a time, no masks, no broadcasting.
"""

import torch
from torch import Tensor

Vectors = dict[tuple[int, int], Tensor]


def direction(v: Tensor) -> Tensor:
    """A zero vector has none: it stays zero, without a gradient."""
    return v / v.norm() if bool(v.detach().abs().max() > 0) else torch.zeros_like(v)


def term(anchor: Tensor, positives: list[Tensor], negatives: list[Tensor], tau: float, eps: float) -> Tensor:
    """``-log(P / (P + N) + eps)``; 0 without a positive or a negative."""
    if not positives or not negatives:
        return anchor.new_zeros(())
    log_p = torch.logsumexp(torch.stack([anchor @ p / tau for p in positives]), 0)
    log_n = torch.logsumexp(torch.stack([anchor @ n / tau for n in negatives]), 0)
    both = torch.logaddexp(log_p, log_n)
    return both - log_p if eps == 0 else -torch.log(torch.exp(log_p - both) + eps)


def losses(
    embeddings: Tensor,
    labels: list[int],
    n_classes: int,
    *,
    present: list[list[bool]] | None = None,
    tau: float = 0.07,
    eps: float = 0.0,
    published: bool = False,
) -> dict[str, Tensor]:
    """Sample, unimodal and crossmodal loss of ``(m, b, d)`` embeddings."""
    n_modalities, n_cases, dim = embeddings.shape
    there = present or [[True] * n_cases] * n_modalities
    cases = {
        (m, k): [i for i in range(n_cases) if labels[i] == k and there[m][i]]
        for m in range(n_modalities)
        for k in range(n_classes)
    }
    z = {(m, i): direction(embeddings[m, i]) for (m, _), found in cases.items() for i in found}
    means = {key: sum(z[key[0], i] for i in found) / len(found) for key, found in cases.items() if found}
    u = {key: direction(mean) for key, mean in means.items()}
    c = {}
    for k in range(n_classes):
        parts = [means[m, k] for m in range(n_modalities) if (m, k) in means]
        if parts:
            c[k] = direction(sum(parts, start=torch.zeros(dim, dtype=embeddings.dtype)))

    per_class = []
    for m in range(n_modalities):
        for k in range(n_classes):
            if not cases[m, k]:
                continue
            positives = [c[k]] + [u[p, k] for p in range(n_modalities) if (p, k) in u]
            negatives = [z[m, j] for other in range(n_classes) if other != k for j in cases[m, other]]
            terms = [term(z[m, i], positives, negatives, tau, eps) for i in cases[m, k]]
            per_class.append(sum(terms) / len(terms))
    unimodal = [term(u[m, k], [c[k]], [other for (_, j), other in u.items() if j != k], tau, eps) for m, k in u]
    crossmodal = [
        term(c[k], [v for (_, j), v in u.items() if j == k], [v for j, v in c.items() if j != k], tau, eps) for k in c
    ]
    if published:
        return {
            "sample": sum(per_class),
            "unimodal": eps + sum(unimodal) / n_modalities,
            "crossmodal": eps + sum(crossmodal) / n_classes,
        }
    named = {"sample": per_class, "unimodal": unimodal, "crossmodal": crossmodal}
    return {name: sum(values) / len(values) for name, values in named.items()}
