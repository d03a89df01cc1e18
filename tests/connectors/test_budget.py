"""What services say is left of their limits, in the headers each of them has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.connectors.budget import Budget, budget
from tests.connectors.helpers import AT, NOW_MS

LATER = "2026-02-01T16:02:30.000Z"
EPOCH_S = NOW_MS // 1000 + 90


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        pytest.param(
            {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4987", "x-ratelimit-reset": str(EPOCH_S)},
            Budget(4987, 5000, LATER),
            id="github",
        ),
        pytest.param(
            {"ratelimit-limit": "300", "ratelimit-remaining": "0", "ratelimit-reset": str(EPOCH_S)},
            Budget(0, 300, LATER),
            id="gitlab",
        ),
        pytest.param(
            {
                "x-ratelimit-limit": "5",
                "x-ratelimit-remaining": "4",
                "x-ratelimit-reset": f"{EPOCH_S}.250",
                "x-ratelimit-reset-after": "90.000",
            },
            Budget(4, 5, LATER),
            id="discord",
        ),
        pytest.param(
            {
                "x-ratelimit-limit": "350",
                "x-ratelimit-remaining": "12",
                "x-ratelimit-reset": "2026-02-01T16:02:30Z",
            },
            Budget(12, 350, LATER),
            id="jira",
        ),
        pytest.param({"ratelimit": '"burst";r=50;t=90'}, Budget(50, None, LATER), id="ietf"),
        pytest.param(
            {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "7", "ratelimit-reset": "90"},
            Budget(7, 100, LATER),
            id="ietf-early",
        ),
        pytest.param({"x-ratelimit-remaining": "3"}, Budget(3), id="no-more-than-needed"),
        pytest.param({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "soon"}, Budget(3), id="odd-reset"),
        pytest.param(
            {"x-ratelimit-remaining": "3", "x-ratelimit-reset": "9" * 12}, Budget(3), id="no-moment"
        ),
        pytest.param({"x-ratelimit-remaining": "-1"}, None, id="negative"),
        pytest.param({"x-ratelimit-remaining": "\u0663"}, None, id="other-digits"),
        pytest.param({"ratelimit": '"burst";t=90'}, None, id="nothing-left-said"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_what_is_left(headers: dict[str, str], left: Budget | None) -> None:
    assert budget(headers, NOW_MS) == left


NAMES = st.sampled_from([
    "x-ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-reset", "x-ratelimit-reset-after", "ratelimit",
    "ratelimit-remaining", "ratelimit-reset",
])  # fmt: skip
VALUES = st.text(max_size=30) | st.from_regex(r"[0-9]{1,40}(\.[0-9]{1,12})?") | st.just(AT)


@given(st.dictionaries(NAMES, VALUES))
def test_whatever_a_service_sends_is_read_or_left_alone(headers: dict[str, str]) -> None:
    left = budget(headers, NOW_MS)
    assert left is None or left.remaining >= 0
