"""Known vulnerabilities of what is in the locks: ``audit.py [--online] LOCK...``; 1 if there is any.

It asks the advisory services that pip-audit knows, one after the other. Where none can be reached, what advisories.toml
knows has to do, and the output says so; ``--online`` takes that for a failure.
"""

# ruff: noqa: INP001, T201 -- a script of its own, whose output is read in the log
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

SERVICES = ("pypi", "osv")
PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
# The table must be able to condemn: a version of which much is known.
CONTROL = ("aiohttp", "3.13.2")


def asked(service: str, lock: Path) -> list[str] | None:
    """Return what a service knows against a lock, ``None`` if it cannot be asked."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--format", "json"]
    command += ["--progress-spinner", "off", "--disable-pip", "--require-hashes", "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        if "onnection" not in last and "imeout" not in last:
            raise SystemExit(f"pip-audit failed: {last}") from None
        return None
    if all("skip_reason" in one for one in found):  # an index that has no such service behind it knows no package
        return None
    known = [f"{one['name']} {one['version']}: {bad['id']}" for one in found for bad in one.get("vulns", [])]
    return known + [f"{one['name']}: {one['skip_reason']}" for one in found if "skip_reason" in one]


def order(version: str) -> tuple[tuple[int, int | str], ...]:
    """Return what versions are compared by; a letter, as of a release candidate, comes before any number."""
    parts = re.findall(r"\d+|[a-z]+", version)
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in parts)


def remembered(name: str, version: str, table: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return what the table knows against one version."""
    known = table.get(name.lower().replace("_", "-"), {})
    return [
        f"{name} {version}: {', '.join(names)}; fixed in {fixed}"
        for fixed, names in known.items()
        if order(version) < order(fixed)
    ]


def main(arguments: list[str]) -> int:
    """Hold every lock against what is known; return 1 for anything found."""
    online, locks = "--online" in arguments, [Path(one) for one in arguments if not one.startswith("--")]
    table = tomllib.loads(Path(__file__).with_name("advisories.toml").read_text())
    if not remembered(*CONTROL, table):
        raise SystemExit(f"the table knows nothing against {CONTROL}")
    problems: dict[str, None] = {}
    services = list(SERVICES)
    for lock in locks:
        pins = PIN.findall(lock.read_text())
        while services and (said := asked(services[0], lock)) is None:
            services.pop(0)
        service = services[0] if services else None
        if service is not None:
            problems |= dict.fromkeys(said)
        problems |= dict.fromkeys(bad for pin in pins for bad in remembered(*pin, table))
        ids = sum(len(names) for name, _ in pins for names in table.get(name, {}).values())
        print(f"{lock.name}: {len(pins)} versions, held against {service or 'NO SERVICE: none answers here'}", end=", ")
        print(f"and the {ids} advisories kept here")
        if service is None and online:
            problems["no advisory service answers"] = None
    for problem in problems:
        print(f"VULNERABLE {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
