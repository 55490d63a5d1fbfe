import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmfusion.data.synthetic.tumours import SEQUENCES, SHOW_COARSE, SHOW_FINE, draw

N = 1600
SIZE = (32, 32, 8)
SHOWN = [(cue, name) for cue, shown_by in (("coarse", SHOW_COARSE), ("fine", SHOW_FINE)) for name in shown_by]


def drawn(
    coarse: np.ndarray, fine: np.ndarray, rng: np.random.Generator, size: tuple[int, int, int] = SIZE
) -> dict[str, np.ndarray]:
    n = len(coarse)
    return draw(coarse, fine, rng.uniform(24, 32, (n, 2)), rng.uniform(0, 12, n), size, rng)


@pytest.fixture(scope="module")
def tumours() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Cues by name, and volumes by sequence, float (n, 32, 32, 8)."""
    rng = np.random.default_rng(11)
    cues = {"coarse": rng.random(N) < 0.5, "fine": rng.random(N) < 0.5}
    volumes = [drawn(cues["coarse"][i : i + 32], cues["fine"][i : i + 32], rng) for i in range(0, N, 32)]
    return cues, {name: np.concatenate([item[name] for item in volumes])[:, 0].astype(np.float32) for name in SEQUENCES}


def shrunk(volumes: np.ndarray, size: int) -> np.ndarray:
    """To ``size`` along height and width; the slices stay."""
    n, h, w, d = volumes.shape
    return volumes.reshape(n, size, h // size, size, w // size, d).mean(axis=(2, 4))


def auc(features: np.ndarray, cue: np.ndarray) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return float(roc_auc_score(cue, cross_val_predict(model, features, cue, cv=4, method="decision_function")))


def test_volumes_have_shape_and_are_deterministic():
    coarse, fine = np.array([True, False, True]), np.array([False, False, True])
    first, again, other = (drawn(coarse, fine, np.random.default_rng(seed), (40, 40, 6)) for seed in (1, 1, 2))
    assert tuple(first) == SEQUENCES
    for name in SEQUENCES:
        assert first[name].shape == (3, 1, 40, 40, 6)
        assert first[name].dtype == np.uint8
        assert first[name].tobytes() == again[name].tobytes()
        assert first[name].tobytes() != other[name].tobytes()


@pytest.mark.parametrize("cue", ["coarse", "fine"])
def test_cue_changes_its_region_and_sequences_only(cue):
    """The same random numbers with a cue flipped give the same voxels elsewhere."""
    off, on = np.zeros(8, dtype=bool), np.ones(8, dtype=bool)
    plain = drawn(off, off, np.random.default_rng(0))
    changed = drawn(on if cue == "coarse" else off, on if cue == "fine" else off, np.random.default_rng(0))
    for name in SEQUENCES:
        apart = np.abs(plain[name][:, 0].astype(int) - changed[name][:, 0].astype(int))
        assert apart[:, [0, 0, -1, -1], [0, -1, 0, -1]].max() <= 1
        assert apart[:, :, :, [0, -1]].max() <= 1
        # T1's mesh turns too, which leaves it as it was: equal waves across each other.
        if (cue, name) in SHOWN:
            assert (apart.max(axis=(1, 2, 3)) > 20).all()
        elif cue == "coarse":
            assert apart.max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("cue", ["coarse", "fine"])
def test_voxel_statistics_do_not_reveal_cues(tumours, cue, name):
    cues, volumes = tumours
    features = []
    for size in (32, 16, 8):
        voxels = shrunk(volumes[name], size).reshape(N, -1)
        moments = [((voxels - voxels.mean(axis=1, keepdims=True)) ** power).mean(axis=1) for power in (3, 4)]
        features += [voxels.mean(axis=1), voxels.std(axis=1), voxels.max(axis=1), voxels.min(axis=1), *moments]
        features += list(np.quantile(voxels, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98), axis=1))
    # 39 statistics, singly and together.
    stacked = np.stack(features, axis=1)
    single = [roc_auc_score(cues[cue], column) for column in stacked.T]
    assert max(abs(np.array(single) - 0.5)) < 0.06
    assert abs(auc(stacked, cues[cue]) - 0.5) < 0.07


def energies(volumes: np.ndarray) -> np.ndarray:
    """Mean size of the differences between neighbours along the height, and along the width: shape (n, 2)."""
    return np.stack([np.abs(np.diff(volumes, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2)], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
def test_fine_cue_is_visible_but_lost_at_8x8(tumours, name):
    cues, volumes = tumours
    seen = auc(energies(volumes[name][:, 10:22, 10:22, 3:5]), cues["fine"])
    assert seen > 0.97 if name in SHOW_FINE else abs(seen - 0.5) < 0.07
    small = shrunk(volumes[name], 8)
    along, across = small[:, 1:] * small[:, :-1], (small[:, :, 1:] * small[:, :, :-1]).swapaxes(1, 2)
    features = np.concatenate(
        [energies(small), small.mean(axis=3).reshape(N, -1), (along - across).mean(axis=3).reshape(N, -1)], axis=1
    )
    assert abs(auc(features, cues["fine"]) - 0.5) < 0.07
    # Where the differences between neighbours are large: what is left of waves at a border would show there.
    squares = [np.diff(small, axis=axis) ** 2 for axis in (1, 2)]
    where = np.concatenate([square.mean(axis=3).reshape(N, -1) for square in squares], axis=1)
    assert abs(auc(where, cues["fine"]) - 0.5) < 0.07


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
def test_coarse_cue_survives_8x8(tumours, name):
    cues, volumes = tumours
    # A crude measure, far below what a network sees: how far from the slice's middle the tumour stands out.
    middle = shrunk(volumes[name], 8)[:, 2:6, 2:6, 3:5].mean(axis=3) * (-1 if name == "t1" else 1)
    weights = np.clip(middle - np.median(middle, axis=(1, 2), keepdims=True), 0, None)
    y, x = np.mgrid[:4, :4] - 1.5
    far = (weights * (x**2 + y**2)).sum(axis=(1, 2)) / weights.sum(axis=(1, 2))
    seen = roc_auc_score(cues["coarse"], far)
    assert seen > 0.62 if name in SHOW_COARSE else abs(seen - 0.5) < 0.06
