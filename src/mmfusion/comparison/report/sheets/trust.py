"""The part of a sheet on the faithfulness of its maps."""

from collections.abc import Mapping

from mmfusion.comparison.report import formatting
from mmfusion.experiments.explaining.explanation import Explanation
from mmfusion.experiments.explaining.options import ExplainOptions
from mmfusion.explain import Faithfulness

_VERDICTS = {True: "passed", False: "failed", None: "open"}
_METHODS = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "hires_cam": "HiResCAM",
    "layer_cam": "LayerCAM",
    "score_cam": "Score-CAM",
}


def method_name(options: ExplainOptions) -> str:
    """The map method in words, with its place along the encoder."""
    at = "behind the last stage" if options.at == -1 else f"at point {options.at} of the encoder"
    return f"{_METHODS.get(options.map_method, options.map_method)}, {at}"


def warnings(explanation: Explanation) -> list[str]:
    """One sentence per image whose maps failed a test."""
    if isinstance(explanation.trust, str):
        return []
    return [
        f"The maps of {name} are not to be trusted on this model: {'; '.join(measured.flags)}."
        for name, measured in explanation.trust.items()
        if measured.flags
    ]


def tables(trust: Mapping[str, Faithfulness]) -> list[tuple[str, list[tuple[str, str]]]]:
    """By image its tests with their verdicts."""
    return [
        (
            name,
            [
                (test.replace("_", " "), f"{_VERDICTS[result.passed]}: {result.reason}")
                for test, result in measured.tests.items()
            ],
        )
        for name, measured in trust.items()
    ]


def measured_on(trust: Mapping[str, Faithfulness]) -> str:
    """How many cases the tests are of."""
    counts = sorted({len(measured.rows) for measured in trust.values()})
    return " and ".join(formatting.plural(n, "case") for n in counts)
