"""A run whose image cache is damaged after its first step: ``damaging.py HOW CACHE ARGUMENT ...`` of the command line.

HOW is ``flip``, every byte of the cached pixels, ``cut``, all but the first slots, or ``none``; with ``+FOLDER`` the
images in that folder are emptied too.
"""

import sys
from pathlib import Path
from typing import Any
from unittest import mock

from mmfusion.cli import main
from mmfusion.data.images import rows
from mmfusion.training.loop import Training

how, _, images = sys.argv[1].partition("+")
cache = Path(sys.argv[2])
step = Training._step
done = False


def damaging(*given: Any, **options: Any) -> Any:
    """A step, after the first of which the disk fails."""
    global done
    result = step(*given, **options)
    if not done and how != "none":
        (pixels,) = cache.rglob("pixels")
        content = pixels.read_bytes()
        with pixels.open("r+b") as file:  # in place, as a disk does it
            if how == "flip":
                file.write(bytes(byte ^ 1 for byte in content))
            else:
                file.truncate(len(content) // 4 + 1)
        for path in Path(images).glob("*.png") if images else ():
            path.write_bytes(b"")
    done = True
    return result


# What was looked at before is looked at again now and then: here always, so that nothing damaged is learnt from.
with mock.patch.object(rows, "_AGAIN", 1), mock.patch.object(Training, "_step", damaging):
    sys.exit(main(sys.argv[3:]))
