"""The model of a run as it was before training."""

from pathlib import Path

import torch
from torch import nn

from mmfusion.experiments import folder
from mmfusion.experiments.assembly import build_model
from mmfusion.spec import DataSpec
from mmfusion.training.fitting import learning
from mmfusion.training.seeds import derive, seed_all


def start_is_known(place: Path) -> bool:
    """Whether a run's folder says what its training began with; a shared one does not."""
    return (place / folder.SPLITS).is_file()


def initial_model(place: Path, spec: DataSpec, trained: nn.Module, module: nn.Module | None = None) -> nn.Module:
    """A run's model with the weights that it began with, built again from its seed.

    What tokenizers learn from the training rows before the first step, such as bins, is taken from the trained model.
    A perturbed start (``run.repeat``) began with these weights up to rounding.

    Args:
        place: The run's folder.
        spec: Of its data.
        trained: Its model.
        module: The module of one's own that the run began with; None: the run is of a registered model.

    Returns:
        In evaluation mode, on the device of the trained model. The random state is left as it was.

    Raises:
        ValueError: If the folder does not say what the run began with, as a shared one, or pretrained weights cannot be
            had.
    """
    if not start_is_known(place):
        raise ValueError(
            f"{place} does not say which seed and pretrained weights its training began with, as a shared folder: only "
            "what came after can be shown, by before=False"
        )
    settings = folder.read_settings(place)
    with torch.random.fork_rng(devices=[]):
        seed_all(derive(settings.run.seed))
        try:
            model = build_model(settings, spec, weights=True, module=module)
        except (OSError, ImportError, ValueError) as error:
            raise ValueError(
                f"the model that the training of {place} began with cannot be built again: {error}. What came after is "
                "shown by before=False"
            ) from error
    for (_, fresh), (_, fitted) in zip(learning(model), learning(trained), strict=True):
        learned_by_gradient = dict(fitted.named_parameters())
        rows = {name: x for name, x in fitted.state_dict().items() if name not in learned_by_gradient}
        fresh.load_state_dict(fresh.state_dict() | rows)
    device = next((x.device for x in trained.parameters()), torch.device("cpu"))
    return model.to(device).eval()
