"""Choice of a comparison's reference rows: ``--references``."""

import importlib.util
from dataclasses import dataclass
from typing import NamedTuple

from mmfusion.experiments.reference_features import EMBEDDINGS, TABLE
from mmfusion.utils.optional import need

ALL, NONE = "all", "none"
LIBRARIES = {"lightgbm": "LightGBM", "tabpfn": "TabPFN"}
"""By module, which is its own extra, the learner that is fitted with it."""
_SCIKIT_LEARN = ("logistic regression", "gradient boosting")


class Reference(NamedTuple):
    """A reference row.

    Attributes:
        learner: What is fitted.
        inputs: ``table``, ``embeddings``, or both: embeddings first.
    """

    learner: str
    inputs: tuple[str, ...]

    @property
    def name(self) -> str:
        """As in the tables: the learner alone for the table, else ``embeddings + table: gradient boosting``."""
        return self.learner if self.inputs == (TABLE,) else f"{' + '.join(self.inputs)}: {self.learner}"

    @property
    def library(self) -> str:
        """The library that fits it."""
        return next((module for module, learner in LIBRARIES.items() if learner == self.learner), "scikit-learn")


ROWS = tuple(
    Reference(learner, inputs)
    for inputs in ((TABLE,), (EMBEDDINGS,), (EMBEDDINGS, TABLE))
    for learner in (*_SCIKIT_LEARN, *LIBRARIES.values())
)
"""All reference rows."""


def of_name(name: str) -> Reference | None:
    """The reference row of that name; None if there is none."""
    return next((row for row in ROWS if row.name == name), None)


def sees_embeddings(name: str) -> bool:
    """Whether the reference row of that name is fitted to embeddings; False for any other name."""
    row = of_name(name)
    return row is not None and EMBEDDINGS in row.inputs


@dataclass(frozen=True)
class Choice:
    """Chosen reference rows.

    Attributes:
        rows: In the order of :data:`ROWS`.
        left_out: Why others are left out, a sentence each.
    """

    rows: tuple[Reference, ...]
    left_out: tuple[str, ...] = ()


def choose(text: str | None = None) -> Choice:
    """The rows that ``--references`` names.

    Args:
        text: Names with commas between: ``table`` and ``embeddings`` for the learners of scikit-learn on these inputs
            (``embeddings`` with and without the table), ``lightgbm`` and ``tabpfn`` for these learners, on the inputs
            that are named, or on all if none is. ``all``: everything that is installed; ``none``: no rows. None: those
            of scikit-learn on all inputs, and LightGBM's where it is installed.

    Raises:
        ValueError: If a name is unknown, or ``none`` or ``all`` is combined with another.
        ImportError: If a named library is not installed.
    """
    if text is None:
        return Choice(_rows({TABLE, EMBEDDINGS}, {"lightgbm"} if installed("lightgbm") else set(), True))
    words = dict.fromkeys(word.strip() for word in text.split(",") if word.strip())
    known = (TABLE, EMBEDDINGS, *LIBRARIES)
    if unknown := [word for word in words if word not in (*known, ALL, NONE)]:
        raise ValueError(
            f"references expects {', '.join(known)} with commas between, or all, or none, got "
            f"{', '.join(map(repr, unknown))}; the method that the others are tested against is reference=METHOD"
        )
    if not words or (len(words) > 1 and {ALL, NONE} & set(words)):
        raise ValueError(
            f"references expects {', '.join(known)} with commas between, or one of all and none, got {text!r}"
        )
    if NONE in words:
        return Choice(())
    if ALL in words:
        present = {module for module in LIBRARIES if installed(module)}
        left_out = tuple(
            f'No reference rows of {learner}: it is not installed (pip install "mmfusion[{module}]")'
            for module, learner in LIBRARIES.items()
            if module not in present
        )
        return Choice(_rows({TABLE, EMBEDDINGS}, present, True), left_out)
    libraries = set(words) & set(LIBRARIES)
    for module in sorted(libraries):
        need(module, module)
    inputs = set(words) & {TABLE, EMBEDDINGS}
    return Choice(_rows(inputs or {TABLE, EMBEDDINGS}, libraries, bool(inputs)))


def installed(module: str) -> bool:
    """Whether an optional library is installed, without importing it."""
    return importlib.util.find_spec(module) is not None


def _rows(inputs: set[str], libraries: set[str], scikit_learn: bool) -> tuple[Reference, ...]:
    learners = {*(_SCIKIT_LEARN if scikit_learn else ()), *(LIBRARIES[module] for module in libraries)}
    # Embeddings are fitted with the table too.
    wanted: set[tuple[str, ...]] = {(TABLE,)} if TABLE in inputs else set()
    if EMBEDDINGS in inputs:
        wanted |= {(EMBEDDINGS,), (EMBEDDINGS, TABLE)}
    return tuple(row for row in ROWS if row.learner in learners and row.inputs in wanted)
