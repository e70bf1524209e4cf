"""The grammar of model names, and the catalogue's data."""

import itertools

import pytest

from protocol.model import Capability, Catalogue, Model, ModelUnknown
from protocol.model.aliases import DEFAULT_ALIASES
from protocol.model.names import DEFAULT_MODELS

CATALOGUE = Catalogue.build()


@pytest.mark.parametrize("selection", list(CATALOGUE.selections()), ids=lambda s: s.deprecated or s.id)
def test_every_listed_name_resolves_to_itself(selection):
    assert CATALOGUE.resolve(selection.deprecated or selection.id) == selection


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("gemini-3-pro-extended-canvas", "gemini-3-pro-canvas-extended"),
        ("gemini-3-pro-extended-video", "gemini-3-pro-video-extended"),
        ("gemini-3-pro-canvas-extended", "gemini-3-pro-canvas-extended"),
        ("gemini-2.5-flash-free-imagen", "gemini-2.5-flash-free-imagen"),
        ("gemini-3.5-flash-lite-deepsearch", "gemini-3.5-flash-lite-deepsearch"),
        ("gemini-2.5-pro-video", "gemini-3-pro-video"),
    ],
)
def test_suffixes_in_any_order_name_the_same_model(name, canonical):
    assert CATALOGUE.resolve(name).id == canonical


def test_only_videos_and_research_are_long_running():
    assert {one for one in Capability if one.long_running} == {Capability.VIDEO, Capability.DEEPSEARCH}


def test_the_longest_base_wins():
    assert CATALOGUE.resolve("gemini-3.5-flash-lite").model.family == "flash-lite"
    assert CATALOGUE.resolve("gemini-2.5-flash-free").model.guest


def test_a_deprecated_name_resolves_to_its_replacement():
    selection = CATALOGUE.resolve("gemini-2.5-pro-canvas")
    assert (selection.model.id, selection.deprecated) == ("gemini-3-pro", "gemini-2.5-pro-canvas")


@pytest.mark.parametrize(
    "name",
    [
        "gemini-2.5-flash-video",
        "gemini-3-pro-imagen-canvas",
        "gemini-3-pro-canvas-canvas",
        "gemini-3-pro-extended-extended",
        "gemini-3-pro-imagen-extended",
        "gemini-3-pro-",
        "gemini-3-pro--canvas",
        "gemini-3-pro-chat",
    ],
)
def test_an_invalid_combination_of_suffixes_names_the_valid_ones(name):
    with pytest.raises(ModelUnknown, match=r"takes one of: .*canvas"):
        CATALOGUE.resolve(name)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("models/gemini-3-pro", "gemini-3-pro"),
        ("google/gemini-3-pro", "gemini-3-pro"),
        ("openrouter/google/gemini-3-pro-canvas", "gemini-3-pro-canvas"),
        ("projects/p/locations/global/publishers/google/models/gemini-3-pro", "gemini-3-pro"),
        ("google-gla:gemini-3-pro", "gemini-3-pro"),
        ("models%2Fgemini-3-pro", "gemini-3-pro"),
        ("/gemini-3-pro/", "gemini-3-pro"),
        ("GEMINI-3-PRO", "gemini-3-pro"),
        ("Google/Gemini-3.5-Flash-IMAGEN", "gemini-3.5-flash-imagen"),
        (" gemini-3-pro\n", "gemini-3-pro"),
        ("\ufeffgemini-3-pro\u00a0", "gemini-3-pro"),
        ("gemini-3-pro:latest", "gemini-3-pro"),
        ("models/gemini-3-pro-imagen@default", "gemini-3-pro-imagen"),
        ("google/gemini-2.5-flash:free", "gemini-2.5-flash"),
        ("vendor/own-canvas:free", "gemini-3.6-flash-canvas"),
        ("openai/OWN:latest", "gemini-3.6-flash"),
        ("vendor/Own-Canvas-Extended", "gemini-3.6-flash-canvas-extended"),
        ("vendor:own-extended-canvas", "gemini-3.6-flash-canvas-extended"),
        ("google/own/tuned", "gemini-2.5-flash"),
    ],
)
def test_each_way_to_write_a_name_selects_the_model_that_is_meant(name, canonical):
    catalogue = Catalogue.build(aliases={"Own": "gemini-3.6-flash", "own/tuned": "gemini-2.5-flash"})
    assert catalogue.resolve(name).id == canonical


