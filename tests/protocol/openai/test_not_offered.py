import pytest

from protocol.openai import DIALECT

PATHS = """
/assistants/{id} /audio/voices /batches/{id}/cancel /chat/completions/{id}/messages
/chatkit/sessions /containers/{id}/files /content_provenance_checks /conversations/{id}/items
/evals/{id}/runs /fine_tuning/jobs /moderations /organization/costs /projects/{id}/roles
/realtime/calls /responses/compact /responses/input_tokens /skills/{id} /threads/{id}/runs /uploads
/vector_stores/{id}/search /videos/characters /videos/edits /videos/extensions
"""
"""Paths of OpenAI's published description that this gateway has no route for."""


@pytest.mark.parametrize("path", PATHS.split())
def test_each_path_of_the_api_without_a_route_is_refused_by_its_name(path):
    segment = path.split("/")[1]
    assert DIALECT.refusal_of(path.replace("{id}", "ID_1")).startswith(f"This gateway does not offer '/{segment}")


@pytest.mark.parametrize("path", ["/chat/completions", "/audio/speech", "/models/x", "/files/f", "/none", "/"])
def test_other_paths_are_not_refused_by_name(path):
    assert DIALECT.refusal_of(path) == ""
