"""Each channel has its own sender; one that was switched on without a sender is an error, never another channel."""

from types import SimpleNamespace
from typing import Any

import pytest

from models.vocabulary import Channel
from tasks.deliver import NoSender, _sender_of


def tools(**values: Any) -> Any:
    return SimpleNamespace(**{"webhook": None, "events_task": None, "events_queue": None, **values})


def test_each_channel_has_its_own_sender() -> None:
    """The webhook's URL, and queue and task of Celery, are the addresses."""
    hook = SimpleNamespace(send=print, address="https://apunto.example/hooks")
    opened = tools(webhook=hook, events_task="apunto.stamping_event", events_queue="apunto")

    assert _sender_of(Channel.WEBHOOK, opened) == (print, "https://apunto.example/hooks")
    assert _sender_of(Channel.CELERY, opened)[1] == "apunto:apunto.stamping_event"


@pytest.mark.parametrize("channel", list(Channel))
@pytest.mark.parametrize("values", [{}, {"events_task": "apunto.stamping_event"}, {"events_queue": "apunto"}])
def test_a_channel_without_a_sender_falls_through_to_no_other(
    channel: Channel, values: dict[str, str]
) -> None:
    """Half a setting or none is NoSender, with the channel's name."""
    with pytest.raises(NoSender, match=str(channel)):
        _sender_of(channel, tools(**values))
