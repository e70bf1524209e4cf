"""Draw docs/terminal.svg: a terminal in which real commands run against simulated accounts.

`make picture` writes it, and a test compares it with what the commands print now. Ports, paths and the license key
differ from run to run, so the picture shows fixed ones.
"""

import os
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from tests.conftest import KEY, ROOT, Process, Site
from tests.servers import free_port

PICTURE = ROOT / "docs" / "terminal.svg"
COLUMNS = 96
CHAT = """\
curl -s http://127.0.0.1:8000/v1/chat/completions -H "Authorization: Bearer $LICENSE_KEY" \\
    -H "Content-Type: application/json" \\
    -d '{"model": "gemini-3-pro", "messages": [{"role": "user", "content": "Hello!"}]}' |
    jq -r '.choices[0].message.content'"""
SETTINGS = """
[server]
port = {port}
[store]
key_file = "gateway.key"
[transports.web]
guest = false
[transports.web.hosts]
site = "{site}"
accounts = "{site}"
upload = "{site}"
"""
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: FONT; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: FONT; font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
""".replace("FONT", FONT)
"""Rich's template without its web fonts: a page that shows the picture fetches nothing else."""


def record(folder):
    """Run the commands in an empty folder; return the lines of the terminal, with colors as escape codes."""
    lines = _demo(folder)
    site = Site(folder, "--account", "c:d:advanced")
    try:
        lines += _accounts(folder, site.url)
    finally:
        site.stop()
    return lines


def _demo(folder):
    """Start the demo and send the first request to it."""
    process = Process("demo", "--port", "0", "--license-key", KEY, cwd=folder)
    try:
        process.wait_for("curl")
        printed = [
            line for line in process.text().splitlines() if line.startswith(("Base URL", "License", "Simulator"))
        ]
        address, upstream = (re.search(r"127.0.0.1:\d+", line)[0] for line in (printed[0], printed[2]))
        answer = _run(CHAT.replace("127.0.0.1:8000", address), folder)
    finally:
        process.stop()
    shown = {address: "127.0.0.1:8000", upstream: "127.0.0.1:8765", KEY: "sk-gg-3vXmQ0cWk4R8tY2nLz7b"}
    return [*_prompt("make run"), *_replaced(printed, shown), "…", "", *_prompt(CHAT), *answer, ""]


def _accounts(folder, site):
    """Serve with an account that works and one that is signed out, and ask how they are."""
    (folder / "gateway.key").write_text(KEY * 2)
    port = free_port()
    (folder / "gateway.toml").write_text(SETTINGS.format(site=site, port=port))
    for command in (
        "licenses add team",
        "accounts add anna --no-check --secret-stdin <<< $'c\\nd'",
        "accounts add ben --no-check --secret-stdin <<< $'e\\nf'",
    ):
        _run(f"gemini-gateway {command}", folder)
    gateway = Process("serve", cwd=folder)
    try:
        gateway.wait_for("account_attention_required")
        _run("gemini-gateway accounts check anna", folder)
        listed = _list_accounts(folder)
        found = _run("gemini-gateway doctor", folder, columns=400)  # a long path would move the line breaks
    finally:
        gateway.stop()
    found = _replaced(found, {f"{folder}/": "~/gemini/", f":{port}": ":8000"})
    assert sum("✗" in line for line in found) == 1, "\n".join(found)
    failed = next(number for number, line in enumerate(found) if "✗" in line)
    shown = [*found[:9], "…", *found[failed:]]
    return [*_prompt("gemini-gateway accounts list"), *listed, "", *_prompt("gemini-gateway doctor"), *shown]


def _list_accounts(folder):
    """List the accounts until the quotas, which the gateway reads and stores in the background, are complete."""
    for _ in range(60):
        listed = _run("gemini-gateway accounts list", folder)
        if all(any(quota in line for line in listed) for quota in ("5h ", "week ", "pro unlimited")):
            return listed
    raise AssertionError("\n".join(listed))


def _prompt(command):
    first, *more = command.splitlines()
    return [f"\33[32m$\33[0m \33[1m{first}\33[0m", *(f"  \33[1m{line}\33[0m" for line in more)]


def _replaced(lines, shown):
    """Return the lines with fixed values for those that differ from run to run."""
    text = "\n".join(lines)
    for real, fixed in shown.items():
        text = text.replace(real, fixed)
    return text.splitlines()


def _run(command, folder, columns=COLUMNS):
    """Run a line of shell, with this checkout's `gemini-gateway`; return the lines that it printed."""
    shell = f'gemini-gateway() {{ "{sys.executable}" -m service "$@"; }}\n{command}'
    environment = {**os.environ, "LICENSE_KEY": KEY, "FORCE_COLOR": "1", "COLUMNS": str(columns), "TERM": "xterm"}
    done = subprocess.run(
        ["bash", "-c", shell], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    return [line.rstrip() for line in done.stdout.splitlines()]


def render(lines):
    """Return the picture of a terminal with these lines."""
    console = Console(record=True, width=COLUMNS, file=StringIO())
    for line in lines:
        console.print(Text.from_ansi(line))
    drawn = console.export_svg(title="gemini-gateway", theme=SVG_EXPORT_THEME, code_format=SVG, unique_id="terminal")
    return "".join(f"{line.strip()}\n" for line in drawn.splitlines() if line.strip())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(render(record(Path(folder))))
