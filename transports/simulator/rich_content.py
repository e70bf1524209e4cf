"""Lays out rich content as the site does, in a candidate's field 12. No I/O. Source: "Response"."""

import re
from hashlib import sha256
from typing import Any

WEB_IMAGES, PROGRESS, IMAGES, CITATIONS, PLAN, VIDEO, VIDEO_PENDING, MUSIC = 1, 6, 7, 43, 55, 59, 64, 86

_CLAIM = re.compile(r"[^\s.!?。][^.!?。\n]*[.!?。]?")
_MARKER = re.compile(r" ?\[cite: (\d{1,3}(?:, \d{1,3})*)\]")


def images(found: list[tuple[str, str]]) -> list[Any]:
    """Return generated images, each given as `(url, image id)`."""
    return [[[[None, None, None, [None, None, _file_name(url), url]], [identity, 0]] for url, identity in found]]


def _file_name(url: str) -> str:
    """Return the name that the site gives a picture's file."""
    return f"{int(sha256(url.encode()).hexdigest(), 16) % 10**19:019d}.png"


def exact_images(found: list[tuple[str, str, tuple[int, int]]], seconds: float) -> list[Any]:
    """Return generated images as the site writes them, each given as `(url, image id, size)`."""
    made = [int(seconds), 751863480]
    images: list[Any] = []
    for url, identity, size in found:
        about = [None, 1, _file_name(url), url, None, "$AV-simulated", None, None, None, made, None, "image/jpeg"]
        file = [None, None, None, [*about, None, None, None, [*size, 512969]]]
        images.append([file, [identity], None, [20, *[None] * 15, False, None, "imagen_default.ultra"]])
    return [images, None, [True]]


def sources(text: str, count: int) -> list[Any]:
    """Return search sources as groups, each of which names a claim and where it stands in the text."""
    claims = list(_CLAIM.finditer(text))
    if not claims:
        return []
    groups: list[Any] = []
    for number in range(1, count + 1):
        claim = claims[min(number, len(claims)) - 1]
        url = f"https://example.com/simulated/{number}#:~:text=simulated,source"
        found = [url, f"Simulated source {number}", "https://example.com/favicon.ico", "A snippet."]
        where = [claim[0], None, None, [[claim.start(), claim.end()]]]
        groups.append([where, None, [[*found, None, None, "Example"]], f"source-{number}"])
    return groups


def web_images(found: list[tuple[str, str]]) -> list[Any]:
    """Return images of the web, each given as `(url, alt)`."""
    return [[[[url], None, None, None, alt]] for url, alt in found]


def citations(text: str, sources: int) -> list[Any]:
    """Return the groups of the markers in a text, for this number of sources."""
    groups: dict[str, list[Any]] = {}
    for marker in _MARKER.finditer(text):
        cited = [number for number in map(int, marker[1].split(", ")) if 1 <= number <= sources]
        if cited:
            found: list[Any] = []
            for number in cited:
                url = f"https://example.com/simulated/{number}"
                found.append(
                    [None, None, None, [["https://example.com/favicon.ico", url, f"Simulated source {number}"]]]
                )
            groups[marker[0]] = [[marker[0]], found]
    return list(groups.values())


def marked(text: str, sources: int) -> str:
    """Return a text with a marker for each source and one for all; a text with its own markers is unchanged."""
    if not sources or _MARKER.search(text):
        return text
    each = "".join(f" One fact [cite: {number}]." for number in range(1, sources + 1))
    together = ", ".join(map(str, range(1, sources + 1)))
    return f"{text}{each} All of them [cite: {together}]."


def progress(lines: list[str]) -> list[Any]:
    """Return progress lines."""
    return [[line] for line in lines]


def plan(title: str, steps: list[tuple[str, str]], estimate: str, confirm: str) -> list[Any]:
    """Return a research plan; each step is `(label, body)`."""
    return [title, [[None, label, body] for label, body in steps], estimate, [confirm]]


def video_pending(link: str, job: str) -> list[Any]:
    """Return the placeholder of a video that is being made."""
    return [[link], job]


def video(thumbnail: str, url: str) -> list[Any]:
    """Return a video; `url` is empty while there is none."""
    return [[[[[*[None] * 7, [thumbnail, url]]]]]]


def music(thumbnail: str, mp3: str, mp4: str) -> list[Any]:
    """Return a piece of music."""
    return [[None, [*[None] * 7, [thumbnail, mp3]]], [None, [*[None] * 7, [thumbnail, mp4]]]]
