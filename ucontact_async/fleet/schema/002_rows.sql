-- One input, such as a file: its rows and what became of them. The same name again goes on where it stopped.
CREATE TABLE ucontact.batches (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES ucontact.tenants,
    name text NOT NULL,
    operation text NOT NULL,
    digest text NOT NULL,
    loads integer NOT NULL DEFAULT 0, -- how many times it was loaded
    loaded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);

-- What is claimed at once: a few hundred rows. Only its owner may send a row of it that is still planned. Removals and
-- what they could remove are never under way at the same time (they may overtake each other).
CREATE TABLE ucontact.shards (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id bigint NOT NULL REFERENCES ucontact.batches,
    tenant_id bigint NOT NULL REFERENCES ucontact.tenants,
    removals boolean NOT NULL,
    open boolean NOT NULL DEFAULT true, -- some of its rows are still planned
    owner bigint REFERENCES ucontact.workers,
    claims integer NOT NULL DEFAULT 0
);
CREATE INDEX shards_claimable ON ucontact.shards (tenant_id, id) WHERE open AND owner IS NULL;
CREATE INDEX shards_claimed ON ucontact.shards (owner) WHERE owner IS NOT NULL;
CREATE INDEX shards_batch ON ucontact.shards (batch_id);

-- "owner" is the one worker that ever marked the row as sent: nobody else sends it after that, for ever, and nobody
-- else says how it ended but a person. No index holds what a mark changes, so that marks need no new index entries.
CREATE TABLE ucontact.rows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id bigint NOT NULL,
    shard_id bigint NOT NULL REFERENCES ucontact.shards,
    content bytea NOT NULL, -- digest of the canonical request
    occurrence integer NOT NULL, -- its number among equal ones
    identity bigint NOT NULL, -- what two requests for the same call share
    load integer NOT NULL,
    position integer NOT NULL, -- its line in the file, or its place in the input
    status text NOT NULL DEFAULT 'planned'
        CHECK (status IN ('planned', 'sent', 'succeeded', 'failed', 'unknown', 'skipped', 'undone')),
    reason text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 0,
    owner bigint,
    at timestamptz -- when it became what it is
) WITH (fillfactor = 70);
CREATE INDEX rows_shard ON ucontact.rows (shard_id);
CREATE INDEX rows_identity ON ucontact.rows (batch_id, identity);

-- What each row says, apart: marks rewrite rows. "request" is JSON by the names on the wire.
CREATE TABLE ucontact.requests (
    row_id bigint PRIMARY KEY,
    endpoint text NOT NULL,
    request json NOT NULL
);

-- For people.
CREATE VIEW ucontact.calls AS
SELECT
    t.server, t.api_user, b.name AS batch, r.position AS row, r.status, r.reason, r.attempts, r.at, w.name AS worker,
    q.endpoint, q.request ->> 'campaign' AS campaign,
    coalesce(q.request ->> 'destination', q.request ->> 'number', q.request ->> 'phone') AS destination,
    q.request ->> 'calldate' AS calldate, q.request,
    encode(r.content, 'hex') || CASE r.occurrence WHEN 1 THEN '' ELSE '-' || r.occurrence END AS key, r.id
FROM ucontact.rows r
JOIN ucontact.batches b ON b.id = r.batch_id
JOIN ucontact.tenants t ON t.id = b.tenant_id
LEFT JOIN ucontact.requests q ON q.row_id = r.id
LEFT JOIN ucontact.workers w ON w.id = r.owner;

CREATE VIEW ucontact.progress AS
SELECT
    t.server, t.api_user, b.name AS batch, count(*) AS rows,
    count(*) FILTER (WHERE r.status = 'planned') AS planned,
    count(*) FILTER (WHERE r.status = 'sent') AS sent,
    count(*) FILTER (WHERE r.status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE r.status = 'failed') AS failed,
    count(*) FILTER (WHERE r.status = 'unknown') AS unknown,
    count(*) FILTER (WHERE r.status IN ('skipped', 'undone')) AS skipped,
    max(r.at) AS last
FROM ucontact.rows r
JOIN ucontact.batches b ON b.id = r.batch_id
JOIN ucontact.tenants t ON t.id = b.tenant_id
GROUP BY t.server, t.api_user, b.id, b.name;

-- The rules, where all workers meet. Each statement of a function sees what was committed before it.

-- Have worker "me" claim up to "most" shards of its tenant, or the one that is named, of the given kind or of either;
-- "held" are those it knows it has: others of its own are from a claim whose answer was lost, and come first.
CREATE FUNCTION ucontact.claim(me bigint, held bigint[], most integer, kind boolean, named bigint)
RETURNS TABLE (shard bigint, removing boolean) LANGUAGE plpgsql AS $$
DECLARE
    tenant bigint;
