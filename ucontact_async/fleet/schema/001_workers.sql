-- Whose calls these are: one server and one API user. Nothing of one tenant is ever seen by the workers of another.
CREATE TABLE ucontact.tenants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server text NOT NULL,
    api_user text NOT NULL,
    UNIQUE (server, api_user)
);

-- One life of one worker process. The id is its epoch: it is never given out twice, and a worker that was taken over
-- begins again under another one. "beat" is a counter and no time: who watches it measures by a clock of its own that
-- nobody can set, and declares dead whose counter stood still for a whole lease.
CREATE TABLE ucontact.workers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES ucontact.tenants,
    name text NOT NULL,
    lease double precision NOT NULL CHECK (lease > 0), -- seconds
    beat bigint NOT NULL DEFAULT 0,
    draining boolean NOT NULL DEFAULT false, -- told to finish what is in flight and to leave
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz, -- it holds nothing from here on
    ended text CHECK (ended IN ('left', 'taken over'))
);
CREATE INDEX workers_live ON ucontact.workers (tenant_id) WHERE ended_at IS NULL;
