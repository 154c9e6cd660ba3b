"""What the outside learns: which events there are, how they are kept until told, and how one is delivered.

An event is written in the commit that makes it true (`outbox.emit`) and leaves later, as often as it takes
(`dispatch.deliver_due`). It knows neither Celery nor settings: a channel is a callable that sends one notice.
"""
