from transports.simulator import rich_content


def test_a_text_gets_a_marker_for_each_source_unless_it_has_its_own():
    marked = rich_content.marked("Tea is old.", 2)
    assert [word in marked for word in ("[cite: 1]", "[cite: 2]", "[cite: 1, 2]")] == [True] * 3
    assert rich_content.marked("Tea [cite: 1].", 2) == "Tea [cite: 1]."
    assert rich_content.marked("Tea is old.", 0) == "Tea is old."


def test_citations_name_the_sources_of_each_marker_once():
    groups = rich_content.citations("A [cite: 1]. B [cite: 1]. C [cite: 2, 9]. D [cite: 9].", 2)
    assert [group[0] for group in groups] == [[" [cite: 1]"], [" [cite: 2, 9]"]]
    assert [len(group[1]) for group in groups] == [1, 1]
    assert groups[1][1][0][3][0][1] == "https://example.com/simulated/2"


def test_search_sources_name_a_claim_and_its_place_in_the_text():
    text = "Tea is old. Coffee is not."
    groups = rich_content.sources(text, 3)
    assert [group[3] for group in groups] == ["source-1", "source-2", "source-3"]
    for group in groups:
        claim, _, _, [[start, end]] = group[0]
        assert text[start:end] == claim
    assert rich_content.sources("", 3) == []


def test_an_image_in_the_exact_form_has_its_url_size_and_time():
    images, _, _ = rich_content.exact_images([("http://h/gg/a", "img", (1408, 768))], 5.9)
    ((file, identity, _, _),) = images
    assert identity == ["img"]
    about = file[3]
    assert (about[3], about[9][0], about[15][:2]) == ("http://h/gg/a", 5, [1408, 768])
