"""The training loop: phases, epochs, steps; on Accelerate for devices, mixed precision and scaling.

An epoch depends on nothing but the state at its start, the seed and its number: that is what makes an interrupted run
end like one that was not.
"""

import functools
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmfusion.data.cases import CaseDataset, Cases
from mmfusion.data.samplers import Batches, SharedBatches, choose_batches
from mmfusion.data.transforms.modality_dropout import drop_modalities
from mmfusion.layers.batch_statistics import for_one_case
from mmfusion.metrics.classification import EXTRA, evaluate, n_not_finite, reported, split_metric
from mmfusion.models.phases import Pretraining
from mmfusion.models.selective import modalities_of
from mmfusion.tokens import FusionOutput, LossInputs
from mmfusion.training import averaging, checkpoints, divergence, inference, optimizers, processes
from mmfusion.training.fitting import fit_tokenizers, learners
from mmfusion.training.loss_log import LossLog
from mmfusion.training.perturbation import perturb
from mmfusion.training.phases import encoders_of, phases_of
from mmfusion.training.preparation import lay_channels_last, look, set_counts, settle_encoders
from mmfusion.training.progress import Progress, better, line
from mmfusion.training.reporter import Bar, Reporter
from mmfusion.training.seeds import derive, seed_all
from mmfusion.training.settings import Train
from mmfusion.utils.finite import require_finite
from mmfusion.utils.process_group import n_processes

if TYPE_CHECKING:
    from mmfusion.models.phases import Phase

READ_EVERY = 20
"""Steps between two looks at the losses; each look waits for the device."""


def batches(train: Train, dataset: CaseDataset, target: str, *, seed: int) -> Batches:
    """The batch sampler that the settings name, seeded."""
    return choose_batches(
        train.sampler,
        dataset,
        target,
        batch_size=train.batch_size,
        seed=seed,
        options=train.sampler_options,
    )


