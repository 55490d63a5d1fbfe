"""``mmfusion check``: a dataset's faults, and what could mislead a model."""

import argparse
from pathlib import Path

from mmfusion.cli import flags, interrupt, option_names

NAME = "check"
SUMMARY = "Check a dataset or your own table: damaged files, leaks, duplicates, odd cells"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    checking = commands.add_parser(NAME, description=SUMMARY)
    checking.add_argument("dataset", metavar="NAME", nargs="?", help="a dataset of files; see list datasets")
    checking.add_argument("--root", type=Path, help="folder of the dataset, or of the images that a table names")
    checking.add_argument("--task", help="task, for a dataset that has several")
    checking.add_argument("--fast", action="store_true", help="read only the headers of images, not their pixels")
    checking.add_argument("--page", metavar="FILE", help="write the report as HTML, with thumbnails of each class")
    checking.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="an option of the dataset, as in task=diagnosis; may be repeated",
    )
    flags.add_plugin(checking)
    flags.add_own_table(checking.add_argument_group("your own table, as in mmfusion run"))
    checking.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> int:
    with interrupt.at_once():
        from mmfusion.api.look_up import check
        from mmfusion.experiments import settings
    if arguments.dataset is None and arguments.table is None:
        raise ValueError("check expects the NAME of a dataset, or --table FILE --label COLUMN")
    arguments.overrides = [
        text if text.startswith("data.") or "=" not in text else f"data.{text}" for text in arguments.overrides
    ]
    options = settings.merge({}, *flags.layers(arguments)).get("data", {})
    report = check(
        flags.dataset(arguments),
        arguments.root,
        fast=arguments.fast,
        plugins=arguments.plugins,
        verbose=option_names.reporter(arguments),
        **options,
    )
    print(option_names.translate(str(report), arguments))
    if arguments.page is not None and report.plan is not None:
        report.write_page(arguments.page)
        print(f"the page is {arguments.page}")
    return 1 if report.faults else 0
