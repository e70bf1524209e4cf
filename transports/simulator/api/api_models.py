"""The models of the simulated API. Source: "Models"."""

import re
from typing import Any

import msgspec

from transports.simulator.api.rpc_errors import ApiRefusal

_VERSION = re.compile(r"gemini-(\d+)")


class SimulatedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the API."""

    id: str
    kind: str = "text"
    """What it makes: `text`, `image`, `speech`, `transcript`, `embedding`, `interaction` or `agent`."""
    thinks: bool = True
    paid: bool = False
    """Whether free keys have no quota for it."""

    @property
    def since_3(self) -> bool:
        """Whether it is of Gemini 3 or later: thinking levels, and signatures that are checked."""
        found = _VERSION.match(self.id)
        return found is None or int(found[1]) >= 3

    @property
    def caches(self) -> bool:
        """Whether it keeps beginnings of prompts."""
        return self.kind == "text" and self.id.startswith("gemini")

    @property
    def least_cached(self) -> int:
        """The tokens that are worth to be kept. Source: "Context caching"."""
        return 4096 if self.pro else 1024

    @property
    def pro(self) -> bool:
        """Whether it is a Pro model."""
        return "-pro" in self.id

    def listed(self) -> dict[str, Any]:
        """Return its entry in the list of models."""
        methods = ["embedContent", "batchEmbedContents"] if self.kind == "embedding" else ["generateContent"]
        return {
            "name": f"models/{self.id}",
            "version": "simulated",
            "displayName": self.id.replace("-", " ").title(),
            "description": "Simulated.",
            "inputTokenLimit": 1048576,
            "outputTokenLimit": 65536,
            "supportedGenerationMethods": [*methods, "countTokens"],
            "thinking": self.thinks and self.kind == "text",
        }


def _text(*names: str) -> list[SimulatedModel]:
    return [SimulatedModel(id=name) for name in names]


_MODELS = {
    model.id: model
    for model in (
        *_text("gemini-3.8-flash", "gemini-3.7-flash", "gemini-3.6-flash", "gemini-3.5-flash", "gemini-3.5-flash-lite"),
        *_text("gemini-3.1-pro-preview", "gemini-3.1-flash-lite", "gemini-3-flash-preview"),
        *_text("gemini-flash-latest", "gemini-flash-lite-latest", "gemini-pro-latest"),
        SimulatedModel(id="gemini-2.5-flash-lite"),
        *_text("gemini-3.1-pro-preview-customtools"),
        *_text("gemini-4-argon", "gemini-4-carbon", "gemini-4-hydrogen", "gemini-4-neon"),
        SimulatedModel(id="gemma-4-26b-a4b-it", thinks=False),
        SimulatedModel(id="gemma-4-31b-it", thinks=False),
        SimulatedModel(id="nano-banana-pro-preview", kind="image", paid=True),
        SimulatedModel(id="gemini-nano-banana-2.1", kind="image"),
        SimulatedModel(id="gemini-3-pro-image", kind="image", paid=True),
        SimulatedModel(id="gemini-3.1-flash-image", kind="image"),
        SimulatedModel(id="gemini-3.1-flash-lite-image", kind="image", thinks=False),
        SimulatedModel(id="gemini-omni-1.1-flash", kind="interaction", paid=True),
        SimulatedModel(id="gemini-omni-1.2-flash", kind="interaction", paid=True),
        SimulatedModel(id="gemini-3.8-flash-tts", kind="speech", thinks=False),
        SimulatedModel(id="gemini-3.8-flash-lite-tts", kind="speech", thinks=False),
        SimulatedModel(id="gemini-3.5-transcribe", kind="transcript", thinks=False),
        SimulatedModel(id="gemini-embedding-2", kind="embedding", thinks=False),
    )
}
_ALIASES = {
    "gemini-flash-latest": "gemini-3.8-flash",
    "gemini-flash-lite-latest": "gemini-3.5-flash-lite",
    "gemini-pro-latest": "gemini-3.1-pro-preview",
}
"""Names that stand for another model, which the answer names."""
_SUCCESSORS = {"gemini-2.5-pro": "gemini-3.8-flash", "gemini-2.5-flash": "gemini-3.5-flash-lite"}
"""Models that have ended, and those that answer in their place."""
_AGENTS = frozenset(
    {
        "deep-research-preview-04-2026",
        "deep-research-max-preview-04-2026",
        "deep-research-pro-preview-12-2025",
    }
)
_ANY_KIND = frozenset({"getModel", "countTokens"})
"""Methods that every model has."""
_RETIRED = (
    *("gemini-1.", "gemini-2.0-", "gemini-2.5-flash-image", "gemini-omni-flash-preview", "imagen-", "veo-"),
    *("text-embedding-", "embedding-001", "gemini-embedding-001"),
)
"""Beginnings of the names of models that have ended."""


def models() -> list[SimulatedModel]:
    """Return all models."""
    return list(_MODELS.values())


def find(name: str, method: str) -> SimulatedModel:
    """Return a model by its name.

    Raises:
        ApiRefusal: there is none, or no longer.

    """
    id_ = name.removeprefix("models/")
    model = _MODELS.get(_SUCCESSORS.get(id_, id_))
    embeds = "mbedContent" in method
    if model is not None and (method in _ANY_KIND or embeds == (model.kind == "embedding")):
        return model
    if id_.startswith(_RETIRED):
        raise ApiRefusal(404, f"This model models/{id_} is no longer available. Please use a newer model.")
    message = f"models/{name} is not found for API version v1beta, or is not supported for {method}."
    raise ApiRefusal(404, f"{message} Call ModelService.ListModels to see the list of available models.")


def find_agent(name: str) -> SimulatedModel:
    """Return an agent by its name.

    Raises:
        ApiRefusal: there is none.

    """
    if name not in _AGENTS:
        raise ApiRefusal(404, f"Agent {name} is not found.")
    return SimulatedModel(id=name, kind="agent")


def version_of(model: SimulatedModel) -> str:
    """Return the name of the model that answers."""
    return _ALIASES.get(model.id, model.id)
