-- The one session that all workers of a tenant share. Who may read this table may act as the API user.
CREATE TABLE ucontact.tokens (
    tenant_id bigint PRIMARY KEY REFERENCES ucontact.tenants,
    generation integer NOT NULL CHECK (generation > 0), -- one more with every login
    token text NOT NULL,
    born_at timestamptz NOT NULL,
    deaths integer NOT NULL CHECK (deaths >= 0) -- how many tokens in a row died young before this one
);
