-- An undo of the row's call was begun and not ended: whether the call is there is not known.
ALTER TABLE ucontact.rows ADD undoing boolean NOT NULL DEFAULT false;

-- Have worker "me" take back the calls of a batch, and keep all others of its tenant from sending any meanwhile; false
-- if some are being sent. It holds a shard of removals with nothing in it, which ends with it.
CREATE FUNCTION ucontact.undo(me bigint, batch bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    tenant bigint;
BEGIN
    SELECT w.tenant_id INTO tenant FROM ucontact.workers w WHERE w.id = me AND w.ended_at IS NULL FOR SHARE;
    PERFORM pg_advisory_xact_lock(hashtextextended('ucontact.claim', tenant));
    IF tenant IS NULL OR EXISTS (SELECT FROM ucontact.shards s WHERE s.tenant_id = tenant AND s.owner IS NOT NULL) THEN
        RETURN false;
    END IF;
    INSERT INTO ucontact.shards (batch_id, tenant_id, removals, open, owner) VALUES (batch, tenant, true, false, me);
    RETURN true;
END
$$;
