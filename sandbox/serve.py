"""A sandbox to use from Python: `with RunningSandbox() as sandbox: sandbox.url`.

It is a process of its own, so `kill` is a real kill -9 and `start`
afterwards comes back on the same port with the same store. Leaving the `with` ends it.
"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

from sandbox.accounts import DEMO_KEY, DEMO_NAME
from sandbox.sat_status import PATH as SAT_STATUS_PATH

_START_SECONDS: Final = 20.0


class RunningSandbox:
    """The sandbox in a subprocess on a free port; without `store`, in a folder that goes with it."""

    demo_account: Final = DEMO_NAME
    demo_key: Final = DEMO_KEY

    def __init__(
        self, *, store: Path | None = None, demo: bool = True, port: int = 0, options: Iterable[str] = ()
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sandbox-") if store is None else None
        self.store = store or Path(self._folder.name if self._folder else ".") / "store.sqlite"
        self._demo = demo
        self._options = tuple(options)
        self._process: subprocess.Popen[str] | None = None
        self.port = port
        self._control = ""

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def sat_url(self) -> str:
        """Where the SAT's status service answers."""
        return f"{self.url}{SAT_STATUS_PATH}"

    @property
    def pid(self) -> int:
        """The process."""
        if self._process is None:
            raise RuntimeError("the sandbox is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it answers; raises RuntimeError with its first line where it does not."""
        command = [
            sys.executable,
            "-m",
            "sandbox",
            "--port",
            str(self.port),
            "--store",
            str(self.store),
            "--until-stdin-closes",
        ]
        command += ["--demo"] if self._demo else []
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and our own module
            [*command, *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if "ready at" not in line:
            self.stop()
            raise RuntimeError(f"the sandbox did not start: {line.strip() or 'without a word on its output'}")
        self.port = int(line.rsplit(":", 1)[1])
        self._control = self.url
        self._control = str(self.health()["control"])
        return self

    def stop(self) -> None:
        """End it in order (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self._forget_folder()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._forget_folder()

    def _forget_folder(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout=_START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    # -- control

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """A call under /sandbox; raises RuntimeError with the sandbox's words where it is refused."""
        connection = http.client.HTTPConnection(urlsplit(self._control).netloc, timeout=_START_SECONDS)
        try:
            connection.request(method, f"/sandbox{path}", None if body is None else json.dumps(body))
            answer = connection.getresponse()
            content = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{method} /sandbox{path}: {content}")
        return content

    def health(self) -> dict[str, Any]:
        """GET /sandbox/health."""
        return dict(self.control("GET", "/health"))

    def ledger(self, account: str | None = None) -> dict[str, Any]:
        """GET /sandbox/ledger, of one account or of all."""
        return dict(self.control("GET", "/ledger" + (f"?account={quote(account)}" if account else "")))

    def reset(self) -> None:
        """POST /sandbox/reset: empty store (the demo account is there again) and no faults."""
        self.control("POST", "/reset", {})

    def open_account(self, name: str, **facts: Any) -> dict[str, Any]:
        """POST /sandbox/accounts: api_key, rfc, razon_social, regimen_fiscal, series, lugares, stamps, enabled,
        behaviour, dialect (a name, a seed, or its fields)."""
        return dict(self.control("POST", "/accounts", {"name": name, **facts}))

    def account(self, name: str = DEMO_NAME) -> dict[str, Any]:
        """GET /sandbox/accounts/{name}."""
        return dict(self.control("GET", f"/accounts/{quote(name)}"))

    def change(self, name: str = DEMO_NAME, **changes: Any) -> dict[str, Any]:
        """PATCH /sandbox/accounts/{name}: enabled, stamps, series={"A": False}, add_serie, add_lugar, remove_lugar,
        razon_social, rfc, api_key, behaviour={...}, dialect={...}."""
        return dict(self.control("PATCH", f"/accounts/{quote(name)}", changes))

    def regenerate_key(
        self, name: str = DEMO_NAME, *, other_ids: bool = False, other_empresa: bool = False
    ) -> str:
        """The account's new key."""
        body = {"other_ids": other_ids, "other_empresa": other_empresa}
        return str(self.control("POST", f"/accounts/{quote(name)}/regenerate-key", body)["api_key"])

    def revoke_key(self, name: str = DEMO_NAME) -> None:
        """Take the account's key away."""
        self.control("POST", f"/accounts/{quote(name)}/revoke-key", {})

    def kill_tokens(self, name: str = DEMO_NAME) -> None:
        """Refuse every token issued until now."""
        self.control("POST", f"/accounts/{quote(name)}/kill-tokens", {})

    def play(self, fault: str, **rule: Any) -> list[dict[str, Any]]:
        """POST /sandbox/scenarios: account, call, times, after, probability, for_seconds and the fault's own knobs."""
        return list(self.control("POST", "/scenarios", {"fault": fault, **rule}))

    def calm(self) -> None:
        """DELETE /sandbox/scenarios: no more faults."""
        self.control("DELETE", "/scenarios")

    def chaos(self, seed: int, factor: float = 1.0) -> None:
        """POST /sandbox/chaos."""
        self.control("POST", "/chaos", {"seed": seed, "factor": factor})

    def move_clock(self, seconds: float) -> None:
        """Set the sandbox's clock to the machine's plus so many seconds."""
        self.control("POST", "/clock", {"offset_seconds": seconds})
