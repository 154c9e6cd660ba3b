"""The HTTP API in this process: its own application over a harness, asked through ASGI, without a broker."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI

from api import keys
from api.app import create_app
from stamping.tools import Tools

URL = "https://timbrado.example"


@dataclass
class AskedApi:
    """An application and a key; `sent` holds the messages that a broker would have got."""

    app: FastAPI
    tools: Tools
    key: str | None = None
    sent: list[tuple[str, list[UUID], str | None]] = field(default_factory=list)

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {
            **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
            **options.pop("headers", {}),
        }

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(ask())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self("POST", path, **options)

    def as_(self, name: str, **facts: Any) -> "AskedApi":
        """The same application with a key of its own."""
        with self.tools.engine.begin() as db:
            key = keys.create(db, name, now=self.tools.clock.now(), **facts)
        return AskedApi(self.app, self.tools, key, self.sent)


def api_over(tools: Tools) -> AskedApi:
    """Return the application over these tools, with no key."""
    sent: list[tuple[str, list[UUID], str | None]] = []

    def enqueue(task: str, ids: Sequence[UUID], queue: str | None) -> None:
        sent.append((task, list(ids), queue))

    return AskedApi(create_app(tools, enqueue=enqueue, public_url=URL), tools, sent=sent)
