import json
import struct
import subprocess

from protocol.model import EmbeddingOptions
from tests.conftest import ROOT
from transports.generate_content import wire
from transports.generate_content.embedding_wire import batches_of, embed_request, read_vectors

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"


def test_google_s_own_packages_accept_the_batches():
    contents = [wire.Content((wire.ContentPart(text=f"Größe {number}"),), "user") for number in range(150)]
    options = EmbeddingOptions(dimensions=256, task="RETRIEVAL_DOCUMENT", title="Sizes")
    asked = [embed_request("gemini-embedding-2", content, options) for content in contents]
    bodies = [json.loads(one) for one in batches_of(asked)]
    assert [len(body["requests"]) for body in bodies] == [100, 50]
    judged = subprocess.run(
        [PYTHON, ROOT / "tests" / "foreign" / "google_types.py"],
        input=json.dumps([("embeddings", body) for body in bodies]),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert json.loads(judged.stdout) == [None, None], judged.stderr


def test_vectors_are_kept_as_the_api_computes_them():
    data = json.dumps({"embeddings": [{"values": [3.0, -4]}], "usageMetadata": {"promptTokenCount": 7}}).encode()
    assert read_vectors(data) == ([struct.pack("<2f", 3, -4)], 7)
