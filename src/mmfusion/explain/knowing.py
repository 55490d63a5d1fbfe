"""What knowing a missing cell, image or table would be worth, by cases that resemble this one."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple, cast

import torch
from torch import Tensor

from mmfusion.explain.coalition_values import known_cells, only_cells
from mmfusion.explain.outputs import Output, Score
from mmfusion.explain.undisturbed import plain, rows_of, undisturbed
from mmfusion.models import FusionModel
from mmfusion.models.bags import without_empty
from mmfusion.option_checks import checked
from mmfusion.options import Range
from mmfusion.spec import Classes, Regression, Target
from mmfusion.tokens import Bag, Content, FusionOutput, Inputs, Maps, Present, Table


class Worth(NamedTuple):
    """What knowing something is expected to change.

    Attributes:
        change: Expected absolute change of the explained class's probability; of a regression, of its value.
        entropy_reduction: Expected, of the target's probabilities, in nats; negative where knowing more leaves the
            model less certain. None for a regression.
        n_donors: Cases whose value was tried.
    """

    change: float
    entropy_reduction: float | None
    n_donors: int


@checked
def value_of_knowing(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None,
    reference: Inputs,
    reference_present: Present | None = None,
    *,
    output: Output = Output(),  # noqa: B008  # immutable
    n_donors: Annotated[int, Range(1)] = 16,
    batch_size: Annotated[int, Range(1)] = 256,
) -> list[dict[str, Worth]]:
    """For each case what is missing, and what knowing it would be worth.

    A missing cell, image or table is taken from the training cases that have it and whose embeddings are closest to
    this case's, when they know no more than it does: the same modalities, the same cells. Each is as likely.

    Args:
        model: In any mode.
        inputs: As the model's.
        present: As the model's.
        reference: Training cases, some hundreds; images as pixels, or as the model's maps where it reads them.
        reference_present: Of these.
        output: The class whose probability is meant; of ``unit`` nothing is used.
        n_donors: Closest cases that lend what is missing.
        batch_size: Cases at once.

    Returns:
        By case, then by what is missing: ``"table.column"`` or a modality. What no training case with the modalities of
        this case has is left out.

    Raises:
        ValueError: If the model does not know the kind of its target, or the reference has no modality, or not the same
            number of cases in each.
    """
    sizes = {name: len(_rows(content)) for name, content in reference.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"reference expects training cases, the same number in each modality, got {sizes or 'none'}")
    n = next(iter(sizes.values()))
    kind_of = Output(output.target, output.index)  # probabilities need the target's kind
    inputs, reference = plain(inputs), plain(reference)
    with undisturbed(model):
        score = kind_of.of(model, inputs, present)
        kind: Target = model.spec.targets[score.target]  # type: ignore[union-attr]  # Output refuses a model without
        has = _presence(model, reference_present, reference, n)
        if model.reads_maps:
            chunks = [
                model.encode({k: v for k, v in rows_of(reference, rows).items() if k in model.images})
                for rows in torch.split(torch.arange(n, device=score.index.device), batch_size)
            ]
            for name in chunks[0]:
                stages = zip(*(chunk[name].stages for chunk in chunks), strict=True)
                reference[name] = Maps(tuple(map(torch.cat, stages)))
        worths = []
        for i in range(len(score.index)):
            case = rows_of(inputs, score.index.new_tensor([i]))
            own = {name: bool(mask[i]) for name, mask in _presence(model, present, inputs, i + 1).items()}
            case = {name: content for name, content in case.items() if own.get(name)}
            distance = _distances(model, case, reference, has, batch_size)
            found = {}
            for name, lent, known in _missing(model, case, reference, has):
                near = distance.masked_fill(~known, torch.inf).topk(min(n_donors, n), largest=False)
                donors = near.indices[near.values.isfinite()]
                if len(donors):
                    found[name] = _worth(model, case, rows_of(lent, donors), score.case(i), kind)
            worths.append(found)
    return worths


def _missing(model: FusionModel, case: Inputs, reference: Inputs, has: Present) -> Iterator[tuple[str, Inputs, Tensor]]:
    """What the case lacks: its name, the reference's content for it, and which reference cases have that."""
    for name in model.names:
        if name not in case:
            if name in reference:
                yield name, {name: reference[name]}, has[name]
            continue
        content, lent = case[name], reference.get(name)
        if isinstance(content, Table) and isinstance(lent, Table):
            known, of_reference = known_cells(content)[0], known_cells(lent)
            for j in (~known).nonzero().squeeze(1).tolist():
                whole = only_cells(content, known.expand_as(of_reference))
                column = torch.arange(len(known), device=known.device) == j
                n_numerical = content.numerical.shape[1]
                both = Table(
                    torch.where(column[:n_numerical], lent.numerical, whole.numerical),
                    torch.where(column[n_numerical:], lent.categorical, whole.categorical),
                )
                yield f"{name}.{model.columns[name].names[j]}", {name: both}, of_reference[:, j] & has[name]


