"""A real Chromium without a window, driven over WebDriver (W3C): what a person clicks and types."""

import base64
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from devstack.ports import any_port

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER = "\ue007"
TAB = "\ue004"
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
    ),
    *("--force-device-scale-factor=1", "--hide-scrollbars", "--lang=es-MX"),
)
LONG = 200
"""Characters from which a text is pasted: typed, a whole invoice takes seconds."""
WAITS = 20.0  # seconds for what a page does by itself


def missing() -> str | None:
    """Say what a browser test lacks on this machine, or None."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(absent)} here (apt-get install chromium chromium-driver)" if absent else None


class Browser:
    """One window."""

    def __init__(self, http: httpx.Client, session: str) -> None:
        self._http, self._session = http, session

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        json = {} if body is None and method == "POST" else body
        answer = self._http.request(method, f"/session/{self._session}{path}", json=json)
        value = answer.json()["value"]
        assert answer.is_success, f"{method} {path}: {value.get('error')}: {value.get('message')}"
        return value

    def open(self, url: str) -> None:
        self._ask("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._ask("GET", "/url"))

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.run("return document.body.innerText"))

    def run(self, script: str, *arguments: Any) -> Any:
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, xpath: str) -> list[str]:
        found = self._ask("POST", "/elements", {"using": "xpath", "value": xpath})
        return [each[ELEMENT] for each in found]

    def one(self, xpath: str) -> str:
        """The element, once the page has it."""
        deadline = time.monotonic() + WAITS
        while not (found := self.find(xpath)):
            assert time.monotonic() < deadline, f"{xpath} is not on {self.url}:\n{self.text[:2000]}"
            time.sleep(0.05)
        return found[0]

    def click(self, xpath: str) -> None:
        self._ask("POST", f"/element/{self.one(xpath)}/click")

    def press(self, name: str, *, within: str = "") -> None:
        """Click the button, link or heading that has this text."""
        words = f"normalize-space()='{name}'"
        self.click(f"{within}//*[self::a or self::button or self::summary][{words}]")

    def type(self, name: str, text: str, *, within: str = "") -> None:
        """Type into the field of this name, in the place of what stood there."""
        field = self.one(f"{within}//*[@name='{name}'][not(@type='hidden')]")
        if len(text) > LONG:
            self.run("arguments[0].value = arguments[1]", {ELEMENT: field}, text)
            return
        self._ask("POST", f"/element/{field}/clear")
        self._ask("POST", f"/element/{field}/value", {"text": text})

    def keys(self, text: str) -> None:
        """Press keys, wherever the focus is."""
        field = self._ask("GET", "/element/active")[ELEMENT]
        self._ask("POST", f"/element/{field}/value", {"text": text})

    def choose(self, name: str, value: str) -> None:
        self.click(f"//select[@name='{name}']/option[@value='{value}']")

    def question(self) -> str:
        """Answer yes to the question that the page asks; return its text."""
        deadline = time.monotonic() + WAITS
        while not (answer := self._http.get(f"/session/{self._session}/alert/text")).is_success:
            assert time.monotonic() < deadline, "the page asks nothing"
            time.sleep(0.05)
        self._ask("POST", "/alert/accept")
        return str(answer.json()["value"])

    def wait_for(self, text: str) -> None:
        """Wait until the page shows a text."""
        deadline = time.monotonic() + WAITS
        while text not in (shown := self.text):
            assert time.monotonic() < deadline, f"{text!r} is not on {self.url}:\n{shown[:3000]}"
            time.sleep(0.05)

    def forget(self) -> None:
        """Drop every cookie: nobody is logged in."""
        self._ask("DELETE", "/cookie")

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set how wide the window is, and whether its owner likes it dark."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    def command(self, name: str, **params: Any) -> Any:
        """Send a command of the browser's own debugger."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": name, "params": params})

    def picture(self, path: Path) -> None:
        """Save what the window shows, to the page's end."""
        self.run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in this folder; it ends with the block."""
    port = any_port()
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}", f"--log-path={folder / 'chromedriver.log'}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            deadline = time.monotonic() + WAITS
            while True:
                try:
                    http.get("/status")
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline, "chromedriver does not start"
                    time.sleep(0.05)
            chrome = {
                "binary": shutil.which("chromium"),
                "args": [*OPTIONS, f"--user-data-dir={folder / 'profile'}"],
            }
            wanted = {"alwaysMatch": {"goog:chromeOptions": chrome, "unhandledPromptBehavior": "ignore"}}
            made = http.post("/session", json={"capabilities": wanted}).json()["value"]
            assert "sessionId" in made, made
            try:
                yield Browser(http, made["sessionId"])
            finally:
                http.delete(f"/session/{made['sessionId']}")
    finally:
        driver.terminate()
        driver.wait(10)
