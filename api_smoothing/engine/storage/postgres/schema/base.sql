-- The version of all that follows, the secrets, and the one clock.

CREATE TABLE api_smooth.version (version integer NOT NULL, created double precision NOT NULL);

-- The secret seed and the key of the seals: drawn here, so that no log of statements has them.
CREATE TABLE api_smooth.secrets (name text PRIMARY KEY, key bytea NOT NULL);
INSERT INTO api_smooth.secrets
SELECT name, substr(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 1, 16)
FROM unnest(ARRAY['seed', 'seal']) AS name;

-- The time of day in seconds, for days, leases and turns: no machine's own clock decides anything.
CREATE FUNCTION api_smooth.clock() RETURNS double precision LANGUAGE sql VOLATILE AS $$
    SELECT extract(epoch FROM clock_timestamp())::double precision
$$;

-- Since when hearts can have been heard: while the server is down none can.
CREATE FUNCTION api_smooth.heard_since() RETURNS double precision LANGUAGE sql VOLATILE AS $$
    SELECT extract(epoch FROM pg_postmaster_start_time())::double precision
$$;
