"""What a plain turn's words ask for, as the site's models understand them. No I/O. Source: "Capabilities as turns"."""

import re

IMAGE, VIDEO, MUSIC = 14, 11, 21

_NEAR = r"\b[^.!?\n]{0,80}?\b"
_MAKE = r"\b(?:generate|create|draw|make|paint|render|produce|compose|design)"
_CHANGE = r"\b(?:edit|modify|retouch|restyle|recolou?r)"
_PICTURES = r"(?:images?|pictures?|photos?|illustrations?|drawings?)\b"
_FIND = re.compile(rf"\b(?:send|show|find)\s+me\b{_NEAR}{_PICTURES}", re.IGNORECASE)
_WISHES = (
    (VIDEO, re.compile(rf"{_MAKE}{_NEAR}(?:videos?|films?|clips?|movies?)\b", re.IGNORECASE)),
    (MUSIC, re.compile(rf"{_MAKE}{_NEAR}(?:songs?|music|tunes?|melod(?:y|ies))\b", re.IGNORECASE)),
    (IMAGE, re.compile(rf"(?:{_MAKE}|{_CHANGE}){_NEAR}{_PICTURES}", re.IGNORECASE)),
    (IMAGE, re.compile(r"\bimage (?:generation|editing|generator)\b", re.IGNORECASE)),
    (VIDEO, re.compile(r"(?:生成|制作|做|创建)[^。\n]{0,40}(?:视频|影片)")),
    (IMAGE, re.compile(r"(?:生成|画|绘制|创建)[^。\n]{0,40}(?:图|画|照片|插画)")),
)


def tool_for(words: str) -> int | None:
    """Return the tool that words ask for: the first kind that they name; None: they ask for text."""
    return next((tool for tool, wish in _WISHES if wish.search(words)), None)


def wants_web_images(words: str) -> bool:
    """Say whether words ask for pictures that exist, not for new ones."""
    return _FIND.search(words) is not None
