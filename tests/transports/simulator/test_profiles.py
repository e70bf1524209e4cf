"""What the page fixes is compared as it is written; where it leaves room, types are looked at."""

import pytest


@pytest.mark.parametrize(
    "slots",
    [
        {7: True},
        {7: 1.0},
        {6: [True]},
        {11: False},
        {19: 5},
        {19: ["storybook"]},
        {19: "nobody"},
        {45: True},
        {45: 0},
        {49: 3},
        {49: "14"},
        {49: True},
        {54: []},
        {55: [[16]]},
        {17: [[1]]},
        {17: [[True]]},
        {17: [[-1]]},
        {17: None},
        {67: 1},
        {68: 3},
        {68: True},
        {79: "3"},
        {79: 3.0},
        {80: True},
        {1: ["de"]},
        {2: ["", "", "", None, None, None, None, None, None, None]},
        {2: ["c_1"]},
    ],
)
async def test_a_slightly_wrong_value_is_refused(browser, slots):
    assert (await browser.say("x", slots)).status == 400


async def test_the_query_has_a_fixed_set_of_keys_without_repeats(browser):
    assert (await browser.generate(spoil=lambda headers, query, form: query.update(more="1")))[0] == 400
    assert (await browser.generate(spoil=lambda headers, query, form: query.update(hl="de")))[0] == 400
    assert (await browser.generate(spoil=lambda headers, query, form: query.update(rt=["c", "c"])))[0] == 400


async def test_a_form_of_many_fields_is_refused_without_a_crash(browser):
    def spoil(headers, query, form):
        form.update({f"f{number}": "x" for number in range(20)})

    assert (await browser.generate(spoil=spoil))[0] == 400
