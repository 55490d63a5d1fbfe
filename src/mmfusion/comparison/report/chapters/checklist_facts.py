"""What the runs of a comparison say about the items of reporting checklists, a sentence or two each."""

from collections.abc import Callable, Mapping
from statistics import median

import numpy as np

from mmfusion.comparison.analysis.results import Comparison
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters import settings
from mmfusion.comparison.report.chapters.chapter import Chapter, cell, score


def facts(chapter: Chapter) -> dict[str, str]:
    """A text for each of :data:`NAMES`; empty for what the runs do not know."""
    return {name: find(chapter) for name, find in _FACTS.items()}


def _values(comparison: Comparison, *names: str) -> str:
    """Settings with their values, where all methods share them; ``of each method`` where they differ."""
    shared = settings.flatten(comparison.shared) | settings.common(comparison)
    own = {key for method in comparison.methods for key in settings.of_method(comparison, method)}
    texts = []
    for name in names:
        words = name.partition(".")[2].replace("_", " ").replace(".", " ")
        if name in shared and shared[name] != "none":
            texts.append(f"{words} {shared[name]}")
        elif name in own:
            texts.append(f"{words} of each method")
    return ", ".join(texts)


def _sentence(start: str, text: str) -> str:
    return f"{start}{text}." if text else ""


def _source(chapter: Chapter) -> str:
    notes = [caution.text for caution in chapter.comparison.cautions if caution.kind == "note"]
    return " ".join([f"The dataset {chapter.comparison.dataset}.", *notes])


def _terms(chapter: Chapter) -> str:
    notes = [caution.text for caution in chapter.comparison.cautions if caution.kind == "note"]
    return " ".join(note for note in notes if "licen" in note.lower())


def _flow(chapter: Chapter) -> str:
    comparison = chapter.comparison
    known = ((comparison.n_train, "training"), (comparison.n_validation, "validation"))
    parts = [f"{formatting.count(n)} {name} cases" for n, name in known if np.isfinite(n)]
    of_class = formatting.listed((f"{name} {n:,}" for name, n in comparison.prevalence.items()), 30)
    parts.append(f"{comparison.n_cases:,} test cases" + (f" ({of_class})" if of_class else ""))
    return _sentence("", formatting.listed(parts))


def _partition(chapter: Chapter) -> str:
    comparison = chapter.comparison
    names = ("data.split_seed", "data.fractions", "data.folds", "data.split_file", "data.split")
    how = _values(comparison, *names)
    text = "One test set per fold" if comparison.folds > 1 else "One test set"
    peeked = any(method.settings.get("train", {}).get("select_on") == "test" for method in comparison.methods)
    unseen = "on which the epoch was chosen" if peeked else "never seen in training or selection"
    return f"{text}, {unseen}{f': {how}' if how else ''}. {_flow(chapter)}"


def _disjoint(chapter: Chapter) -> str:
    comparison = chapter.comparison
    if comparison.n_groups == comparison.n_cases:
        return "Every test case is a patient or lesion of its own, as far as the data name them."
    return (
        f"{comparison.n_cases:,} test cases of {comparison.n_groups:,} patients or lesions, which are resampled as a "
        "whole; exceptions are among the notes on the data."
    )


def _size(chapter: Chapter) -> str:
    comparison = chapter.comparison
    found = [test.detectable for test in comparison.tests if test.metric == chapter.metric]
    known = [value for value in found if np.isfinite(value)]
    text = f"{comparison.n_cases:,} test cases, {formatting.plural(len(comparison.seeds), 'seed')}."
    if known:
        text += (
            f" Detectable with 80% power: a difference of {formatting.number(median(known))} in {chapter.metric_words}."
        )
    return text


def _missing(chapter: Chapter) -> str:
    shown = any(method.robustness is not None for method in chapter.comparison.methods)
    tried = " Tried with 10 to 90% of the cells missing: section Robustness." if shown else ""
    return "No case is left out for a missing cell or modality: models are given which are present." + tried


