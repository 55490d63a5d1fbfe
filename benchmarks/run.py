"""Train and evaluate a model on a dataset, as ``mmfusion run`` does: ``python benchmarks/run.py --model cfcml``."""

import sys

from mmfusion.cli import entry

if __name__ == "__main__":
    sys.exit(entry(["run", *sys.argv[1:]]))
