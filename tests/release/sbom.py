"""Says what the gateway is made of, as CycloneDX: what the lock pins, and what each of it is there for.

The same lock gives the same file, with the license that each package installed here tells. No place to fetch from is
named: the installing person chooses it.
"""

import json
import sys
import uuid
from importlib import metadata
from pathlib import Path

from tests.release.building import project
from tests.release.lock import pinned, plain

ROOT = Path(__file__).parent.parent.parent
LOCK = "deploy/requirements.txt"
_SPACE = uuid.UUID("5a2c2a52-2f0d-4d5e-9f43-7c4f0a7a3c59")
_LONGEST_NAME = 64


def sbom(lock, said):
    """Return the bill for a lock's text and what pyproject.toml says of the project."""
    packages, own = pinned(lock), f"{said['name']}@{said['version']}"
    only_to_build = {plain(one.partition(">")[0]) for one in said["optional-dependencies"]["build"]}
    below = {package.name: [] for package in packages} | {said["name"]: []}
    for package in packages:
        for asking in package.via:
            below[asking].append(_purl(package.name, package.version))
    versions = {package.name: package.version for package in packages} | {said["name"]: said["version"]}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, own + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": _purl(said["name"], said["version"]),
                "name": said["name"],
                "version": said["version"],
                "description": said["description"],
                "licenses": [{"license": {"id": said["license"]}}],
                "purl": _purl(said["name"], said["version"]),
            },
        },
        "components": [_component(package, package.name in only_to_build) for package in packages],
        "dependencies": [
            {"ref": _purl(name, versions[name]), "dependsOn": sorted(set(refs))} for name, refs in sorted(below.items())
        ],
    }


def _component(package, only_to_build):
    purl = _purl(package.name, package.version)
    hashes = [{"alg": "SHA-256", "content": digest} for digest in package.hashes]
    component = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "scope": "excluded" if only_to_build else "required",
        "purl": purl,
        "externalReferences": [
            {"type": "distribution", "url": purl, "hashes": hashes, "comment": "each wheel, and the source archive"}
        ],
    }
    if licenses := _licenses(package):
        component["licenses"] = licenses
    if package.marker is not None:
        component["properties"] = [{"name": "marker", "value": package.marker}]
    return component


def _licenses(package):
    """Return a package's license as it tells it, nothing where it is not installed here."""
    try:
        about = metadata.metadata(package.name)
    except metadata.PackageNotFoundError:
        return []
    if expression := about["License-Expression"]:
        return [{"expression": expression}]
    classified = [
        one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or () if one.startswith("License ::")
    ]
    declared = [one for one in (about["License"],) if one and len(one) <= _LONGEST_NAME and "\n" not in one]
    return [{"license": {"name": name}} for name in declared or classified]


def _purl(name, version):
    return f"pkg:pypi/{name}@{version}"


def write(out, tree):
    """Write the bill of what a tree holds to the folder `out`."""
    said = project(tree)
    path = out / f"{said['name']}-{said['version']}.cdx.json"
    out.mkdir(exist_ok=True)
    made = sbom((tree / LOCK).read_text(), said)
    path.write_text(json.dumps(made, indent=2) + "\n")
    print(path)


if __name__ == "__main__":
    write(Path(sys.argv[1]), ROOT)
