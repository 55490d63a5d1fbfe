"""``mmfusion show``: a method's blueprint."""

import argparse
from pathlib import Path

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
        from mmfusion import registry
        from mmfusion.api.look_up import blueprint
        from mmfusion.experiments import settings

    # Options of a model alone: the section may be left out.
    texts = [text if "." in text.partition("=")[0] else f"model.{text}" for text in arguments.overrides]
    layers = [settings.parse_override(text) for text in texts]
    if wrong := sorted({section for layer in layers for section in layer} - {"model"}):
        raise ValueError(f"show prints a model: --set expects KEY=VALUE, got {', '.join(wrong)}")
    options = settings.merge({}, *layers).get("model", {})
    shown = blueprint(arguments.model, arguments.dataset, plugins=arguments.plugins, **options)
    name = Path(registry.models.canonical(arguments.model)).name
    print(f"# The model {name!r}. Save it as mine.toml, edit it, run it:")
    print("# mmfusion run --model ./mine.toml")
    print(shown.to_toml(), end="")
