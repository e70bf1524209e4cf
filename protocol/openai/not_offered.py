"""The parts of OpenAI's API that this gateway does not offer, and what to use in their place."""

from collections.abc import Mapping

_CHAT = "use '/v1/responses' or '/v1/chat/completions'"
_SOUND = "send sound to a chat model as 'input_audio', and read its answer as text"
_VOICES = "name a voice of OpenAI's or of Gemini's in '/v1/audio/speech'"
_FILES = "send each file with its message, or upload it to '/v1/files' and send its id"
_OPERATOR = "the operator manages licenses with `gemini-gateway licenses`"
_FILMS = "describe the whole film in a prompt, and send it to '/v1/videos'"

NOT_OFFERED: Mapping[str, str] = {
    "/assistants": _CHAT,
    "/audio/voices": _VOICES,
    "/audio/voice_consents": _VOICES,
    "/batches": "send the requests one by one, several at a time",
    "/chat/completions/{completion}/messages": "keep the messages where the conversation is kept",
    "/chatkit": _CHAT,
    "/containers": "no code runs here: give the model a tool that runs it",
    "/content_provenance_checks": "pictures keep the mark that the website puts into them",
    "/conversations": "continue a response by 'previous_response_id', or send the earlier messages",
    "/edits": "use '/v1/chat/completions'",
    "/engines": "use '/v1/models' and '/v1/completions'",
    "/evals": "send the prompts to '/v1/chat/completions', and compare the answers there",
    "/fine_tuning": "no model here can be trained: put instructions and examples into the prompt",
    "/fine-tunes": "no model here can be trained: put instructions and examples into the prompt",
    "/moderations": "nothing here rates content: leave moderation out, or use another server for it",
    "/organization": _OPERATOR,
    "/projects": _OPERATOR,
    "/realtime": _SOUND,
    "/responses/compact": "send the response on: long conversations are kept by the website",
    "/responses/input_tokens": "read 'usage' of an answer",
    "/skills": "put the instructions into the prompt",
    "/threads": _CHAT,
    "/uploads": _FILES,
    "/vector_stores": _FILES,
    "/videos/characters": _FILMS,
    "/videos/edits": _FILMS,
    "/videos/extensions": _FILMS,
}
"""What to use in place of the paths, in words that follow a colon; of several that fit the longest counts."""
