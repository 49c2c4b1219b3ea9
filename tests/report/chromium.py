"""A headless Chromium, driven over its debugging pipe: no further package is needed."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PATH = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE = 90  # seconds for one answer, on a busy machine


class Page:
    """One tab, with all that its console complained about in `complaints`."""

    def __init__(self, browser, *, width, height=900, mobile=False):
        self.browser, self.complaints, self.events = browser, [], []
        target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def send(self, method, **params):
        return self.browser.send(method, session=self.session, **params)

    def hear(self, method, params):
        self.events.append(method)
        if method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if url.startswith(("http:", "https:", "ws:", "wss:")):
                self.complaints.append(f"asked the network for {url}")

    def open(self, path, fragment=""):
        self.send("Page.navigate", url=f"{path.resolve().as_uri()}{fragment}")
        self.browser.listen_until(lambda: "Page.loadEventFired" in self.events)

    def evaluate(self, expression):
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path, *, whole=False):
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self):
        return base64.b64decode(self.send("Page.printToPDF", preferCSSPageSize=True)["data"])


class Browser:
    """The process and its pipe."""

    def __init__(self, process, reader, writer):
        self.process, self.reader, self.writer = process, reader, writer
        self.pages, self.waiting, self.count = {}, b"", 0

    def send(self, method, session=None, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._next()
            if heard.get("id") == self.count:
                assert "error" not in heard, heard
                return heard["result"]

    def listen_until(self, is_done):
        while not is_done():
            self._next()

    def _next(self):
        """The next message; an event goes to its page."""
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.waiting:
            ready, _, _ = select.select([self.reader], [], [], deadline - time.monotonic())
            assert ready, "Chromium did not answer"
            part = os.read(self.reader, 1 << 20)
            assert part, f"Chromium ended: {self.process.poll()}"
            self.waiting += part
        text, _, self.waiting = self.waiting.partition(b"\0")
        message = json.loads(text)
        page = self.pages.get(message.get("sessionId"))
        if page and "method" in message:
            page.hear(message["method"], message["params"])
        return message


@contextlib.contextmanager
def browser():
    """A browser with an empty profile, gone at the end."""
    to_it, ours = os.pipe()
    theirs, from_it = os.pipe()[::-1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [PATH, *FLAGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_it} 4>&{theirs}', "bash", *command],
            pass_fds=(to_it, theirs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it)
        os.close(theirs)
        try:
            yield Browser(process, from_it, ours)
        finally:
            os.close(ours)
            os.close(from_it)
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