def _distances(model: FusionModel, case: Inputs, reference: Inputs, has: Present, batch_size: int) -> Tensor:
    """From the case to each reference case reduced to what it knows; infinite where that lacks a modality of it."""
    own = {name: torch.ones(1, dtype=torch.bool, device=mask.device) for name, mask in has.items() if name in case}
    absent = {name: torch.zeros_like(mask) for name, mask in has.items() if name not in case}
    able = torch.stack([mask for name, mask in has.items() if name in case] or [~next(iter(absent.values()))]).all(0)
    if not case or not bool(able.any()):
        return torch.where(able, 0.0, torch.inf)
    less: dict[str, Content] = {name: content for name, content in reference.items() if name in case}
    for name, content in case.items():
        if isinstance(content, Table):
            theirs = cast("Table", less[name])
            less[name] = only_cells(theirs, known_cells(content) & known_cells(theirs))
    shown = {name: has[name] if name in case else absent[name] for name in has}
    of_case = _embedded(model(case, {**own, **{name: mask[:1] for name, mask in absent.items()}}), case)
    rows = torch.arange(len(able), device=able.device)
    embedded = torch.cat(
        [
            _embedded(model(rows_of(less, chunk), {name: mask[chunk] for name, mask in shown.items()}), case)
            for chunk in torch.split(rows, batch_size)
        ]
    )
    scale = embedded[able].std(0, correction=0).clamp(min=1e-6)
    return ((embedded - of_case) / scale).square().mean(1).masked_fill(~able, torch.inf)


def _embedded(output: FusionOutput, case: Inputs) -> Tensor:
    """Embeddings of the case's modalities, or its outputs where none has one, side by side."""
    parts = [x for name, x in output.embeddings.items() if name in case] or list(output.outputs.values())
    return torch.cat(parts, 1)


def _worth(model: FusionModel, case: Inputs, lent: Inputs, score: Score, kind: Target) -> Worth:
    n = next(len(_rows(content)) for content in lent.values())
    repeated = {**rows_of(case, score.index.new_zeros(n)), **lent}
    before, entropy = _probability(_output(model, case, score), score, kind)
    after, entropies = _probability(_output(model, repeated, score), score, kind)
    reduction = None if entropy is None or entropies is None else float(entropy[0] - entropies.mean())
    return Worth(float((after - before).abs().mean()), reduction, n)


def _output(model: FusionModel, inputs: Inputs, score: Score) -> Tensor:
    n = next((len(_rows(content)) for content in inputs.values()), 1)
    every = torch.ones(n, dtype=torch.bool, device=score.index.device)
    output: FusionOutput = model(inputs, {name: every if name in inputs else ~every for name in model.names})
    return output.outputs[score.target].double()


def _probability(x: Tensor, score: Score, kind: Target) -> tuple[Tensor, Tensor | None]:
    """Of the explained class, and the entropy of what it is one of; a regression's value."""
    index = score.index.expand(len(x)).unsqueeze(1)
    if isinstance(kind, Regression):
        return x.gather(1, index).squeeze(1), None
    p = x.softmax(1) if isinstance(kind, Classes) else x.gather(1, index).sigmoid()
    every = p if isinstance(kind, Classes) else torch.cat([p, 1 - p], 1)
    chosen = p.gather(1, index).squeeze(1) if isinstance(kind, Classes) else p.squeeze(1)
    return chosen, torch.special.entr(every).sum(1)


def _presence(model: FusionModel, present: Present | None, inputs: Inputs, n: int) -> dict[str, Tensor]:
    """Of every modality, shape ``(n,)`` or longer; what is in no input is absent."""
    device = next(model.parameters()).device
    given = without_empty(inputs, present or {})
    return {
        name: given.get(name, torch.full((n,), name in inputs, dtype=torch.bool, device=device)) for name in model.names
    }


def _rows(content: Content) -> Tensor:
    if isinstance(content, Maps):
        return content.stages[0]
    if isinstance(content, Bag):
        return content.mask
    return content.numerical if isinstance(content, Table) else content
