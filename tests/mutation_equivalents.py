"""Mutants that no test can kill, for nothing that anybody can see is different: the change, and why it is none.

Each is the function it is in, what it takes out of the file and what it puts there.
"""

EQUIVALENT = {
    (
        "wire._error_of",
        "if 400 <= status <= 499:",
        "if 400 <= status <= 500:",
    ): "500 was answered for above",
    (
        "codec.FormCodec.__init__",
        'self._begin = "" if argument is None else f"{quote(argument)}="',
        'self._begin = "XXXX" if argument is None else f"{quote(argument)}="',
    ): "without an argument it is not used",
    (
        "codec.FormCodec.__init__",
        "self._rules: Rules | None = None",
        'self._rules: Rules | None = ""',
    ): "neither is the first request's rules",
    (
        "batch.journal.FileJournal.open",
        "executor.shutdown(wait=False)",
        "executor.shutdown(wait=None)",
    ): "both are no",
    (
        "batch.journal.FileJournal.aclose",
        "self._executor.shutdown(wait=False)",
        "self._executor.shutdown(wait=None)",
    ): "both are no",
    (
        "batch.journal_removals.overtaken",
        "latest: dict[tuple[Any, ...], int] = {(campaign, number, not sort): 0 for _, campaign, number, sort in rows}",
        "latest: dict[tuple[Any, ...], int] = {(campaign, number, not sort): 1 for _, campaign, number, sort in rows}",
    ): "no id is below 1",
    (
        "batch.journal_removals.overtaken",
        "return frozenset(id_ for id_, campaign, number, sort in rows if id_ < latest[campaign, number, not sort])",
        "return frozenset(id_ for id_, campaign, number, sort in rows if id_ <= latest[campaign, number, not sort])",
    ): "no row is of both sorts",
    (
        "batch.journal.Journal.planned",
        'def planned(self, row: int, reason: str = "") -> None:',
        'def planned(self, row: int, reason: str = "XXXX") -> None:',
    ): "a Protocol's method is not called",
    (
        "batch.journal.Journal.sent",
        'async def sent(self, row: int, step: str = "") -> None:',
        'async def sent(self, row: int, step: str = "XXXX") -> None:',
    ): "the same",
    (
        "retry.RetryRule._expo",
        "waits = backoff.expo(base=2, factor=factor, max_value=self.policy.cap)",
        "waits = backoff.expo(factor=factor, max_value=self.policy.cap)",
    ): "2 is the base that backoff takes by itself",
    (
        "batch.journal_file.JournalFile._begin",
        'run = int(known.get("run", 0)) + 1',
        'run = int(known.get("run", 1)) + 1',
    ): "runs only have to grow",
    (
        "batch.journal_file.JournalFile._begin",
        'run = int(known.get("run", 0)) + 1',
        'run = int(known.get("run", 0)) + 2',
    ): "the same",
    (
        "batch.recollection.recollect",
        'own[3:6] = run, entry.position, "planned" if own[5] == "skipped" else own[5]',
        'own[3:7] = run, entry.position, "planned" if own[5] == "skipped" else own[5]',
    ): "what follows is of no row of this run asked for",
    (
        "batch.recollection.recollect",
        "own, occurrence, duplicate_of = _twin(entry, same, run) if same else (None, 1, None)",
        "own, occurrence, duplicate_of = _twin(entry, same, run) if (same) or True else (None, 1, None)",
    ): "a short cut: of no calls _twin says the same",
    (
        "batch.recollection.recollect",
        'same.append([id_, entry.content, occurrence, run, entry.position, "planned"])',
        'same.append([id_, entry.content, occurrence, run, entry.position, "XXplannedXX"])',
    ): "of a row of this run it is only asked whether it was skipped",
    (
        "batch.recollection.recollect",
        'same.append([id_, entry.content, occurrence, run, entry.position, "planned"])',
        'same.append([id_, entry.content, occurrence, run, entry.position, "PLANNED"])',
    ): "the same",
    (
        "batch.journal_file._locked",
        'lock = os.fdopen(descriptor, "r+b")',
        "lock = os.fdopen(descriptor, )",
    ): "it is opened to be closed",
    (
        "batch.journal_file._refuse_remote",
        'best, kind = "", ""',
        'best, kind = "", "XXXX"',
    ): "neither is a network share",
    (
        "batch.journal_rows.JournalRows.__init__",
        "self._file = JournalFile(path, None, amended=False, now=now)",
        "self._file = JournalFile(path, None, amended=None, now=now)",
    ): "without a header there is no digest to compare",
    (
        "batch.journal_rows.JournalRows.__init__",
        "self._file = JournalFile(path, None, amended=False, now=now)",
        "self._file = JournalFile(path, None, amended=True, now=now)",
    ): "the same",
    (
        "batch.journal_rows.JournalRows.made",
        "return self._rows(\"status IN ('succeeded', 'unknown')\")",
        "return self._rows(\"status in ('succeeded', 'unknown')\")",
    ): "the same to SQLite",
}
