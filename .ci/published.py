"""What is published: a wheel and an sdist that hold exactly what they should, and their bill of materials.

``published.py FOLDER LOCK``: the folder holds the wheel, the sdist and ``sbom.json``, the lock what a user installs.
"""

# ruff: noqa: INP001, T201 -- a script of its own, whose output is read in the log
import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUFFIXES = {".py", ".typed", ".css", ".csv", ".html", ".js", ".po", ".sql"}
SHIPPED = ("ucontact_async/", "tests/", "examples/", "benchmarks/")
TOP = {"LICENSE", "README.md", "pyproject.toml", ".gitignore"}
# No path of the machine that built it.
PATHS = re.compile(rb"/(?:home|root|Users)/\w|[A-Z]:\\Users\\|" + re.escape(bytes(ROOT.resolve())) + rb"/")


def known() -> set[str]:
    """Return the files of the checkout that git knows."""
    return set(subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines())  # noqa: S607


def differing(what: str, found: set[str], expected: set[str]) -> list[str]:
    """Return a sentence for each name that is missing or too much."""
    return [f"{what} lacks {name}" for name in sorted(expected - found)] + [
        f"{what} holds {name}, which is not expected" for name in sorted(found - expected)
    ]


def wheel_problems(path: Path, project: dict[str, object]) -> list[str]:
    """Return what is wrong with the wheel: its files, their hashes, its metadata."""
    name, version = "ucontact_async", project["version"]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    package = {file for file in known() if file.startswith(f"{name}/")}
    about = {f"{info}/{file}" for file in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    problems = differing("the wheel", set(files), package | about)
    problems += [
        f"the wheel holds a {Path(file).suffix}: {file}" for file in package if Path(file).suffix not in SUFFIXES
    ]
    problems += [f"{file} names a path of this machine" for file, content in files.items() if PATHS.search(content)]
    if f"{name}/py.typed" not in files:
        problems.append("the wheel lacks py.typed")
    for file, digest, size in csv.reader(io.StringIO(files[f"{info}/RECORD"].decode())):
        content = files.get(file, b"")
        hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if file != f"{info}/RECORD" and (digest, size) != (f"sha256={hashed}", str(len(content))):
            problems.append(f"RECORD is wrong about {file}")
    tags = BytesParser().parsebytes(files[f"{info}/WHEEL"])
    if (tags["Root-Is-Purelib"], tags.get_all("Tag")) != ("true", ["py3-none-any"]):
        problems.append(f"the wheel is for {tags.get_all('Tag')}")
    return problems + metadata_problems(BytesParser().parsebytes(files[f"{info}/METADATA"]), project)


def metadata_problems(metadata: Message, project: dict[str, object]) -> list[str]:
    """Return where METADATA is not what pyproject.toml says."""
    expected = {
        "Name": project["name"],
        "Version": project["version"],
        "Requires-Python": project["requires-python"],
        "License-Expression": "MIT",
        "License-File": "LICENSE",
        "Description-Content-Type": "text/markdown",
    }
    problems = [f"{name} is {metadata[name]!r}" for name, value in expected.items() if metadata[name] != value]
    wanted = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    problems += differing("METADATA", {bare(line) for line in wanted}, {bare(line) for line in project["dependencies"]})  # type: ignore[attr-defined]
    if "@" in "".join(metadata.get_all("Requires-Dist", [])):
        problems.append("a dependency is an address")
    return problems


def bare(requirement: str) -> str:
    """Return a requirement without what may be written in several ways: its order, spaces and quotes."""
    what, _, marker = requirement.replace("'", '"').replace(" ", "").partition(";")
    name, specifiers = re.fullmatch(r"([\w.-]+)(.*)", what).groups()  # type: ignore[union-attr]
    return f"{name}{','.join(sorted(specifiers.split(',')))};{marker}"


def sdist_problems(path: Path, project: dict[str, object]) -> list[str]:
    """Return what is wrong with the files of the sdist."""
    top = f"ucontact_async-{project['version']}/"
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    files = {member.name.removeprefix(top) for member in members if member.isfile()}
    expected = {file for file in known() if file.startswith(SHIPPED) or file in TOP} | {"PKG-INFO"}
    owners = {(member.uid, member.gid, member.uname, member.gname) for member in members}
    problems = differing("the sdist", files, expected)
    if owners != {(0, 0, "", "")}:
        problems.append(f"the sdist says who made it: {owners}")
    return problems + [f"the sdist holds a link: {member.name}" for member in members if not member.isfile()]


def bill_problems(path: Path, lock: Path) -> list[str]:
    """Return where the bill of materials is not what is in the lock, version by version."""
    bill = json.loads(path.read_text())
    listed = {(part["name"].lower().replace("_", "-"), part["version"]) for part in bill["components"]}
    pins = re.findall(r"^([\w.-]+)==(\S+) *(;?.*)\\$", lock.read_text(), re.MULTILINE)
    locked = {(name.lower().replace("_", "-"), version) for name, version, marker in pins if "win32" not in marker}
    problems = differing("the bill of materials", {" ".join(one) for one in listed}, {" ".join(one) for one in locked})
    if (root := bill["metadata"]["component"])["name"] != "ucontact-async" or root["type"] != "library":
        problems.append(f"the bill is of {root['name']}, a {root['type']}")
    direct = {part["ref"]: part.get("dependsOn", []) for part in bill["dependencies"]}[root["bom-ref"]]
    if len(direct) != 4:
        problems.append(f"the bill names {len(direct)} direct dependencies")
    return problems + [f"{part['name']} has no licence" for part in bill["components"] if not part.get("licenses")]


def main(folder: Path, lock: Path) -> int:
    """Print every problem; return 1 if there is one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    problems = [
        *wheel_problems(wheel, project),
        *sdist_problems(sdist, project),
        *bill_problems(folder / "sbom.json", lock),
    ]
    for problem in problems:
        print(problem)
    with zipfile.ZipFile(wheel) as archive:
        print(f"{wheel.name}: {len(archive.namelist())} files, {wheel.stat().st_size:,} bytes; {sdist.name}", end=": ")
    print(f"{sdist.stat().st_size:,} bytes; {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
