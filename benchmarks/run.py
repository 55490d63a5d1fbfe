"""Train and evaluate a model on a dataset, as ``mmfusion run`` does: ``python benchmarks/run.py --model cfcml``."""

import sys

from mmfusion.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
