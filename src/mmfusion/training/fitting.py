"""Fitting of tokenizers on the training rows, before the first step and without gradients."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from mmfusion.data.cases import CaseDataset
from mmfusion.models.fusion_model import FusionModel
from mmfusion.models.phases import Phase, Pretraining
from mmfusion.spec import Classes
from mmfusion.tokenizers import TextTokenizer
from mmfusion.tokens import Table
from mmfusion.training.model_protocols import RowLearner
from mmfusion.training.whole_tables import whole_tables


def learning(model: nn.Module) -> list[tuple[str, Any]]:
    """The tabular tokenizers of a fusion model that learn from rows, each with its modality; none of other models.

    Those of the context of map fusions too, and those inside another part, such as a table encoder.
    """
    if not isinstance(model, FusionModel):
        return []
    places = (*model.tokenizers.items(), *model.context.tokenizers.items())
    return [(name, learner) for name, part in places for learner in row_learners(part)]


def learners(model: nn.Module, phases: Iterable[Phase] = ()) -> list[tuple[str, Any]]:
    """All parts that learn from rows, each with its table modality.

    Args:
        model: A fusion model.
        phases: Its phases; those with a pretraining may have parts that learn from rows beside the model's.
    """
    pretrainings = [phase.model for phase in phases if isinstance(phase.model, Pretraining)]
    others = [
        (name, learner)
        for pretraining in pretrainings
        for name, part in pretraining.row_learners
        for learner in row_learners(part)
    ]
    return [*learning(model), *others]


def row_learners(part: nn.Module) -> list[Any]:
    """The part itself if it says whether it learns from rows, otherwise those inside it that do."""
    if isinstance(part, RowLearner):
        return [part] if part.needs_rows else []
    return [learner for inside in part.children() for learner in row_learners(inside)]


def fit_tokenizers(
    model: nn.Module, train: CaseDataset, target: str, *, phases: Iterable[Phase] = (), cache: Path | None = None
) -> None:
    """Let every tabular tokenizer, and whatever else learns from rows, see the training set, once.

    What they learn is in the model's state dict: a run that goes on, or a loaded model, has it from there.

    Args:
        model: A fusion model.
        train: The training set; cases that lack a table do not count for it.
        target: Whose labels the tokenizers may look at, if it is one of classes.
        phases: The model's phases, whose parts may learn from rows too.
        cache: Folder for encoded sentences; None: each tokenizer's own.
    """
    parts = learners(model, phases)
    labels = train.labels(target) if isinstance(train.spec.targets[target], Classes) else None
    tables = whole_tables(train)
    for name, learner in parts:
        rows, present = tables[name]
        table = Table(rows.numerical[present], rows.categorical[present])
        for part in learner.modules():
            if cache is not None and isinstance(part, TextTokenizer):
                part.cache = part.cache or cache
        learner.fit(table, None if labels is None else labels[present])
