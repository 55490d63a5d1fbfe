"""Tables as nobody would keep them: any types, missing cells, scripts and sizes."""

from typing import Any

import pandas as pd
from hypothesis import strategies as st

cell = st.none() | st.text(max_size=5) | st.integers(-(10**6), 10**6) | st.floats(-1e9, 1e9) | st.booleans()
date = st.dates().map(lambda day: day.isoformat())
words = st.sampled_from(
    ["yes", "no", "unknown", "Männlich", "weiblich", "низкий", "高い", "1,5", "2.5", "", "III", "II"]
)


@st.composite
def tables(draw: Any) -> pd.DataFrame:
    n = draw(st.integers(1, 25))
    names = draw(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=6, unique=True))
    kinds = st.sampled_from([cell, date, words, st.floats(-1e3, 1e3), st.integers(0, 3), st.text(max_size=3)])
    return pd.DataFrame(
        {name: pd.Series(draw(st.lists(draw(kinds), min_size=n, max_size=n)), dtype=object) for name in names}
    )
