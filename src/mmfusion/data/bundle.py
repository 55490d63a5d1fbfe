"""A dataset as it is handed over: three parts, and what prepares new cases in the same way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmfusion.data.cases import CaseDataset
from mmfusion.data.reader import CaseReader
from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.spec import DataSpec


@dataclass(frozen=True)
class DataBundle:
    """A dataset ready for a run: three parts, and the reader that prepares new cases in the same way.

    Attributes:
        name: The registered name.
        train: For fitting.
        validation: For every choice.
        test: For the result alone.
        reader: Turns a new table and a folder of images into cases, with what was fitted on the training part.
        ceilings: The best AUC that any model can reach, where the data were made from known probabilities:
            ``"image"``, ``"table"``, ``"both"``.
        notes: What a reader of the results must know (leaks, licences, cases left out), a sentence each.
        about: What was found out about the data, in lines, to be read before the run goes on; empty: nothing.
        fold: Which fold's test part it is, from 0; 0 where there are none.
        subgroups: Columns of the parts' tables that tell cases apart, for results by sex, age or skin type.
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

    @property
    def spec(self) -> DataSpec:
        """Modalities and targets, the same in all parts."""
        return self.train.spec
