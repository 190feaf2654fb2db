"""``--rules`` and the limits of a row on the command line, against an emulator in a process of its own."""

import json
from urllib.request import urlopen

import pytest

from ucontact_async.batch.sources import CsvSource

RULES = """
costly = "allow"
zone = "America/Montevideo"
zone_column = "tz"
windows = [{begin = "09:00", end = "20:00", days = "mon-fri"}]
do_not_call = [{file = "dnc.txt", name = "own list"}]
"""


def called(url):
    with urlopen(f"{url}/_emulator/ledger", timeout=10) as answer:
        return sorted(entry["fields"]["destination"] for entry in json.load(answer))


def test_rules_block_rows_by_name(schedule, url, tmp_path, capsys):
    """Rows that the file of rules forbids are told by rule, and stand in the rejects with a sentence."""
    (tmp_path / "rules.toml").write_text(RULES, encoding="utf-8")
    (tmp_path / "dnc.txt").write_text("090000002\n", encoding="utf-8")
    rows = [
        "090000001;2099-05-05 10:00;",
        "090000002;2099-05-05 10:00;",
        "090000003;2099-05-05 10:00;Asia/Tokyo",
        "090000004;2099-05-09 10:00;",
    ]
    file = tmp_path / "c.csv"
    file.write_text("\n".join(["destination;calldate;tz", *rows]), encoding="utf-8")
    assert schedule(file, "--rules", tmp_path / "rules.toml") == 1
    told = capsys.readouterr()
    assert "1 skipped: blocked: own list" in told.out
    assert "2 skipped: blocked: window" in told.out
    assert "columns not used" not in told.err
    assert called(url) == ["090000001"]
    reasons = [row.fields["reason"] for row in CsvSource(tmp_path / "c.csv.rejects.csv")]
    assert reasons == [
        "a number is on the list",
        "tue 22:00 is outside the calling windows in Asia/Tokyo",
        "sat 10:00 is outside the calling windows in America/Montevideo",
    ]


def test_limits_of_a_row_hold_without_rules(schedule, url, tmp_path, capsys):
    """A file with not_before or not_after is held to them, whatever else is said."""
    file = tmp_path / "c.csv"
    rows = ["090000001;2099-05-05 10:00;2099-05-05 10:00", "090000002;2099-05-05 10:00;2099-05-05 09:59"]
    file.write_text("\n".join(["destination;calldate;Not_After", *rows]), encoding="utf-8")
    assert schedule(file) == 1
    assert "1 skipped: blocked: not after" in capsys.readouterr().out
    assert called(url) == ["090000001"]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("costly = 'allow'\nzone_column = 'zona'", "names the column 'zona', and the file has destination, calldate"),
        ("zone = 'UTC'", "premium numbers cannot be told without a plan: say regions=['UY']"),
        ("costly = 'allow'\ndo_not_call = [{file = 'none.txt'}]", "none.txt cannot be read: No such file"),
        ("costly = 'allow'\ncaps = [{calls = 3}]", "missing required field `hours`"),
    ],
)
def test_wrong_rules_are_told_before_anything_is_sent(schedule, url, tmp_path, capsys, rules, told):
    """Exit 2 and a sentence that says what to write; no call is made."""
    (tmp_path / "rules.toml").write_text(rules, encoding="utf-8")
    file = tmp_path / "c.csv"
    file.write_text("destination;calldate\n090000001;2099-05-05 10:00\n", encoding="utf-8")
    assert schedule(file, "--rules", tmp_path / "rules.toml") == 2
    assert told in capsys.readouterr().err
    assert called(url) == []