@pytest.mark.parametrize(
    ("sent", "name", "deprecated"),
    [
        ("gemini-3-pro-extended-canvas", "gemini-3-pro-canvas-extended", None),
        ("openai/own-imagen:latest", "Own-imagen", None),
        ("models/GEMINI-2.5-PRO-video", "gemini-2.5-pro-video", "gemini-2.5-pro-video"),
    ],
)
def test_a_selection_has_the_requested_name_as_the_catalogue_spells_it(sent, name, deprecated):
    selection = Catalogue.build(aliases={"Own": "gemini-3.6-flash"}).resolve(sent)
    assert (selection.name, selection.deprecated) == (name, deprecated)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("gemini-3-por", "gemini-3-pro"),
        ("google/gemini_3_pro", "gemini-3-pro"),
        ("models/gemini-2.5-flashfree", "gemini-2.5-flash-free"),
        ("gemini-3.5-flsh-imagen", "gemini-3.5-flash-imagen"),
        ("gemini-3-pro-image", "gemini-3-pro-imagen"),
    ],
)
def test_an_unknown_name_gets_the_nearest_names(name, near):
    with pytest.raises(ModelUnknown, match=f"Did you mean '{near}'"):
        Catalogue.build(default_aliases=False).resolve(name)


@pytest.mark.parametrize("name", ["", " ", "/", ":latest", "a/" * 40_000, "gemini-3-pro/" * 1000])
def test_a_name_without_a_model_is_unknown(name):
    with pytest.raises(ModelUnknown, match="Known models"):
        CATALOGUE.resolve(name)


def test_an_unknown_name_is_shortened_and_cleaned_in_the_error():
    with pytest.raises(ModelUnknown) as caught:
        CATALOGUE.resolve("gpt\r\n\x1b[31m" + "x" * 70_000)
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()


def test_only_the_pro_family_has_video():
    with_video = {s.model.family for s in CATALOGUE.selections() if s.capability is Capability.VIDEO}
    assert with_video == {"pro"}


def test_the_names_listed_are_unique():
    names = [s.deprecated or s.id for s in CATALOGUE.selections()]
    assert len(names) == len(set(names))


def test_operators_add_alias_and_map_models_without_code():
    catalogue = Catalogue.build(
        [Model(id="gemini-4-pro", family="pro")],
        aliases={"gpt-4o": "gemini-4-pro"},
        upstream={"gemini-4-pro": {"web": "0123456789abcdef"}},
    )
    selection = catalogue.resolve("gpt-4o-video")
    assert selection.id == "gemini-4-pro-video"
    assert selection.model.upstream == {"web": "0123456789abcdef"}


def test_an_operators_model_replaces_the_default_of_that_id():
    catalogue = Catalogue.build([Model(id="gemini-3-pro", family="flash")])
    assert catalogue.resolve("gemini-3-pro").model.family == "flash"


@pytest.mark.parametrize(
    "wrong",
    [
        {"aliases": {"x": "nowhere"}},
        {"aliases": {"x-*": "gemini-3-pro-nothing"}},
        {"aliases": {"gemini-3-pro": "gemini-2.5-flash-imagen"}},
        {"upstream": {"nowhere": {}}},
        {"aliases": {"gemini-3-pro": "gemini-2.5-flash"}},
        {"aliases": {"Gemini-3-Pro": "gemini-2.5-flash"}},
        {"models": [Model(id="a", family="pro", replaced_by="b")]},
    ],
)
def test_a_contradictory_catalogue_is_refused(wrong):
    with pytest.raises(ValueError, match=r"not in the catalogue|occurs twice"):
        Catalogue.build(**wrong)


