import math

import numpy as np
import pandas as pd
import pytest

from mmfusion.data.schema.dates import date_format, date_formats, plain_date, read_dates
from mmfusion.data.schema.number_cells import read_date_column


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (["2020-01-31", "1999-12-01"], "ISO8601"),
        (["2020-01-31 10:00", "1999-12-01T08:15:00Z"], "ISO8601"),
        (["31.01.2020", "1.2.1999"], "%d.%m.%Y"),
        (["01/31/2020", "12/01/1999"], "%m/%d/%Y"),
        (["01/02/2020"], "%d/%m/%Y"),  # either way: the day first
        (["2020/01/31"], "ISO8601"),
        (["31.01.20"], "%d.%m.%y"),
        (["2020-13-40"], None),
        (["2020-01-31", "soon"], None),
        (["3.5", "4.5"], None),
        ([], None),
    ],
)
def test_date_format_is_inferred(result, expected):
    assert date_format(result) == expected


def test_dates_are_converted_to_years():
    def years(cells, *formats):
        return read_date_column(pd.Series(cells), formats or ("ISO8601",)).values

    read = years(["1970-01-01", "", "2000-07-02"])
    assert read[0] == 1970
    assert math.isnan(read[1])
    assert read[2] == pytest.approx(2000.5, abs=0.01)
    np.testing.assert_array_equal(years(pd.to_datetime(["1970-01-01", None, "2000-07-02"])), read)
    assert years(["02.07.2000"], "%d.%m.%Y")[0] == read[2]
    assert years(pd.to_datetime(["2000-07-02"], utc=True))[0] == read[2]
    reading = read_date_column(pd.Series(["soon", "#REF!", None, "2000-07-02"]), ("ISO8601",))
    assert reading.invalid.tolist() == [True, False, False, False]
    assert reading.errors.tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("January 22, 2020", "Jan 22 2020"),
        ("Sunday, 1st September 2020 10:30", "1 Sep 2020"),
        ("Sept. 3rd, 2020", "Sep 3 2020"),
        ("22-JAN-2020", "22 Jan 2020"),
        ("31.01.2020 10:30:05", "31.01.2020"),
        ("01/31/2020, 9:15 pm", "01/31/2020"),
        ("soon", "soon"),
    ],
)
def test_plain_date_formats(text, plain):
    assert plain_date(text) == plain


def test_mixed_date_formats():
    result = ["January 22, 2020", "Jan 24, 2020", "2020", "2020-01-26", "27 Jan 2020", "28.01.2020", "soon", "3"]
    formats, fits = date_formats(result, [1] * len(result))
    assert fits.tolist() == [True] * 6 + [False] * 2
    days = (read_dates(result, formats) - 2020) * 365.2425
    assert days[:6] == pytest.approx([21, 23, 0, 25, 26, 27], abs=0.6)
    assert np.isnan(days[6:]).all()


def test_day_month_order_is_consistent():
    # One cell can only begin with the month: so do those that could be read either way.
    formats, fits = date_formats(["01/02/2020", "03/04/2020", "01/31/2020", "May 5, 2020"], [5, 5, 1, 1])
    assert fits.all()
    assert "%d/%m/%Y" not in formats
    assert read_dates(["01/02/2020"], formats) == read_dates(["2020-01-02"], ["ISO8601"])
