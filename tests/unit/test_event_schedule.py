"""When a notice that failed is tried again: the published schedule, and never given up early."""

from datetime import timedelta

import pytest

from events.schedule import LIFETIME, SCHEDULE, next_wait

PUBLISHED = "0:00:00 0:00:05 0:05:00 0:30:00 2:00:00 5:00:00 10:00:00 14:00:00 20:00:00 1 day, 0:00:00"


def test_the_schedule_is_the_published_one():
    """docs/events.md's waits and their sum."""
    assert " ".join(str(wait) for wait in SCHEDULE) == PUBLISHED
    assert str(LIFETIME) == "3 days, 3:35:05"


@pytest.mark.parametrize("tries", range(1, 10))
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_waits_follow_the_schedule_within_a_tenth(tries, chance):
    """Chance moves a wait by ten per cent at the most."""
    wait = next_wait(tries, timedelta(0), chance)

    assert wait is not None
    assert 0.9 * SCHEDULE[tries] <= wait <= 1.1 * SCHEDULE[tries] + timedelta(microseconds=1)
    if chance == 0.5:
        assert wait == SCHEDULE[tries]


def test_after_the_tenth_try_and_three_days_it_ends():
    """Both have to be over; then there is no next try."""
    assert next_wait(10, LIFETIME, 0.5) is None
    assert next_wait(400, LIFETIME + timedelta(days=1), 0.5) is None


@pytest.mark.parametrize("tries", [10, 11, 500])
def test_tries_that_came_early_do_not_use_up_the_three_days(tries):
    """A living endpoint shortens waits; a notice it refuses must still get its three days."""
    wait = next_wait(tries, LIFETIME - timedelta(hours=1), 0.5)

    assert wait == timedelta(hours=1)
    assert next_wait(tries, timedelta(hours=1), 0.5) == timedelta(hours=24)
    assert next_wait(tries, LIFETIME - timedelta(seconds=1), 0.5) == timedelta(minutes=5)


def test_a_delivery_first_tried_late_still_gets_its_ten_tries():
    """Our own deliverer may have been off for days."""
    assert next_wait(1, timedelta(days=9), 0.5) == timedelta(seconds=5)
    assert next_wait(9, timedelta(days=9), 0.5) == timedelta(hours=24)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (timedelta(0), timedelta(seconds=5)),
        (timedelta(seconds=90), timedelta(seconds=90)),
        (timedelta(days=365), timedelta(hours=24)),
    ],
)
def test_retry_after_lengthens_a_wait_within_bounds(asked, expected):
    """Never below the schedule's own wait, never beyond a day."""
    assert next_wait(1, timedelta(0), 0.5, asked) == expected


def test_retry_after_never_revives_what_is_given_up():
    """Past the end there is no next try whatever the receiver asks."""
    assert next_wait(10, LIFETIME, 0.5, timedelta(hours=1)) is None
