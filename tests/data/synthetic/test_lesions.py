import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmfusion.data.synthetic.lesions import VIEWS, draw

N = 1600


@pytest.fixture(scope="module")
def lesions() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Cues by name, and images by view, float (n, 3, 64, 64)."""
    rng = np.random.default_rng(11)
    cues = {"coarse": rng.random(N) < 0.5, "fine": rng.random(N) < 0.5}
    images = [draw(cues["coarse"][i : i + 32], cues["fine"][i : i + 32], 64, rng) for i in range(0, N, 32)]
    return cues, {view: np.concatenate([drawn[view] for drawn in images]).astype(np.float32) for view in VIEWS}


def shrunk(images: np.ndarray, size: int) -> np.ndarray:
    n, c, h, w = images.shape
    return images.reshape(n, c, size, h // size, size, w // size).mean(axis=(3, 5))


def auc(features: np.ndarray, cue: np.ndarray) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return float(roc_auc_score(cue, cross_val_predict(model, features, cue, cv=4, method="decision_function")))


def test_images_have_shape_and_are_deterministic():
    coarse, fine = np.array([True, False, True]), np.array([False, False, True])
    first, again, other = (draw(coarse, fine, 48, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert list(first) == list(VIEWS)
    for view in VIEWS:
        assert first[view].shape == (3, 3, 48, 48)
        assert first[view].dtype == np.uint8
        assert first[view].tobytes() == again[view].tobytes()
        assert first[view].tobytes() != other[view].tobytes()


@pytest.mark.parametrize("cue", ["coarse", "fine"])
def test_cue_changes_its_region_only(cue):
    """The same random numbers with a cue flipped give the same picture elsewhere."""
    off, on = np.zeros(8, dtype=bool), np.ones(8, dtype=bool)
    plain = draw(off, off, 64, np.random.default_rng(0))
    changed = (
        draw(on, off, 64, np.random.default_rng(0)) if cue == "coarse" else draw(off, on, 64, np.random.default_rng(0))
    )
    for view in VIEWS:
        same = (np.abs(plain[view].astype(int) - changed[view].astype(int)) <= 1).all(axis=1)
        corners = same[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.all()
        assert not same[:, 24:40, 24:40].all()


@pytest.mark.slow
@pytest.mark.parametrize("cue", ["coarse", "fine"])
@pytest.mark.parametrize("view", VIEWS)
def test_pixel_statistics_do_not_reveal_cues(lesions, cue, view):
    cues, images = lesions
    features = []
    for size in (64, 32, 16, 8):
        pixels = shrunk(images[view], size).reshape(N, 3, -1)
        features += [pixels.mean(axis=2), pixels.std(axis=2)]
        features += list(np.quantile(pixels, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98), axis=2))
    # 108 statistics, singly and together.
    stacked = np.concatenate(features, axis=1)
    single = [roc_auc_score(cues[cue], column) for column in stacked.T]
    assert max(abs(np.array(single) - 0.5)) < 0.06
    assert abs(auc(stacked, cues[cue]) - 0.5) < 0.07


def energies(images: np.ndarray) -> np.ndarray:
    """Mean size of the differences between neighbours along the height, and along the width: shape (n, 2)."""
    grey = images.mean(axis=1)
    return np.stack([np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_fine_cue_is_visible_but_lost_at_8x8(lesions, view):
    cues, images = lesions
    assert auc(energies(images[view]), cues["fine"]) > 0.97
    small = shrunk(images[view], 8)
    products = np.stack(
        [(small[:, :, :, 1:] * small[:, :, :, :-1]), (small[:, :, 1:] * small[:, :, :-1]).swapaxes(2, 3)]
    )
    features = np.concatenate(
        [energies(small), small.reshape(N, -1), products.mean(axis=(2, 3)).reshape(2, N, -1)[0]], axis=1
    )
    assert abs(auc(features, cues["fine"]) - 0.5) < 0.07


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_coarse_cue_survives_8x8(lesions, view):
    cues, images = lesions
    # A crude measure, far below what a network sees: how far the darkest cell lies from the middle of all that is dark.
    dark = 255 - shrunk(images[view], 8).mean(axis=1)
    dark = np.clip(dark - np.median(dark, axis=(1, 2), keepdims=True), 0, None)
    y, x = np.mgrid[:8, :8]
    centres = [
        np.stack([(weight * axis).sum(axis=(1, 2)) / weight.sum(axis=(1, 2)) for axis in (y, x)])
        for weight in (dark, dark**6)
    ]
    assert roc_auc_score(cues["coarse"], np.linalg.norm(centres[0] - centres[1], axis=0)) > 0.65
