import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mmfusion.data.synthetic.latents import Cue, LatentModel, bayes_auc, macro_auc
from mmfusion.data.synthetic.synthetic_derm7pt import PRESETS as LESIONS
from mmfusion.data.synthetic.synthetic_derm7pt import lesion_model
from mmfusion.data.synthetic.synthetic_men import PRESETS as TUMOURS
from mmfusion.data.synthetic.synthetic_men import tumour_model

strengths = st.floats(-3, 3)
shares = st.floats(0, 0.9)


def lesions(preset: str = "default", **change: float) -> LatentModel:
    odds = LESIONS[preset]
    given = {"prevalence": odds.prevalence[1]} | {
        name: getattr(odds, name) for name in ("coarse", "fine", "tabular", "interaction")
    }
    return lesion_model(**given | change)


def tumours(preset: str = "default", **change: object) -> LatentModel:
    return tumour_model(**vars(TUMOURS[preset]) | change)


BOTH = pytest.mark.parametrize("make", [lesions, tumours])


def seen_by(model: LatentModel) -> Iterator[tuple[float, tuple[int, ...], tuple, tuple]]:
    """Every state with every pattern of empty cells and absent images: weight, states, what images and table show."""
    n_cells = sum(not cue.shown_by for cue in model.cues)
    for states in itertools.product(*(range(len(cue.prior)) for cue in model.cues)):
        prior = math.prod(cue.prior[state] for cue, state in zip(model.cues, states))
        for gone in itertools.product((False, True), repeat=n_cells):
            cells = math.prod(model.missing if item else 1 - model.missing for item in gone)
            for away in itertools.product((False, True), repeat=len(model.images)):
                views = math.prod(model.missing_images if item else 1 - model.missing_images for item in away)
                absent = {name for name, item in zip(model.images, away) if item}
                image = tuple(
                    None if set(cue.shown_by) <= absent else state
                    for cue, state in zip(model.cues, states)
                    if cue.shown_by
                )
                table = [state for cue, state in zip(model.cues, states) if not cue.shown_by]
                yield (
                    prior * cells * views,
                    states,
                    image,
                    tuple(None if item else state for item, state in zip(gone, table)),
                )


def enumerated(model: LatentModel) -> dict[str, float]:
    """The ceilings anew, by plain loops over every state and every pattern of what is missing."""
    k = len(model.prevalence)
    tables: dict[str, dict[tuple, list[float]]] = {"image": {}, "table": {}, "both": {}}
    for weight, states, image, table in seen_by(model):
        if weight:
            for name, key in (("image", image), ("table", table), ("both", (image, table))):
                mass = tables[name].setdefault(key, [0.0] * k)
                for label in range(k):
                    mass[label] += weight * model.probability[(*states, label)]
    aucs = {}
    for name, observations in tables.items():
        of_classes = []
        for label in range(k):
            # Probability of each score, by whether the label is this one; equal scores are one observation.
            scores: dict[float, list[float]] = {}
            for mass in observations.values():
                at = scores.setdefault(round(mass[label] / sum(mass), 10), [0.0, 0.0])
                at[0] += mass[label]
                at[1] += sum(mass) - mass[label]
            won = below = 0.0
            for _, (positive, negative) in sorted(scores.items()):
                won += positive * (below + negative / 2)
                below += negative
            of_classes.append(won / (sum(p for p, _ in scores.values()) * below))
        aucs[name] = sum(of_classes) / k
    return aucs


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(strengths, strengths, strengths, strengths, st.floats(0.05, 0.9), st.floats(0, 0.4), shares, shares)
def test_ceilings_match_enumeration(coarse, fine, tabular, interaction, prevalence, noise, missing, missing_images):
    model = lesion_model(coarse, fine, tabular, interaction, prevalence, noise, missing, missing_images)
    wanted = enumerated(model)
    assert model.ceilings() == pytest.approx(wanted, abs=1e-8)
    assert model.ceilings()["both"] >= max(wanted["image"], wanted["table"]) - 1e-9


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(strengths, strengths, strengths, strengths, st.floats(0.1, 0.6), st.floats(0, 0.6), shares, shares)
def test_ceilings_of_three_classes_match_enumeration(
    coarse, fine, tabular, interaction, first, noise, missing, missing_images
):
    prevalence = (first, 0.3 * (1 - first), 0.7 * (1 - first))
    model = tumour_model(coarse, fine, tabular, interaction, prevalence, noise, missing, missing_images)
    wanted = enumerated(model)
    assert model.ceilings() == pytest.approx(wanted, abs=1e-8)
    assert model.ceilings()["both"] >= max(wanted["image"], wanted["table"]) - 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("missing_images", [0.0, 0.3])
