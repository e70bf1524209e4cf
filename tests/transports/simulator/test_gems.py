from transports.simulator.gems import HIDDEN, PREMADE, Gem, Gems

MINE = Gem(name="Mine", description="", prompt="Be brief.")


def test_an_account_can_create_change_and_delete_its_own_gems():
    gems = Gems()
    identity = gems.create(MINE)
    assert gems.find(identity) == MINE
    changed = Gem(name="Changed", description="", prompt="Be long.")
    assert gems.change(identity, changed)
    assert gems.find(identity) == changed
    assert gems.delete(identity)
    assert gems.find(identity) is None
    assert not gems.delete(identity)
    assert not gems.change(identity, MINE)


def test_premade_gems_cannot_be_changed():
    gems = Gems()
    assert not gems.change("storybook", MINE)
    assert not gems.delete("storybook")


def test_each_kind_of_list_has_its_gems():
    gems = Gems()
    ids = {kind: [row[0] for row in gems.listed(kind) or []] for kind in (1, 2, 3, 4)}
    assert ids[1] == ids[3] == list(PREMADE)
    assert ids[4] == [*PREMADE, *HIDDEN]
    assert len(ids[2]) == 1
    assert gems.listed(5) is None
