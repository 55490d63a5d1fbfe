"""Chapter part: numerical noise."""

from mmfusion.comparison.numerical_noise import Noise
from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, Part


def part(chapter: Chapter) -> Part | None:
    """Spread of the AUC over starts that differ by rounding, beside that over seeds; None if no run has repeats."""
    noise = {method.label: method.noise for method in chapter.comparison.methods if method.noise is not None}
    if not noise:
        return None
    return Part(
        chapter.key("noise"),
        "Numerical noise",
        "numerical_noise",
        [method for method in chapter.comparison.methods if method.label in noise],
        values={"rows": [_row(label, one) for label, one in noise.items()]},
        lacking=chapter.lacking("A repeat", lambda method: method.noise is not None or method.is_row),
    )


def _row(label: str, noise: Noise) -> tuple[str, ...]:
    spreads = [value for part in (noise.validation, noise.test) for value in (part.within, part.over)]
    return label, str(noise.starts), str(noise.seeds), *(formatting.number(value, 4) for value in spreads)