def test_default_ceilings_of_three_classes_match_enumeration(missing_images):
    model = tumours(missing_images=missing_images)
    assert model.ceilings() == pytest.approx(enumerated(model), abs=1e-9)


def empirical(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(labels == k, scores[:, k]) for k in range(scores.shape[1])]))


@pytest.mark.slow
@BOTH
def test_ceilings_match_simulation(make: Callable[..., LatentModel]):
    model = make()
    rng = np.random.default_rng(0)
    states = model.draw(100_000, rng)
    labels = model.labels(states, rng)
    joint = model.prior[..., None] * model.probability
    ceilings = model.ceilings()
    for view, wanted in (("image", True), ("table", False), ("both", None)):
        hidden = tuple(a for a, cue in enumerate(model.cues) if wanted is not None and bool(cue.shown_by) != wanted)
        posterior = joint.sum(axis=hidden) / joint.sum(axis=(*hidden, -1))[..., None]
        displayed = tuple(states[cue.name] for a, cue in enumerate(model.cues) if a not in hidden)
        assert empirical(labels, posterior[displayed]) == pytest.approx(ceilings[view], abs=0.006), view


@pytest.mark.slow
@BOTH
def test_ceilings_with_missing_data_match_simulation(make: Callable[..., LatentModel]):
    """The best score given what is visible, computed case by case."""
    model = make(missing=0.2, missing_images=0.4)
    rng = np.random.default_rng(1)
    posterior: dict[tuple, np.ndarray] = {}
    for weight, states, image, table in seen_by(model):
        posterior[image, table] = posterior.get((image, table), 0.0) + weight * model.probability[states]
    n = 30_000
    states = model.draw(n, rng)
    labels = model.labels(states, rng)
    away = rng.random((n, len(model.images))) < model.missing_images
    gone = rng.random((n, len(model.cues))) < model.missing
    scores = np.empty((n, len(model.prevalence)))
    for i in range(n):
        absent = {name for name, item in zip(model.images, away[i]) if item}
        image, table = [], []
        for a, cue in enumerate(model.cues):
            state = int(states[cue.name][i])
            if cue.shown_by:
                image.append(None if set(cue.shown_by) <= absent else state)
            else:
                table.append(None if gone[i, a] else state)
        mass = posterior[tuple(image), tuple(table)]
        scores[i] = mass / mass.sum()
    assert empirical(labels, scores) == pytest.approx(model.ceilings()["both"], abs=0.01)


@BOTH
def test_default_ceilings_are_in_range(make: Callable[..., LatentModel]):
    ceilings = make().ceilings()
    assert 0.75 <= ceilings["image"] <= 0.85
    assert 0.70 <= ceilings["table"] <= 0.80
    assert ceilings["both"] >= 0.92


@pytest.mark.slow
def test_ceilings_match_documentation():
    result = {
        (make.__name__, preset): [round(value, 3) for value in make(preset).ceilings().values()]
        for make in (lesions, tumours)
        for preset in LESIONS
    }
    assert result == {
        ("lesions", "default"): [0.788, 0.751, 0.959],
        ("lesions", "additive"): [0.821, 0.760, 0.951],
        ("lesions", "pure-interaction"): [0.5, 0.5, 0.982],
        ("tumours", "default"): [0.789, 0.763, 0.956],
        ("tumours", "additive"): [0.832, 0.726, 0.943],
        ("tumours", "pure-interaction"): [0.5, 0.5, 0.982],
    }


