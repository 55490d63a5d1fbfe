"""How fast the parts are, as ratios within one run: absolute times depend on the machine, ratios much less.

python benchmarks/speed.py step            # a CFCML training step against the bare encoder
python benchmarks/speed.py step --size 224 --batch-size 8 --encoder swin_tiny_patch4_window7_224 --images 2
python benchmarks/speed.py losses          # the anchor losses against loops over pairs, and against one matrix product
python benchmarks/speed.py losses --large  # and the memory of 4,096 cases of 1,000 classes
python benchmarks/speed.py encoders        # what image encoders cost
python benchmarks/speed.py compression     # what each token compression costs
python benchmarks/speed.py tokenizers      # what tabular tokenizers cost, and a text encoder in the loop
python benchmarks/speed.py models          # what each method costs over concatenation
python benchmarks/speed.py attention       # the attention blocks against one attention over all tokens
python benchmarks/speed.py scan --step     # the selective scan against a loop, and CFCML's step for volumes with each
python benchmarks/speed.py data            # loading from the cache of decoded images against decoding each time
python benchmarks/speed.py schema          # telling what the columns of 100,000 rows are
python benchmarks/speed.py statistics      # 10,000 resamples of 2,000 cases by 7 classes for 12 models
"""

import argparse
import os
import platform
from collections.abc import Sequence

import timm
import torch

from speed import attention, compression, data, encoders, losses, models, scan, schema, statistics, step, tokenizers


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for part in (step, losses, encoders, compression, tokenizers, models, attention, scan, data, schema, statistics):
        part.add(commands)
    options = parser.parse_args(arguments)
    print(
        f"torch {torch.__version__}, timm {timm.__version__}, {platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads"
    )
    options.function(options)


if __name__ == "__main__":
    main()
