"""Settings of the training: the budget and how it is spent."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from mmfusion.data.samplers import OPTIONS as SAMPLERS
from mmfusion.options import Dropout, Name, NotNegative, OneOf, Positive, Probability, Range

Epochs: TypeAlias = Annotated[int, Range(1, 100000)]


@dataclass
class Train:
    """The budget and how it is spent.

    Attributes:
        epochs: Passes over the training set, in each phase.
        phase_epochs: Another number for a phase, by its name.
        batch_size: Cases a step, at least 2.
        lr: Peak learning rate.
        encoder_lr_scale: Times ``lr`` for the image encoders.
        layer_decay: Times the encoder's rate for each stage further from its end: 0.5 halves it from stage to stage.
        freeze: How many of the encoder's stages, from the first on, are not trained, 0 for what lies before it;
            ``all`` or ``none``. Their batch statistics stand still too, and they run without a graph.
        precompute: Read a wholly frozen encoder's maps from disk instead of running it; without augmentation of images
            only, so that of a recipe is left out.
        checkpointing: Compute the encoder's activations again in the backward pass instead of keeping them: less
            memory, more time, the same gradients.
        weight_decay: L2 in the gradient with ``adam``, decoupled with ``adamw``, which spares biases and norms.
        optimizer: ``adam`` or ``adamw``.
        schedule: ``cosine`` to 0, ``step`` (times ``gamma`` every ``step_epochs``) or ``constant``, after the warm-up.
        step_epochs: See ``schedule``.
        gamma: See ``schedule``.
        warmup_epochs: Linear rise, step by step, from the first step's share, never 0; a fraction is allowed.
        warmup_by: ``epoch``: the rate stands still within an epoch and rises between them, from 0 in the first one, in
            which nothing is learnt, to the peak in the one behind the warm-up; the schedule begins after that. For
            parity with published code alone.
        sampler: ``shuffled``; ``balanced``: as many cases of each class in every batch; ``weighted``: drawn with
            replacement, rare classes more often; ``grouped``: cases of one patient or lesion in different batches.
        sampler_options: Of that sampler; of ``weighted``: ``power`` of the inverse frequency, or ``weights``.
        augment: Options of :class:`mmfusion.data.transforms.Augment`; empty: none.
        modality_dropout: Probability, from 0 to below 1, with which each modality of a case is taken away in training,
            never all of them.
        clip_norm: Largest norm of the gradient; None: not clipped.
        normalise: Bring images to the mean and deviation that the encoder's weights were trained with; False hands them
            over as the dataset has them.
        channels_last: Lay 2D convolutions out channels last; faster on most hardware, the same numbers to rounding.
        workers: Processes that read; 0: the training process itself.
        metric: Of validation, by which the epoch is chosen; several with ``+`` between: their mean. Beside those of
            every run there are ``accuracy_<index of a class>`` and, to be named here only, what is in
            :data:`~mmfusion.metrics.classification.EXTRA`; they are then reported too.
        select_on: The part by which the epoch is chosen. ``test`` is what some published code does: the result is no
            estimate for new cases any more, and the run's notes say so. No recipe may set it.
        threshold: Probability of class 1, of two classes, from which on it is called for sensitivity, specificity and
            G-mean; None: the one with the greatest G-mean on validation.
        calibration: Share of the training cases that is taken out of training, stratified and by whole groups, for
            conformal sets: they choose neither epoch nor threshold nor temperature. 0: none, and no sets.
        eval_batch_size: Cases at a time outside training.
        resamples: Of the bootstrap intervals.
    """

    epochs: Epochs = 10
    phase_epochs: dict[str, Epochs] = field(default_factory=dict)
    batch_size: Annotated[int, Range(2, 65536)] = 32
    lr: Annotated[float, Range(0, 1e3, above=True)] = 1e-3
    encoder_lr_scale: Positive = 1.0
    layer_decay: Positive = 1.0
    freeze: Annotated[int, Range(0, 64)] | Literal["all", "none"] = "none"
    precompute: bool = False
    checkpointing: bool = False
    weight_decay: Annotated[float, Range(0, 1e3)] = 1e-4
    optimizer: Annotated[str, OneOf(("adam", "adamw"))] = "adamw"
    schedule: Annotated[str, OneOf(("cosine", "step", "constant"))] = "cosine"
    step_epochs: Positive = 5.0
    gamma: Positive = 0.8
    warmup_epochs: NotNegative = 0.0
    warmup_by: Annotated[str, OneOf(("step", "epoch"))] = "step"
    sampler: Annotated[str, OneOf(tuple(SAMPLERS))] = "shuffled"
    sampler_options: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    modality_dropout: Dropout = 0.0
    clip_norm: Positive | None = 1.0
    normalise: bool = True
    channels_last: bool = False
    workers: Annotated[int, Range(0, 1024)] = 0
    metric: Name = "auc"
    select_on: Annotated[str, OneOf(("validation", "test"))] = "validation"
    threshold: Probability | None = None
    calibration: Annotated[float, Range(0, 0.5)] = 0.0
    eval_batch_size: Annotated[int, Range(1, 65536)] = 64
    resamples: Annotated[int, Range(0, 10**6)] = 2000
