"""Each channel has its own way out; one that was switched on without a sender is an error, never another channel."""

from types import SimpleNamespace
from typing import Any

import pytest

from models.vocabulary import Channel
from tasks.deliver import NoWay, _way_of


def tools(**told: Any) -> Any:
    return SimpleNamespace(**{"webhook": None, "events_task": None, "events_queue": None, **told})


def test_each_channel_has_its_own_way() -> None:
    hook = SimpleNamespace(send=print, address="https://apunto.example/hooks")
    house = tools(webhook=hook, events_task="apunto.stamping_event", events_queue="apunto")

    assert _way_of(Channel.WEBHOOK, house) == (print, "https://apunto.example/hooks")
    assert _way_of(Channel.CELERY, house)[1] == "apunto:apunto.stamping_event"


@pytest.mark.parametrize("channel", list(Channel))
@pytest.mark.parametrize("told", [{}, {"events_task": "apunto.stamping_event"}, {"events_queue": "apunto"}])
def test_a_channel_without_a_sender_falls_through_to_no_other(channel: Channel, told: dict[str, str]) -> None:
    with pytest.raises(NoWay, match=str(channel)):
        _way_of(channel, tools(**told))
