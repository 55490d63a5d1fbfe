"""What an explanation is asked for."""

from dataclasses import dataclass
from typing import Annotated

from mmfusion.explain.class_activation import FORMULAS
from mmfusion.explain.regions import Baseline
from mmfusion.metrics.conformal import COVERAGE
from mmfusion.option_checks import check_fields
from mmfusion.options import OneOf, Range

MAPS = (*FORMULAS, "score_cam", "none")


@dataclass(frozen=True)
class ExplainOptions:
    """Options of sheets and cohort.

    Attributes:
        target_class: The class that contributions and maps are of; None: of two classes the second, of more the one
            that each case is given.
        map_method: Heat map: ``grad_cam``, ``grad_cam_plus_plus``, ``hires_cam``, ``layer_cam``, ``score_cam`` or
            ``none``.
        at: Where along the encoder: 0 is before its first stage, -1 behind its last.
        regions: About so many in each image; 0: images count as a whole.
        baseline: What a region is replaced by: ``blur``, ``mean`` or ``zero``.
        n_orders: Random orders for regions, and for columns that are too many or need the encoders; None: 32, fewer for
            large images.
        n_cohort: Cases behind the cohort's means, drawn from the set; fewer where the encoders of large images run for
            each coalition; 0: no cohort.
        n_faithfulness: Cases on which the faithfulness of the map method is measured, at most; fewer of large images;
            0: it is not measured.
        n_neighbors: Training cases on a sheet.
        seed: Of random cases, orders and the cohort.
        coverage: Of conformal sets.

    Raises:
        ValueError: If a value is out of its range.
    """

    target_class: str | None = None
    map_method: Annotated[str, OneOf(MAPS)] = "grad_cam"
    at: int = -1
    regions: Annotated[int, Range(0, 64)] = 12
    baseline: Annotated[Baseline, OneOf(("blur", "mean", "zero"))] = "blur"
    n_orders: Annotated[int, Range(2, 10**4)] | None = None
    n_cohort: Annotated[int, Range(0, 10**5)] = 48
    n_faithfulness: Annotated[int, Range(0, 16)] = 16
    n_neighbors: Annotated[int, Range(0, 50)] = 5
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    coverage: Annotated[float, Range(0, 1, above=True, below=True)] = COVERAGE

    def __post_init__(self) -> None:
        check_fields(self)
