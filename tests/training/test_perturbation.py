"""Repeats from perturbed starts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmfusion.experiments import assembly, devices, folder, run
from mmfusion.experiments.settings import RunSettings, Settings, resolve
from mmfusion.training import checkpoints
from mmfusion.training.perturbation import SCALE, perturb
from mmfusion.training.reporter import Silent

Start = Callable[..., Path]


def perturbed(parameters: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    copies = [parameter.clone() for parameter in parameters]
    perturb(copies, torch.Generator().manual_seed(seed))
    return copies


def test_weights_change_by_rounding_only() -> None:
    torch.manual_seed(0)
    weights = torch.randn(40_000)
    counts, zeros, exact = torch.arange(3), torch.zeros(5), torch.randn(40_000, dtype=torch.float64)
    changed = perturbed([weights, counts, zeros, exact], 1)
    relative = (changed[0].double() / weights.double() - 1).abs()
    assert 0.4 < (relative > 0).double().mean() < 0.95
    assert relative.max() < 6 * SCALE
    assert torch.equal(changed[1], counts)
    assert torch.equal(changed[2], zeros)
    z = (changed[3] / exact - 1) / SCALE
    assert z.mean().abs() < 0.02
    assert z.std() == pytest.approx(1, abs=0.02)
    assert all(map(torch.equal, changed, perturbed([weights, counts, zeros, exact], 1)))
    assert not torch.equal(changed[0], perturbed([weights], 2)[0])


def first_weights(
    start: Start, tmp_path: Path, name: str, *, pretrain: bool = False, **chosen: int
) -> list[torch.Tensor]:
    """The weights before the first step, those of all phases."""
    settings = resolve("tiny", "tiny", [{"run": chosen, "model": {"pretrain": pretrain}, "train": {"batch_size": 16}}])
    parts = assembly.build(settings, devices.pick_device("cpu"), Silent())
    training = assembly.prepare(parts, tmp_path / name, Silent())

    class Begun(Exception):
        pass

    def stop(*_: object) -> None:
        raise Begun

    vars(training)["_begin"] = stop
    with pytest.raises(Begun):
        training.run()
    trained = [p for phase in training._phases for group in phase.parameters for p in group.parameters]
    return [parameter.detach().clone() for parameter in trained]


@pytest.mark.slow
@pytest.mark.parametrize("pretrain", [False, True])
def test_repeats_have_distinct_start_weights(start: Start, tmp_path: Path, pretrain: bool) -> None:
    def begun(name: str, **chosen: int) -> list[torch.Tensor]:
        return first_weights(start, tmp_path, name, pretrain=pretrain, **chosen)

    own, same, first, second = begun("a"), begun("b", repeat=0), begun("c", repeat=1), begun("d", repeat=2)
    assert all(map(torch.equal, own, same))
    for repeat, other in ((first, own), (second, own), (first, second)):
        assert not any(torch.equal(x, y) for x, y in zip(repeat, other, strict=True) if x.numel() > 20 and x.any())
        for x, y in zip(repeat, other, strict=True):
            torch.testing.assert_close(x, y, rtol=2e-6, atol=0)
    assert all(map(torch.equal, first, begun("e", repeat=1)))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "calls"), [("_epoch", 1), ("_keep", 2)])
def test_resumed_repeat_matches_uninterrupted(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, calls: int
) -> None:
    """Interrupted before the first checkpoint, and after it."""
    repeat, original, left = {"run": {"repeat": 3}}, getattr(assembly.Training, method), [calls]

    def interrupted(*arguments: object, **options: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        original(*arguments, **options)

    whole, plain = start("whole", overrides=repeat), start("plain")
    assert (whole / folder.PREDICTIONS).read_bytes() != (plain / folder.PREDICTIONS).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(assembly.Training, method, interrupted)
        with pytest.raises(run.Interrupted):
            start("killed", overrides=repeat)
    run.resume(tmp_path / "killed", Silent())
    expected, found = (checkpoints.load(tmp_path / name / checkpoints.LAST)[0] for name in ("whole", "killed"))
    assert all(torch.equal(x, found[key]) for key, x in expected.items())


def test_repeat_folder_names() -> None:
    assert folder.default(Settings(RunSettings("m", "d", seed=4))).name == "seed4"
    assert (
        folder.default(Settings(RunSettings("m", "d", seed=4, repeat=2), data={"fold": 1})).name
        == "seed4-repeat2-fold1"
    )