def _training(chapter: Chapter) -> str:
    comparison = chapter.comparison
    names = ("epochs", "batch_size", "lr", "optimizer", "weight_decay", "schedule", "sampler", "freeze")
    values = _values(comparison, *(f"train.{name}" for name in names))
    n = formatting.plural(sum(len(method.runs) for method in comparison.methods), "run")
    methods = formatting.plural(len(comparison.methods), "method")
    return f"{methods}, {n}. {_sentence('Settings: ', values)} All others: section Data, settings, versions.".replace(
        "  ", " "
    )


def _selection(chapter: Chapter) -> str:
    part = _values(chapter.comparison, "train.select_on", "train.metric")
    tuned = any(method.tunings for method in chapter.comparison.methods)
    epoch = _sentence("One epoch of each run is kept: ", part)
    return " ".join(text for text in (epoch, "Settings by trials: section Tuning." if tuned else "") if text)


def _imbalance(chapter: Chapter) -> str:
    counts = [n for n in chapter.comparison.prevalence.values() if n]
    ratio = (
        f"The largest class has {max(counts) / min(counts):.1f} times the test cases of the smallest. "
        if counts
        else ""
    )
    how = _values(chapter.comparison, "train.sampler", "train.sampler_options")
    return ratio + _sentence("Training: ", how)


def _fairness(chapter: Chapter) -> str:
    best = (chapter.reference or chapter.ranked[0]).label
    gaps = [(method.label, gap) for method in chapter.ranked if method.label == best for gap in method.gaps]
    return " ".join(
        f"{label} by {gap.by}: worst {gap.worst}, gap {formatting.interval(gap.difference, gap.low, gap.high)}."
        for label, gap in gaps
    )


def _characteristics(chapter: Chapter) -> str:
    groups = next((method.subgroups for method in chapter.comparison.methods if method.subgroups), ())
    text = formatting.listed((f"{group.by} {group.value} {group.n_cases:,}" for group in groups), 40)
    return _sentence("Test cases: ", text)


def _output(chapter: Chapter) -> str:
    binary = len(chapter.comparison.classes) == 2
    rule = (
        "; for sensitivity and specificity a threshold chosen on validation"
        if binary
        else "; the likeliest is predicted"
    )
    return f"A probability of each of {formatting.listed(chapter.comparison.classes, 30)}{rule}."


def _predictors(chapter: Chapter) -> str:
    names = dict.fromkeys(c.modality for method in chapter.comparison.methods for c in method.contributions)
    return _sentence("Modalities: ", formatting.listed(names, 30))


def _performance(chapter: Chapter) -> str:
    shown = dict.fromkeys(method.label for method in (chapter.ranked[0], chapter.reference) if method is not None)
    values = [f"{m.label} {cell(score(m, chapter.metric))}" for m in chapter.ranked if m.label in shown]
    first = f"{formatting.capitalized(chapter.metric_words)}: {formatting.listed(values)}."
    return f"{first} All: section Verdict; in groups: section Subgroups."


def _accuracy(chapter: Chapter) -> str:
    method = chapter.reference or chapter.ranked[0]
    names = [name for name in ("sensitivity", "specificity") if name in method.scores]
    return _sentence(f"{method.label}: ", formatting.listed(f"{name} {cell(score(method, name))}" for name in names))


def _failures(chapter: Chapter) -> str:
    method, classes = chapter.reference or chapter.ranked[0], chapter.comparison.classes
    shares = np.nan_to_num(method.confusion.shares)
    wrong = shares - np.diag(np.diagonal(shares))
    truth, called = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return (
        f"{method.label} most often errs in {classes[truth]}, of which it calls {wrong.max():.0%} {classes[called]}. "
        "All: section Confusion matrices."
    )


def _software(chapter: Chapter) -> str:
    around = chapter.comparison.surroundings
    if not around:
        return ""
    first = around[0]
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    commit = f"commit {settings.short_commit(first.commit)}" if first.commit else ""
    return _sentence("", "; ".join(part for part in (versions, commit, first.hardware or "") if part))


