"""A headless Chromium that is driven by its own protocol, https://chromedevtools.github.io/devtools-protocol/: no further package."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def found() -> str | None:
    """Where there is a Chromium; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page. `errors` are what its console called one."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._calls = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False
        )

    def call(self, method: str, **params: Any) -> Any:
        """Carry out a command of the protocol."""
        self._calls += 1
        self._connection.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while True:
            told = json.loads(self._connection.recv(timeout=60))
            if told.get("id") == self._calls:
                assert "error" not in told, told
                return told["result"]
            self._hear(told.get("method"), told.get("params", {}))

    def _hear(self, method: str | None, params: Any) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(str(params["args"]))

    def login(self, url: str, token: str) -> None:
        """Be somebody from now on."""
        self.call("Network.setCookie", name="_token", value=token, url=url)

    def open(self, url: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """What a script gives; a promise is waited for."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> Any:
        """Wait until a script gives something true, and return it; of an element only that it is there."""
        asked = (
            f"(() => {{ try {{ const found = {script}; return found && typeof found === 'object' ? true : found }} "
            "catch (absent) { return null } })()"
        )
        end = time.monotonic() + seconds
        while not (value := self.value(asked)):
            assert time.monotonic() < end, f"{script} stayed {value!r}; console: {self.errors}"
            time.sleep(0.1)
        return value


@contextmanager
def browser(program: str, folder: Path) -> Iterator[Browser]:
    """A Chromium with a profile of its own, ended with the block."""
    how = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}",
        "--remote-debugging-port=0",
    )
    with (folder / "chromium.log").open("w") as log:
        process = subprocess.Popen([program, *how, "about:blank"], stdout=log, stderr=log)
        try:
            with connect(_page(folder), max_size=None) as connection:
                yield Browser(connection)
        finally:
            process.terminate()
            process.wait(30)


def _page(folder: Path) -> str:
    """The address of the first page's protocol, as soon as the browser tells its port."""
    port = folder / "DevToolsActivePort"
    end = time.monotonic() + 60
    while not (port.exists() and port.read_text().strip()):
        assert time.monotonic() < end, (folder / "chromium.log").read_text()
        time.sleep(0.1)
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json") as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        if pages:
            address: str = pages[0]["webSocketDebuggerUrl"]
            return address
        time.sleep(0.1)
