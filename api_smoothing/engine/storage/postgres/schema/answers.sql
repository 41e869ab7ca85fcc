-- Answers by stream and query, the claims on those under way, final failures, and facts and marks of streams.

CREATE TABLE api_smooth.answers (
    stream text NOT NULL, query bigint NOT NULL, answer text NOT NULL, PRIMARY KEY (stream, query)
);
CREATE TABLE api_smooth.failures (
    stream text NOT NULL, query bigint NOT NULL, reason text NOT NULL, PRIMARY KEY (stream, query)
);
CREATE TABLE api_smooth.facts (stream text PRIMARY KEY, facts text NOT NULL);
CREATE TABLE api_smooth.holders (holder text PRIMARY KEY, until double precision NOT NULL);
CREATE TABLE api_smooth.claims (
    stream text NOT NULL, query bigint NOT NULL, holder text NOT NULL, ticket text NOT NULL,
    PRIMARY KEY (stream, query)
);
CREATE INDEX claims_of_a_holder ON api_smooth.claims (holder);

-- Whether a holder's heart beats: it is given up `lapse` seconds after it was last heard. A server that was down
-- waits as long before it gives anyone up, for answers that were paid meanwhile are still to come.
CREATE FUNCTION api_smooth.lives(who text, lapse double precision) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT COALESCE(
        (SELECT greatest(until, api_smooth.heard_since() + lapse) > api_smooth.clock()
         FROM api_smooth.holders WHERE holder = who),
        false)
$$;

-- The heart of `who` beats. Those that left without a word and have nothing any more are forgotten.
CREATE FUNCTION api_smooth.beat(who text, lapse double precision) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO api_smooth.holders VALUES (who, api_smooth.clock() + lapse)
    ON CONFLICT (holder) DO UPDATE SET until = excluded.until;
    DELETE FROM api_smooth.holders h
    WHERE until < api_smooth.clock() - 3600 AND NOT EXISTS (SELECT 1 FROM api_smooth.claims c WHERE c.holder = h.holder);
END $$;

