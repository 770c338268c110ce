"""Pages in a real browser: headless Chromium, if the machine has one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-extensions",
)  # fmt: skip

_ATTEMPTS = 3  # the browser itself may crash, also when it ends, on a machine that is busy

# The page is shown in a frame, whose width is what the page takes for that of the screen. Its own policy forbids
# scripts, so the measuring is done from outside.
_AROUND = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="f" style="width:{width}px;height:900px;border:0"></iframe><pre id="found"></pre>
<script>
const frame = document.getElementById("f");
frame.onload = () => {{
  const page = frame.contentDocument, root = page.documentElement, seen = [...page.querySelectorAll("main *")];
  const wide = seen.filter(e => !e.closest(".scroll, svg") && e.getBoundingClientRect().right > root.clientWidth + 1);
  document.getElementById("found").textContent = JSON.stringify({{
    over: root.scrollWidth - root.clientWidth, wide: wide.map(e => e.outerHTML.slice(0, 80)),
    scripts: page.scripts.length,
    paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    ink: frame.contentWindow.getComputedStyle(page.body).color,
    text: page.body.textContent, ran: String(window.ran), title: page.title,
    headings: [...page.querySelectorAll("h1, h2, h3")].map(e => e.tagName),
    unnamed: [...page.querySelectorAll("svg[role=img]:not([aria-label]), img:not([alt])")].length,
  }});
}};
frame.srcdoc = {page};
</script>"""


def look(page: str, folder: Path, width: int, dark: bool) -> dict[str, Any]:
    """What a browser makes of a page at a width, in light or dark.

    Returns:
        `over`, how much wider it is than the frame; `wide`, elements that stick out; `scripts`; the colours `paper`
        and `ink`; `text`; `ran`, which a script of the page could have set; `title`; `headings`; `unnamed` drawings.
    """
    source = json.dumps(page).replace("<", "\\u003c")
    around = folder / f"around-{width}-{dark}.html"
    around.write_text(_AROUND.format(width=width, page=source), encoding="utf-8")
    for attempt in range(_ATTEMPTS):
        done = subprocess.run(
            [CHROMIUM, *_FLAGS, f"--user-data-dir={folder / f'profile-{width}-{dark}-{attempt}'}",
             f"--window-size={width + 40},1000", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
             "--virtual-time-budget=10000", "--dump-dom", around.as_uri()],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        found = re.search(r'<pre id="found">(\{.*?)</pre>', done.stdout, re.DOTALL)
        if found is not None:
            return json.loads(html.unescape(found[1]))
    raise AssertionError(f"the browser said nothing (code {done.returncode}): {done.stderr[-500:]}")
