from transports.web.session.claims import ConversationClaims


def test_the_newest_conversations_are_remembered():
    claims = ConversationClaims()
    for number in range(3000):
        claims.add(f"c_{number}")
        claims.add("c_often")
    assert "c_often" in claims
    assert "c_2999" in claims
    assert "c_0" not in claims


def test_turns_without_a_conversation_are_counted_by_prompt():
    claims = ConversationClaims()
    with claims.unplaced("a  cat"), claims.unplaced("a cat"):
        assert (claims.count_unplaced("a cat "), claims.count_unplaced("a dog")) == (2, 0)
    assert claims.count_unplaced("a cat") == 0
