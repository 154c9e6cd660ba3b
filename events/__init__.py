"""What the outside learns: which events there are, how they are stored until delivered, and how one is sent.

An event is written in the commit that makes it true (`outbox.emit`) and leaves later, as often as it takes
(`dispatch.deliver_due`). It knows neither Celery nor settings: a channel is a callable that sends one event.
"""
