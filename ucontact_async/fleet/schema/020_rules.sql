-- "ruled": it was loaded under rules of the dial, and only a worker that has rules claims it. "claimed" puts all claims
-- in an order: of two claims at once the later one counts the rows of the earlier one against a cap.
CREATE SEQUENCE ucontact.claimed;
ALTER TABLE ucontact.shards ADD ruled boolean NOT NULL DEFAULT false, ADD claimed bigint;

-- Of what rules read of the row in the file: the time zone, and the first and last moment at which it may ring.
CREATE TABLE ucontact.cells (
    row_id bigint PRIMARY KEY,
    cells json NOT NULL
);

-- As before; "rules" says that the worker has rules.
DROP FUNCTION ucontact.claim(bigint, bigint[], integer, boolean, bigint);
CREATE FUNCTION ucontact.claim(
    me bigint, held bigint[], most integer, kind boolean, named bigint, rules boolean DEFAULT false
)
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
        WHERE s.tenant_id = tenant AND s.open AND s.owner IS NULL AND (rules OR NOT s.ruled)
            AND s.id = coalesce(named, s.id)
        ORDER BY s.id LIMIT 1;
    END IF;
    IF EXISTS (SELECT FROM ucontact.shards s
               WHERE s.owner IS NOT NULL AND s.tenant_id = tenant AND s.removals <> kind) THEN
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE ucontact.shards s SET owner = me, claims = s.claims + 1, claimed = nextval('ucontact.claimed')
    WHERE s.id IN (
        SELECT f.id FROM ucontact.shards f
        WHERE f.tenant_id = tenant AND f.open AND f.owner IS NULL AND f.removals = kind AND (rules OR NOT f.ruled)
            AND f.id = coalesce(named, f.id)
        ORDER BY f.id LIMIT most FOR UPDATE SKIP LOCKED
    )
    RETURNING s.id, s.removals;
END
$$;
