"""Other names of models: the operator's, a license's, and those that clients hard-code.

An alias is a name or a shell-style pattern, and the name of the model that answers, perhaps with suffixes:

    "gpt-4o" = "gemini-3.6-flash"
    "claude-*-opus*" = "gemini-3.1-pro-extended"

Names come before patterns, and of several patterns the first one counts. The suffixes of a requested name are added to
the model: `gpt-4o-canvas` is `gemini-3.6-flash-canvas`. Licenses and logs see the model's own name only.
"""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

_PATTERN = re.compile(r"[A-Za-z0-9._:/*?-]{1,128}")
_WILDCARDS = frozenset("*?")

_PRO, _FLASH, _LITE = "gemini-3.1-pro", "gemini-3.6-flash", "gemini-3.5-flash-lite"
_DRAWS, _FILMS = f"{_FLASH}-imagen", f"{_PRO}-video"
_EMBEDS, _SPEAKS, _HEARS = "gemini-embedding-2", "gemini-3.8-flash-tts", "gemini-3.5-transcribe"


def _versions(family: str) -> tuple[str, ...]:
    """Return the patterns of the names that Google gives to the models of a family."""
    return (
        f"gemini-{family}",
        f"gemini-{family}-?.?",
        f"gemini-{family}-latest",
        f"gemini-*-{family}-latest",
        f"gemini-*-{family}-preview*",
        f"gemini-*-{family}-exp*",
        f"gemini-*-{family}-0??",
        f"gemini-?-{family}",
        f"gemini-?.?-{family}",
    )


_UNAVAILABLE: Mapping[tuple[str, ...], str] = {
    ("*-realtime*", "gpt-realtime*", "gpt-audio*", "*-audio-preview*", "*-native-audio*", "gemini-*live*"): (
        "This gateway has no live sound: send it to a chat model as 'input_audio', and read the answer as text."
    ),
    ("lyria-*",): "Music is made by the website alone, in a chat: ask a chat model for a song.",
    ("*-moderation-*", "text-moderation*"): "This gateway rates no content: leave moderation out.",
    ("computer-use-*", "*-computer-use-*", "*-deep-research*"): (
        "Use a model with '-deepsearch' for research; no model uses a computer."
    ),
}
"""Names that clients hard-code, of models that this gateway has nothing like, and what to do instead."""

DEFAULT_ALIASES: Mapping[str, str] = {
    **{pattern: "" for patterns in _UNAVAILABLE for pattern in patterns},
    "*embedding-*": _EMBEDS,
    "tts-1-hd*": _SPEAKS,
    **dict.fromkeys(("tts-1*", "*-lite-*tts*"), "gemini-3.8-flash-lite-tts"),
    "*-tts*": _SPEAKS,
    **dict.fromkeys(("whisper-*", "*-transcribe*"), _HEARS),
    **dict.fromkeys(("gpt-image-*", "chatgpt-image-*", "dall-e-*", "imagen-*", "*nano-banana*"), _DRAWS),
    **dict.fromkeys(("gemini-*-pro-image", "gemini-*-pro-image-*"), f"{_PRO}-imagen"),
    **dict.fromkeys(("gemini-*-flash*-image", "gemini-*-flash*-image-*", "gemini-*-image-generation"), _DRAWS),
    **dict.fromkeys(("sora-*", "veo-*"), _FILMS),
    **dict.fromkeys(("gpt-*-nano*", "gpt-*-mini*"), _LITE),
    **dict.fromkeys(("gpt-3.5-turbo*", "gpt-4*", "chatgpt-4o-latest", "gpt-5*-chat-latest", "gpt-oss-*"), _FLASH),
    **dict.fromkeys(("o1-mini*", "o3-mini*", "o4-mini*", "codex-mini-*", "*davinci-00?", "babbage-002"), _FLASH),
    **dict.fromkeys(("gpt-5*", "gpt-daybreak-*", "o1", "o1-*", "o3", "o3-*"), _PRO),
    **dict.fromkeys(("claude-*haiku*", "claude-instant-*"), _FLASH),
    **dict.fromkeys(("claude-*",), _PRO),
    **dict.fromkeys(("gemini-1.5-flash-8b*",), _LITE),
    **dict.fromkeys(("gemini-?.?-flash-thinking-*",), f"{_FLASH}-extended"),
    **dict.fromkeys(("gemini-exp-*", "gemini-pro-vision"), _PRO),
    **dict.fromkeys(_versions("flash-lite"), _LITE),
    **dict.fromkeys(_versions("flash"), _FLASH),
    **dict.fromkeys(_versions("pro"), _PRO),
}
"""The names that clients hard-code, and the models that are most like theirs; empty: none is."""


def advice_instead_of(name: str) -> str:
    """Return what to use in place of a model that no upstream has, by its name in lower case; empty: unknown."""
    found = (
        advice for patterns, advice in _UNAVAILABLE.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    )
    return next(found, "")


class AliasTable:
    """Aliases from one place: names and patterns, with the names of the models that answer."""

    def __init__(self, aliases: Mapping[str, str]) -> None:
        """Index the aliases.

        Raises:
            ValueError: a name or pattern has characters that names of models never have.

        """
        self._names: dict[str, str] = {}
        self._patterns: list[tuple[str, str]] = []
        for alias, target in aliases.items():
            if not _PATTERN.fullmatch(alias):
                raise ValueError(f"the alias {alias!r} has characters other than letters, digits and '._-:/*?'")
            if _WILDCARDS & set(alias):
                self._patterns.append((alias.lower(), target))
            else:
                self._names[alias.lower()] = target

    @property
    def names(self) -> Mapping[str, str]:
        """The names among the aliases, in lower case, with their targets."""
        return self._names

    def named(self, stem: str, suffixes: str, tag: str) -> Iterator[str]:
        """Yield the targets of a name in lower case, which ends in `suffixes` and `tag`, if it is an alias."""
        for name, added in {stem + suffixes + tag: "", stem + tag: suffixes}.items():
            if name in self._names:
                yield _with_suffixes(self._names[name], added)

    def matching(self, stem: str, suffixes: str, tag: str) -> Iterator[str]:
        """Yield the target of the first pattern that a name matches, without its suffixes or else with them."""
        for name, added in {stem + tag: suffixes, stem + suffixes + tag: ""}.items():
            target = next((target for pattern, target in self._patterns if fnmatchcase(name, pattern)), None)
            if target is not None:
                if target:
                    yield _with_suffixes(target, added)
                return


def _with_suffixes(target: str, added: str) -> str:
    """Return a target with these suffixes, which it may have already: `sora-2-video` is `sora-2`."""
    return target if target.endswith(added) else target + added
