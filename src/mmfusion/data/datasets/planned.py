"""Datasets registered by a planner: checked from the plan, loaded from the same plan."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from mmfusion.data.bundle import DataBundle
from mmfusion.data.datasets.plan import Plan, Planner
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.reader import Progress
from mmfusion.option_checks import check_options, evaluated_signature
from mmfusion.registry import datasets


class PlannedDataset:
    """A dataset that reads files: called with its options, it returns the bundle of its plan.

    Its options are those of the planner, with ``cache`` and ``progress`` of
    :meth:`~mmfusion.data.datasets.plan.Plan.load`.

    Args:
        name: The registered name.
        planner: From options to the plan.
    """

    def __init__(self, name: str, planner: Planner) -> None:
        functools.update_wrapper(self, planner, updated=())
        self.name = name
        self._planner = planner
        loading = evaluated_signature(Plan.load).parameters
        parameters = [
            *evaluated_signature(planner).parameters.values(),
            *(parameter for key, parameter in loading.items() if key != "self"),
        ]
        keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        self.__signature__ = inspect.Signature(keywords, return_annotation=DataBundle)

    def plan(self, **options: Any) -> Plan:
        """The dataset before any image is decoded.

        Raises:
            ValueError: If an option is unknown, of another type or out of range, or as the planner does.
            FileNotFoundError: If a folder or file does not exist.
        """
        check_options(f"dataset {self.name!r}", self, options)
        return self._planner(**options)

    def __call__(
        self, *, cache: ImageCache | None = None, progress: Progress | None = None, **options: Any
    ) -> DataBundle:
        """Decode the images of the plan.

        Raises:
            ValueError: As :meth:`plan`, or if images cannot be decoded.
            FileNotFoundError: As :meth:`plan`, or if images are missing.
        """
        return self.plan(**options).load(cache, progress)


def planned_dataset(name: str) -> Callable[[Planner], PlannedDataset]:
    """A decorator that registers a dataset by its planner, so that ``mmfusion check`` works for it, too.

    Args:
        name: The name to register.
    """

    def register(planner: Planner) -> PlannedDataset:
        return datasets.register(name)(PlannedDataset(name, planner))

    return register
