"""Headless Chromium: what a page looks like from inside, and what it complains of."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=20000",
)
MEASURE = """
<!DOCTYPE html><meta charset="utf-8"><body><pre id="found"></pre>
<textarea id="source" hidden>PAGE</textarea>
<script>
const all = {};
for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  frame.style = "border:0;height:800px;width:" + width + "px";
  frame.srcdoc = document.getElementById("source").value;
  frame.addEventListener("load", () => { measure(frame, width); });
  document.body.append(frame);
}
function measure(frame, width) {
  const page = frame.contentDocument, view = frame.contentWindow;
  page.querySelectorAll("details").forEach(lid => { lid.open = true; });
  const root = page.documentElement;
  const found = {scroll: root.scrollWidth, client: root.clientWidth, figures: [], small: [], outside: [], covered: [],
    broken: []};
  for (const svg of page.querySelectorAll("svg")) {
    const box = svg.getBoundingClientRect();
    if (!box.width) continue;  // the drawing for other screens
    const key = svg.closest("figure").id;
    found.figures.push({key: key, width: box.width, height: box.height, title: svg.querySelector("title").textContent});
    const words = [];
    for (const text of svg.querySelectorAll("text")) {
      const size = parseFloat(view.getComputedStyle(text).fontSize) * box.width / svg.viewBox.baseVal.width;
      if (size < 14) found.small.push(key + ": " + text.textContent + " " + size);
      const own = text.getBoundingClientRect();
      if (own.left < box.left - 1 || own.right > box.right + 1 || own.top < box.top - 2 || own.bottom > box.bottom + 2)
        found.outside.push(key + ": " + text.textContent);
      for (const [other, name] of words)
        if (Math.min(own.right, other.right) - Math.max(own.left, other.left) > 2 &&
            Math.min(own.bottom, other.bottom) - Math.max(own.top, other.top) > 6)
          found.covered.push(key + ": " + name + " / " + text.textContent);
      words.push([own, text.textContent]);
    }
  }
  const walk = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const holder = walk.currentNode.parentElement;
    if (walk.currentNode.textContent.trim() && !holder.closest("svg") &&
        parseFloat(view.getComputedStyle(holder).fontSize) < 14) found.small.push(walk.currentNode.textContent);
  }
  // A cell that is shown as a line: its label must keep its words whole.
  for (const cell of page.querySelectorAll("td[data-label]")) {
    const label = view.getComputedStyle(cell, "::before");
    if (label.content == "none" || !cell.textContent) continue;
    const longest = Math.max(...cell.dataset.label.split(/[\\s-]/).map(word => word.length));
    if (parseFloat(label.width) < 5 * Math.min(longest, 12)) found.broken.push(cell.dataset.label);
  }
  all[width] = found;
  if (Object.keys(all).length == WIDTHS.length) document.getElementById("found").textContent = JSON.stringify(all);
}
</script>
"""


def chromium() -> str | None:
    """The browser's program; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def dump(program: str, page: Path, profile: Path) -> tuple[str, list[str]]:
    """The page after its scripts, and what it said to the console."""
    done = subprocess.run(
        [program, *FLAGS, f"--user-data-dir={profile}", "--window-size=1400,900", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measure(program: str, page: Path, folder: Path, widths: Sequence[int]) -> tuple[dict[int, Any], list[str]]:
    """Sizes on screens of some widths, all lids open, and what the page said to the console."""
    wrapper = folder / "wrapper.html"
    content = html.escape(page.read_text(encoding="utf-8"))
    wrapper.write_text(MEASURE.replace("WIDTHS", str(list(widths))).replace("PAGE", content), encoding="utf-8")
    dom, console = dump(program, wrapper, folder / "profile")
    match = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    if match is None or not match[1]:
        raise AssertionError(f"the page was not measured: {dom[:500]}")
    return {int(width): found for width, found in json.loads(html.unescape(match[1])).items()}, console
