"""Rows of hostile text through every encoder of a row: refused, or exactly recovered by a reader of our own.

``python tests/unit/hostile_rows.py --rows 100000`` prints a line for each of the list file's lines, the ``data`` and
the ``alternatives`` of a call, and exits 1 if any text became another line, field, pair, number or parameter. The
readers know only what the vendor's page says, and none of our own code.
"""

import argparse
import base64
import json
import random
import sys
from collections import Counter
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from ucontact_async import DialerTask, ListRow, TypedNumber
from ucontact_async.api import endpoint_of
from ucontact_async.errors import InvalidRequest
from ucontact_async.list_file import FILE_CONTENT, decode_file, decode_row, encode_row
from ucontact_async.text import Rules

RULES = Rules()
BREAKS = ["\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\ud800", "\udfff"]
HOSTILE = [
    *BREAKS,
    *(";", ":", "=", "</script>", "x" * 300, "😀", "é", "ñ", "'", '"', "\\", "%3B", "&", "+", "?", ">", "~", " ", "\t"),
    *("\u202e", "\ufeff", ";Ventas->;0900000000;;;1", "\nVentas->;0900000000;;;1", ":admin=1", "=1", "M=0=", "#"),
]
NUMBERS = ["099123456", "+598 99", "24001234", "*123#", "1", "09" * 13, "", "M=0=099", "099;1", "099:1", "SIP/1&2"]


def hostile_text(chance):
    """Return a text of a few pieces, most of them harmless ones."""
    return "".join(chance.choices([*HOSTILE, *["Ana", "7", "Pérez", "a b", "x"] * 30], k=chance.randrange(4)))


def hostile_number(chance):
    """Return a number, or what somebody may hold for one."""
    number = chance.choice([*NUMBERS[:3:2] * 30, *NUMBERS, hostile_text(chance)])
    return f"{chance.randrange(10**6)}{number}" if chance.random() < 0.8 else number


def hostile_data(chance):
    """Return form data whose names and values may be anything."""
    return {hostile_text(chance) or "id": hostile_text(chance) for _ in range(chance.randrange(4))}


def _typed(chance):
    number = hostile_number(chance)
    if chance.random() < 0.3:
        return TypedNumber(kind=chance.choice("MWHMWHPUMX"), number=number, retries=chance.choice([0, 1, 3, 9999, -1]))
    return number


def hostile_row(chance):
    """Return a row of a list in which anything may be anything."""
    return ListRow(
        campaign="Ventas->" if chance.random() < 0.9 else hostile_text(chance) + chance.choice(["->", "<-", ""]),
        destination=_typed(chance),
        data=hostile_data(chance),
        alternatives=[_typed(chance) for _ in range(chance.choice([0, 0, 0, 1, 2, 3]))],
        priority=chance.choice([1, 2, 50, 9999, 9999, 9999, 9999, 9999, 0, 10_000]),
        agentphone=chance.choice(["", "", "", "1001", hostile_text(chance)]),
    )


def _attempt(encode):
    """Return what ``encode`` returns, ``None`` where it refuses; its words go to terminals and logs."""
    try:
        return encode()
    except InvalidRequest as error:
        if not str(error).isprintable():
            raise AssertionError("a refusal shows what would break a terminal or a log") from None
        return None


def _told(number):
    """Return the parts of a number as a server that knows only the page would find them."""
    return [number.kind, str(number.retries), number.number] if isinstance(number, TypedNumber) else [number]


def _split(text, separator):
    return text.split(separator) if text else []


def _says(line, row):
    """Whether a line, read by the page's words alone, says what the row says: fields at ``;``, the rest within."""
    campaign, destination, data, alternatives, priority, *agentphone = line.split(";")
    return (
        campaign == row.campaign
        and destination.split("=") == _told(row.destination)
        and [pair.split("=") for pair in _split(data, ":")] == [list(pair) for pair in row.data.items()]
        and [number.split("=") for number in _split(alternatives, ":")] == [_told(each) for each in row.alternatives]
        and priority == str(row.priority)
        and agentphone == ([row.agentphone] if row.agentphone else [])
        and decode_row(line) == row
    )


def _check_file(rows, lines):
    """All the way: the bytes of a file, their base64, the form, and back, by every reader's idea of a line end."""
    content = "\n".join(lines).encode()
    sent = FILE_CONTENT.encode(content, "content", RULES)
    return (
        content.decode().splitlines() == lines
        and not set(sent) & set(b"&=+/ \r\n;")
        and base64.b64decode(unquote_to_bytes(sent), validate=True) == content
        and decode_file(FILE_CONTENT.decode(unquote_to_bytes(sent).decode(), RULES)) == (rows, 0)
    )


def check_list_rows(count, chance):
    """Write that many rows as lines of a file; return how many were recovered, refused and wrong."""
    figures, rows, lines = Counter(), [], []
    for _ in range(count):
        row = hostile_row(chance)
        line = _attempt(lambda row=row: encode_row(row, RULES))
        figures["refused" if line is None else "recovered" if _says(line, row) else "wrong"] += 1
        if line is not None:
            rows.append(row)
            lines.append(line)
    figures["wrong"] += not _check_file(rows, lines)
    return figures


def _read_call(body):
    """Return the form's names and what its one JSON object holds, as a server finds them."""
    form = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    return [name for name, _ in form], json.loads(form[0][1])


def check_calls(count, chance, field, make, read):
    """Send what ``make`` makes as ``field`` of that many calls; ``read`` is how a server takes its text apart."""
    figures = Counter()
    plain = DialerTask(campaign="Ventas->", destination="099123456")
    encode = endpoint_of(plain).encode
    names, bare = _read_call(encode(plain, RULES))
    for _ in range(count):
        value = make(chance)
        body = _attempt(lambda value=value: encode(msgspec.structs.replace(plain, **{field: value}), RULES))
        if body is None:
            figures["refused"] += 1
            continue
        found, values = _read_call(body)
        text = values[field]
        exact = found == names and values == bare | {field: text} and read(text) == value
        figures["recovered" if exact else "wrong"] += 1
    return figures


def check(count, seed):
    """Return the figures of each encoder; the caller judges them."""
    chance = random.Random(seed)

    def numbers(chance):
        return [hostile_number(chance) for _ in range(chance.choice([0, 1, 1, 2, 3]))]

    def pairs(text):
        found = [pair.split("=") for pair in _split(text, ":")]
        return dict(found) if len(dict(found)) == len(found) else found

    return {
        "lines of a list file": check_list_rows(count, chance),
        "data of a call": check_calls(count, chance, "data", hostile_data, pairs),
        "alternatives of a call": check_calls(count, chance, "alternatives", numbers, lambda text: _split(text, ":")),
    }


def main():
    """Print a line for each encoder and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    wrong = 0
    for name, figures in check(args.rows, args.seed).items():
        print(f"{name}: {figures['recovered']} recovered, {figures['refused']} refused, {figures['wrong']} wrong")
        wrong += figures["wrong"]
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
