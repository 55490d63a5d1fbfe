"""Train and evaluate a model on a dataset, as ``mmfusion run`` does: ``python benchmarks/run.py --model cfcml``."""

import sys

try:
    from mmfusion.cli import entry
except KeyboardInterrupt:
    sys.stderr.write("mmfusion: interrupted; nothing was written yet\n")
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(entry(["run", *sys.argv[1:]]))