-- For each (stream, query, ticket): its answer, else that it is granted (with the reason of an earlier failure) or busy.
-- A call that is made again, as its reply was lost, has the same tickets and is granted the same.
--
-- Not waited for by the disk: a reservation follows before anything is sent, and its commit takes this one along.
CREATE FUNCTION api_smooth.claim(
    streams text[], queries bigint[], tickets text[], who text, lapse double precision, beats boolean
) RETURNS TABLE (place bigint, state text, content text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    missing bigint[];
    granted bigint[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF beats THEN
        PERFORM api_smooth.beat(who, lapse);
    END IF;
    SELECT array_agg(w.place) INTO missing
    FROM unnest(streams, queries) WITH ORDINALITY AS w (stream, query, place)
    WHERE NOT EXISTS (SELECT 1 FROM api_smooth.answers a WHERE a.stream = w.stream AND a.query = w.query);
    WITH taken AS (
        INSERT INTO api_smooth.claims AS c (stream, query, holder, ticket)
        SELECT DISTINCT ON (1, 2) streams[p], queries[p], who, tickets[p] FROM unnest(missing) AS p ORDER BY 1, 2, p
        ON CONFLICT (stream, query) DO UPDATE SET holder = excluded.holder, ticket = excluded.ticket
        WHERE c.ticket = excluded.ticket OR NOT api_smooth.lives(c.holder, lapse)
        RETURNING c.stream, c.query, c.ticket
    )
    SELECT array_agg(p) INTO granted FROM unnest(missing) AS p
    JOIN taken t ON t.stream = streams[p] AND t.query = queries[p] AND t.ticket = tickets[p];
    -- Whoever held a claim has kept the answer before the claim ended: what came meanwhile is seen only now.
    DELETE FROM api_smooth.claims c USING unnest(granted) AS p, api_smooth.answers a
    WHERE c.stream = streams[p] AND c.query = queries[p] AND c.ticket = tickets[p]
    AND a.stream = c.stream AND a.query = c.query;
    RETURN QUERY
    SELECT w.place,
        CASE WHEN a.answer IS NOT NULL THEN 'known' WHEN w.place = ANY (granted) THEN 'granted' ELSE 'busy' END,
        COALESCE(a.answer, f.reason)
    FROM unnest(streams, queries) WITH ORDINALITY AS w (stream, query, place)
    LEFT JOIN api_smooth.answers a ON a.stream = w.stream AND a.query = w.query
    LEFT JOIN api_smooth.failures f ON f.stream = w.stream AND f.query = w.query;
END $$;

-- End the claims of `who`; all who take several rows take them in one order.
CREATE FUNCTION api_smooth.end_claims(streams text[], queries bigint[], who text) RETURNS void LANGUAGE sql AS $$
    DELETE FROM api_smooth.claims c
    USING (
        SELECT h.stream, h.query FROM api_smooth.claims h
        JOIN unnest(streams, queries) AS w (stream, query) ON h.stream = w.stream AND h.query = w.query
        WHERE h.holder = who ORDER BY 1, 2 FOR UPDATE OF h
    ) AS mine
    WHERE c.stream = mine.stream AND c.query = mine.query AND c.holder = who
$$;

-- End the claims of these tickets, and of no later one on the same queries.
CREATE FUNCTION api_smooth.release(streams text[], queries bigint[], tickets text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM api_smooth.claims c
    USING (
        SELECT h.stream, h.query FROM api_smooth.claims h
        JOIN unnest(streams, queries, tickets) AS w (stream, query, ticket)
            ON h.stream = w.stream AND h.query = w.query AND h.ticket = w.ticket
        ORDER BY 1, 2 FOR UPDATE OF h
    ) AS mine
    WHERE c.stream = mine.stream AND c.query = mine.query;
END $$;

-- Keep answers, end the claims of `who` on them and forgive failures; returns the older ones that stand instead.
CREATE FUNCTION api_smooth.keep(streams text[], queries bigint[], contents text[], who text)
RETURNS TABLE (place bigint, content text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO api_smooth.answers
    SELECT DISTINCT ON (1, 2) w.stream, w.query, w.answer
    FROM unnest(streams, queries, contents) WITH ORDINALITY AS w (stream, query, answer, place) ORDER BY 1, 2, w.place
    ON CONFLICT (stream, query) DO NOTHING;
    DELETE FROM api_smooth.failures f USING unnest(streams, queries) AS w (stream, query)
    WHERE f.stream = w.stream AND f.query = w.query;
    PERFORM api_smooth.end_claims(streams, queries, who);
    RETURN QUERY
    SELECT w.place, a.answer FROM unnest(streams, queries, contents) WITH ORDINALITY AS w (stream, query, answer, place)
    JOIN api_smooth.answers a ON a.stream = w.stream AND a.query = w.query WHERE a.answer <> w.answer;
END $$;

-- Keep final failures of what has no answer, and end the claims of `who` on them.
CREATE FUNCTION api_smooth.fail(streams text[], queries bigint[], reasons text[], who text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO api_smooth.failures
    SELECT w.stream, w.query, w.reason FROM unnest(streams, queries, reasons) AS w (stream, query, reason)
    WHERE NOT EXISTS (SELECT 1 FROM api_smooth.answers a WHERE a.stream = w.stream AND a.query = w.query)
    ORDER BY 1, 2
    ON CONFLICT (stream, query) DO NOTHING;
    SELECT api_smooth.end_claims(streams, queries, who);
$$;

-- The holder `who` has nothing any more.
CREATE FUNCTION api_smooth.leave(who text) RETURNS void LANGUAGE sql AS $$
    DELETE FROM api_smooth.claims WHERE holder = who;
    DELETE FROM api_smooth.holders WHERE holder = who;
$$;
