"""The runtime: the only place where everything is put together.

`celery -A worker ...` finds the app here. It is made when it is asked for, so that importing a corner of this
package (the command line, the embedded runtime) reads no settings.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "celery":
        from worker.app import app  # noqa: PLC0415  # reads the settings

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
