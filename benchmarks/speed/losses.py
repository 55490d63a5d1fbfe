"""The anchor losses against loops over pairs, and against one matrix product."""

import argparse
import gc
import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfusion.losses import CrossmodalAnchorLoss, LossBank, SampleAnchorLoss, UnimodalAnchorLoss
from speed.timing import DEVICE, in_a_process, medians, peak_mib, spread, verdict


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("losses", help="the anchor losses against loops over pairs and a matrix product")
    parser.add_argument("--large", action="store_true", help="also 4,096 cases of 1,000 classes, in its own process")
    parser.add_argument("--loop-repeats", type=int, default=1, help="of the loops at b=144, many seconds each")
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--repeats", type=int, default=11)
    parser.set_defaults(function=losses)


def loop_losses(
    embeddings: Sequence[Tensor], labels: Sequence[int], n_classes: int, temperature: float = 0.07, eps: float = 1e-8
) -> dict[str, Tensor]:
    """The three anchor losses as published, a pair at a time: one cosine, one exponential, one addition.

    Args:
        embeddings: ``(b, d)`` a modality.
        labels: b class indices; every class has a case.
        n_classes: k.
        temperature: Divides the cosine.
        eps: Added inside the logarithm.

    Returns:
        Scalars by name, each with the scale of ``reduction="published"``.
    """
    modalities, classes = range(len(embeddings)), range(n_classes)
    members = [[i for i, label in enumerate(labels) if label == k] for k in classes]

    def similarity(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp((torch.cosine_similarity(a, b, dim=0) + 1) / temperature)

    def contrast(anchor: Tensor, positives: Sequence[Tensor], negatives: Sequence[Tensor]) -> Tensor:
        pulled, pushed = anchor.new_zeros(()), anchor.new_zeros(())
        for other in positives:
            pulled = pulled + similarity(anchor, other)
        for other in negatives:
            pushed = pushed + similarity(anchor, other)
        return -torch.log(pulled / (pulled + pushed) + eps)

    directions = [nn.functional.normalize(x, dim=1) for x in embeddings]
    means = [[z[members[k]].mean(0) for k in classes] for z in directions]
    unimodal = [[nn.functional.normalize(mean, dim=0) for mean in of_modality] for of_modality in means]
    crossmodal = [nn.functional.normalize(torch.stack([m[k] for m in means]).mean(0), dim=0) for k in classes]

    zero = embeddings[0].new_zeros(())
    sample, up, cp = zero, zero + eps, zero + eps
    for m in modalities:
        for k in classes:
            positives = [crossmodal[k], *(unimodal[p][k] for p in modalities)]
            for i in members[k]:
                negatives = [embeddings[m][j] for j, label in enumerate(labels) if label != k]
                sample = sample + contrast(embeddings[m][i], positives, negatives) / len(members[k])
            others = [unimodal[p][other] for p in modalities for other in classes if other != k]
            up = up + contrast(unimodal[m][k], [crossmodal[k]], others) / len(modalities)
    for k in classes:
        others = [crossmodal[other] for other in classes if other != k]
        cp = cp + contrast(crossmodal[k], [unimodal[m][k] for m in modalities], others) / n_classes
    return {"sample": sample, "unimodal": up, "crossmodal": cp}


def anchor_bank(n_classes: int) -> LossBank:
    """The three anchor losses with weight 1, scaled as published."""
    kinds = {"sample": SampleAnchorLoss, "unimodal": UnimodalAnchorLoss, "crossmodal": CrossmodalAnchorLoss}
    return LossBank(n_classes, {name: (1.0, kind(reduction="published", eps=1e-8)) for name, kind in kinds.items()})


def toy_batch(m: int, b: int, k: int, d: int, device: str) -> tuple[dict[str, Tensor], Tensor]:
    """Embeddings ``(b, d)`` of m modalities that require gradients, and labels ``(b,)``, every class in turn."""
    g = torch.Generator().manual_seed(0)
    embeddings = {f"modality{i}": torch.randn(b, d, generator=g).to(device).requires_grad_() for i in range(m)}
    return embeddings, (torch.arange(b) % k).to(device)


def bank_alone(m: int, b: int, k: int, d: int, repeats: int, device: str) -> tuple[list[float], float, float]:
    """Seconds of each call, peak memory, and by how much it grew with the batch, in MiB. For a process of its own."""
    bank = anchor_bank(k)

    def call(embeddings: dict[str, Tensor], labels: Tensor) -> None:
        torch.autograd.grad(sum(bank(embeddings, labels).values()), list(embeddings.values()))

    call(*toy_batch(m, k + 2, k, d, device))  # what is loaded at the first call is not the batch's
    embeddings, labels = toy_batch(m, b, k, d, device)
    before = peak_mib(device)
    seconds = medians({"bank": lambda: call(embeddings, labels)}, repeats)["bank"]
    return seconds, peak_mib(device), peak_mib(device) - before


def losses(options: argparse.Namespace) -> None:
    """The bank of the three anchor losses, forward and backward in float32, against loops and a matrix product."""
    # First of all: on Linux a process starts with its parent's peak memory as its own.
    growth_of_bank(options)
    if options.large:
        m, b, k, d = 3, 4096, 1000, 256
        seconds, peak, _ = in_a_process(bank_alone, m, b, k, d, 3, options.device)
        print(f"m={m}, b={b}, k={k}, d={d}, in a process of its own")
        print(f"  {'bank, seconds':30s} {spread(seconds)}")
        print(f"  {'peak memory of the process':30s} {peak / 1024:.2f} GiB   {verdict(peak / 1024, at_most=4)}")
    for b, loop_repeats, target in ((36, options.repeats, 200), (144, options.loop_repeats, 1800)):
        against_the_loop(options, b, loop_repeats, target)


def growth_of_bank(options: argparse.Namespace) -> None:
    """Time and memory from 256 to 1,024 cases: 16 times the pairs."""
    m, k, d, sizes = 4, 3, 128, (256, 512, 1024)
    print(f"growth with the batch, m={m}, k={k}, d={d}; pairs of a modality: m * b * b")
    measured = {b: in_a_process(bank_alone, m, b, k, d, options.repeats, options.device) for b in sizes}
    for b, (seconds, _, grown) in measured.items():
        print(f"  {f'b={b}':30s} {spread([s * 1e3 for s in seconds])} ms   {grown:.1f} MiB above the start")
    (small, _, small_memory), (large, _, large_memory) = measured[sizes[0]], measured[sizes[-1]]
    pairs = (sizes[-1] / sizes[0]) ** 2
    for name, ratio in (
        ("time", statistics.median(large) / statistics.median(small)),
        ("memory", large_memory / max(small_memory, 1e-9)),
    ):
        print(f"  {f'{name}, b={sizes[-1]} over b={sizes[0]}':30s} {ratio:.1f}   {verdict(ratio, at_most=pairs)}")


def against_the_loop(options: argparse.Namespace, b: int, loop_repeats: int, target: float) -> None:
    """Check that the loops and the bank agree, then time both, and the matrix product."""
    m, k, d = 4, 3, 128
    embeddings, labels = toy_batch(m, b, k, d, options.device)
    leaves, indices, bank = list(embeddings.values()), labels.tolist(), anchor_bank(k)
    x = torch.cat(leaves).detach().requires_grad_()
    ones = torch.ones(len(x), len(x), device=x.device)

    def loop() -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        values = loop_losses(leaves, indices, k)
        return values, torch.autograd.grad(sum(values.values()), leaves)

    def vectorized() -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        values = bank(embeddings, labels)
        return values, torch.autograd.grad(sum(values.values()), leaves)

    def product() -> None:
        torch.autograd.grad(x @ x.T, x, ones)

    (expected, slopes), (values, grads) = loop(), vectorized()
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(grads, slopes, rtol=1e-4, atol=1e-4 * max(float(slope.abs().max()) for slope in slopes))

    gc.collect()
    gc.freeze()  # or a look through all that was ever imported falls into one of the calls, as in timeit
    # Processor time, where there is one: what other processes take of a shared machine falls on long calls alone.
    clock = time.perf_counter if options.device == "cuda" else time.process_time
    slow = medians({"loops": loop, "bank": vectorized}, loop_repeats, clock)
    quick = medians({"bank": vectorized, "x @ x.T": product}, 5 * options.repeats, clock)
    gc.unfreeze()
    seconds = {"loops": slow["loops"], "bank": slow["bank"] + quick["bank"], "x @ x.T": quick["x @ x.T"]}
    print(f"m={m}, b={b}, k={k}, d={d}; the loops and the bank agree in values and gradients")
    for name, values in seconds.items():
        print(f"  {name:30s} {spread([second * 1e3 for second in values])} ms")
    middle = statistics.median(seconds["bank"])
    over_bank = [second / middle for second in seconds["loops"]]
    over_product = [one / other for one, other in zip(quick["bank"], quick["x @ x.T"], strict=True)]
    for name, ratios, limits in (
        ("loops over the bank's median", over_bank, {"at_least": target}),
        ("bank over x @ x.T, by pairs", over_product, {"at_most": 12}),
    ):
        print(f"  {name:30s} {spread(ratios, '.1f')}   {verdict(statistics.median(ratios), **limits)}")
