import subprocess
import sys

import numpy as np
import pytest
from mmfusion.data import DataBundle
from mmfusion.data.synthetic import export, synthetic_derm7pt, synthetic_men
from mmfusion.registry import datasets

SMALL = {"n_train": 30, "n_validation": 10, "n_test": 10, "size": 32}
def test_the_package_is_not_loaded_by_mmfusion_itself():
    code = "import sys, mmfusion; print([m for m in ('mmfusion.data', 'pandas', 'PIL', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_the_data_package_needs_no_extra():
    code = "import sys, mmfusion.data; print([m for m in ('PIL', 'sklearn', 'scipy', 'timm') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
