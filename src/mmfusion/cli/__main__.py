"""``python -m mmfusion.cli``."""

import sys

from mmfusion.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
