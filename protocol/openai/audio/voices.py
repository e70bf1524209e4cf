"""The voices of OpenAI's models, and those of Gemini's that answer in their place."""

from collections.abc import Mapping

from protocol.model import BadRequest

VOICES: Mapping[str, str] = {
    "alloy": "Kore",
    "ash": "Charon",
    "ballad": "Algieba",
    "cedar": "Orus",
    "coral": "Aoede",
    "echo": "Puck",
    "fable": "Umbriel",
    "marin": "Sulafat",
    "nova": "Leda",
    "onyx": "Algenib",
    "sage": "Vindemiatrix",
    "shimmer": "Zephyr",
    "verse": "Iapetus",
}
"""Voices that sound about as OpenAI's do."""
GEMINI_VOICES = (
    *("Achernar", "Achird", "Algenib", "Algieba", "Alnilam", "Aoede", "Autonoe", "Callirrhoe", "Charon", "Despina"),
    *("Enceladus", "Erinome", "Fenrir", "Gacrux", "Iapetus", "Kore", "Laomedeia", "Leda", "Orus", "Puck"),
    *("Pulcherrima", "Rasalgethi", "Sadachbia", "Sadaltager", "Schedar", "Sulafat", "Umbriel", "Vindemiatrix"),
    *("Zephyr", "Zubenelgenubi"),
)


def voice_of(name: str) -> str:
    """Return Gemini's voice of a name, in any case.

    Raises:
        BadRequest: there is none; the message lists those that there are.

    """
    found = VOICES.get(name.lower(), name.capitalize())
    if found not in GEMINI_VOICES:
        known = f"{', '.join(VOICES)}; {', '.join(GEMINI_VOICES)}"
        raise BadRequest(f"'voice' must be one of: {known}.", param="voice", code="unsupported_value")
    return found
