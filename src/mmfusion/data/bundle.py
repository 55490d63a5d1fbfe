"""Bundle of training, validation and test set with their reader."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmfusion.data.cases import CaseDataset
from mmfusion.data.reader import CaseReader
from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.spec import DataSpec


@dataclass(frozen=True)
class DataBundle:
    """A dataset ready for a run: training, validation and test set, and the reader that prepares new cases.

    Attributes:
        name: The registered name.
        train: Training set, for fitting.
        validation: Validation set, for every choice.
        test: Test set, only for the result.
        reader: Prepares a new table and its images as cases, with what was fitted on the training set.
        ceilings: The best AUC that any model can reach, for data from known probabilities: ``"image"``, ``"table"``,
            ``"both"``.
        notes: Notes for readers of the results (leaks, licenses, cases left out), one sentence each.
        about: Description of the data in lines, shown when the run begins; may be empty.
        fold: Index of the fold, from 0; 0 without folds.
        subgroups: Subgroups of cases, for results by sex, age or skin type.
        calibration: Cases that a run takes out of the training set for conformal sets; None: none.
    """

    name: str
    train: CaseDataset
    validation: CaseDataset
    test: CaseDataset
    reader: CaseReader
    ceilings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    about: str = ""
    fold: int = 0
    subgroups: tuple[Subgroup, ...] = ()
    calibration: CaseDataset | None = None

    @property
    def sets(self) -> dict[str, CaseDataset]:
        """All sets by name; ``calibration`` if there is one."""
        sets = {"train": self.train, "validation": self.validation, "test": self.test}
        return sets if self.calibration is None else {**sets, "calibration": self.calibration}

    @property
    def spec(self) -> DataSpec:
        """Modalities and targets, the same in all sets."""
        return self.train.spec
