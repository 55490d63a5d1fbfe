"""Known orders of categories: scales and numbered levels."""

from collections.abc import Collection

from mmfusion.data.schema.cells import key

SCALES: tuple[tuple[str, ...], ...] = (
    ("none", "minimal", "mild", "moderate", "severe", "very severe"),
    ("absent", "minimal", "mild", "moderate", "severe"),
    ("very low", "low", "medium", "high", "very high"),
    ("very low", "low", "moderate", "high", "very high"),
    ("never", "rarely", "sometimes", "often", "always"),
    ("never", "former", "current"),
    ("very small", "small", "medium", "large", "very large"),
    ("negative", "weak", "moderate", "strong"),
    ("i", "ii", "iii", "iv", "v", "vi"),
    ("i", "ia", "ib", "ic", "ii", "iia", "iib", "iic", "iii", "iiia", "iiib", "iiic", "iv", "iva", "ivb", "ivc"),
    ("-", "+", "++", "+++", "++++"),
)
"""Scales whose order is known."""


def in_order(categories: Collection[str]) -> tuple[str, ...]:
    """Categories in the order of a known scale or of their numbers, else alphabetically."""
    ranked = scale_of(categories)
    return ranked if ranked is not None else tuple(sorted(categories))


def scale_of(categories: Collection[str]) -> tuple[str, ...] | None:
    """Categories in their known order; None if there is none.

    Known are :data:`SCALES` and numbers, also with a common word before them (``grade 2``, ``T1``).
    """
    names = {key(category): category for category in categories}
    if len(names) < 2:
        return None
    for scale in SCALES:
        if set(names) <= set(scale):
            return tuple(names[step] for step in scale if step in names)
    split = {name: _word_and_number(name) for name in names}
    parts = [part for part in split.values() if part is not None]
    if len(parts) == len(names) and len({word for word, _ in parts}) == 1:
        return tuple(names[name] for name in sorted(names, key=lambda name: (split[name] or ("", 0.0))[1]))
    return None


def _word_and_number(text: str) -> tuple[str, float] | None:
    word = text.rstrip("0123456789.")
    digits = text[len(word) :]
    try:
        return word, float(digits)
    except ValueError:
        return None
