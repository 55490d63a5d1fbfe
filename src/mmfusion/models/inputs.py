"""Checks of a model's inputs: names, shapes and dtypes always, values where looking costs nothing."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from mmfusion.models.bags import without_empty
from mmfusion.spec import Columns, Image
from mmfusion.tokenizers.tabular.base import check_table
from mmfusion.tokens import Bag, Content, Inputs, Maps, Present, Table
from mmfusion.utils.tensor_checks import require

_ROUNDING = 1e-3
"""How far a pixel may lie outside [0, 1]: half precision and resizing round."""


def check_mappings(inputs: Inputs, present: Present | None, names: Collection[str]) -> None:
    """Raise an error about inputs and presence that are no dictionaries, such as one tensor alone.

    Raises:
        ValueError: Saying what was expected and what came.
    """
    for given, what in ((inputs, "inputs"), ({} if present is None else present, "present")):
        if not isinstance(given, Mapping):
            raise ValueError(
                f"{what} must be a dictionary by modality, {{name: ...}} with the names {list(names)}, got "
                f"{type(given).__name__}"
            )


def checked(
    inputs: Inputs,
    present: Present | None,
    *,
    images: Mapping[str, Image],
    columns: Mapping[str, Columns],
    maps: Mapping[str, Sequence[tuple[int, ...]]],
    dtypes: Mapping[str, torch.dtype],
) -> tuple[dict[str, Content], dict[str, Tensor], int]:
    """Names, shapes and dtypes of a batch; floating-point numbers of another precision are cast to the model's.

    Args:
        inputs: As a model takes them.
        present: As a model takes it.
        images: The image modalities.
        columns: The table modalities.
        maps: Shapes of the encoder's maps by image modality, ``(c, *spatial)`` a stage.
        dtypes: By modality, what the part that takes it computes in; a modality left out is not cast.

    Returns:
        The inputs in these dtypes, the presence of those modalities that some case may lack, and the number of cases.

    Raises:
        ValueError: Naming the modality, what was expected and what came.
    """
    names = [*images, *columns]
    mask = {} if present is None else dict(present)
    for given, what in ((inputs, "inputs"), (mask, "present")):
        if unknown := sorted(set(given) - set(names)):
            raise ValueError(f"{what} has modalities {unknown} that the model does not have; it has {names}")
    if missing := [name for name in names if name not in inputs and name not in mask]:
        raise ValueError(
            f"inputs lacks the modalities {missing}, it has {sorted(inputs)}; for cases that lack one, give "
            "present={name: (b,) bool}, True where it is present"
        )
    for name, row in mask.items():
        require(f"present[{name!r}]", row, torch.bool, "b")
    sizes = {name: _check_content(name, inputs[name], images, columns, maps) for name in inputs}
    sizes |= {f"present[{name!r}]": row.shape[0] for name, row in mask.items()}
    n_cases, *others = sizes.values()
    # No set of them: what is hashed under export is no longer any number.
    if any(n != n_cases for n in others):
        raise ValueError(f"all modalities must have the same number of cases, got {sizes}")
    cast = {name: _cast(value, dtypes[name]) if name in dtypes else value for name, value in inputs.items()}
    return cast, without_empty(cast, mask), n_cases


def _cast(content: Content, dtype: torch.dtype) -> Content:
    """Floating-point numbers in one dtype; what has it already comes back itself."""
    if isinstance(content, Table):
        return Table(content.numerical.to(dtype), content.categorical)
    if isinstance(content, Bag):
        return Bag(content.x.to(dtype), content.mask)
    if isinstance(content, Maps):
        # An encoder under autocast gives maps of half precision, which are to act as they would inside the model.
        if torch.is_autocast_enabled(content.stages[0].device.type):
            return content
        return Maps(tuple(stage.to(dtype) for stage in content.stages))
    return content.to(dtype)


def _check_content(
    name: str,
    content: Content,
    images: Mapping[str, Image],
    columns: Mapping[str, Columns],
    maps: Mapping[str, Sequence[tuple[int, ...]]],
) -> int:
    if name in columns:
        if not isinstance(content, Table):
            raise ValueError(f"{name!r} must be a Table(numerical, categorical), got {type(content).__name__}")
        try:
            check_table(content, columns[name])
        except ValueError as error:
            raise ValueError(f"{name!r}: {error}") from error
        return content.numerical.shape[0]
    if isinstance(content, Maps):
        return _check_maps(name, content, maps[name])
    if isinstance(content, Bag):
        return _check_bag(name, content, images[name])
    hint = _hint_for_bytes(content)
    if images[name].bag > 1:
        hint += "; several images per case are given as a Bag(x, mask)"
    return require(repr(name), content, "floating point", "b", *images[name].shape, hint=hint).shape[0]


def _hint_for_bytes(x: object) -> str:
    return ": convert bytes by x.float() / 255" if isinstance(x, Tensor) and x.dtype == torch.uint8 else ""


def _check_bag(name: str, bag: Bag, image: Image) -> int:
    if image.bag == 1:
        raise ValueError(f"{name!r} has one image per case, got a Bag: build the model for Image(..., bag=) above 1")
    x = require(
        f"the images of the bag {name!r}", bag.x, "floating point", "b", "k", *image.shape, hint=_hint_for_bytes(bag.x)
    )
    require(f"the mask of the bag {name!r}", bag.mask, torch.bool, "b", "k")
    if bag.mask.shape != x.shape[:2] or x.shape[1] > image.bag:
        raise ValueError(
            f"the bag {name!r} expects a mask of shape {tuple(x.shape[:2])}, of at most {image.bag} images a case "
            f"(bag={image.bag} of its Image), got {tuple(bag.mask.shape)}"
        )
    return x.shape[0]


def _check_maps(name: str, content: Maps, expected: Sequence[tuple[int, ...]]) -> int:
    if len(content.stages) != len(expected):
        raise ValueError(
            f"the maps of {name!r} must be {len(expected)}, one per stage, got {len(content.stages)}: encode with this "
            "model"
        )
    rows: int | str = "b"
    for stage, shape in zip(content.stages, expected, strict=True):
        require(f"the maps of {name!r}", stage, "floating point", rows, *shape, hint=": encode with this model")
        rows = stage.shape[0]
    return content.stages[0].shape[0]


def check_range(
    inputs: Inputs, present: Present, images: Mapping[str, Image], standardized: Collection[str] = ()
) -> None:
    """Whether the pixels of photographs are in [0, 1].

    Args:
        inputs: As a model takes them, checked.
        present: Likewise.
        images: The image modalities. Volumes have no fixed range.
        standardized: Image modalities that come standardized, and so have no fixed range either.

    Raises:
        ValueError: Naming every modality with a pixel outside, the values that it has and the first case; or a name in
            ``standardized`` that is no image modality.
    """
    if unknown := sorted(set(standardized) - set(images)):
        raise ValueError(f"standardized names {unknown}; the image modalities are {sorted(images)}")
    faults = []
    for name, x in inputs.items():
        if name not in images or len(images[name].size) != 2 or name in standardized or isinstance(x, Maps | Table):
            continue
        if isinstance(x, Bag) and not x.mask.numel():
            continue
        # What is no image of a bag is taken for black.
        pixels = x if isinstance(x, Tensor) else torch.where(_like(x.mask, x.x), x.x, 0.0)
        low, high = pixels.flatten(1).aminmax(dim=1)
        outside = (low < -_ROUNDING) | (high > 1 + _ROUNDING)
        if name in present:
            outside = outside & present[name]
        if bool(outside.any()):
            values = f"{float(low[outside].amin()):g} to {float(high[outside].amax()):g}"
            faults.append(
                f"{name!r} has pixels from {values} in {int(outside.sum())} of {len(pixels)} cases, the first is case "
                f"{int(outside.nonzero()[0])}"
            )
    if faults:
        raise ValueError(
            f"images are expected in [0, 1]: {'; '.join(faults)}. Divide values of 0 to 255 by 255; images that are "
            "standardized on purpose are named by check(..., standardized=[name]), in runs by augment.clamp=false"
        )


def check_values(inputs: Inputs, present: Present, columns: Mapping[str, Columns]) -> None:
    """Values of what is there.

    Raises:
        ValueError: If a pixel is NaN or infinite, a numerical cell is infinite, or a category is out of range, naming
            the modality and the first case; or if a modality is said to be present that is not given.
    """
    for name, row in present.items():
        if name not in inputs and bool(row.any()):
            raise ValueError(f"present says that {int(row.sum())} cases have {name!r}, which inputs lacks")
    for name, content in inputs.items():
        mask = present.get(name)
        if isinstance(content, Table):
            _refuse(name, "an infinite number", content.numerical.isinf(), mask)
            limits = content.categorical.new_tensor(columns[name].cardinalities)
            outside = (content.categorical < -1) | (content.categorical >= limits)
            _refuse(
                name, f"a category outside -1 (missing) to {columns[name].cardinalities}, exclusive,", outside, mask
            )
        elif isinstance(content, Maps):
            for stage in content.stages:
                _refuse(name, "a map that is NaN or infinite", ~stage.isfinite(), mask)
        elif isinstance(content, Bag):
            wrong = ~content.x.isfinite() & _like(content.mask, content.x)
            _refuse(name, "a pixel that is NaN or infinite", wrong, mask)
        else:
            _refuse(name, "a pixel that is NaN or infinite", ~content.isfinite(), mask)


def _like(mask: Tensor, x: Tensor) -> Tensor:
    """A mask with axes of width 1 behind, to go with ``x``."""
    return mask.view(*mask.shape, *(1,) * (x.ndim - mask.ndim))


def _refuse(name: str, what: str, wrong: Tensor, mask: Tensor | None) -> None:
    cases = wrong.flatten(1).any(1)
    if mask is not None:
        cases = cases & mask
    if bool(cases.any()):
        first = int(cases.nonzero()[0])
        raise ValueError(f"{name!r} has {what} in {int(cases.sum())} of {len(cases)} cases, the first is case {first}")
