import pytest

from protocol.http.errors import HttpError
from protocol.http.own_models import check_offered, check_own_model, may_be_listed
from protocol.model import Capability, Catalogue, ModelUnknown

CATALOGUE = Catalogue.build()
EMBEDS = CATALOGUE.resolve("gemini-embedding-2")


class Engine:
    catalogue = CATALOGUE

    def __init__(self, *offered):
        self.offered = offered

    def offers(self, selection):
        return selection.model.id in self.offered


def test_models_of_a_kind_are_offered_and_listed_where_a_transport_has_one():
    check_offered(Engine(EMBEDS.id), Capability.EMBEDDING, "/embeddings")
    with pytest.raises(HttpError, match="does not offer '/embeddings'") as refused:
        check_offered(Engine("gemini-3.8-flash-tts"), Capability.EMBEDDING, "/embeddings")
    assert refused.value.status == 404
    assert [may_be_listed(Engine(*offered), EMBEDS) for offered in ((EMBEDS.id,), ())] == [True, False]
    assert may_be_listed(Engine(), CATALOGUE.resolve("gemini-3-pro"))


@pytest.mark.parametrize(("offered", "advice"), [((EMBEDS.id,), "/v1/embeddings"), ((), "another server")])
def test_an_endpoint_refuses_models_of_kinds_other_than_its_own(offered, advice):
    engine = Engine(*offered)
    check_own_model(Engine(EMBEDS.id), EMBEDS, (Capability.EMBEDDING,))
    check_own_model(engine, CATALOGUE.resolve("gemini-3-pro-imagen"), ())
    for own in ((), (Capability.SPEECH,)):
        with pytest.raises(ModelUnknown, match=advice):
            check_own_model(engine, EMBEDS, own)