def test_every_suffix_of_the_default_bases_is_in_the_listing():
    bases = ["gemini-2.5-flash-free", "gemini-2.5-flash", "gemini-3-pro", "gemini-2.5-pro"]
    suffixes = ["imagen", "canvas", "deepsearch", "storybook"]
    names = {s.deprecated or s.id for s in CATALOGUE.selections()}
    assert names >= {f"{base}-{suffix}" for base, suffix in itertools.product(bases, suffixes)}


@pytest.mark.parametrize("name", ["", "模型", "a b", 'a"b', "a\r\nb", "a\n", "x" * 129])
def test_a_name_that_is_invalid_in_a_header_is_refused(name):
    for wrong in (
        {"aliases": {name: "gemini-3-pro"}},
        {"models": [Model(id=name, family="pro")]},
        {"models": [Model(id=name, family="pro", replaced_by="gemini-3-pro")]},
        {"models": [Model(id="a", family="pro", aliases=(name,))]},
    ):
        with pytest.raises(ValueError, match="letters, digits"):
            Catalogue.build(**wrong)


def listed(name, *, only_upstream=True, **fields):
    return Model(id=name, family="flash", upstream={"api": name}, only_upstream=only_upstream, **fields)


def test_models_that_upstreams_list_become_names_with_suffixes():
    draws = listed("nano-banana-9", capabilities=(Capability.IMAGEN,))
    catalogue = CATALOGUE.with_listed(
        [listed("gemini-4-argon", capabilities=(Capability.CHAT, Capability.IMAGEN)), draws]
    )
    assert catalogue.resolve("models/GEMINI-4-argon-imagen").id == "gemini-4-argon-imagen"
    assert [catalogue.resolve(f"nano-banana-9{end}").id for end in ("", "-imagen")] == ["nano-banana-9"] * 2
    assert catalogue.resolve("nano-banana-9").capability is Capability.IMAGEN
    names = [one.name for one in catalogue.listed()]
    assert {"gemini-4-argon", "gemini-4-argon-extended", "gemini-4-argon-imagen", "nano-banana-9"} < {*names}
    assert len(names) == len({*names})
    for wrong in ("gemini-4-argon-canvas", "nano-banana-9-extended"):
        with pytest.raises(ModelUnknown):
            catalogue.with_aliases({"x": "gemini-4-argon"}).resolve(wrong)
    with pytest.raises(ModelUnknown):
        CATALOGUE.resolve("gemini-4-argon")
    assert CATALOGUE.resolve("nano-banana-9").id == "gemini-3.6-flash-imagen"


def test_names_of_the_catalogue_and_of_the_operator_keep_their_meaning():
    own = Catalogue.build(aliases={"gemini-flash-latest": "gemini-3.1-pro-extended", "mine-*": "gemini-3-pro"})
    catalogue = own.with_listed(
        [listed("gemini-3.6-flash"), listed("Gemini-Flash-Latest"), listed("mine-1"), listed("x y")]
    )
    assert catalogue.resolve("gemini-3.6-flash").model == own.resolve("gemini-3.6-flash").model
    assert catalogue.resolve("gemini-flash-latest").id == "gemini-3.1-pro-extended"
    assert catalogue.resolve("mine-1").id == "mine-1"


