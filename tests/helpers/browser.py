"""A browser that is driven through its debugging pipe."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.report_pages import KEYS


class Browser:
    """One tab of Chromium, driven through its debugging pipe."""

    def __init__(self, program, home):
        self.pipe, theirs = socket.socketpair()
        self.pipe.settimeout(60)
        # The browser reads commands from descriptor 3 and answers on 4.
        start = (
            "import os, sys; [os.dup2(int(sys.argv[1]), to) for to in (3, 4)]; os.execvp(sys.argv[2], "
            "sys.argv[2:])"
        )
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, str(theirs.fileno()), program, *options, f"--user-data-dir={home}"],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self.sent, self.received, self.tab, self.events = 0, b"", {}, []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.tab = {"sessionId": self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **params):
        self.sent += 1
        self.pipe.sendall(
            json.dumps({"id": self.sent, "method": method, "params": params} | self.tab).encode() + b"\0"
        )
        while (answer := self._read()).get("id") != self.sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        while b"\0" not in self.received:
            self.received += self.pipe.recv(2**20) or pytest.fail("the browser closed its pipe")
        message, self.received = self.received.split(b"\0", 1)
        return json.loads(message)

    def open(self, path, width=1280, dark=False):
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self.events.clear()
        self("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        self(
            "Runtime.evaluate",
            awaitPromise=True,
            expression="""new Promise((done) => {
            const wait = () => !find("cards") || find("cards").children.length ? done() : setTimeout(wait, 5);
            wait(); })""",
        )

    def js(self, expression):
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def focus(self, selector):
        self.js(f"document.querySelector({json.dumps(selector)}).focus()")

    def press(self, key, times=1):
        typed = {"Enter": "\r", " ": " "}.get(key)
        code = {"key": key, "windowsVirtualKeyCode": KEYS[key]} | (
            {"code": "Space"} if key == " " else {"code": key}
        )
        for _ in range(times):
            self("Input.dispatchKeyEvent", type="keyDown", **code, **({"text": typed} if typed else {}))
            self("Input.dispatchKeyEvent", type="keyUp", **code)

    def click(self, selector):
        box = self.js(f"""(() => {{ const node = document.querySelector({json.dumps(selector)});
            node.scrollIntoView({{ block: "center" }});
            const {{ x, y, width, height }} = node.getBoundingClientRect();
            return [x + width / 2, y + height / 2]; }})()""")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def texts(self, selector):
        return self.js(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((node) => node.textContent)"
        )

    def count(self, selector):
        return self.js(f"document.querySelectorAll({json.dumps(selector)}).length")

    def pixels(self, selector):
        """The red channel of a canvas."""
        found = self.js(f"""(() => {{ const canvas = document.querySelector({json.dumps(selector)});
            const {{ width, height }} = canvas;
            const {{ data }} = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [width, height, [...data].filter((_, i) => i % 4 === 0)]; }})()""")
        return np.array(found[2], np.uint8).reshape(found[1], found[0])

    def complaints(self):
        self.js("0")  # what was still under way arrives before the answer
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event.get("method") in kinds]
