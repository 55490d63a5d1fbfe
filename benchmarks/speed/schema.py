"""How long it takes to tell what the columns of a large table are, and to turn it into numbers."""

import argparse

import numpy as np
import pandas as pd

from mmfusion.data.schema.table_schema import TableSchema
from speed.timing import medians, spread, verdict


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("schema", help="inference of a schema on a large table")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.set_defaults(function=schema)


def table(n: int) -> pd.DataFrame:
    """Fifty columns of every kind, with missing cells."""
    rng = np.random.default_rng(0)
    columns: dict[str, object] = {}
    for i in range(20):
        columns[f"measured{i}"] = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))
    for i in range(10):
        columns[f"counted{i}"] = rng.integers(0, 90, n)
    for i in range(12):
        columns[f"place{i}"] = rng.choice(["left arm", "right arm", "unknown", "", "head"], n)
    for i in range(3):
        days = pd.Timestamp(2000, 1, 1) + pd.to_timedelta(rng.integers(0, 9000, n), unit="D")
        columns[f"date{i}"] = days.strftime("%d.%m.%Y")
        columns[f"letter{i}"] = [f"patient {j} comes for the {k}th time" for j, k in enumerate(rng.integers(0, 99, n))]
    columns["smoker"] = rng.choice(["yes", "no"], n)
    columns["thickness"] = [f"{value:.4f}".replace(".", ",") for value in rng.normal(size=n)]
    return pd.DataFrame(columns)


def schema(options: argparse.Namespace) -> None:
    """Inference and transformation, of typed columns and of the same as text."""
    typed = table(options.rows)
    for label, frame in (("as pandas reads it", typed), ("all cells as text", typed.astype(str))):
        fitted = TableSchema.infer(frame)
        seconds = medians(
            {
                "infer": lambda frame=frame: TableSchema.infer(frame),
                "transform": lambda frame=frame, fitted=fitted: fitted.transform(frame),
            },
            options.repeats,
        )
        median = float(np.median(seconds["infer"]))
        print(f"{len(frame)} rows, {frame.shape[1]} columns, {label}: {len(fitted.names)} kept")
        print(f"  inference       {spread(seconds['infer'])} s; {verdict(median, at_most=5)}")
        print(f"  transformation  {spread(seconds['transform'])} s")