BEGIN
    -- Kept until the commit: nobody declares this worker dead while it claims.
    SELECT w.tenant_id INTO tenant FROM ucontact.workers w WHERE w.id = me AND w.ended_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT s.id, s.removals FROM ucontact.shards s
    WHERE s.owner = me AND NOT s.id = ANY (held) AND s.id = coalesce(named, s.id);
    IF FOUND THEN
        RETURN;
    END IF;
    -- One claim at a time, or two of different kinds would not see each other.
    PERFORM pg_advisory_xact_lock(hashtextextended('ucontact.claim', tenant));
    IF kind IS NULL THEN
        SELECT s.removals INTO kind FROM ucontact.shards s
        WHERE s.tenant_id = tenant AND s.open AND s.owner IS NULL AND s.id = coalesce(named, s.id)
        ORDER BY s.id LIMIT 1;
    END IF;
    IF EXISTS (SELECT FROM ucontact.shards s
               WHERE s.owner IS NOT NULL AND s.tenant_id = tenant AND s.removals <> kind) THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE ucontact.shards s SET owner = me, claims = s.claims + 1
    WHERE s.id IN (
        SELECT f.id FROM ucontact.shards f
        WHERE f.tenant_id = tenant AND f.open AND f.owner IS NULL AND f.removals = kind AND f.id = coalesce(named, f.id)
        ORDER BY f.id LIMIT most FOR UPDATE SKIP LOCKED
    )
    RETURNING s.id, s.removals;
END
$$;

-- Write what worker "me" says of its rows, and return whether it is alive and which rows were its to change. A row that
-- is planned is its own while it lives; one that it has sent is its own for ever, but what is dead sends nothing more.
-- "again" says that the same marks may have been written before and the answer was lost: only then is a row that is
-- marked as sent, in this step of its settling, not refused.
CREATE FUNCTION ucontact.mark(
    me bigint, ids bigint[], statuses text[], reasons text[], tries integer[], again boolean
)
RETURNS TABLE (alive boolean, marked bigint[]) LANGUAGE plpgsql AS $$
BEGIN
    -- Kept until the commit: who declares this worker dead waits for it, and then sees every row that it sent.
    PERFORM FROM ucontact.workers w WHERE w.id = me AND w.ended_at IS NULL FOR SHARE;
    alive := FOUND;
    WITH changed AS (
        UPDATE ucontact.rows r SET
            status = c.status, reason = c.reason, attempts = c.tries, at = clock_timestamp(),
            owner = CASE c.status WHEN 'planned' THEN NULL ELSE me END
        FROM unnest(ids, statuses, reasons, tries) AS c (id, status, reason, tries)
        WHERE r.id = c.id AND (
            (r.owner = me AND r.status IN ('sent', 'unknown')
                AND (alive OR c.status NOT IN ('sent', 'planned'))
                AND (again OR c.status <> 'sent' OR r.status <> 'sent' OR c.reason <> r.reason))
            OR (alive AND r.status = 'planned')
        )
        RETURNING r.id
    )
    SELECT coalesce(array_agg(c.id), '{}') INTO marked FROM changed c;
    RETURN NEXT;
END
$$;

-- Have worker "me" give a shard back. What of it is marked as sent and was never settled is unknown from now on.
CREATE FUNCTION ucontact.release(me bigint, shard bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM ucontact.shards s WHERE s.id = shard AND s.owner = me FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE ucontact.rows r SET
        status = 'unknown', at = clock_timestamp(),
        reason = CASE r.reason WHEN '' THEN 'ReplyLost' ELSE r.reason END
    WHERE r.shard_id = shard AND r.status = 'sent';
    UPDATE ucontact.shards s SET
        owner = NULL,
        open = EXISTS (SELECT FROM ucontact.rows r WHERE r.shard_id = shard AND r.status = 'planned')
    WHERE s.id = shard;
END
$$;

-- End the life of a worker whose counter still stands at "seen" (any, if null), and give back all that it holds.
CREATE FUNCTION ucontact.retire(worker bigint, how text, seen bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ucontact.workers w SET ended_at = clock_timestamp(), ended = how
    WHERE w.id = worker AND w.ended_at IS NULL AND w.beat = coalesce(seen, w.beat);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM ucontact.release(worker, s.id) FROM ucontact.shards s WHERE s.owner = worker;
    RETURN true;
END
$$;
