"""What must be in a wheel and a source archive, and what must not."""

import configparser
import re
import tarfile
import zipfile
from email.parser import Parser

from tests.release.building import FILES, ROOMS, project
from tests.release.lock import plain

_LICENSES = {"licenses/LICENSE", "licenses/transports/simulator/font/OFL-1.1.txt"}
_ABOUT = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"} | _LICENSES


def packed(tree):
    """Return what the rooms of a tree hold, by its paths."""
    paths = [path for room in ROOMS for path in (tree / room).rglob("*") if path.is_file()]
    return {str(path.relative_to(tree)) for path in paths if "__pycache__" not in path.parts}


def wrong_with_wheel(wheel, tree):
    """Return what is wrong with a wheel that was made of a tree."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    about = f"gemini_gateway-{project(tree)['version']}.dist-info"
    wanted = packed(tree) | {f"{about}/{name}" for name in _ABOUT}
    wrong = _differing(set(held), wanted) + _telling(held, tree)
    if wrong:
        return wrong
    if wheel.name != f"gemini_gateway-{project(tree)['version']}-py3-none-any.whl":
        wrong.append(f"is named {wheel.name}")
    scripts = configparser.ConfigParser()
    scripts.read_string(held[f"{about}/entry_points.txt"].decode())
    if dict(scripts["console_scripts"]) != project(tree)["scripts"]:
        wrong.append("has other commands than pyproject.toml")
    return wrong + _wrong_about(held[f"{about}/METADATA"].decode(), tree)


def wrong_with_archive(archive, tree):
    """Return what is wrong with a source archive that was made of a tree."""
    top = f"gemini_gateway-{project(tree)['version']}/"
    with tarfile.open(archive) as tar:
        odd = [one.name for one in tar if not (one.isfile() or one.isdir()) or not f"{one.name}/".startswith(top)]
        files = [one for one in tar if one.isfile() and one.name not in odd]
        held = {one.name.removeprefix(top): tar.extractfile(one).read() for one in files}
    own = {name for name in held if re.fullmatch(r"PKG-INFO|setup\.cfg|gemini_gateway\.egg-info/[\w.-]+", name)}
    wrong = [f"has {name}" for name in odd]
    wrong += _differing(set(held) - own, packed(tree) | set(FILES)) + _telling(held, tree)
    return wrong or _wrong_about(held["PKG-INFO"].decode(), tree)


def _differing(held, wanted):
    return [f"has {name}" for name in sorted(held - wanted)] + [f"lacks {name}" for name in sorted(wanted - held)]


def _telling(held, tree):
    """Return the files that contain the path of the build."""
    return [f"{name} contains {tree}" for name, data in held.items() if str(tree).encode() in data]


def _wrong_about(text, tree):
    """Return the errors in the metadata of a package."""
    about, said = Parser().parsestr(text), project(tree)
    wanted = {
        "Name": said["name"],
        "Version": said["version"],
        "License-Expression": "MIT AND OFL-1.1",
        "License-File": "LICENSE",
        "Requires-Python": said["requires-python"],
    }
    wrong = [f"{name} is {about[name]}, not {value}" for name, value in wanted.items() if about[name] != value]
    required = {_name(one) for one in about.get_all("Requires-Dist") or () if "extra ==" not in one}
    return wrong + [f"differs in {name}" for name in required ^ {_name(one) for one in said["dependencies"]}]


def _name(requirement):
    return plain(re.match(r"[\w.-]+", requirement)[0])
