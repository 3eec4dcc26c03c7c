"""What was lost at counter resets, added up in the order in which it was lost."""

from __future__ import annotations

import numpy as np
import pytest

from ingest.promql.rates import MOST_PAIRS, add_lost


@pytest.mark.parametrize("most", [1, 7, MOST_PAIRS])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_sums_are_those_of_a_loop_to_the_bit(share: float, most: int) -> None:
    random = np.random.default_rng(3)
    values = random.normal(0, 1, 400) * 10.0 ** random.integers(-300, 300, 400)
    values[random.integers(0, 400, 40)] = random.choice([0.0, -0.0, np.inf, -np.inf, np.nan], 40)
    marks = random.random(400) < share
    marks[0] = False  # nothing is before it
    low = random.integers(0, 401, 60)
    high = np.minimum(low + random.integers(-1, 300, 60), 400)
    sums = random.choice([0.0, -0.0, 1e300, 0.1], 60)
    expected = sums.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        for window in range(60):
            for place in range(low[window], high[window]):
                if marks[place]:
                    expected[window] += values[place - 1]
        add_lost(sums, values, marks, low, high, most)
    numbers = ~np.isnan(expected)  # which of two kinds of NaN stays is the processor's matter
    assert numbers.any()
    assert (np.isnan(sums) == ~numbers).all()
    assert sums[numbers].tobytes() == expected[numbers].tobytes()
