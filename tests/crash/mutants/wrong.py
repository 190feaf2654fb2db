"""Small wrong versions of the engine: what each does wrong, and the text that makes it so.

An edit is a file of the package, a text that stands in it exactly once, and what takes its place. ``LIKELY`` names the
kinds of faults that show a mutant soonest: they are tried first, and all others after them.
"""

from typing import NamedTuple


class Edit(NamedTuple):
    """One change: ``old`` stands exactly once in ``file``."""

    file: str
    old: str
    new: str


MUTANTS = {
    "the mark is not waited for": [
        Edit("batch/journal.py", "        await durable\n", "        await asyncio.sleep(0)\n"),
    ],
    "the mark is set after the first byte": [
        Edit(
            "caller.py",
            "            if flight.arms:\n                await self._arm(flight)\n"
            "            if await self.limiter.acquire",
            "            if await self.limiter.acquire",
        ),
        Edit(
            "caller.py",
            "            answer = await self._exchange(prepared, attempt)\n",
            "            answer = await self._exchange(prepared, attempt)\n            await flight.arm()\n",
        ),
        Edit("batch/chain.py", "elif gear.caller.unhindered(job.prepared):", "elif False:"),
    ],
    "a mark is committed without waiting for the disk": [
        Edit("batch/journal_file.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"),
    ],
    "a commit is not made": [
        Edit(
            "batch/journal_file.py",
            '            self.db.execute("COMMIT")\n'
            "        except sqlite3.Error as error:\n            raise self._break(error) from None\n        if broken",
            "        except sqlite3.Error as error:\n            raise self._break(error) from None\n        if broken",
        ),
    ],
    "a commit that failed is taken for one": [
        Edit(
            "batch/journal.py",
            "        error = None if failed is None else self._break(failed)\n",
            "        error = None\n",
        ),
    ],
    "rows of the table of identities are taken for new": [
        Edit("batch/journal_identities.py", "        if self._stored:\n", "        if False:\n"),
    ],
    "the latest rows are taken for new": [
        Edit(
            "batch/journal_identities.py",
            "        if not self._recent.keys().isdisjoint(identities):\n",
            "        if False:\n",
        ),
    ],
    "the table of identities does not get its rows": [
        Edit(
            "batch/journal_identities.py",
            "INSERT INTO identities SELECT identity, id FROM rows WHERE id > ?",
            "INSERT INTO identities SELECT identity, id FROM rows WHERE id > ? + 1",
        ),
    ],
    "an outcome is delivered before its commit": [
        Edit(
            "batch/journal.py",
            "        self._settle(Change(row, status, reason, attempts, None, outcome))\n",
            "        self._settle(Change(row, status, reason, attempts, None, None))\n"
            "        self._deliver([outcome])\n",
        ),
    ],
    "after a crash a sent row is planned": [
        Edit("batch/journal_file.py", "SET status = 'unknown', at", "SET status = 'planned', at"),
    ],
    "after a crash a sent row has succeeded": [
        Edit("batch/journal_file.py", "SET status = 'unknown', at", "SET status = 'succeeded', at"),
    ],
    "an unknown row is sent again by the next run": [
        Edit("batch/intake.py", 'known.status == "unknown" and not job.prepared.safety.allows(_LOST)', "False"),
    ],
    "an unknown row is called failed": [
        Edit(
            "batch/outcome.py",
            "return Status.UNKNOWN if isinstance(error, OutcomeUnknown) else Status.FAILED",
            "return Status.FAILED",
        ),
    ],
    "a row that was planned counts as done": [
        Edit(
            "batch/intake.py", 'if known.status == "succeeded" and', 'if known.status in ("succeeded", "planned") and'
        ),
    ],
    "a failed row is never sent again": [
        Edit("batch/intake.py", "return reason not in REFUSED or self._options.retry_refused", "return False"),
    ],
    "a refused row is sent again unasked": [
        Edit("batch/intake.py", "reason not in REFUSED or self._options.retry_refused", "True"),
    ],
    "a row is handed to two workers": [
        Edit(
            "batch/intake.py",
            "            self.jobs.append(job)\n",
            "            self.jobs.extend([job] * (1 + (job.index == 1)))\n",
        ),
        Edit("batch/intake.py", "self.jobs.extend(jobs)\n", "self._jobs.extend(jobs + jobs[1:2])\n"),
    ],
    "two processes share a journal": [
        Edit("batch/journal_file.py", "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),
    ],
    "the key has no occurrence number": [
        Edit(
            "batch/recollection.py",
            "earlier = [row for row in twins if row[3] < run]",
            "earlier = twins",
        ),
    ],
    "a row is settled before its answer": [
        Edit(
            "batch/flight.py",
            "            await self._run.journal.sent(self._job.id)\n",
            "            await self._run.journal.sent(self._job.id)\n"
            "            self._journal.settled(self._job.id, 'succeeded', '', 1, None)\n",
        ),
    ],
    "a cancelled row has no outcome": [
        Edit(
            "batch/crew.py",
            "self._settle(job, failed(job, lost, self._clock() - started), flight)\n            else:",
            "pass\n            else:",
        ),
    ],
    "a signal cancels what is on the wire": [
        Edit("batch/runner.py", "if flight is None or not flight.left:", "if True:"),
    ],
    "rows that nobody took are dropped by a stop": [
        Edit("batch/intake.py", "        self._emit([stopped(job) for job in left])\n", ""),
    ],
    "a skipped row counts as succeeded": [
        Edit("batch/report.py", "            self.skipped += 1\n", "            self.succeeded += 1\n"),
    ],
    "everything may be repeated": [
        Edit("endpoint.py", "isinstance(error, OutcomeUnknown) and self is not Safety.ONCE", "True"),
    ],
    "a status made up by aiohttp is believed": [
        Edit(
            "pool.py",
            'return UnreadableReply("the bytes that came back are not an HTTP answer")',
            'return NotSent("a bad request")',
        ),
    ],
    "a time-out means not sent": [
        Edit(
            "pool.py",
            'return ReplyLost(f"no whole answer within {outgoing.timeout:g} s", phase=attempt.phase.value)',
            'return NotSent("time-out")',
        ),
    ],
    "a reset means not sent": [
        Edit(
            "pool.py",
            '    return ReplyLost(f"the connection broke before a whole answer came ({cause_of(error)})", '
            "phase=attempt.phase.value)",
            '    return NotSent("reset")',
        ),
    ],
    "the first byte is noticed too late": [
        Edit("attempt.py", "        self.phase = _SENT\n", ""),
    ],
    "every broken request is incomplete": [
        Edit(
            "attempt.py", 'if transport.get_write_buffer_size() > getattr(transport, "_pending_write", 0):', "if True:"
        ),
    ],
    "a cancelled row is called stopped": [
        Edit("batch/crew.py", "            if flight.left or flight.lost is not None:\n", "            if False:\n"),
    ],
    "a 500 is a refusal": [
        Edit("wire.py", "if status == 408 or 500 <= status <= 599:", "if status == 408:"),
        Edit("wire.py", "if 400 <= status <= 499:", "if 400 <= status <= 599:"),
    ],
    "a 408 is a refusal": [
        Edit("wire.py", "if status == 408 or 500 <= status <= 599:", "if 500 <= status <= 599:"),
    ],
    "a 503 without a time means that nothing was done": [
        Edit("wire.py", "else profile.trust_503 or (", "else True or ("),
    ],
    "any redirect means a new login": [
        Edit(
            "wire.py",
            'return page != "" and page == profile.login_page.lower()',
            "return True",
        ),
    ],
    "redirects are followed": [
        Edit("pool.py", "allow_redirects=False", "allow_redirects=True"),
    ],
    "a POST becomes a GET": [
        Edit("pool.py", "response = await session.post(", "response = await session.get("),
    ],
    "the guard is gone": [
        Edit("pool.py", "poisoned = attempt.reused and", "poisoned = False and"),
    ],
    "the guard does not ask the kernel": [
        Edit("pool.py", "    return not probe(transport)\n", "    return True\n"),
    ],
    "what is written to a closed connection has left": [
        Edit("pool.py", "conn.transport is None or conn.transport.is_closing() or attempt", "attempt"),
    ],
    "0 is taken for success": [
        Edit(
            "wire.py",
            '        if text == b"0":\n            raise self.refusal()\n        if text != b"1":\n',
            '        if text not in (b"0", b"1"):\n',
        ),
    ],
    "an empty body is taken for success": [
        Edit("wire.py", '        if text != b"1":\n', '        if text not in (b"1", b""):\n'),
    ],
    "trailing bytes are accepted": [
        Edit("wire.py", '        if text != b"1":\n', '        if not text.startswith(b"1"):\n'),
    ],
    "a cut answer is accepted": [
        Edit(
            "pool.py",
            "            while chunk := await response.content.readany():\n                body += chunk\n",
            "            while True:\n"
            "                try:\n"
            "                    chunk = await response.content.readany()\n"
            "                except aiohttp.ClientPayloadError:\n"
            "                    break\n"
            "                if not chunk:\n"
            "                    break\n"
            "                body += chunk\n",
        ),
    ],
    "a packed answer is unpacked": [
        Edit("pool.py", "auto_decompress=False", "auto_decompress=True"),
        Edit("wire.py", 'if encoding not in (None, "", "identity"):', "if False:"),
    ],
    "any status is an answer": [
        Edit("wire.py", "    if status in reply.statuses:\n", "    if status in (200, 201, 202, 204):\n"),
    ],
    "a token is replaced without asking which": [
        Edit("tokens.py", "if self._live is not None and _same(self._live, refused):", "if self._live is not None:"),
        Edit("caller.py", "refused is None or token.generation > refused.generation", "refused is None"),
    ],
    "every waiter logs in": [
        Edit("tokens.py", "if flight is None or flight.done():", "if True:"),
    ],
    "lane: what waits on an idle connection is not asked for": [
        Edit("lane.py", "elif quiet > self._lately and self._probe(link.transport):", "elif False:"),
    ],
    "lane: an answer that nobody asked for is not noticed": [
        Edit(
            "link.py",
            "        if attempt is None:\n            self.log.surplus(bytes(self._view[: self._filled]))\n"
            "            self._lane.drop(self)\n            return\n",
            "        if attempt is None:\n            return\n",
        ),
    ],
    "lane: the guard is gone": [
        Edit("lane.py", "            if link.transport.is_closing() or quiet", "            if quiet"),
        Edit("lane.py", "elif quiet > self._lately and self._probe(link.transport):", "elif False:"),
    ],
    "lane: the first byte is noticed too late": [
        Edit(
            "link.py",
            "        attempt.connected(self.transport, reused=self.answers > 0)\n",
            "",
        ),
    ],
    "lane: a cut answer is accepted": [
        Edit(
            "link.py",
            "self._view[head.size : end]) if filled >= end else None",
            "self._view[head.size : min(end, filled)])",
        ),
    ],
    "lane: a head without a body is accepted": [
        Edit("link.py", "            body, end = None, 0\n", '            body, end = b"1", filled\n'),
    ],
    "lane: a time-out means not sent": [
        Edit(
            "link.py",
            "            self._hand_over().set_exception(error)\n\n",
            "            if isinstance(error, TimeoutError):\n                self.attempt.phase = Phase.WAITING\n"
            "            self._hand_over().set_exception(error)\n\n",
        ),
    ],
    "lane: a lost connection means not sent": [
        Edit(
            "link.py",
            "            answered = self.attempt.phase is ANSWERED\n",
            "            answered, self.attempt.phase = False, Phase.WAITING\n",
        ),
    ],
    "lane: a lease that was given up is kept": [
        Edit(
            "lane.py",
            "                attempt.abort()\n                self.drop(broken)\n",
            '                broken.free(Answer(0, {}, b""), keep=True)\n',
        ),
    ],
    "lane: a connection closed in the turn that made it is written to": [
        Edit("lane.py", "is None or transport.is_closing():", "is None:"),
    ],
    "lane: trailing bytes are accepted": [
        Edit("link.py", "if filled > end and self.answers:", "if False:"),
    ],
    "desync: rows of the connection stay as they were": [
        Edit("link.py", "            self.log.surplus(bytes(self._view[: self._filled]))\n", ""),
    ],
    "desync: rows of a connection of the session lane stay as they were": [
        Edit("desync.py", "if data and self.used and self.asked == self._answers:", "if False:"),
    ],
    "desync: of two answers at once only the last row is in doubt": [
        Edit("desync.py", "        self.surplus(rest)\n        return", "        return"),
    ],
    "desync: only the last rows of the connection are in doubt": [
        Edit("desync.py", "STRAYS = 8", "STRAYS = 1"),
    ],
    "desync: a row that was taken back is not written to the journal": [
        Edit(
            "batch/journal.py",
            "return await self._loop.run_in_executor(self._executor, self._file.amend, rows)",
            "return rows",
        ),
    ],
    "desync: a row that was taken back is not told": [
        Edit("batch/amendments.py", "        self._deliver([amended])\n", ""),
    ],
    "desync: a row that was taken back is counted twice": [
        Edit("batch/report.py", "            self._take_back(outcome.amends)\n", "            pass\n"),
    ],
    "desync: a row is taken back before it was said": [
        Edit("batch/journal.py", "        await self._written_before()\n        return await", "        return await"),
    ],
    "desync: an answer in doubt allows another try": [
        Edit("caller.py", "if flight.doubted and flight.lost is not None and safety is Safety.ONCE:", "if False:"),
    ],
    "chain: a mark is not waited for": [
        Edit(
            "batch/chain.py",
            "flight.mark(self._marked)",
            "flight.mark(lambda error: None)\n            self._marked(None)",
        ),
    ],
    "chain: a mark that failed is one": [
        Edit("batch/chain.py", "        if error is None:\n", "        if True:\n"),
    ],
    "chain: no row is marked": [
        Edit("batch/chain.py", "        if not self.placed or not flight.arms:\n", "        if True:\n"),
    ],
    "chain: a row that was begun is given up when its run is stopped": [
        Edit("batch/crew.py", "if chain.job is not None and chain.flight.begun is not None:", "if False:"),
    ],
    "chain: every answer is a good one": [
        Edit("caller.py", "if answer is not self._done or prepared.reply is not Reply.DONE:", "if False:"),
    ],
    "chain: what was begun and went wrong is sent again": [
        Edit(
            "caller.py",
            "            flight.begun = None\n"
            "            return self._read(await self._exchange(prepared, begun), prepared)\n",
            "            flight.begun = None\n",
        ),
    ],
    "chain: a token is replaced that was not used": [
        Edit("caller.py", "            return begun.token\n", "            return await self.token(refused, wait)\n"),
        Edit("tokens.py", "if self._live is not None and _same(self._live, refused):", "if self._live is not None:"),
    ],
    "settling: inserted without a removal": [
        Edit(
            "batch/replacing.py",
            "removed = await self._remove(job, board)",
            'removed = Result(status="removed")',
        ),
    ],
    "settling: the quarantine is not waited for": [
        Edit("batch/replacing.py", "seconds = self.terms.quarantine\n", "seconds = 0.0\n"),
    ],
    "settling: a removal that was lost is sent again at once": [
        Edit("batch/replacing.py", "msgspec.structs.replace(removal, safety=Safety.ONCE)", "removal"),
    ],
    "settling: an insert that was lost is taken for done": [
        Edit(
            "batch/replacing.py",
            "            reply = await self._caller.perform(insert, flight, wait=None)\n"
            "        except OutcomeUnknown as error:\n"
            '            return Result(status="again", error=error,',
            "            reply = await self._caller.perform(insert, flight, wait=None)\n"
            "        except OutcomeUnknown as error:\n"
            '            return Result(status="succeeded",',
        ),
    ],
    "settling: a removal that was lost is taken for done": [
        Edit(
            "batch/replacing.py",
            "        except OutcomeUnknown as error:\n"
            '            return Result(status="again", error=error, attempts=flight.attempts)\n'
            "        except Rejected",
            "        except OutcomeUnknown:\n            pass\n        except Rejected",
        ),
    ],
    "removals: an insert does not wait for one that may come late": [
        Edit(
            "batch/turns.py",
            "elif self._doubted and (seconds := self._left(destination)) > 0:",
            "elif (seconds := -1) > 0:",
        ),
    ],
    "removals: the next run forgets one that may come late": [
        Edit("batch/later.py", "            await self._turns.recall(", "            self._turns.recall("),
    ],
    "removals: the order of one number is not kept": [
        Edit("batch/turns.py", "return not self.running or not (self.alone or is_removal(job.request))", "return True"),
    ],
    "removals: one that was overtaken is sent again": [
        Edit("batch/intake.py", "if self._overtaken and known.id in", "if False and known.id in"),
    ],
    "removals: a call that was taken off since is sent again": [
        Edit("batch/intake.py", '(removal or known.status == "failed")', "removal"),
    ],
    "removals: one that was lost is called failed by the next run": [
        Edit("batch/intake.py", "Status.UNKNOWN if job.doubted else status_of(error)", "status_of(error)"),
    ],
}

# A stray answer does no harm where all others are as good as it is.
_DISPLACED = "extra_answer+refusal,extra_answer+status_400,extra_answer+status_404"
_AT_ONCE = (
    "extra_answer+refusal+stall,extra_answer+status_403+stall,extra_answer+status_403,"
    "extra_answer+refusal+extra_answer_and_close,extra_answer+redirect_307+extra_answer_and_close"
)

LIKELY = {
    "a commit that failed is taken for one": "disk_full",
    "an unknown row is called failed": "hang_applied,reset_applied",
    "a failed row is never sent again": "outage",
    "a refused row is sent again unasked": "refusal,status_400",
    "a cancelled row has no outcome": "stop_and_hang,abort",
    "a cancelled row is called stopped": "stop_and_hang,abort",
    "a signal cancels what is on the wire": "stop",
    "rows that nobody took are dropped by a stop": "stop,abort",
    "a status made up by aiohttp is believed": "garbage_applied,two_lengths_applied",
    "a time-out means not sent": "hang_applied",
    "a reset means not sent": "reset_applied,close_applied",
    "the first byte is noticed too late": "reset_applied,hang_applied",
    "every broken request is incomplete": "reset_applied,hang_applied",
    "a 500 is a refusal": "status_500_applied,status_504_applied",
    "a 408 is a refusal": "status_408_applied",
    "a 503 without a time means that nothing was done": "status_503_applied",
    "any redirect means a new login": "redirect_302_elsewhere_applied",
    "redirects are followed": "redirect_307_applied",
    "the guard is gone": "extra_answer,extra_answer_and_close",
    "the guard does not ask the kernel": "extra_answer,extra_answer_and_close",
    "what is written to a closed connection has left": "accepted_and_closed+reset_unread",
    "0 is taken for success": "refusal",
    "an empty body is taken for success": "empty_body",
    "trailing bytes are accepted": "trailing_bytes",
    "a cut answer is accepted": "cut_body",
    "a packed answer is unpacked": "packed",
    "any status is an answer": "created",
    "a token is replaced without asking which": "token_dies",
    "every waiter logs in": "token_dies",
    "lane: what waits on an idle connection is not asked for": "stall+extra_408",
    "lane: an answer that nobody asked for is not noticed": _DISPLACED,
    "lane: the guard is gone": "stale_close,stale_reset,extra_408",
    "lane: the first byte is noticed too late": "reset_applied,hang_applied",
    "lane: a cut answer is accepted": "cut_body,drip",
    "lane: a head without a body is accepted": "cut_chunks,unframed",
    "lane: a time-out means not sent": "hang_applied",
    "lane: a lost connection means not sent": "reset_applied,close_applied",
    "lane: a lease that was given up is kept": "late_and_silent,hang_applied,abort",
    "lane: a connection closed in the turn that made it is written to": "accepted_and_reset+extra_408,"
    "accepted_and_closed+garbage,accepted_and_closed+reset_unread",
    "lane: trailing bytes are accepted": _AT_ONCE,
    "desync: rows of the connection stay as they were": _DISPLACED,
    "desync: rows of a connection of the session lane stay as they were": _DISPLACED,
    "desync: of two answers at once only the last row is in doubt": _AT_ONCE,
    "desync: only the last rows of the connection are in doubt": _DISPLACED,
    "desync: a row that was taken back is not written to the journal": _DISPLACED,
    "desync: a row that was taken back is not told": "extra_answer",
    "desync: a row that was taken back is counted twice": "extra_answer",
    "desync: a row is taken back before it was said": _DISPLACED,
    "desync: an answer in doubt allows another try": "extra_answer+status_429",
    "chain: a mark is not waited for": "hang_applied,reset_applied",
    "chain: a mark that failed is one": "disk_full",
    "chain: no row is marked": "hang_applied,reset_applied",
    "chain: a row that was begun is given up when its run is stopped": "stop_and_hang,abort",
    "chain: every answer is a good one": "refusal,empty_body",
    "chain: what was begun and went wrong is sent again": "reset_applied,hang_applied",
    "chain: a token is replaced that was not used": "token_dies",
    "settling: inserted without a removal": "reset_applied,hang_applied",
    "settling: the quarantine is not waited for": "late_and_closed",
    "settling: a removal that was lost is sent again at once": "late_and_closed+hang",
    "settling: an insert that was lost is taken for done": "reset,close",
    "settling: a removal that was lost is taken for done": "late_and_closed,reset",
    "removals: an insert does not wait for one that may come late": "late_and_closed",
    "removals: the next run forgets one that may come late": "late_and_closed",
    "removals: one that was overtaken is sent again": "refusal,empty_body",
    "removals: a call that was taken off since is sent again": "refusal,status_503_later,token_dies,status_429",
    "removals: one that was lost is called failed by the next run": "status_400,refusal",
}
