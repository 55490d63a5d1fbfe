import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mmfusion.data.latents import AXES, LatentModel, bayes_auc

DEFAULTS = {"coarse": 2.2, "fine": 2.2, "tabular": 2.4, "interaction": 2.0, "prevalence": 0.35}
strengths = st.floats(-3, 3)


def enumerated(model: LatentModel) -> dict[str, float]:
    """The ceilings anew, by plain loops over every state and every pattern of empty cells."""
    tables: dict[str, dict[tuple, list[float]]] = {"image": {}, "table": {}, "both": {}}
    p_elevation, miss = (0.4, 0.3, 0.3), model.missing
    for c, f, e, a, r in itertools.product(range(2), range(2), range(3), range(2), range(2)):
        for gone in itertools.product((False, True), repeat=3):
            weight = p_elevation[e] / 16 * math.prod(miss if g else 1 - miss for g in gone)
            seen = tuple(None if g else value for g, value in zip(gone, (e, a, r)))
            p = model.probability[c, f, e, a, r]
            for name, key in (("image", (c, f)), ("table", seen), ("both", (c, f, *seen))):
                mass = tables[name].setdefault(key, [0.0, 0.0])
                mass[0] += weight * p
                mass[1] += weight * (1 - p)
    aucs = {}
    for name, states in tables.items():
        won = total = 0.0
        for (p1, n1), (p2, n2) in itertools.product(states.values(), repeat=2):
            first, second = p1 / (p1 + n1) if p1 + n1 else 0, p2 / (p2 + n2) if p2 + n2 else 0
            won += p1 * n2 * (0.5 if abs(first - second) < 1e-11 else float(first > second))
            total += p1 * n2
        aucs[name] = won / total
    return aucs


@settings(max_examples=25, deadline=None)
@given(strengths, strengths, strengths, strengths, st.floats(0.05, 0.9), st.floats(0, 0.4), st.floats(0, 0.9))
def test_ceilings_equal_an_enumeration_of_their_own(coarse, fine, tabular, interaction, prevalence, noise, missing):
    model = LatentModel(coarse, fine, tabular, interaction, prevalence, noise, missing)
    wanted = enumerated(model)
    assert model.ceilings() == pytest.approx(wanted, abs=1e-9)
    assert model.ceilings()["both"] >= max(wanted["image"], wanted["table"]) - 1e-9


def test_ceilings_equal_a_simulation():
    model = LatentModel(**DEFAULTS)
    rng = np.random.default_rng(0)
    n = 200_000
    c, f, a, r = rng.integers(0, 2, (4, n))
    e = rng.choice(3, n, p=(0.4, 0.3, 0.3))
    label = rng.random(n) < model.probability[c, f, e, a, r]
    joint = model.prior * model.probability
    image = joint.sum(axis=(2, 3, 4)) / model.prior.sum(axis=(2, 3, 4))
    table = joint.sum(axis=(0, 1)) / model.prior.sum(axis=(0, 1))
    ceilings = model.ceilings()
    assert roc_auc_score(label, image[c, f]) == pytest.approx(ceilings["image"], abs=0.004)
    assert roc_auc_score(label, table[e, a, r]) == pytest.approx(ceilings["table"], abs=0.004)
    assert roc_auc_score(label, model.probability[c, f, e, a, r]) == pytest.approx(ceilings["both"], abs=0.004)


def test_defaults_are_in_their_ranges():
    ceilings = LatentModel(**DEFAULTS).ceilings()
    assert 0.75 <= ceilings["image"] <= 0.85
    assert 0.70 <= ceilings["table"] <= 0.80
    assert ceilings["both"] >= 0.92


@pytest.mark.parametrize(("prevalence", "both"), [(0.2, 0.8), (0.5, 0.98)])
def test_a_pure_interaction_shows_in_neither_modality(prevalence, both):
    ceilings = LatentModel(0, 0, 0, 4.0, prevalence).ceilings()
    assert [ceilings["image"], ceilings["table"]] == pytest.approx([0.5, 0.5], abs=1e-12)
    assert ceilings["both"] > both


def test_the_region_alone_says_nothing_without_the_interaction():
    p = LatentModel(2.0, 1.0, 1.5, 0.0, 0.4).probability
    assert np.array_equal(p[..., 0], p[..., 1])
    assert AXES[-1] == "region"


@given(strengths, strengths, st.floats(0.02, 0.98))
def test_prevalence_is_met(coarse, interaction, prevalence):
    model = LatentModel(coarse, 1.0, 1.0, interaction, prevalence)
    assert float((model.prior * model.probability).sum()) == pytest.approx(prevalence, abs=1e-9)


def test_noise_and_missing_cells_cost():
    clean, noisy = LatentModel(**DEFAULTS).ceilings(), LatentModel(**DEFAULTS, label_noise=0.1).ceilings()
    sparse, empty = (LatentModel(**DEFAULTS, missing=m).ceilings() for m in (0.5, 0.999))
    assert all(noisy[name] < clean[name] for name in clean)
    assert sparse["image"] == pytest.approx(clean["image"], abs=1e-12)
    assert sparse["table"] < clean["table"]
    assert empty["table"] == pytest.approx(0.5, abs=0.01)
    assert empty["both"] == pytest.approx(clean["image"], abs=0.01)


def test_bayes_auc():
    assert bayes_auc(np.array([0.5, 0.0]), np.array([0.0, 0.5])) == 1.0
    assert bayes_auc(np.array([0.2, 0.1]), np.array([0.4, 0.2])) == 0.5
    # Three of four pairs are ordered, by hand: 0.75 * 0.75 + 0.5 * (0.75 * 0.25 + 0.25 * 0.75).
    assert bayes_auc(np.array([0.75, 0.25]), np.array([0.25, 0.75])) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prevalence": 0.0}, "prevalence expects a share between 0 and 1, got 0"),
        ({"prevalence": 1.0}, "prevalence"),
        ({"label_noise": 0.5}, "label_noise expects a probability from 0 to below 0.5"),
        ({"missing": 1.0}, "missing expects a probability from 0 to below 1"),
    ],
)
def test_wrong_options(change, message):
    with pytest.raises(ValueError, match=message):
        LatentModel(**{**DEFAULTS, **change})
