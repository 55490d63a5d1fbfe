"""The command line: ``mmfusion run | report | compact | predict | check | list``, a file a command.

What a command works with is imported when it is called: the help is there at once.
"""

from mmfusion.cli.program import main

__all__ = ["main"]
