"""A headless Chromium that the tests drive over a pipe, by its own protocol (CDP)."""

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
OPTIONS += ["--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking"]
PATIENCE = 60


class Page:
    """One page of a browser, closed at the end of a ``with``; ``events`` holds what it told."""

    def __init__(self, folder: Path, width: int = 1000, height: int = 900) -> None:
        """``folder``: for the profile, and for what is downloaded."""
        requests, self._out = os.pipe()
        self._in, answers = os.pipe()
        command = f'exec "$0" "$@" 3<&{requests} 4>&{answers}'
        self._browser = subprocess.Popen(
            ["bash", "-c", command, PROGRAM, *OPTIONS, f"--user-data-dir={folder}/profile"],
            pass_fds=(requests, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(requests)
        os.close(answers)
        self.events: list[dict[str, Any]] = []
        self._number, self._rest, self._session = 0, b"", None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.kill()
        self._browser.wait()
        os.close(self._in)
        os.close(self._out)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def open(self, file: Path) -> None:
        """Load a file and wait until its scripts have run."""
        self.ask("Page.navigate", url=file.resolve().as_uri())
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of a script."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a script says true."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.05)

    def wait_for(self, file: Path) -> None:
        """Until a download is whole."""
        end = time.monotonic() + PATIENCE
        while not file.exists() or not file.stat().st_size:
            assert time.monotonic() < end, file
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key, such as "Tab" or "Enter"."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **told, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def resize(self, width: int, height: int) -> None:
        """The window's size in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def picture(self, file: Path, whole: bool = False) -> None:
        """Write what is seen, or the ``whole`` page, as PNG."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        file.write_bytes(b64decode(data))

    def complaints(self) -> list[str]:
        """Exceptions, errors of the console and of the security policy."""
        found = [event for event in self.events if event.get("method") == "Runtime.exceptionThrown"]
        for event in self.events:
            told = event.get("params", {})
            if event.get("method") == "Runtime.consoleAPICalled" and told["type"] != "log":
                found.append(event)
            if event.get("method") == "Log.entryAdded" and told["entry"]["level"] != "info":
                found.append(event)
        return [json.dumps(event)[:600] for event in found]

    def requests(self) -> list[str]:
        """Every address that was asked for, but what the page holds itself."""
        asked = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        urls = [event["params"]["request"]["url"] for event in asked]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]
