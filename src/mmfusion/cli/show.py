"""``mmfusion show``: a method's blueprint."""

import argparse

from mmfusion.cli import flags, interrupt

NAME = "show"
SUMMARY = "Print a model's blueprint, to edit and run"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    show = commands.add_parser(NAME, description=SUMMARY)
    show.add_argument("model", metavar="MODEL", help="registered name, or a blueprint's .toml file")
    show.add_argument("--dataset", help="with the options of this dataset's recipe (default: the model's defaults)")
    show.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="option of the model; may be repeated",
    )
    flags.add_plugin(show)
    show.set_defaults(command=_show)


def _show(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():
        from mmfusion.experiments import settings
        from mmfusion.models.registration import blueprint_of, is_file

    flags.import_plugins(arguments)
    # Options of a model alone: the section may be left out.
    texts = [text if "." in text.partition("=")[0] else f"model.{text}" for text in arguments.overrides]
    layers = [settings.parse_override(text) for text in texts]
    if wrong := sorted({section for layer in layers for section in layer} - {"model"}):
        raise ValueError(f"show prints a model: --set expects KEY=VALUE, got {', '.join(wrong)}")
    dataset = arguments.dataset or settings.DEFAULT_DATASET
    resolved = settings.resolve(arguments.model, dataset, layers)
    options = dict(resolved.model)
    if arguments.dataset is None:
        given = {key for layer in layers for key in layer["model"]}
        options = {key: value for key, value in options.items() if key in given}
    options.pop("blueprint", None)
    name = arguments.model if is_file(arguments.model) else resolved.run.model
    print(f"# The model {resolved.run.model!r}. Save it as mine.toml, edit it, run it:")
    print("# mmfusion run --model ./mine.toml")
    print(blueprint_of(name, **options).to_toml(), end="")
