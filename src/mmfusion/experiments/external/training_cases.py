"""The cases that a run was trained on, read again where they are: a run's folder holds none of their rows."""

from dataclasses import dataclass
from pathlib import Path

from mmfusion.data.frame import FrameDataset
from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.experiments import file_digests, folder, same_cases, survey
from mmfusion.experiments.assembly import build_dataset, selected
from mmfusion.training.reporter import Reporter, Silent
from mmfusion.utils.cache_folders import cache_folder


@dataclass(frozen=True)
class TrainingCases:
    """Cases of a run, as it had them.

    Attributes:
        train: Training set.
        test: Test set, on which the model was not fitted.
        root: Folder of the images; None: the working folder.
        subgroups: Properties of the dataset for results by subgroup.
    """

    train: FrameDataset
    test: FrameDataset
    root: Path | None
    subgroups: tuple[Subgroup, ...]


def reach(place: Path, root: str | Path | None = None, reporter: Reporter | None = None) -> TrainingCases | str:
    """The cases of a run, read by its settings.

    Args:
        place: The run's folder.
        root: Where its dataset is now, if it was moved.
        reporter: Receives the progress.

    Returns:
        The cases; or why they cannot be compared with, as the end of a sentence: the folder does not say which they
        were, they are not where they were, or they changed since.
    """
    if not same_cases.recorded(place) or not (place / folder.SPLITS).is_file():
        return "the folder does not say which cases it was trained on, as a shared one"
    settings = folder.read_settings(place)
    settings.run.root = settings.run.root if root is None else str(root)
    # The folder names files, and nothing is written to what it names, but to a cache that is in use already.
    if settings.run.cache is not None and not cache_folder("images", settings.run.cache).is_dir():
        settings.run.cache = None
    settings.data = {key: value for key, value in settings.data.items() if key not in file_digests.WRITTEN}
    if changed := same_cases.changed_files(place, settings):
        return f"{' and '.join(changed)} changed since"
    try:
        settings.check_options()
        bundle = selected(build_dataset(settings.typed(), reporter or Silent()), settings)
        digests = survey.survey(bundle).digests
    except (ValueError, OSError, ImportError) as error:
        return f"they cannot be read: {' '.join(str(error).split()):.300}"
    if changed := same_cases.changed_cases(place, bundle.sets, bundle.spec, digests):
        return f"they changed since: {'; '.join(changed)}"
    if not isinstance(bundle.train, FrameDataset) or not isinstance(bundle.test, FrameDataset):
        return "the dataset does not give its table"
    folder_of_images = None if settings.run.root is None else Path(settings.run.root)
    if folder_of_images is None and isinstance(table := settings.data.get("table"), str):
        folder_of_images = Path(table).parent
    return TrainingCases(bundle.train, bundle.test, folder_of_images, bundle.subgroups)
