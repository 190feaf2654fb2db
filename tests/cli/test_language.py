"""Spanish: every sentence that the command line or an error of the library can tell a person has its Spanish one."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ucontact_async.batch.history import History
from ucontact_async.batch.report import Report
from ucontact_async.cli import main
from ucontact_async.cli.language import Catalogue, language, spoken, translated
from ucontact_async.cli.report_page import meaning_of, page_of

PACKAGE = Path(__file__).parents[2] / "ucontact_async"
CATALOGUE = Catalogue((PACKAGE / "cli" / "es.po").read_text(encoding="utf-8"))
PLACE = re.compile(r"{[^{}]*}")

# What the command line never shows: it runs none of these, or their errors are a program's.
ELSEWHERE = ("emulator", "portal", "contract", "testing", "blocking", "services")
SPEAKERS = {"say", "tell", "translated", "_say", "_found", "Block", "Finding", "stop", "Remedy", "_none", "_section"}
FORMS = (  # what only looks like a sentence
    re.compile(r"[<>%]\w"),  # HTML, dates
    re.compile(r"^ucontact-async schedule |^  ucontact-async "),  # commands
    re.compile(r"\\|\[\^|^\("),
)


def template(node: ast.AST) -> str | None:
    """Return the text of a literal with ``{}`` in its places, or ``None`` for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = template(node.left), template(node.right)
        return None if sides == (None, None) else "".join("{}" if side is None else side for side in sides)
    return None


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every literal below ``tree`` that is no docstring, f-strings whole."""
    silent = {id(n.body[0].value) for n in ast.walk(tree) if getattr(n, "body", None) and docstring(n)}
    whole = [n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr | ast.BinOp) and template(n) is not None]
    inner = {id(part) for n in whole for part in (n.values if isinstance(n, ast.JoinedStr) else (n.left, n.right))}
    for node in ast.walk(tree):
        if id(node) in silent or id(node) in inner:
            continue
        if (text := template(node)) is not None:
            yield node.lineno, text


def docstring(node: ast.AST) -> bool:
    """Whether the first statement of ``node`` is a lone text."""
    body = getattr(node, "body", None)
    return isinstance(body, list) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)


def told_by_the_command_line() -> Iterator[tuple[str, str]]:
    """Yield every sentence in the files of the command line."""
    for path in sorted((PACKAGE / "cli").rglob("*.py")):
        for line, text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            if sentence(text):
                yield f"cli/{path.name}:{line}", PLACE.sub("{}", text)


def told_by_the_library() -> Iterator[tuple[str, str]]:
    """Yield every sentence that an error, a rule or a reason to stop is made of."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if place.parts[0].removesuffix(".py") in (*ELSEWHERE, "cli"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in SPEAKERS or name in ERRORS:
                for argument in node.args:
                    for line, text in texts(argument):
                        if sentence(text):
                            yield f"{place}:{line}", PLACE.sub("{}", text)


def sentence(text: str) -> bool:
    """Whether a person reads ``text``: it has two words, and is no form for a machine."""
    return re.search(r"[A-Za-z]{2,}\S* +\S*[A-Za-z{]", text) is not None and not any(f.search(text) for f in FORMS)


