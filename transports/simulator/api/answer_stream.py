"""Writes the answer of the simulated model as the API does: whole, as server-sent events, or as a JSON array.

Source: "Base", "GenerateContentResponse".
"""

import base64
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.to_thread
import msgspec

from transports.clock import Clock
from transports.simulator.api import request_schema as schema
from transports.simulator.api.api_models import SimulatedModel, version_of
from transports.simulator.api.rpc_errors import overloaded
from transports.simulator.api.simulated_model import ModelAnswer, ModelPart, count_tokens, image_tokens, prompt_tokens
from transports.simulator.api.simulated_speech import audio_tokens, pieces_of_tone, sound_json
from transports.simulator.config import Pace
from transports.simulator.images import draw
from transports.simulator.prompt_directives import PromptScript

CUT = None
"""Yielded in place of bytes to cut the connection."""

_FOREVER = 86400.0
_TOKENS_OF_DRAWN = 1290
_CHARACTERS_PER_CHUNK = 48
_CHARACTERS_PER_TOKEN = 4
_MOST_CHUNKS = 200
_WHOLE = 1_000_000
"""Chunks that an answer in one piece counts as, so that each fault reaches it."""
_TOKENS_PER_ADDRESS = 100
_LONGEST_SIDE = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}
_SOURCE = "https://example.com/simulated/{}"


