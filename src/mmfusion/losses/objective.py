"""Objective: one loss per target and a loss bank."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion import registry
from mmfusion.losses.bank import LossBank
from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.distributed import global_batch
from mmfusion.losses.inputs import check_label_range
from mmfusion.option_checks import checked
from mmfusion.options import Probability
from mmfusion.registry import Choice
from mmfusion.spec import Classes, Labels, Regression, Survival, Target
from mmfusion.tokens import FusionOutput, LossInputs, Present
from mmfusion.utils.precision import full_precision
from mmfusion.utils.tensor_checks import require


def target_loss(kind: Target, output: Tensor, target: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """The loss of one target.

    Args:
        kind: The target; its class gives the shapes.
        output: Shape ``(b, n_out)``; half precision is computed in float32.
        target: As the kind says.
        label_smoothing: Share of the probability spread over all classes; classes only.

    Returns:
        A scalar: cross-entropy for classes, binary cross-entropy for labels, mean squared error for a regression,
        negative log likelihood of the discrete hazards for a survival.

    Raises:
        ValueError: If the output's shape, or the target's dtype or shape, does not fit.
    """
    output = full_precision(output)
    rows = len(output)
    require(f"the output for {kind}", output, "numeric", "b", kind.n_out)
    if isinstance(kind, Classes):
        require("targets", target, torch.int64, rows)
        return F.cross_entropy(output, target, label_smoothing=label_smoothing)
    if isinstance(kind, Labels):
        require("targets", target, "numeric", rows, kind.n)
        return F.binary_cross_entropy_with_logits(output, target.to(output.dtype))
    if isinstance(kind, Regression):
        require("targets", target, "numeric", rows, kind.n)
        return F.mse_loss(output, target.to(output.dtype))
    require("targets", target, torch.int64, rows, 2)
    return _discrete_survival(output, target)


def _discrete_survival(hazard_logits: Tensor, target: Tensor) -> Tensor:
    """Negative log likelihood of discrete hazards.

    A case survives every interval before its own; an event ends it in its own interval, a censored case is known to
    have survived that one too (Gensheimer and Narasimhan, PeerJ 2019, equation 3).
    """
    interval, event = target[:, :1], target[:, 1:].to(hazard_logits.dtype)
    positions = torch.arange(hazard_logits.shape[1], device=interval.device)
    survived = F.softplus(hazard_logits)  # -log(1 - hazard)
    before = (survived * (positions < interval)).sum(1)
    last = hazard_logits.gather(1, interval).squeeze(1)
    has_event = event.squeeze(1)
    return (before + has_event * F.softplus(-last) + (1 - has_event) * F.softplus(last)).mean()


class Objective(nn.Module):
    """The sum of one loss per target and the losses of a bank.

    Like a bank's, the losses of the targets are those of the batch of all processes that train together.

    Args:
        targets: From the spec.
        bank: More losses; None for none.
        label_smoothing: For targets of classes.
        classification: The loss of targets of classes, a registered one: its name, or a mapping with ``name`` and its
            options. None: cross-entropy.

    Raises:
        ValueError: If a target and a loss of the bank have the same name, or the classification loss or one of its
            options is unknown.
    """

    @checked
    def __init__(
        self,
        targets: Mapping[str, Target],
        bank: LossBank | None = None,
        *,
        label_smoothing: Probability = 0.0,
        classification: Choice | None = None,
    ) -> None:
        super().__init__()
        if twice := sorted(set(targets) & set(bank.terms if bank is not None else ())):
            raise ValueError(
                f"losses are distinguished by name, {twice} name a target and a loss of the bank: rename the target"
            )
        self.targets = dict(targets)
        self.bank = bank
        self.label_smoothing = label_smoothing
        self.classification = nn.ModuleDict()
        if classification is not None:
            for name, kind in targets.items():
                if isinstance(kind, Classes):
                    self.classification[name] = _classification_loss(classification, name, kind.n, label_smoothing)

    def forward(
        self,
        output: FusionOutput | LossInputs,
        targets: Mapping[str, Tensor] | None = None,
        present: Present | None = None,
    ) -> dict[str, Tensor]:
        """All losses of a batch.

        Args:
            output: What the model returned; or loss inputs, which have all of it.
            targets: One entry per target; class indices ``(b,)`` int64, or as its kind of target says.
            present: Which cases have which modality, shape ``(b,)`` bool each; a name left out has all.

        Returns:
            Weighted scalars by name, to be summed: one per target, named as it is, and the bank's.

        Raises:
            ValueError: If a target or an output is missing or of the wrong shape.
        """
        inputs = _inputs(output, targets, present)
        for what, given in (("targets", inputs.targets), ("outputs", inputs.outputs)):
            if missing := sorted(set(self.targets) - set(given)):
                raise ValueError(f"{what} {missing} are missing, got {sorted(given)}")
        together = global_batch(inputs) if self.training else inputs
        batch = Batch(together)
        losses = {
            name: self.classification[name](batch)
            if name in self.classification
            else target_loss(kind, batch.outputs[name], batch.targets[name], label_smoothing=self.label_smoothing)
            for name, kind in self.targets.items()
        }
        return losses | (self.bank(together) if self.bank is not None else {})

    def set_counts(self, counts: Mapping[str, Tensor]) -> None:
        """Give the losses that weigh classes by their number of training cases these numbers.

        Those that have counts keep them.

        Args:
            counts: By target, shape ``(k,)``; for targets of classes.

        Raises:
            ValueError: If those of a target are missing.
        """
        for loss in (*self.classification.values(), *(self.bank.terms.values() if self.bank is not None else ())):
            if "counts" in loss.needs and not loss.has_counts:
                target = loss.target or next(iter(self.targets))
                if target not in counts:
                    raise ValueError(f"the counts of {target!r} are needed, got those of {sorted(counts)}")
                loss.set_counts(counts[target])

    def check(self, inputs: LossInputs) -> None:
        """Look at the values: labels in range, other targets, outputs and embeddings finite.

        Raises:
            ValueError: Naming the target or the modality.
        """
        if self.bank is not None:
            self.bank.check(inputs)
        for name, kind in self.targets.items():
            if isinstance(kind, Classes):
                check_label_range(inputs.targets[name], kind.n)
            elif isinstance(kind, Survival):
                check_label_range(inputs.targets[name][:, 0], kind.n_bins)
                check_label_range(inputs.targets[name][:, 1], 2)
            elif not bool(inputs.targets[name].isfinite().all()):
                raise ValueError(f"the targets for {name!r} must be finite, they are not")
            if not bool(inputs.outputs[name].isfinite().all()):
                raise ValueError(
                    f"the outputs for {name!r} must be finite, they are not: look at the inputs and the learning rate"
                )


def _classification_loss(choice: Choice, target: str, n_classes: int, label_smoothing: float) -> Loss:
    try:
        name, _ = registry.named(choice, "classification loss")
        known = registry.losses.options(name)
    except ValueError as error:
        raise ValueError(f"classification: {error}") from error
    if "target" not in known:
        raise ValueError(f"classification: {name!r} is no loss of logits and labels, such as 'cross_entropy', 'focal'")
    if label_smoothing and "label_smoothing" not in known:
        raise ValueError(f"{name!r} takes no label smoothing: set label_smoothing to 0")
    smoothing = {"label_smoothing": label_smoothing} if label_smoothing else {}
    loss: Loss = registry.losses.build(choice, target=target, n_classes=n_classes, **smoothing)
    return loss


def _inputs(
    output: FusionOutput | LossInputs, targets: Mapping[str, Tensor] | None, present: Present | None
) -> LossInputs:
    if isinstance(output, LossInputs):
        if targets is not None or present is not None:
            raise ValueError("loss inputs hold targets and presence already: give a model's output, or leave them out")
        return output
    return LossInputs(output.outputs, output.embeddings, targets or {}, present or {}, output.aux)