def multiplied(model: LatentModel) -> float:
    """AUC of the images' own posterior times the table's, over the prior: two separate models."""
    joint = (model.prior[..., None] * model.probability).astype(float)
    k = joint.shape[-1]
    score = np.ones_like(joint) / np.array(model.prevalence)
    for wanted in (True, False):
        hidden = tuple(a for a, cue in enumerate(model.cues) if bool(cue.shown_by) != wanted)
        mass = joint.sum(axis=hidden, keepdims=True)
        score = score * mass / mass.sum(axis=-1, keepdims=True)
    score = np.round(score / score.sum(axis=-1, keepdims=True), 10).reshape(-1, k)
    mass = joint.reshape(-1, k)
    of_classes = [
        roc_auc_score(
            np.repeat([1, 0], len(mass)),
            np.tile(score[:, label], 2),
            sample_weight=np.concatenate([mass[:, label], mass.sum(axis=1) - mass[:, label]]),
        )
        for label in range(k)
    ]
    return float(np.mean(of_classes))


@pytest.mark.slow
def test_product_ceilings_match_documentation():
    result = {preset: [round(multiplied(make(preset)), 3) for make in (lesions, tumours)] for preset in LESIONS}
    assert result == {"default": [0.915, 0.929], "additive": [0.947, 0.937], "pure-interaction": [0.5, 0.5]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "prevalence", "both"),
    [
        (lesions, 0.2, 0.8),
        (lesions, 0.5, 0.98),
        (tumours, (0.2, 0.3, 0.5), 0.85),
        (tumours, (0.5, 0.25, 0.25), 0.98),
    ],
)
def test_pure_interaction_needs_both_modalities(make, prevalence, both):
    model = make("pure-interaction", prevalence=prevalence, label_noise=0.0)
    ceilings = model.ceilings()
    assert [ceilings["image"], ceilings["table"]] == pytest.approx([0.5, 0.5], abs=1e-12)
    assert ceilings["both"] > both
    blurred = make("pure-interaction", prevalence=prevalence, label_noise=0.1, missing=0.2, missing_images=0.2)
    assert [blurred.ceilings()[name] for name in ("image", "table")] == pytest.approx([0.5, 0.5], abs=1e-12)
    assert 0.5 < blurred.ceilings()["both"] < ceilings["both"]


@BOTH
def test_zero_effects_give_chance(make: Callable[..., LatentModel]):
    ceilings = make(coarse=0.0, fine=0.0, tabular=0.0, interaction=0.0).ceilings()
    assert list(ceilings.values()) == pytest.approx([0.5] * 3, abs=1e-12)


@BOTH
@pytest.mark.parametrize(
    ("change", "view"), [({"coarse": 0.0, "fine": 0.0}, "image"), ({"tabular": 0.0}, "table")], ids=["image", "table"]
)
def test_modality_without_cues_is_at_chance(make: Callable[..., LatentModel], change, view):
    ceilings = make(**change, interaction=0.0).ceilings()
    assert ceilings.pop(view) == pytest.approx(0.5, abs=1e-12)
    other = ceilings["table" if view == "image" else "image"]
    assert ceilings["both"] == pytest.approx(other, abs=1e-9)
    assert other > 0.65


@pytest.mark.parametrize(("make", "cues"), [(lesions, ["region"]), (tumours, ["adc", "sex"])])
def test_interaction_columns_are_uninformative_alone(make, cues):
    model = make("additive")
    axes = {cue.name: a for a, cue in enumerate(model.cues)}
    for name in cues:
        first, second = (model.probability.take(state, axis=axes[name]) for state in (0, 1))
        assert np.array_equal(first, second)


@settings(deadline=None)
@given(strengths, strengths, st.floats(0.02, 0.98))
def test_prevalence_matches(coarse, interaction, prevalence):
    model = lesion_model(coarse, 1.0, 1.0, interaction, prevalence)
    share = (model.prior[..., None] * model.probability).reshape(-1, 2).sum(axis=0)
    assert share == pytest.approx([1 - prevalence, prevalence], abs=1e-9)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(strengths, strengths, st.floats(0.02, 0.9), st.floats(0.05, 0.95))
def test_prevalence_of_three_classes_matches(fine, interaction, first, split):
    prevalence = (first, (1 - first) * split, (1 - first) * (1 - split))
    model = tumour_model(2.0, fine, 1.5, interaction, prevalence)
    share = (model.prior[..., None] * model.probability).reshape(-1, 3).sum(axis=0)
    assert share == pytest.approx(prevalence, abs=1e-9)