def errors() -> set[str]:
    """Return the names of all errors of the library."""
    tree = ast.parse((PACKAGE / "errors.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


ERRORS = errors()
KNOWN = {PLACE.sub("{}", english) for english in CATALOGUE.sentences}
UNTOLD = {  # what stands in the source and is for programs, or for everybody alike
    "ucontact-async {}",
    "{}: error: {}\n",
    "{}: POST {} {}",
    "HEAD / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
    "listening on {}",
    "  export UCONTACT_URL={} UCONTACT_TIMEZONE=America/Montevideo",
    "  export UCONTACT_USER={} UCONTACT_PASSWORD={}",
    "{} rows; all but these succeeded",
    "# What this file calls our columns: written by --remember, read by itself on the next run of the same file.\n",
    "id=C-000{}:name=Ana {}",
    "lower right",
    "SINCE (UTC)",
    "{}, line {}",
    "upload to {} as {} by {}, {} a list",
    ", in {}",
}


@pytest.mark.parametrize("speaker", [told_by_the_command_line, told_by_the_library])
def test_every_sentence_is_told_in_spanish(speaker):
    """A sentence that a person can be told and that has no Spanish text in es.po fails here, with its place."""
    missing = [f"{place}: {text!r}" for place, text in speaker() if text not in KNOWN and text not in UNTOLD]
    assert not missing, "no Spanish text in cli/es.po:\n" + "\n".join(missing)


@pytest.mark.parametrize("name", sorted(ERRORS - {"BulkError", "UContactError", "OutcomeUnknown"}))
def test_what_an_error_means_is_told_in_spanish(name):
    """The page says of each reason what it means; of every error it can name, in Spanish too."""
    assert meaning_of(name) in KNOWN


def test_nothing_of_a_sentence_is_lost():
    """Each Spanish sentence has the places of its English one, and none is empty."""
    source = (PACKAGE / "cli" / "es.po").read_text(encoding="utf-8")
    assert len(re.findall("^msgid ", source, re.MULTILINE)) == len(CATALOGUE.sentences) + 1  # none is there twice
    for english, told in CATALOGUE.sentences.items():
        assert told.strip(), english
        places = re.findall(r"{(\w+)[^{}]*}", english)
        assert sorted(re.findall(r"{(\w+)[^{}]*}", told)) == sorted(places), english
        assert re.findall(r"%\S*", english) == re.findall(r"%\S*", told), english


def test_every_sentence_is_found_by_its_shape():
    """With values in its places each sentence is recognized as itself, and they arrive where they belong."""
    with spoken("es"):
        for english, told in CATALOGUE.sentences.items():
            if not re.search(r"{\d", english) or english.startswith("{1}: {2}"):
                continue

            def filled(text):
                return re.sub(r"{(\d)\*?}", r"<\1\1>", text)

            assert translated(filled(english)) == filled(told), english


def test_phrases_within_a_sentence_are_translated_too():
    """An error within a sentence is told in Spanish, what the person named stays as it is, the unknown too."""
    with spoken("es"):
        said = translated("row 7, column Telefono: is empty; give the number to dial")
        assert said == "fila 7, columna Telefono: está vacío; indique el número a discar"
        assert translated("unknown.csv cannot be read: Input/output error").startswith("unknown.csv no se puede leer: ")
        assert translated("a sentence of somebody else") == "a sentence of somebody else"
    assert language() == "en"
    assert translated("books") == "books"


CSV = "destination;calldate\n091000001;2099-05-05 10:00\n091000001;2099-05-05 10:00\nabc;2099-05-05 10:00\n"


@pytest.fixture
def told(url, tmp_path, monkeypatch, capsys):
    """Run the command line in a folder with a file of three rows; return exit code and what was told."""
    for name, value in {"URL": url, "USER": "api", "PASSWORD": "secret", "TIMEZONE": "America/Montevideo"}.items():
        monkeypatch.setenv(f"UCONTACT_{name}", value)
    monkeypatch.chdir(tmp_path)
    Path("contactos.csv").write_text(CSV, encoding="utf-8")

    def run(*arguments):
        try:
            code = main([*arguments])
        except SystemExit as ended:
            code = ended.code
        return (code, *capsys.readouterr())

    return run


SCHEDULE = ("schedule", "contactos.csv", "--campaign", "Ventas->", "--no-journal")


def test_a_run_in_spanish_differs_for_persons_only(told):
    """Words and next steps are Spanish; exit code, requests, journal and the rejects are byte for byte the same."""
    found = {}
    for code in ("en", "es"):
        dry = told(*SCHEDULE, "--dry-run", "--lang", code)
        sent = told("--lang", code, *SCHEDULE)
        rejects = Path("contactos.csv.rejects.csv").read_bytes()
        requests = [line for line in dry[1].splitlines() if "POST /Integra" in line]
        found[code] = dry[0], sent[0], rejects, requests
    assert found["en"] == found["es"]
    assert len(requests) == 1
    assert "3 filas: 1 exitosas, 0 fallidas, 0 desconocidas, 2 omitidas" in sent[1]
    assert "omitidas: duplicada" in sent[1]
    assert "sin hacer: contactos.csv.rejects.csv (2 filas, cada una con su motivo)" in sent[1]
    assert "no se envió nada; el mismo comando sin --dry-run envía" in dry[2]


@pytest.mark.parametrize(
    ("arguments", "told_at"),
    [
        (["--help"], "programa un archivo en un servidor emulado"),
        (["schedule", "--help"], "la campaña de todas las filas"),
        (["schedule"], "ucontact-async schedule: error: faltan estos argumentos: FILE"),
        (["schedule", "nada.csv"], "nada.csv no se puede leer: no existe ese archivo o carpeta"),
        (["schedule", "contactos.csv", "--map", "x"], "escriba --map OUR=THEIRS"),
        (["unknown", "nada.journal"], "o ninguna ejecución lo usó todavía"),
    ],
)
def test_the_environment_chooses_the_language_as_well(told, monkeypatch, arguments, told_at):
    """With UCONTACT_LANG help, complaints about arguments and errors are told in Spanish; --lang goes before it."""
    monkeypatch.setenv("UCONTACT_LANG", "es_UY.UTF-8")
    _, out, err = told(*arguments)
    assert told_at in " ".join((out + err).split())
    _, out, err = told("--lang", "en", *arguments)
    assert told_at not in " ".join((out + err).split())


def test_another_locale_does_not_choose(told, monkeypatch):
    """LANG and LC_ALL change nothing: what a script prints does not depend on the machine."""
    monkeypatch.setenv("LANG", "es_UY.UTF-8")
    monkeypatch.setenv("LC_ALL", "es_UY.UTF-8")
    assert "show this help message and exit" in told("--help")[1]


def test_a_language_that_is_none_is_refused(told, monkeypatch):
    """A language without a catalogue is a usage error, by option and by environment, which is then named."""
    assert told("--lang", "fr", "demo")[0] == 2
    monkeypatch.setenv("UCONTACT_LANG", "fr")
    code, _, err = told("--help")
    assert code == 2
    assert "UCONTACT_LANG" in err


def test_doctor_and_the_page_speak_spanish(told):
    """The doctor's findings and the page about a run are told in Spanish, and the page says so to the browser."""
    assert "hora" in told("--lang", "es", "doctor")[1]
    with spoken("es"):
        page = page_of(Report(failed=1), History(), {"operation": "schedule"})
    assert "<html lang='es'>" in page
    assert "<b>1</b> fallidas" in page
    assert "<dt>operación</dt><dd>schedule</dd>" in page


def test_help_loads_nothing_that_it_does_not_need():
    """--help, in either language, imports neither asyncio nor a third party: that is what keeps it under 100 ms."""
    for code in ("en", "es"):
        script = (
            "import sys\nfrom ucontact_async.cli import main\n"
            f"try: main(['--lang', '{code}', '--help'])\nexcept SystemExit: pass\n"
            "print(sorted({'asyncio', 'msgspec', 'aiohttp', 'sqlite3', 'logging'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_without_a_command_all_of_them_are_shown(told):
    """Nothing but the name of the program prints its help, and is a usage error."""
    code, out, err = told()
    assert (code, out) == (2, "")
    assert "doctor" in err