def test_a_listed_preview_is_another_name_of_its_model_and_two_upstreams_share_a_name():
    other = Model(id="gemini-4-neon", family="flash", upstream={"vertex": "gemini-4-neon"}, only_upstream=True)
    both = [listed("gemini-4-neon"), other, listed("gemini-3.1-pro-preview")]
    catalogue = CATALOGUE.with_listed(both)
    assert catalogue.resolve("gemini-3.1-pro-preview").id == "gemini-3.1-pro"
    assert "gemini-3.1-pro-preview" in [one.name for one in catalogue.listed()]
    model = catalogue.resolve("gemini-4-neon").model
    assert [model.is_at(name) for name in ("api", "vertex", "web")] == [True, True, False]
    assert catalogue.with_listed([]).resolve("gemini-4-neon").model == model


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("gpt-4o", "gemini-3.6-flash"),
        ("openai/GPT-4o:latest", "gemini-3.6-flash"),
        ("gpt-4o-2024-08-06", "gemini-3.6-flash"),
        ("gpt-4o-mini", "gemini-3.5-flash-lite"),
        ("gpt-4.1-nano", "gemini-3.5-flash-lite"),
        ("gpt-4.1", "gemini-3.6-flash"),
        ("gpt-3.5-turbo", "gemini-3.6-flash"),
        ("gpt-5.2-codex", "gemini-3.1-pro"),
        ("gpt-5-extended", "gemini-3.1-pro-extended"),
        ("o3", "gemini-3.1-pro"),
        ("o4-mini", "gemini-3.6-flash"),
        ("gpt-image-1", "gemini-3.6-flash-imagen"),
        ("dall-e-3", "gemini-3.6-flash-imagen"),
        ("sora-2", "gemini-3.1-pro-video"),
        ("anthropic/claude-opus-4-5-20251101", "gemini-3.1-pro"),
        ("claude-3-5-sonnet-latest", "gemini-3.1-pro"),
        ("claude-haiku-4-5", "gemini-3.6-flash"),
        ("models/gemini-flash-latest", "gemini-3.6-flash"),
        ("gemini-2.5-flash-lite", "gemini-3.5-flash-lite"),
        ("gemini-2.5-flash-preview-09-2025", "gemini-3.6-flash"),
        ("google/gemini-3-pro-preview", "gemini-3.1-pro"),
        ("gemini-3-pro-image-preview", "gemini-3.1-pro-imagen"),
        ("gemini-2.5-flash-image", "gemini-3.6-flash-imagen"),
        ("veo-3.1-generate-preview", "gemini-3.1-pro-video"),
        ("sora-2-video", "gemini-3.1-pro-video"),
        ("gpt-4o-imagen:latest", "gemini-3.6-flash-imagen"),
        ("openai/gpt-4o-canvas:free", "gemini-3.6-flash-canvas"),
        ("anthropic/claude-3.7-sonnet:thinking", "gemini-3.1-pro"),
        ("claude-mythos-5", "gemini-3.1-pro"),
        ("claude-instant-1.2", "gemini-3.6-flash"),
        ("google/gemini-flash-1.5", "gemini-3.6-flash"),
        ("gemini-1.5-flash-8b", "gemini-3.5-flash-lite"),
        ("gemini-2.0-flash-thinking-exp-01-21", "gemini-3.6-flash-extended"),
        ("codex-mini-latest", "gemini-3.6-flash"),
        ("text-davinci-003", "gemini-3.6-flash"),
    ],
)
def test_names_that_clients_hard_code_select_the_model_most_like_theirs(name, canonical):
    selection = CATALOGUE.resolve(name)
    assert (selection.id, selection.name, selection.deprecated) == (canonical, canonical, None)
    with pytest.raises(ModelUnknown):
        Catalogue.build(default_aliases=False).resolve(name)


@pytest.mark.parametrize("target", [target for target in DEFAULT_ALIASES.values() if target])
def test_every_default_alias_leads_to_a_model_of_the_catalogue(target):
    assert CATALOGUE.resolve(target).id == target


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("gpt-4o-realtime-preview", "no live sound"),
        ("gemini-2.5-computer-use-preview-10-2025", "no model uses a computer"),
        ("omni-moderation-latest", "rates no content"),
        ("models/lyria-3.5", "Music is made by the website"),
    ],
)
def test_a_name_of_a_model_unlike_any_says_what_to_use_instead(name, advice):
    for catalogue in (CATALOGUE, Catalogue.build(default_aliases=False)):
        with pytest.raises(ModelUnknown, match=advice):
            catalogue.resolve(name)


