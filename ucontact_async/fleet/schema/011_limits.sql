-- What all workers of one tenant may do together; null is no limit.
CREATE TABLE ucontact.limits (
    tenant_id bigint PRIMARY KEY REFERENCES ucontact.tenants,
    max_concurrency integer CHECK (max_concurrency > 0), -- requests on the wire
    max_per_second double precision CHECK (max_per_second > 0), -- starts
    -- The server was overloaded: nobody starts for so many seconds from that moment on.
    closed_at timestamptz,
    closed_for double precision
);

-- What each worker may do for the time being. It counts until the worker has ended: a share that is smaller than the
-- one before is entered when the worker keeps to it, not when it is told.
CREATE TABLE ucontact.shares (
    worker_id bigint PRIMARY KEY REFERENCES ucontact.workers ON DELETE CASCADE,
    concurrency integer NOT NULL CHECK (concurrency >= 0),
    per_second double precision NOT NULL CHECK (per_second >= 0)
);

CREATE VIEW ucontact.limits_in_force AS
SELECT tenant_id, workers.id AS worker_id, name, concurrency, per_second
FROM ucontact.workers JOIN ucontact.shares ON worker_id = workers.id
WHERE ended_at IS NULL;

-- Say that worker "me" lives, and deal it its share. Until it hears of that it may have "busy" requests on the wire and
-- start "rate" in a second. What the others hold is never touched: who has more than its part is told, and the rest is
-- free once it has said that it keeps to that. One statement: who stands still in the middle of it stops nobody.
CREATE FUNCTION ucontact.deal(
    me bigint, busy integer, rate double precision,
    OUT alive boolean, OUT concurrency integer, OUT per_second double precision, OUT closed double precision
) LANGUAGE plpgsql AS $$
DECLARE
    most integer;
    fastest double precision;
    place integer;
    workers integer;
    held integer;
    held_rate double precision;
BEGIN
    -- One dealing at a time.
    PERFORM FROM ucontact.tenants t JOIN ucontact.workers w ON w.tenant_id = t.id WHERE w.id = me FOR NO KEY UPDATE OF t;
    UPDATE ucontact.workers w SET beat = w.beat + 1 WHERE w.id = me AND w.ended_at IS NULL;
    alive := FOUND;
    IF NOT alive THEN
        RETURN;
    END IF;
    -- A clock that was set opens the gate: each worker that heard of it when it closed measures by its own.
    SELECT l.max_concurrency, l.max_per_second,
        greatest(0, l.closed_for - abs(extract(epoch FROM clock_timestamp() - l.closed_at)))
    INTO most, fastest, closed
    FROM ucontact.workers w JOIN ucontact.limits l USING (tenant_id) WHERE w.id = me;
    SELECT count(*) FILTER (WHERE w.id < me), count(*),
        coalesce(sum(s.concurrency) FILTER (WHERE w.id <> me), 0), coalesce(sum(s.per_second) FILTER (WHERE w.id <> me), 0)
    INTO place, workers, held, held_rate
    FROM ucontact.workers w LEFT JOIN ucontact.shares s ON s.worker_id = w.id
    WHERE w.ended_at IS NULL AND w.tenant_id = (SELECT o.tenant_id FROM ucontact.workers o WHERE o.id = me);
    IF most IS NOT NULL THEN -- who came first gets what cannot be divided
        concurrency := greatest(0, least(most / workers + (place < most % workers)::integer, most - held));
    END IF;
    IF fastest IS NOT NULL THEN
        per_second := greatest(0, least(fastest / workers, fastest - held_rate));
    END IF;
    INSERT INTO ucontact.shares AS s (worker_id, concurrency, per_second)
    VALUES (me, greatest(deal.concurrency, busy), greatest(deal.per_second, rate))
    ON CONFLICT (worker_id) DO UPDATE SET concurrency = excluded.concurrency, per_second = excluded.per_second;
END
$$;
