"""The table of tuned options says what the methods declare."""

import re
from pathlib import Path

from mmfusion import registry
from mmfusion.comparison import search_space
from mmfusion.option_checks import search_ranges

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "tuning.md").read_text()


def test_options_match_methods() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (name, option, str(values))
        for name in registry.models.list()
        for option, values in search_ranges(registry.models.get(name)).items()
    ]


def test_shared_settings_match_code() -> None:
    named = re.findall(r"^\| `((?:train|model)\.\w+)` \|", PAGE, re.MULTILINE)
    assert tuple(named) == search_space.SHARED
    for values in (search_space.DROPOUT, search_space.ENCODER_RATE):
        assert f"| {values.low:g} to {values.high:g} |" in PAGE
    assert search_space.WEIGHT_DECAY.low == 0.00001
    assert f"| 0.00001 to {search_space.WEIGHT_DECAY.high:g} |" in PAGE