class Training:
    """Trains a model and leaves ``best.safetensors`` and ``last.safetensors`` in a folder.

    Args:
        settings: The budget and how it is spent.
        model: A fusion model from a blueprint, or a module with a method ``phases()``.
        train: For fitting.
        validation: For choosing the epoch.
        target: Name of the target.
        folder: Must exist.
        accelerator: An ``accelerate.Accelerator``.
        augment: Called as ``augment(cases, generator)`` on batches on the device, with a generator on the CPU; None for
            nothing.
        reporter: Receives every step and epoch.
        seed: Of everything random.
        repeat: Number of the start: 0 as the model was built, any other from weights that differ by rounding, see
            :mod:`mmfusion.training.perturbation`.
        advice: What a user can change where the training diverges, as :func:`~.divergence.advice` says it.
        standardized: Images whose values need not be in [0, 1].
        text_cache: Folder for encoded sentences; None: each tokenizer's own.

    Attributes:
        after_epoch: Called with each epoch's entry of the history, once it is saved.

    Raises:
        ValueError: If ``settings.phase_epochs`` names a phase that the model does not have, or the sampler or the
            losses do not fit the cases.
    """

    def __init__(
        self,
        settings: Train,
        model: nn.Module,
        train: CaseDataset,
        validation: CaseDataset,
        *,
        target: str,
        folder: Path,
        accelerator: Any,
        augment: Callable[[Cases, torch.Generator], Cases] | None,
        reporter: Reporter,
        seed: int,
        advice: str,
        repeat: int = 0,
        standardized: Collection[str] = (),
        text_cache: Path | None = None,
    ) -> None:
        self.settings = settings
        self.target = target
        self.folder = folder
        self.reporter = reporter
        self.after_epoch: Callable[[Mapping[str, Any]], None] = lambda entry: None
        self.progress = Progress()
        self.accelerator = accelerator
        self._augment = augment
        self.seed = seed
        self.repeat = repeat
        self._advice = advice
        self._standardized = standardized
        self._text_cache = text_cache
        self._train = train
        self._device: torch.device = accelerator.device
        if settings.channels_last:
            lay_channels_last(model)
        settle_encoders(model, settings)
        self._bare = model.to(self._device)
        self._phases = phases_of(model)
        for phase in self._phases:
            set_counts(phase.loss, target, train)
            phase.loss.to(self._device)
            if phase.model is not None:
                phase.model.to(self._device)
        names = [phase.name for phase in self._phases]
        if unknown := sorted(set(settings.phase_epochs) - set(names)):
            raise ValueError(f"train.phase_epochs names {unknown}; the phases of the model are {names}")
        self._sampler = SharedBatches(
            batches(settings, train, target, seed=seed), index=processes.index(), processes=n_processes()
        )
        workers = settings.workers
        # Batches are put on the device here, after it was seen on the CPU what they lack.
        self._loader = inference.loader(train, self._sampler, workers=workers, device=self._device)
        self._model = self._prepared(self._bare)
        # What a phase puts in the model's place.
        self._phase_model = self._model
        self._validation = inference.Evaluation(
            validation, target, settings.eval_batch_size, workers=workers, device=self._device
        )
        self._validation_labels = validation.labels(target).numpy()
        # On the CPU, whatever the device: a seed means the same augmentation everywhere.
        self._generator = torch.Generator()
        self._optimizer: Any = None
        self._trained: list[nn.Parameter] = []
        self._pending: tuple[dict[str, Tensor], dict[str, Any]] | None = None

    @property
    def epochs(self) -> list[int]:
        """Epochs of each phase."""
        train = self.settings
        return [train.phase_epochs.get(phase.name, train.epochs) for phase in self._phases]

    def restore(self) -> None:
        """Go back to ``last.safetensors``.

        Raises:
            FileNotFoundError: If it does not exist.
            ValueError: If it belongs to another model.
        """
        tensors, about = checkpoints.load(self.folder / checkpoints.LAST)
        self.progress = Progress(**about["progress"])
        phase = self._phases[self.progress.phase]
        checkpoints.load_weights(self._bare, checkpoints.under("model", tensors), self.folder / checkpoints.LAST)
        learned = checkpoints.under("loss", tensors)
        require_finite(learned, self.folder / checkpoints.LAST, phase.loss.state_dict())
        phase.loss.load_state_dict(learned)
        if isinstance(phase.model, Pretraining):
            beside = checkpoints.under("pretraining", tensors)
            require_finite(beside, self.folder / checkpoints.LAST, phase.model.own_state())
            phase.model.load_own_state(beside)
        if self.accelerator.scaler is not None and about["scaler"]:
            self.accelerator.scaler.load_state_dict(about["scaler"])
        # The optimizer is built when its phase begins.
        moments = checkpoints.under("optimizer", tensors)
        require_finite(moments, self.folder / checkpoints.LAST)
        self._pending = moments, about["optimizer"]

    def run(self) -> Progress:
        """Train to the end, from wherever the progress stands."""
        if not self.progress.epoch and learners(self._bare, self._phases):
            with processes.main_first():
                self._fit_tokenizers()
        if not self.progress.epoch and self.repeat:
            self._perturb()
        averaging.align(self._bare)
        start = 0
        for index, (phase, epochs) in enumerate(zip(self._phases, self.epochs)):
            if self.progress.epoch < start + epochs:
                self._begin(index, phase)
                for epoch in range(self.progress.epoch, start + epochs):
                    self._epoch(index, phase, epoch, first=start, n_epochs=epochs)
            start += epochs
        return self.progress

    def _fit_tokenizers(self) -> None:
        seed_all(derive(self.seed))
        with self.reporter.working("looking at the training rows"):
            fit_tokenizers(self._bare, self._train, self.target, phases=self._phases, cache=self._text_cache)

    def _perturb(self) -> None:
        """Change all weights that some phase trains, those of losses and pretrainings among them, by rounding."""
        trained = dict.fromkeys(p for phase in self._phases for group in phase.parameters for p in group.parameters)
        # Five numbers, as no other seed has: epochs and steps have fewer.
        generator = torch.Generator().manual_seed(derive(self.seed, self.repeat, 0, 0, 1))
        perturb((parameter for parameter in trained if parameter.requires_grad), generator)

    def _prepared(self, model: nn.Module) -> nn.Module:
        # Precision and device alone: gradients are averaged over the processes here, see mmfusion.training.averaging.
        prepared: nn.Module = self.accelerator.prepare_model(model, evaluation_mode=True)
        return prepared

    def _begin(self, index: int, phase: "Phase") -> None:
        # What an earlier phase did not train has gathered gradients that no optimizer cleared.
        self._bare.zero_grad(set_to_none=True)
        self._phase_model = self._model if phase.model is None else self._prepared(phase.model)
        train = self.settings
        above = encoders_of(self._bare).stages_above() if train.layer_decay != 1 else None
        self.accelerator.free_memory()  # Accelerate holds the optimizer of the phase before, and its state
        self._optimizer = self.accelerator.prepare(optimizers.build(phase.parameters, train, above))
        if self._pending is not None and self.progress.phase == index:
            checkpoints.unpack_optimizer(self._optimizer, *self._pending)
        self._pending = None
        self._trained = [parameter for group in phase.parameters for parameter in group.parameters]

    def _epoch(self, index: int, phase: "Phase", epoch: int, *, first: int, n_epochs: int) -> None:
        began = time.perf_counter()
        # Of several processes each drops out by numbers of its own.
        seed_all(processes.process_seed(derive(self.seed, epoch)))
        # One number is passed over, as a loader without a generator of its own takes one before an epoch.
        torch.empty((), dtype=torch.int64).random_()
        self._sampler.set_epoch(epoch)
        n_steps = len(self._loader)
        log = LossLog(f"phase {phase.name!r}, epoch {epoch + 1} of {sum(self.epochs)}", self._advice)
        title = f"epoch {epoch + 1}/{sum(self.epochs)}"
        self._phase_model.train()
        lr, waited, n_cases = 0.0, 0.0, 0
        with self.reporter.bar(title, n_steps) as bar:
            requested_at = time.perf_counter()
            for step, cases in enumerate(self._loader):
                waited += time.perf_counter() - requested_at
                done = (epoch - first) * n_steps + step
                share = optimizers.factor(done, n_epochs * n_steps, n_steps, self.settings)
                lr = optimizers.set_lr(self._optimizer, share)
                with log.explaining():
                    self._step(phase, cases, self._step_seed(epoch, step), log, lr, first=done == 0)
                n_cases += len(cases.position)
                self._advance(bar, log, step)
                requested_at = time.perf_counter()
        losses = log.close()
        losses = dict(zip(losses, processes.mean(list(losses.values()))))
        averaging.align(self._phase_model)
        if divergence.n_not_finite(self._trained):
            raise log.diverged("weights are")
        trained = time.perf_counter() - began
        last_phase = index == len(self._phases) - 1
        scores = self._validate(log) if last_phase else {}
        self.progress.epoch, self.progress.phase = epoch + 1, index
        self.progress.history.append(
            {
                "epoch": epoch + 1,
                "phase": phase.name,
                "lr": lr,
                "losses": losses,
                "validation": scores,
                "cases": processes.total(n_cases),
                "train_seconds": trained,
                "wait_seconds": waited,
                "seconds": time.perf_counter() - began,
            }
        )
        self._keep(phase, scores if last_phase else None)
        self.reporter.say(line(title, self.progress, self.settings.metric))
        self.after_epoch(self.progress.history[-1])

    def _step_seed(self, epoch: int, step: int) -> int:
        # Of several processes each augments its own cases by numbers of its own; the first ones are those of one alone.
        process = processes.index()
        return derive(self.seed, epoch, step, *([process] if process else []))

    def _step(self, phase: "Phase", cases: Cases, seed: int, log: LossLog, lr: float, *, first: bool) -> None:
        if self.settings.modality_dropout:
            cases = self._with_dropout(cases, derive(seed, 1))
        present = inference.lacking(cases)
        cases = inference.move(cases, self._device)
        if self._augment is not None:
            cases = self._augment(cases, self._generator.manual_seed(seed))
        present = inference.move(present, self._device)
        at_inputs = (self._bare, cases.inputs, present)
        if first:
            look(at_inputs, standardized=self._standardized)
        output: FusionOutput = for_one_case(
            functools.partial(self._phase_model, cases.inputs, present), self._phase_model, len(cases.position)
        )
        aux = {**output.aux, **cases.aux} if cases.aux else output.aux
        inputs = LossInputs(output.outputs, output.embeddings, cases.targets, present or {}, aux)
        at_outputs = (phase.loss, inputs)
        if first:
            look(at_outputs)
        terms: dict[str, Tensor] = phase.loss(inputs)
        self.accelerator.backward(torch.stack(list(terms.values())).sum())
        averaging.average_gradients(self._trained)
        if self.settings.clip_norm is not None:
            # Not Accelerate's clipping: it unscales the gradients for every optimizer that it was ever given, those of
            # earlier phases too, and what two phases train would be divided by the loss scale twice.
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.unscale_(self._optimizer.optimizer)
            nn.utils.clip_grad_norm_(self._trained, self.settings.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        log.add(terms, lr, functools.partial(look, at_inputs, at_outputs, standardized=self._standardized))

    def _with_dropout(self, cases: Cases, seed: int) -> Cases:
        """Some modalities of some cases taken away, of those that the model looks at."""
        generator = self._generator.manual_seed(seed)
        names = modalities_of(self._bare, self._train.spec)
        dropout = self.settings.modality_dropout
        return cases._replace(present=drop_modalities(cases.present, dropout, generator, names=names))

    def _advance(self, bar: Bar, log: LossLog, step: int) -> None:
        bar.advance(f"loss {log.read():.3f}" if step % READ_EVERY == 0 else "")

    def _validate(self, log: LossLog) -> dict[str, float | None]:
        p = self._validation.probabilities(self._model)
        if bad := n_not_finite(p):
            raise log.diverged(f"the outputs for {bad} of {len(p)} validation cases are")
        metric_names = split_metric(self.settings.metric)
        values_by_metric = evaluate(p, self._validation_labels, extra=[name for name in metric_names if name in EXTRA])
        scores = {name: reported(float(value[0])) for name, value in values_by_metric.items()}
        if len(metric_names) > 1:
            values = [value for name in metric_names if (value := scores[name]) is not None]
            scores[self.settings.metric] = sum(values) / len(values) if len(values) == len(metric_names) else None
        return scores

    def _keep(self, phase: "Phase", scores: Mapping[str, float | None] | None) -> None:
        """Write the best weights first: a kill between the two files repeats this epoch, with the same outcome."""
        metric, progress = self.settings.metric, self.progress
        weights = self._bare.state_dict()
        chosen = scores is not None and better(scores.get(metric), progress, metric)
        if chosen and scores is not None:
            progress.best_epoch, progress.best_value = progress.epoch, scores.get(metric)
        if not processes.is_main():
            return
        if chosen:
            about = {"epoch": progress.epoch, "metric": metric, "value": progress.best_value}
            checkpoints.save(self.folder / checkpoints.BEST, weights, about)
        tensors, scalars = checkpoints.pack_optimizer(self._optimizer)
        beside = phase.model.own_state() if isinstance(phase.model, Pretraining) else {}
        scaler = self.accelerator.scaler
        checkpoints.save(
            self.folder / checkpoints.LAST,
            checkpoints.prefixed("model", weights)
            | checkpoints.prefixed("loss", phase.loss.state_dict())
            | checkpoints.prefixed("pretraining", beside)
            | checkpoints.prefixed("optimizer", tensors),
            {
                "progress": asdict(progress),
                "optimizer": scalars,
                "scaler": scaler.state_dict() if scaler is not None else {},
            },
        )