@BOTH
def test_labels_match_their_probability(make: Callable[..., LatentModel]):
    model = make(label_noise=0.1)
    k, n = len(model.prevalence), 50_000
    states = {cue.name: np.full(n, len(cue.prior) - 1) for cue in model.cues}
    drawn = np.bincount(model.labels(states, np.random.default_rng(0)), minlength=k) / n
    assert drawn == pytest.approx(model.given(states)[0], abs=0.01)
    assert drawn.min() >= 0.1 / (k - 1) - 0.01


@pytest.mark.slow
@BOTH
def test_noise_and_missing_data_lower_ceilings(make: Callable[..., LatentModel]):
    clean, noisy = make().ceilings(), make(label_noise=0.1).ceilings()
    sparse, empty = (make(missing=m).ceilings() for m in (0.5, 0.999))
    blind = make(missing_images=0.999).ceilings()
    assert all(noisy[name] < clean[name] for name in clean)
    assert sparse["image"] == pytest.approx(clean["image"], abs=1e-12)
    assert sparse["table"] < clean["table"]
    assert empty["table"] == pytest.approx(0.5, abs=0.01)
    assert empty["both"] == pytest.approx(clean["image"], abs=0.01)
    assert blind["table"] == pytest.approx(clean["table"], abs=1e-12)
    assert blind["image"] == pytest.approx(0.5, abs=0.01)
    assert blind["both"] == pytest.approx(clean["table"], abs=0.01)


def test_cue_is_visible_in_any_image():
    """Two images, one cue, a certain label: with both absent there is a tie, else no error."""
    effects = np.array([[40.0, 0.0], [0.0, 40.0]])
    for shown_by, seen in (("a",), 0.7), (("a", "b"), 1 - 0.3**2):
        model = LatentModel((Cue("c", shown_by=shown_by),), effects, (0.5, 0.5), missing_images=0.3)
        # Seen cases score 0 or 1, the others 1/2: P(above) + P(tie) / 2 over pairs of a positive and a negative.
        assert model.ceilings()["image"] == pytest.approx(1 - (1 - seen) ** 2 / 2, abs=1e-9)


def test_bayes_auc_by_hand():
    assert bayes_auc(np.array([0.5, 0.0]), np.array([0.0, 0.5])) == 1.0
    assert bayes_auc(np.array([0.2, 0.1]), np.array([0.4, 0.2])) == 0.5
    # Three of four pairs are ordered, by hand: 0.75 * 0.75 + 0.5 * (0.75 * 0.25 + 0.25 * 0.75).
    assert bayes_auc(np.array([0.75, 0.25]), np.array([0.25, 0.75])) == pytest.approx(0.75)
    assert macro_auc(np.array([[0.75, 0.25], [0.25, 0.75]])) == pytest.approx(0.75)
    # The first class is recognized surely; each of the others wins over it, half of its rest, and ties with the other.
    assert macro_auc(np.array([[0.4, 0.0, 0.0], [0.0, 0.4, 0.4]])) == pytest.approx((1 + 0.75 + 0.75) / 3)


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (lesions, {"prevalence": 0.0}, "prevalence expects a share between 0 and 1 for each class"),
        (lesions, {"prevalence": 1.0}, "prevalence"),
        (lesions, {"label_noise": 0.5}, "label_noise expects a probability from 0 to below 0.5"),
        (lesions, {"missing": 1.0}, "missing expects a probability from 0 to below 1"),
        (lesions, {"missing_images": 1.0}, "missing_images expects a probability from 0 to below 1"),
        (tumours, {"prevalence": (0.5, 0.5)}, r"effects expect shape .* states and classes"),
        (tumours, {"prevalence": (0.5, 0.5, 0.5)}, "1 in all"),
        (tumours, {"prevalence": (0.5, 0.5, 0.0)}, "between 0 and 1 for each class"),
        (tumours, {"label_noise": 0.67}, "from 0 to below 0.667, with which 3 classes"),
        (tumours, {"missing_images": -0.1}, "missing_images expects a probability"),
    ],
)
def test_invalid_options_raise(make, change, message):
    with pytest.raises(ValueError, match=message):
        make(**change)


def test_mismatched_effects_raise():
    with pytest.raises(ValueError, match=r"effects expect shape \(2, 3\), states and classes, got \(3, 2\)"):
        LatentModel((Cue("c"),), np.zeros((3, 2)), (0.2, 0.3, 0.5))
