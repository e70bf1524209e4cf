import pytest

from protocol.model import NOTICE, Capability, Feature, notice_of
from protocol.model.features import FEATURE_OF


def test_every_capability_needs_a_feature():
    assert set(FEATURE_OF) == set(Capability)


@pytest.mark.parametrize("feature", Feature)
def test_a_notice_names_the_feature_and_is_found_again(feature):
    notice = notice_of(feature)
    assert f"'{feature}'" in notice
    assert NOTICE.fullmatch(notice)
    assert NOTICE.sub("", f"Here.\n\n{notice}\n\n(A picture was taken.)") == "Here.\n\n\n\n(A picture was taken.)"
