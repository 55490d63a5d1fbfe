"""Export of a model with a batch of any size: ``torch.export`` programs and ONNX files.

Both have tensors as inputs and outputs, by name; see :func:`tensor_names`.
"""

import copy
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mmfusion.models.selective import modalities_of
from mmfusion.models.shapes import dtype_of
from mmfusion.spec import DataSpec, Image
from mmfusion.tokens import Bag, Content, Table
from mmfusion.utils.optional import need

NUMERICAL, CATEGORICAL, PRESENT, MASK = ".numerical", ".categorical", ".present", ".mask"
"""What follows a modality's name in the name of a tensor."""
BATCH = "batch"
"""Name of the axis whose size is left open."""
_EXAMPLES = 2


class ExportError(ValueError):
    """A model cannot be exported; says which part of it, and why."""


class TensorModel(nn.Module):
    """A model whose inputs and outputs are tensors by name.

    Args:
        model: A fusion model.
        spec: The data that it was built for.

    Attributes:
        names: The modalities that the model reads, in the order of ``spec``.
    """

    def __init__(self, model: nn.Module, spec: DataSpec) -> None:
        super().__init__()
        self.model = model
        self.spec = spec
        self.names = modalities_of(model, spec)

    def forward(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Predict.

        Args:
            tensors: By the names of :func:`tensor_names`.

        Returns:
            The model's outputs by target, such as logits ``(b, k)``.
        """
        inputs: dict[str, Content] = {name: self._content(name, tensors) for name in self.names}
        output = self.model(inputs, {name: tensors[name + PRESENT] for name in self.names})
        return {name: output.outputs[name] for name in self.spec.targets}

    def _content(self, name: str, tensors: Mapping[str, Tensor]) -> Content:
        modality = self.spec[name]
        if not isinstance(modality, Image):
            return Table(tensors[name + NUMERICAL], tensors[name + CATEGORICAL])
        return Bag(tensors[name], tensors[name + MASK]) if modality.bag > 1 else tensors[name]


def tensor_names(model: nn.Module, spec: DataSpec) -> tuple[str, ...]:
    """The names of an exported model's inputs, in order.

    For an image ``NAME``, ``(b, channels, *size)`` float; of a bag ``(b, k, channels, *size)`` for any k up to its
    ``bag``, and ``NAME.mask``, ``(b, k)`` bool, True for a real image. For a table ``NAME.numerical``, ``(b, n_num)``
    float with NaN for missing cells, and ``NAME.categorical``, ``(b, n_cat)`` int64 with -1. For each modality
    ``NAME.present``, ``(b,)`` bool: what a case lacks may hold anything.

    Args:
        model: A fusion model.
        spec: The data that it was built for.
    """
    return tuple(_examples(TensorModel(model, spec)))


def to_program(model: nn.Module, spec: DataSpec) -> ExportedProgram:
    """A model as a program of ``torch.export``, in evaluation mode.

    Args:
        model: A fusion model; left as it is.
        spec: The data that it was built for.

    Returns:
        A program whose ``module()`` takes one dictionary of tensors, by the names of :func:`tensor_names`, and gives
        the outputs by target, for any number of cases.

    Raises:
        ExportError: If a part of the model cannot be exported.
    """
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        model = copy.deepcopy(model).to("cpu")  # a program keeps the device that it was traced on
    wrapped = TensorModel(model, spec)
    examples = _examples(wrapped)
    with _evaluating(wrapped), torch.no_grad():
        try:
            return torch.export.export(
                wrapped, (examples,), dynamic_shapes={"tensors": _open_sizes(wrapped, examples)}, strict=False
            )
        # Whatever the operators of a part raise when they are traced.
        except Exception as error:
            raise ExportError(_explanation(wrapped.model, error)) from error


def to_onnx(program: ExportedProgram, path: str | Path) -> None:
    """Write a program as an ONNX file.

    Args:
        program: From :func:`to_program`.
        path: The file. Weights of more than 2 GB are in a second file beside it.

    Raises:
        ExportError: If an operator of the program has none in ONNX; says in which part of the model it is.
        ImportError: If the packages of the extra ``export`` are not installed.
    """
    need("onnxscript", "export")
    inputs, targets = program.example_inputs[0][0], program.call_spec.out_spec.context
    try:
        # As it was traced: with gradients attention takes another way, whose result lies otherwise in memory.
        with torch.no_grad():
            onnx: Any = torch.onnx.export(
                program, input_names=list(inputs), output_names=list(targets), dynamo=True, verbose=False
            )
    # Every stage of the conversion has its own errors.
    except Exception as error:
        raise ExportError(_untranslated(program, error)) from error
    onnx.save(path)


def _examples(model: TensorModel) -> dict[str, Tensor]:
    """A batch to trace the model with; its values do not matter."""
    dtype = dtype_of(model)
    examples: dict[str, Tensor] = {}
    for name in model.names:
        modality = model.spec[name]
        if isinstance(modality, Image):
            several = () if modality.bag == 1 else (min(modality.bag, _EXAMPLES + 1),)
            examples[name] = torch.zeros(_EXAMPLES, *several, *modality.shape, dtype=dtype)
            if several:
                examples[name + MASK] = torch.ones(_EXAMPLES, *several, dtype=torch.bool)
        else:
            examples[name + NUMERICAL] = torch.zeros(_EXAMPLES, len(modality.numerical), dtype=dtype)
            examples[name + CATEGORICAL] = torch.zeros(_EXAMPLES, len(modality.categorical), dtype=torch.int64)
        examples[name + PRESENT] = torch.ones(_EXAMPLES, dtype=torch.bool)
    return examples


def _open_sizes(model: TensorModel, examples: Mapping[str, Tensor]) -> dict[str, dict[int, Dim]]:
    """By tensor and axis, the sizes that are left open: of the batch, and of each bag."""
    batch = Dim(BATCH, min=1)
    sizes = {name: {0: batch} for name in examples}
    for name in model.names:
        if name + MASK in examples:
            sizes[name][1] = sizes[name + MASK][1] = Dim(f"{name}_images", min=1, max=model.spec[name].bag)
    return sizes


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _explanation(model: nn.Module, error: BaseException) -> str:
    """The innermost part of the model that was running, and the first line of the error."""
    names = {id(part): name for name, part in model.named_modules()}
    inside = "the model"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        part = frame.f_locals.get("self")
        if isinstance(part, nn.Module) and names.get(id(part)):
            inside = f"its part {names[id(part)]} ({type(part).__name__})"
    return f"{type(model).__name__} cannot be exported: {inside} raises {type(error).__name__}: {_first_line(error)}"


def _untranslated(program: ExportedProgram, error: BaseException) -> str:
    """The part of the model and the operator that a conversion failed at."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__
    texts = " ".join(map(str, chain))
    place = "the model"
    for node in program.graph.nodes:
        if node.op == "call_function" and f"%{node.name} " in texts:
            path, kind = list(node.meta["nn_module_stack"].values())[-1]
            place = f"{node.target} of its part {path.removeprefix('model.')} ({kind.rpartition('.')[2]})"
    return f"the model cannot be written as ONNX: {place} cannot be converted: {_first_line(chain[-1])}"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
