import pytest
from starlette.requests import Request

from protocol.model import Catalogue, Family, Model
from protocol.openai.client import Deprecations, attempts_before


def request(*headers):
    return Request({"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers]})


@pytest.mark.parametrize(("said", "count"), [("0", 0), ("2", 2), ("999", 999), ("1000", 0), ("-1", 0), ("x", 0)])
def test_the_sdks_count_of_tries_is_taken_where_it_makes_sense(said, count):
    assert attempts_before(request(("x-stainless-retry-count", said))) == count


def test_no_count_is_none():
    assert attempts_before(request()) == 0


def test_a_deprecated_name_is_told_in_headers():
    deprecations, catalogue = Deprecations(), Catalogue.build()
    assert deprecations.headers(catalogue.resolve("gemini-3-pro")) == {}
    for _ in range(2):
        headers = deprecations.headers(catalogue.resolve("gemini-2.5-pro"))
        assert headers["Deprecation"].startswith("@")
        assert "'gemini-3-pro' answers" in headers["Warning"]


def test_of_a_replacement_whose_age_nobody_knows_no_date_is_told():
    own = (
        Model(id="house-pro", family=Family.PRO, created=0),
        Model(id="old-pro", family=Family.PRO, created=0, replaced_by="house-pro"),
    )
    headers = Deprecations().headers(Catalogue.build(own).resolve("old-pro"))
    assert headers["Deprecation"] == "true"
