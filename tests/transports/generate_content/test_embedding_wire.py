import json
import math
import struct
import subprocess

from protocol.model import EmbeddingOptions
from tests.conftest import ROOT
from transports.generate_content import wire
from transports.generate_content.embedding_wire import batches_of, packed

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"


def test_google_s_own_packages_accept_the_batches():
    contents = [wire.Content((wire.ContentPart(text=f"Größe {number}"),), "user") for number in range(150)]
    options = EmbeddingOptions(dimensions=256, task="RETRIEVAL_DOCUMENT", title="Sizes")
    bodies = [json.loads(one) for one in batches_of("gemini-embedding-2", contents, options)]
    assert [len(body["requests"]) for body in bodies] == [100, 50]
    judged = subprocess.run(
        [PYTHON, ROOT / "tests" / "foreign" / "google_types.py"],
        input=json.dumps([("embeddings", body) for body in bodies]),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert json.loads(judged.stdout) == [None, None], judged.stderr


def test_a_vector_is_brought_to_the_length_one():
    assert packed([3.0, -4.0]) == struct.pack("<2f", 0.6, -0.8)
    assert math.isclose(math.hypot(*struct.unpack("<3f", packed([1e-3, 2e-3, 3e-3]))), 1, abs_tol=1e-6)
    assert packed([0.0, 0.0]) == bytes(8)
