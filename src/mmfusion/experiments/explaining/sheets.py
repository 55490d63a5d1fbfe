"""The sheets of chosen cases."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.schema.ranges import find_outside, outside_columns
from mmfusion.experiments.explaining import accounts, regions, resembling
from mmfusion.experiments.explaining.accounts import CaseInputs
from mmfusion.experiments.explaining.case_images import shown_images
from mmfusion.experiments.explaining.case_set import CaseSet, probabilities
from mmfusion.experiments.explaining.cell_texts import cell_texts
from mmfusion.experiments.explaining.chosen_cases import Chosen
from mmfusion.experiments.explaining.options import ExplainOptions
from mmfusion.experiments.explaining.planes import Overlaid
from mmfusion.experiments.explaining.resembling import Training
from mmfusion.experiments.explaining.sheet import Neighbor, Sheet
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.predictions import class_names
from mmfusion.experiments.predictor import Predictor
from mmfusion.explain import Account, Output, Worth
from mmfusion.metrics.conformal import prediction_sets
from mmfusion.metrics.ranking import Floats
from mmfusion.models import FusionModel, OwnModule
from mmfusion.tokens import Table
from mmfusion.training.reporter import Reporter

T = TypeVar("T")
NOT_FINITE = "the model's output for this case is not finite"


class SheetMaker:
    """Makes the sheets of some cases of a set.

    Args:
        predictor: Of the run.
        cases: The set.
        options: What a sheet has.
        training: The run's training cases; or why they are not known, as the end of a sentence.
    """

    def __init__(self, predictor: Predictor, cases: CaseSet, options: ExplainOptions, training: Training | str) -> None:
        self.predictor, self.cases, self.options, self.training = predictor, cases, options, training
        self.names = class_names(predictor.kind)
        self.locked = predictor.locked or Locked(finished=False)
        model = predictor.model
        self.model = model if isinstance(model, FusionModel) else None
        kind = type(model.module if isinstance(model, OwnModule) else model).__name__
        self.no_model = f"the model is {kind}, and not a FusionModel, whose parts can be taken away one by one"

    def make(self, chosen: Sequence[Chosen], reporter: Reporter) -> list[Sheet]:
        """One sheet per case."""
        rows = [one.position for one in chosen]
        some = self.cases.dataset.subset(rows)
        p = probabilities(self.predictor, some)
        near, prototypes, no_training = self._resembling(rows)
        with reporter.bar("explaining cases", len(rows)) as bar:
            sheets = []
            for i, one in enumerate(chosen):
                sheets.append(self._sheet(one, p[i], near[i], prototypes[i], no_training))
                bar.advance()
        return sheets

    def explained(self, p: Floats) -> int:
        """The class that contributions of a case with these probabilities are of."""
        if self.options.target_class is not None:
            return self.names.index(self.options.target_class)
        return 1 if len(self.names) == 2 else int(np.nan_to_num(p, nan=-1.0).argmax())

    def _resembling(self, rows: list[int]) -> tuple[list[tuple[Neighbor, ...]], list[dict[str, dict[str, float]]], str]:
        nothing: tuple[list[tuple[Neighbor, ...]], list[dict[str, dict[str, float]]]]
        nothing = ([()] * len(rows), [{} for _ in rows])
        if isinstance(self.training, str):
            return (*nothing, self.training)
        try:
            own = resembling.embeddings_of(self.predictor, self.cases.dataset.subset(rows))
            near = resembling.neighbors(self.predictor, self.training, own, self.options.n_neighbors)
            return near, resembling.prototypes(self.predictor, self.training, own), ""
        except ValueError as error:
            return (*nothing, str(error))

    def _sheet(
        self,
        one: Chosen,
        p: Floats,
        near: tuple[Neighbor, ...],
        prototypes: dict[str, dict[str, float]],
        no_training: str,
    ) -> Sheet:
        i, dataset = one.position, self.cases.dataset
        case = accounts.inputs_of(self.predictor, dataset, [i])
        sound, k = bool(np.isfinite(p).all()), self.explained(p)
        code = int(self.cases.labels[i])
        calibrated = self.locked.calibrated(p[None]) if sound else None
        lacking = {"neighbors": no_training, "prototypes": no_training} if no_training else {}
        output = Output(self.predictor.target, k)
        account: Account | None = None
        region_kind = ""
        numbers: dict[str, Tensor] = {}
        missing: tuple[str, ...]
        if self.model is None:
            lacking["account"] = lacking["maps"] = lacking["worth"] = self.no_model
            missing = tuple(name for name in self.predictor.seen if not bool(case.present[name][0]))
        else:
            missing = accounts.missing_of(self.model, case)
            if not sound:
                lacking["account"] = lacking["maps"] = lacking["worth"] = NOT_FINITE
            else:
                account, numbers, region_kind = self._account(self.model, case, output, lacking)
        sets = prediction_sets(p[None], self.locked.scores, self.options.coverage)[0] if self.locked.scores else None
        return Sheet(
            dataset.ids[i],
            one.why,
            self.names[code] if code >= 0 else None,
            self.names[int(self.locked.labels(p[None])[0])] if sound else None,
            self.names[k],
            dict(zip(self.names, p.tolist(), strict=True)),
            None if calibrated is None else dict(zip(self.names, calibrated[0].tolist(), strict=True)),
            None if sets is None or not sound else tuple(n for n, has in zip(self.names, sets.tolist()) if has),
            float(-np.log(max(p[code], np.finfo(np.float64).tiny))) if code >= 0 and sound else None,
            account,
            region_kind,
            self._cells(case),
            self._worth(case, missing, output, lacking) if account is not None else {},
            self._images(i, case, account, numbers, output, lacking),
            near,
            prototypes,
            {name: groups[i] for name, groups in self.cases.groups.items()},
            tuple(self._notes(i, missing)),
            lacking,
        )

    def _account(
        self, model: FusionModel, case: CaseInputs, output: Output, lacking: dict[str, str]
    ) -> tuple[Account | None, dict[str, Tensor], str]:
        account = _or_why(lambda: accounts.account_of(model, case, output, self.options), "account", lacking)
        images = [
            name
            for name in model.images
            if bool(case.present[name][0]) and isinstance(case.inputs[name], Tensor)  # a bag counts as a whole
        ]
        if account is None or not self.options.regions or not images:
            return account, {}, ""
        numbers, kinds = {}, set()
        for name in images:
            pixels = cast("Tensor", case.inputs[name])
            numbers[name], kind = regions.regions_of(pixels[0], self.options.regions)
            kinds.add(kind)
        divided = _or_why(
            lambda: accounts.with_regions(model, case, account, numbers, output, self.options), "regions", lacking
        )
        return (account, {}, "") if divided is None else (divided, numbers, " and ".join(sorted(kinds)))

    def _images(
        self,
        i: int,
        case: CaseInputs,
        account: Account | None,
        numbers: Mapping[str, Tensor],
        output: Output,
        lacking: dict[str, str],
    ) -> dict[str, Overlaid]:
        found = {}
        model, options = self.model, self.options
        for name in (name for name in self.predictor.seen if name in self.predictor.spec.images):
            if not bool(case.present[name][0]):
                lacking[f"image {name}"] = "the case lacks it"
                continue
            heat: Tensor | None = None
            if account is not None and model is not None and options.map_method != "none":
                map_of = functools.partial(accounts.heat_of, model, case, name, output, options)
                heat = _or_why(map_of, f"map {name}", lacking)
            values: NDArray[np.float64] | None = None
            if account is not None and name in numbers:
                values = account.parts[name].values.numpy()
            found[name] = shown_images(self.predictor, self.cases, i, name, heat, numbers.get(name), values)
        return found

    def _cells(self, case: CaseInputs) -> dict[str, dict[str, str]]:
        found = {}
        for name, columns in self.predictor.spec.tables.items():
            table = case.inputs.get(name)
            if isinstance(table, Table) and bool(case.present[name][0]):
                found[name] = dict(zip(columns.names, cell_texts(columns, table), strict=True))
        return found

    def _worth(
        self, case: CaseInputs, missing: Sequence[str], output: Output, lacking: dict[str, str]
    ) -> dict[str, Worth]:
        if not missing or self.model is None:
            return {}
        if isinstance(self.training, str):
            lacking["worth"] = self.training
            return {}
        model, training = self.model, self.training
        seed = self.options.seed
        found = _or_why(
            lambda: accounts.worths(self.predictor, model, case, training.dataset, output, seed), "worth", lacking
        )
        return {} if found is None else found[0]

    def _notes(self, i: int, missing: Sequence[str]) -> list[str]:
        notes = []
        if missing:
            notes.append(f"The case lacks {', '.join(missing)}: what is missing contributes 0.")
        schema = self.predictor.reader.schema
        if schema is not None and self.predictor.reader.table_name in self.predictor.seen:
            outside = outside_columns(find_outside(schema, self.cases.dataset.frame.iloc[[i]]), 1)[0]
            if outside:
                notes.append(f"Far outside the training range: {', '.join(outside)}.")
        return notes


def _or_why(make: Callable[[], T], part: str, lacking: dict[str, str]) -> T | None:
    """What is made; None, with the reason written down, where it cannot be."""
    try:
        return make()
    except (ValueError, ImportError) as error:
        lacking[part] = " ".join(str(error).split())
        return None
