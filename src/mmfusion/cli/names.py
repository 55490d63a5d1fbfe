"""``mmfusion list``: what is registered."""

import argparse

from mmfusion.cli import flags, interrupt

NAME = "list"
SUMMARY = "List the registered models and datasets"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    listing = commands.add_parser(NAME, description=SUMMARY)
    listing.add_argument("what", nargs="?", choices=("models", "datasets"), help="default: both")
    listing.add_argument("pattern", nargs="?", default="*", help="as in a shell: '*mamba*'")
    flags.add_plugin(listing)
    listing.set_defaults(command=_list)


def _list(arguments: argparse.Namespace) -> None:
    with interrupt.at_once():  # a registry imports what it lists when it is asked
        from mmfusion import registry

        flags.import_plugins(arguments)
        for kind in (arguments.what,) if arguments.what else ("models", "datasets"):
            names = (registry.models if kind == "models" else registry.datasets).list(arguments.pattern)
            print(*names if arguments.what else (f"{kind}:", *(f"  {name}" for name in names)), sep="\n")