def test_lists_have_the_names_without_suffix_first_or_alone():
    aliases = {"house": "gemini-3-pro", "draw": "gemini-3-pro-imagen"}
    bases = [model.id for model in DEFAULT_MODELS]
    for list_suffixes in (True, False):
        catalogue = Catalogue.build(aliases=aliases, list_suffixes=list_suffixes).with_aliases({"own": "gemini-3-pro"})
        listed = [one.alias or one.name for one in catalogue.listed()]
        assert set(listed[: len(bases) + 3]) == {*bases, "house", "draw", "own"}
        assert ("house-canvas" in listed, len(set(listed))) == (list_suffixes, len(listed))
        assert catalogue.unmatched(["*-canvas"]) == []


def test_operators_aliases_may_be_patterns_have_suffixes_and_come_before_the_defaults():
    aliases = {
        "Draw": "gemini-3-pro-imagen",
        "gpt-4*": "gemini-2.5-flash-canvas",
        "*": "gemini-2.5-flash",
        "whisper-1": "gemini-3-pro",
    }
    catalogue = Catalogue.build(aliases=aliases)
    names = ["vendor/draw", "gpt-4o", "gemini-3-pro", "gpt-5", "anything-extended", "whisper-1"]
    assert [catalogue.resolve(name).id for name in names] == [
        "gemini-3-pro-imagen",
        "gemini-2.5-flash-canvas",
        "gemini-3-pro",
        "gemini-2.5-flash",
        "gemini-2.5-flash-extended",
        "gemini-3-pro",
    ]
    assert {one.alias for one in catalogue.named() if one.alias} == {"draw"}


def test_the_aliases_of_a_license_come_first_and_change_nothing_for_others():
    general = Catalogue.build(aliases={"house": "gemini-3-pro"})
    own = general.with_aliases({"house": "gemini-2.5-flash", "gemini-3-pro": "gemini-3.6-flash", "*": "gemini-3.1-pro"})
    assert general.with_aliases({"house": "gemini-2.5-flash"}).resolve("house").id == "gemini-2.5-flash"
    assert [own.resolve(name).id for name in ("house", "gemini-3-pro", "gemini-2.5-flash", "gpt-4o")] == [
        "gemini-2.5-flash",
        "gemini-3.6-flash",
        "gemini-2.5-flash",
        "gemini-3.1-pro",
    ]
    assert general.resolve("house").id == "gemini-3-pro"
    with pytest.raises(ValueError, match="not in the catalogue"):
        general.check_aliases({"x": "nowhere"})


def test_fallbacks_are_those_of_the_license_then_of_the_selection_then_of_the_base_with_its_suffix():
    fallbacks = {
        "gemini-3-pro": ("gemini-3.6-flash", "gemini-2.5-flash-free"),
        "gemini-3-pro-canvas": ("gemini-2.5-flash-imagen",),
    }
    catalogue = Catalogue.build(fallbacks=fallbacks)

    def names(name, own=()):
        return [one.id for one in catalogue.fallbacks_of(catalogue.resolve(name), dict(own))]

    assert names("gemini-3-pro") == ["gemini-3.6-flash", "gemini-2.5-flash-free"]
    assert names("gemini-3-pro-extended") == ["gemini-3.6-flash-extended", "gemini-2.5-flash-free-extended"]
    assert names("gemini-3-pro-canvas") == ["gemini-2.5-flash-imagen"]
    assert names("gemini-3-pro-video") == []
    assert names("gemini-2.5-flash") == []
    assert names("gemini-3-pro-canvas", {"gemini-3-pro": ("gemini-3.1-pro",)}.items()) == ["gemini-3.1-pro-canvas"]
    for wrong in ({"gemini-3-pro": ("nothing",)}, {"nothing": ()}, {"gemini-2.5-pro": ("gemini-3.6-flash",)}):
        with pytest.raises(ValueError, match="not in the catalogue"):
            Catalogue.build(fallbacks=wrong)