class ModelAnswerWriter:
    """Writes one answer; `sign` issues a signature."""

    def __init__(
        self,
        request: schema.Request,
        model: SimulatedModel,
        answer: ModelAnswer,
        response_id: str,
        sign: Callable[[], str],
    ) -> None:
        """Write the answer of a model to a request."""
        self._request, self._model, self._answer = request, model, answer
        self._common = {"modelVersion": version_of(model), "responseId": response_id}
        self._sign = sign

    async def whole(self) -> dict[str, Any]:
        """Return the answer in one piece."""
        parts = [part for one in self.limited_parts() for part in await self.part_json(one)]
        return self.chunk_json(parts, last=True)

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the answer in chunks, the text cut into many."""
        whole = self.limited_parts()
        for number, one in enumerate(whole):
            pieces = self.pieces_of(one)
            for index, piece in enumerate(pieces):
                last = number == len(whole) - 1 and index == len(pieces) - 1
                yield self.chunk_json(await self.part_json(piece), last=last)
        if not whole:
            yield self.chunk_json([], last=True)

    def limited_parts(self) -> tuple[ModelPart, ...]:
        """Return the parts of the answer up to the limit of tokens and the first stop sequence."""
        options = self._request.generation_config
        left = None if options.max_output_tokens is None else options.max_output_tokens * 4
        found: list[ModelPart] = []
        for part in self._answer.parts:
            text, stopped = part.text, False
            if text and not part.thought:
                ends = [at for stop in options.stop_sequences if stop and (at := text.find(stop)) >= 0]
                text, stopped = text[: min(ends)] if ends else text, bool(ends)
            if text and left is not None:
                text, left = text[:left], left - len(text)
            found.append(msgspec.structs.replace(part, text=text))
            if stopped or (left is not None and left <= 0):
                break
        return tuple(found)

    def pieces_of(self, part: ModelPart) -> list[ModelPart]:
        """Return a part cut into pieces, if it is text."""
        if part.sound:
            return [msgspec.structs.replace(part, sound=piece) for piece in pieces_of_tone(part.sound)]
        if not part.text or part.heard is not None:
            return [part]
        size = self._answer.script.frames and -(-len(part.text) // self._answer.script.frames)
        size = size or max(_CHARACTERS_PER_CHUNK, -(-len(part.text) // _MOST_CHUNKS))
        starts = range(0, len(part.text), size)
        return [
            msgspec.structs.replace(
                part, text=part.text[start : start + size], signed=part.signed and start == starts[-1]
            )
            for start in starts
        ]

    async def part_json(self, one: ModelPart) -> list[dict[str, Any]]:
        """Return a part as JSON; an empty text is none."""
        signature = {"thoughtSignature": self._sign()} if one.signed and self._model.since_3 else {}
        if one.thought and self._answer.hides_thoughts:
            return []
        if one.code is not None:
            ran = {"outcome": "OUTCOME_OK", "output": one.code[1]}
            return [
                {"executableCode": {"language": "PYTHON", "code": one.code[0]}},
                {"codeExecutionResult": ran},
            ]
        if one.call is not None:
            return [{"functionCall": {"name": one.call[0], "args": one.call[1]}} | signature]
        if one.sound or one.heard is not None:
            return [sound_json(one.sound) if one.sound else {"text": one.text, "audioTranscription": one.heard}]
        if one.picture is not None:
            options = self._request.generation_config.image_config
            longest = _LONGEST_SIDE[(options.image_size if options is not None else None) or "1K"]
            png = await anyio.to_thread.run_sync(lambda: draw(one.picture, longest, png=True, mark=False))  # pyright: ignore[reportArgumentType]
            picture = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(png).decode()}}
            return [picture | ({"thought": True} if one.thought else {}) | signature]
        return [{"text": one.text} | ({"thought": True} if one.thought else {}) | signature] if one.text else []

    def chunk_json(self, parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
        """Return a chunk with these parts as JSON."""
        answer = self._answer
        if answer.block_reason:
            return {
                "promptFeedback": {"blockReason": answer.block_reason},
                "usageMetadata": self.usage_json(),
            } | self._common
        candidate: dict[str, Any] = {"index": 0}
        if parts:
            candidate["content"] = {"role": "model", "parts": parts}
        options = self._request.generation_config
        if options.response_logprobs:
            written = "".join(part.get("text", "") for part in parts if not part.get("thought"))
            candidate |= {"logprobsResult": logprobs_of(written, options.logprobs or 0)} if written else {}
        if last:
            candidate["finishReason"] = self.finish_reason()
            if answer.finish_message:
                candidate["finishMessage"] = answer.finish_message
            if answer.sources:
                candidate["groundingMetadata"] = grounding_of(answer.text, answer.sources)
            if answer.addresses:
                candidate["urlContextMetadata"] = {"urlMetadata": addresses_of(answer.addresses)}
        candidates = [candidate | {"index": index} for index in range(self._request.generation_config.candidate_count)]
        return {"candidates": candidates, "usageMetadata": self.usage_json()} | self._common

    def finish_reason(self) -> str:
        """Return why the answer ends."""
        limited = "".join(part.text for part in self.limited_parts())
        most = self._request.generation_config.max_output_tokens
        if most is not None and len(limited) >= most * 4:
            return "MAX_TOKENS"
        return self._answer.finish_reason

    def usage_json(self) -> dict[str, Any]:
        """Return the counts of tokens as JSON."""
        answer = self._answer
        messages = list(self._request.contents)
        if self._request.system_instruction is not None:
            messages.append(self._request.system_instruction)
        sent, thoughts = prompt_tokens(messages), count_tokens(self._answer.thoughts)
        images = image_tokens(messages)
        written = sum(count_tokens(part.text) for part in self.limited_parts() if not part.thought)
        drawn = sum(part.picture is not None and not part.thought for part in self._answer.parts)
        pictures = drawn * _TOKENS_OF_DRAWN
        calls = sum(count_tokens(str(part.call)) for part in self._answer.parts if part.call is not None)
        spoken = sum(audio_tokens(part.sound) for part in self._answer.parts)
        made = (written + pictures + calls + spoken) * self._request.generation_config.candidate_count
        read = self._answer.addresses * _TOKENS_PER_ADDRESS
        usage = {
            "promptTokenCount": sent,
            "candidatesTokenCount": made,
            "totalTokenCount": sent + made + thoughts + read,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": sent - images}]
            + ([{"modality": "IMAGE", "tokenCount": images}] if images else []),
        }
        if pictures:
            usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": pictures}]
        if spoken:
            usage["candidatesTokensDetails"] = [{"modality": "AUDIO", "tokenCount": spoken}]
        if answer.cached_tokens:
            usage["cachedContentTokenCount"] = answer.cached_tokens
            usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": answer.cached_tokens}]
        more = {"thoughtsTokenCount": thoughts, "toolUsePromptTokenCount": read}
        return usage | {name: count for name, count in more.items() if count}


def logprobs_of(text: str, most: int) -> dict[str, Any]:
    """Return how probable the tokens of a text are, with as many others at each place."""
    chosen = [
        {"token": token, "tokenId": zlib.crc32(token.encode()) % 250_000 + 1, "logProbability": -0.125 * len(token)}
        for token in (text[at : at + _CHARACTERS_PER_TOKEN] for at in range(0, len(text), _CHARACTERS_PER_TOKEN))
    ]
    found: dict[str, Any] = {"chosenCandidates": chosen}
    if most:
        others = [{"token": f" other{at}", "tokenId": at, "logProbability": -1.0 - at} for at in range(1, most)]
        found["topCandidates"] = [{"candidates": [one, *others]} for one in chosen]
    return found


def grounding_of(text: str, sources: int) -> dict[str, Any]:
    """Return sources for the sentences of a text; the indexes count bytes."""
    sentences = [one for one in text.split(". ") if one.strip()] or [text]
    chunks: list[Any] = []
    supports: list[Any] = []
    for number in range(sources):
        sentence = sentences[min(number, len(sentences) - 1)]
        start = len(text[: text.find(sentence)].encode())
        segment = {"startIndex": start, "endIndex": start + len(sentence.encode()), "text": sentence}
        chunks.append({"web": {"uri": _SOURCE.format(number + 1), "title": f"Simulated source {number + 1}"}})
        supports.append({"segment": segment, "groundingChunkIndices": [number]})
    found = {"webSearchQueries": ["simulated"], "groundingChunks": chunks, "groundingSupports": supports}
    return found | {"searchEntryPoint": {"renderedContent": "<div>simulated</div>"}}


def addresses_of(number: int) -> list[dict[str, str]]:
    """Return the addresses that were read."""
    status = "URL_RETRIEVAL_STATUS_SUCCESS"
    return [{"retrievedUrl": _SOURCE.format(place + 1), "urlRetrievalStatus": status} for place in range(number)]


async def streamed(
    writer: ModelAnswerWriter, answer: ModelAnswer, pace: Pace, clock: Clock, *, sse: bool
) -> AsyncIterator[bytes | None]:
    """Yield the bytes of a streamed answer, `CUT` where the connection breaks."""
    script = answer.script
    await clock.sleep(pace.first_token_seconds if script.delay is None else script.delay)
    number, pause = 0, pause_of(answer, pace)
    async for chunk in writer.chunks():
        if breaks(script, number):
            async for piece in broken(script, number, clock):
                yield piece
            return
        if script.error is not None and number >= script.after:
            break
        for piece in cut_to(_framed(chunk, number, sse=sse), script.chunk or pace.chunk_bytes):
            yield piece
        number += 1
        await clock.sleep(pause) if pause else None
    if script.late_error is not None or script.error is not None:
        yield _framed(overloaded().body(), number, sse=sse)
    if not sse:
        yield b"]"


def breaks(script: PromptScript, number: int = _WHOLE) -> bool:
    """Return whether an answer breaks off after this number of chunks, or in one piece."""
    faults = (script.stall_after, script.garbage_after, script.drop_after, script.eof_after)
    return any(_reached(limit, number) for limit in faults)


async def broken(script: PromptScript, number: int, clock: Clock) -> AsyncIterator[bytes | None]:
    """Yield what the prompt orders after this number of chunks, instead of the next one."""
    if _reached(script.stall_after, number):
        await clock.sleep(_FOREVER)
    if _reached(script.garbage_after, number):
        yield b"data: {this is not JSON\r\n\r\n"
    elif _reached(script.drop_after, number):
        yield CUT


async def broken_whole(whole: bytes, script: PromptScript, clock: Clock) -> AsyncIterator[bytes | None]:
    """Yield half of an answer in one piece, and then what the prompt orders."""
    yield whole[: len(whole) // 2]
    async for piece in broken(script, _WHOLE, clock):
        yield piece


def _reached(limit: int | None, number: int) -> bool:
    return limit is not None and number >= limit


def _framed(chunk: dict[str, Any], number: int, *, sse: bool) -> bytes:
    data = msgspec.json.encode(chunk)
    if sse:
        return b"data: " + data + b"\r\n\r\n"
    return (b",\r\n" if number else b"[") + data


def cut_to(data: bytes, size: int) -> list[bytes]:
    """Return data in pieces of a size; 0: in one."""
    return [data[start : start + size] for start in range(0, len(data), size)] if size else [data]


def pause_of(answer: ModelAnswer, pace: Pace) -> float:
    """Return the seconds between two chunks."""
    ordered, tokens = answer.script.tokens_per_second, count_tokens(answer.text)
    rate = pace.tokens_per_second if ordered is None else ordered
    if not rate:
        return 0.0
    seconds = tokens / rate if ordered is not None or not pace.max_seconds else min(tokens / rate, pace.max_seconds)
    return seconds / max(1, min(_MOST_CHUNKS, len(answer.text) // _CHARACTERS_PER_CHUNK))
