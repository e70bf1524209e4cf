import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protocol.http.iso_media import handlers, heif_size
from protocol.http.media_types import sniff
from protocol.http.picture_structure import BlockBudget, TooManyBlocks, read_structure


def avif(size=(123, 45), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size).save(out, "AVIF", **options)
    return out.getvalue()


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def box(kind, *contents):
    content = b"".join(contents)
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def ispe(width, height):
    return box(b"ispe", bytes(4), width.to_bytes(4, "big"), height.to_bytes(4, "big"))


def heic(*properties, before=b""):
    """Return the boxes of a HEIC with these properties."""
    meta = box(b"meta", bytes(4), box(b"hdlr", bytes(20)), box(b"iprp", box(b"ipco", *properties), box(b"ipma")))
    return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + before + meta + box(b"mdat", bytes(50))


def size(data):
    return heif_size(data, lambda: None)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_the_size_is_that_which_pillow_wrote(mode):
    data = avif(mode=mode)
    assert size(data) == (123, 45)
    assert read_structure(data).size == read_structure(data.replace(b"ftypavif", b"ftypheic")).size == (123, 45)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_has_the_size_that_a_person_sees(orientation):
    data = avif(exif=exif(orientation))
    with Image.open(io.BytesIO(data)) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
    assert turned == (orientation >= 5)
    assert size(data) == ((45, 123) if turned else (123, 45))


def test_the_largest_of_several_pictures_counts():
    assert size(heic(ispe(512, 512), ispe(4032, 3024), ispe(160, 120))) == (4032, 3024)
    assert size(heic(ispe(512, 512), box(b"irot", b"\1"), ispe(4032, 3024))) == (3024, 4032)
    assert size(heic(ispe(4, 3), box(b"irot", b"\2"))) == (4, 3)
    long = (1).to_bytes(4, "big") + b"free" + (24).to_bytes(8, "big") + bytes(8)
    assert size(heic(ispe(4, 3), before=long)) == (4, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        heic(),
        heic(box(b"irot", b"\1")),
        heic(ispe(4, 3))[:60],
        heic(ispe(4, 3)).replace(b"ipco", b"xxxx"),
        heic(ispe(4, 3), before=bytes(8)),
        heic(ispe(4, 3), before=(7).to_bytes(4, "big") + b"free"),
    ],
    ids=range(7),
)
def test_a_file_without_a_size_has_none(data):
    assert size(data) is None
    assert read_structure(data) is None


def test_the_boxes_are_bounded():
    data = heic(ispe(4, 3), before=box(b"free") * 100_000)
    budget = BlockBudget(1000)
    with pytest.raises(TooManyBlocks):
        read_structure(data, budget)
    with pytest.raises(TooManyBlocks):
        read_structure(data)
    with pytest.raises(TooManyBlocks):
        read_structure(heic(*[ispe(4, 3)] * 100_000))


def track(handler):
    media = box(b"mdia", box(b"mdhd", bytes(24)), box(b"hdlr", bytes(8), handler, bytes(12)))
    return box(b"trak", box(b"tkhd", bytes(84)), media)


def film(*tracks, before=b""):
    head = box(b"ftyp", b"isom", bytes(4), b"iso5")
    return head + before + box(b"moov", box(b"mvhd", bytes(100)), *tracks) + box(b"mdat", b"hdlr" + bytes(8) + b"vide")


def test_the_tracks_of_a_film_say_whether_it_is_sound_alone():
    assert handlers(film(track(b"soun"), track(b"vide"))) == {b"soun", b"vide"}
    assert sniff(film(track(b"soun"), track(b"vide"))) == "video/mp4"
    assert sniff(film(track(b"soun"), track(b"text"))) == "audio/mp4"
    assert sniff(film(track(b"soun"), before=box(b"mdat", bytes(999)))) == "audio/mp4"
    assert sniff(film(track(b"vide"))) == sniff(film()) == sniff(film()[:40]) == "video/mp4"
    webm = b"\x1a\x45\xdf\xa3\x9fB\x82\x84webm" + bytes(40)
    assert sniff(webm + b"\x86\x86A_OPUS") == "audio/webm"
    assert sniff(webm + b"\x86\x85V_VP9\x86\x86A_OPUS") == sniff(webm) == "video/webm"


def test_the_walk_of_a_film_ends():
    assert handlers(film(*[box(b"free")] * 5000, track(b"vide"))) == frozenset()
    assert handlers(film(track(b"soun"), before=box(b"free") * 5000)) == frozenset()


@given(st.integers(0, 300), st.binary(max_size=60))
def test_a_damaged_file_never_breaks_the_reader(cut, junk):
    data = avif()
    for damaged in (data[:cut] + junk, data[:cut] + junk + data[cut + len(junk) :]):
        found = size(damaged)
        assert found is None or len(found) == 2
        handlers(damaged)
