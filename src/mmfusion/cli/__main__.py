"""``python -m mmfusion.cli``."""

import sys

from mmfusion.cli import entry

if __name__ == "__main__":
    sys.exit(entry())
