import pytest
import torch

import mmfusion as mmf
from helpers.small import make_spec
from mmfusion.data import free_memory
from mmfusion.experiments import footprint
from mmfusion.experiments.settings import resolve
from mmfusion.training.memory import OutOfMemory

SPEC = make_spec(images=1)
CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.parametrize(("frozen", "times"), [(False, (4, 4)), (True, (1, 4))])
def test_n_bytes_of_model(frozen: bool, times: tuple[int, int]) -> None:
    model = mmf.create_model("concat", SPEC, encoder="convnet", dim=4)
    encoder = sum(p.numel() for p in model.encoders.parameters())
    rest = sum(p.numel() for p in model.parameters()) - encoder
    assert footprint.n_bytes(model, frozen=frozen) == 4 * (times[0] * encoder + times[1] * rest)


@pytest.mark.slow
def test_too_large_model_raises_with_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "free_memory", lambda device: 10**9)
    settings = resolve("concat", overrides=[{"model": {"encoder": "convnet", "dim": 16384, "hidden": [16384] * 32}}])
    expected = r"'concat' has [\d,]+ parameters.* 1 GB are free on cpu.*largest part is \S+ \([\d,]+ parameters\)"
    with pytest.raises(OutOfMemory, match=expected) as error:
        footprint.check_fits(settings, SPEC, CPU)
    assert "model.dim=16384" in str(error.value)
    assert "model.hidden=[16384, " in str(error.value)


def test_fitting_model_passes_without_random_draws() -> None:
    before = torch.get_rng_state()
    footprint.check_fits(resolve("concat", overrides=[{"model": {"encoder": "convnet"}}]), SPEC, CPU)
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_memory_skips_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "free_memory", lambda device: None)
    footprint.check_fits(resolve("concat"), SPEC, CPU)


def test_free_memory_is_positive() -> None:
    free = free_memory.free_memory()
    assert free is not None
    assert 0 < free < 2**50
    assert free_memory.free_memory("meta") is None


@pytest.mark.parametrize(
    ("n", "words"), [(0, "0 bytes"), (999, "999 bytes"), (19.84e9, "19.8 GB"), (1e15, "1 PB"), (1e12, "1 TB")]
)
def test_sizes_in_words(n: float, words: str) -> None:
    assert free_memory.in_words(n) == words


def test_too_many_synthetic_images_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmfusion.data.synthetic.cohort.free_memory", lambda: 10**5)
    with pytest.raises(ValueError, match=r"take 147 kB, and 100 kB .*n_train=16, .*n_test=4\) .* \(\(32, 32\)\)"):
        mmf.registry.datasets.create("synthetic_derm7pt", n_train=16, n_validation=4, n_test=4, size=32)