def _clusters(chapter: Chapter) -> str:
    names = dict.fromkeys(group.by for method in chapter.comparison.methods for group in method.subgroups)
    return _sentence("Section Subgroups, by ", formatting.listed(names, 30)) if names else ""


def _updating(chapter: Chapter) -> str:
    scaled = any(method.scaled for method in chapter.comparison.methods)
    if not scaled:
        return ""
    return "One temperature per run, fitted on validation: section Calibration. Nothing else was updated."


def _robustness(chapter: Chapter) -> str:
    methods = chapter.comparison.methods
    parts = [
        ("missing cells", any(method.robustness is not None for method in methods)),
        ("missing and permuted modalities", any(method.contributions for method in methods)),
        ("other seeds", len(chapter.comparison.seeds) > 1),
    ]
    return _sentence("", formatting.capitalized(formatting.listed(name for name, done in parts if done)))


def _uncertainty(chapter: Chapter) -> str:
    sources = (
        "other test cases and other training runs" if len(chapter.comparison.seeds) > 1 else "other test cases only"
    )
    return (
        f"{chapter.percent} intervals for {sources}, as in How the numbers were computed; paired tests of "
        f"{chapter.metric_words} alone, Holm-corrected."
    )


def _limitations(chapter: Chapter) -> str:
    return " ".join(caution.text for caution in chapter.comparison.cautions if caution.kind != "note")


def _measures(chapter: Chapter) -> str:
    names = formatting.listed(map(formatting.metric, chapter.comparison.metrics), 30)
    plots = "ROC, precision-recall, reliability and decision curves, confusion matrices"
    return f"{names}; {plots}. {formatting.capitalized(chapter.metric_words)} is primary, all others are exploratory."


def _preparation(chapter: Chapter) -> str:
    shared = settings.flatten(chapter.comparison.shared)
    augment = [f"train.{name}" for name in ("normalise", "normalize")]
    augment += [name for name in shared if name.startswith("train.augment.")]
    values = _values(chapter.comparison, "data.size", *augment)
    return _sentence("Whatever is fitted to the data is fitted to the training set. Images: ", values)


def _outcome(chapter: Chapter) -> str:
    classes = formatting.listed(chapter.comparison.classes, 30)
    task = _values(chapter.comparison, "data.task")
    return f"One of {formatting.plural(len(chapter.comparison.classes), 'class', 'classes')}: {classes}" + (
        f" ({task})." if task else "."
    )


_FACTS: Mapping[str, Callable[[Chapter], str]] = {
    "objective": lambda chapter: (
        f"Development of {formatting.plural(len(chapter.ranked), 'method')}, compared on test cases of the same data."
    ),
    "source": _source,
    "data_terms": _terms,
    "flow": _flow,
    "partition": _partition,
    "disjoint": _disjoint,
    "size": _size,
    "missing": _missing,
    "preparation": _preparation,
    "outcome": _outcome,
    "predictors": _predictors,
    "training": _training,
    "selection": _selection,
    "imbalance": _imbalance,
    "fairness": _fairness,
    "characteristics": _characteristics,
    "output": _output,
    "prediction": lambda chapter: "By the weights of the chosen epoch, once for each case of the test set.",
    "performance": _performance,
    "accuracy": _accuracy,
    "failures": _failures,
    "software": _software,
    "clusters": _clusters,
    "updating": _updating,
    "robustness": _robustness,
    "uncertainty": _uncertainty,
    "limitations": _limitations,
    "measures": _measures,
    "subset": lambda chapter: _sentence("", _values(chapter.comparison, "data.limit")) or "All cases of the dataset.",
    "initialization": lambda chapter: _sentence("", _values(chapter.comparison, "model.encoder", "model.weights")),
    "ensembles": lambda chapter: (
        "Every row of the verdict is the mean over single runs."
        + (" The ensembles of the seeds: section Seed ensembles." if chapter.comparison.ensembles else "")
    ),
    "specification": lambda chapter: (
        "All settings of every method: section Data, settings, versions; parameters: section Cost. The weights are in "
        "the folders of the runs."
    ),
}

NAMES = frozenset(_FACTS)
"""Names that a checklist may use."""
