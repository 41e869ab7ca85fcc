-- The turns of each account: `engine/storage/flow.py` and `pace.py`, whose arithmetic this is, at the server's clock.

-- A quota, the window in seconds (with its margin) and the times of the units it last let through, ascending.
CREATE TYPE api_smooth.lane AS (quota text, is_image boolean, count integer, span double precision, past double precision[]);
CREATE TABLE api_smooth.quotas (quota text PRIMARY KEY, past double precision[] NOT NULL);
CREATE TABLE api_smooth.pauses (key text PRIMARY KEY, until double precision NOT NULL);
CREATE TABLE api_smooth.paces (
    quota text PRIMARY KEY, ceiling double precision NOT NULL, cut double precision NOT NULL, answered bigint NOT NULL,
    settled double precision NOT NULL
);

-- Units a second that may be tried, `answered` requests after a rate of `ceiling` was too high: see pace.py.
CREATE FUNCTION api_smooth.rate(ceiling double precision, cut double precision, answered bigint)
RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT ceiling * (1 + ((answered - 1500 * cbrt(1 - cut)) / 1500) ^ 3)
$$;

-- The first time from `start` on at which a request with `images` images keeps to the quota.
CREATE FUNCTION api_smooth.next_turn(l api_smooth.lane, images integer, start double precision)
RETURNS double precision LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    n integer := cardinality(l.past);
    units integer := least(CASE WHEN l.is_image THEN images ELSE 1 END, l.count);
BEGIN
    IF n >= l.count - units + 1 THEN
        start := greatest(start, l.past[n + units - l.count] + l.span);
    END IF;
    IF n > 0 THEN
        start := greatest(start, l.past[n] + l.span / l.count / 2);
    END IF;
    RETURN start;
END $$;

-- The units of a request at `at`: one larger than the quota fills some windows, and counts as in the last of them.
CREATE FUNCTION api_smooth.units_of(l api_smooth.lane, images integer, at double precision)
RETURNS double precision[] LANGUAGE sql IMMUTABLE AS $$
    SELECT array_fill(
        at + (ceil(wanted::double precision / (l).count) - 1) * (l).span, ARRAY[least(wanted, (l).count)])
    FROM (SELECT CASE WHEN (l).is_image THEN images ELSE 1 END AS wanted) AS w
$$;

-- The lanes of an account at its present pace. Nobody else is at them until the transaction ends.
CREATE FUNCTION api_smooth.lanes(account text, units text[], counts integer[], seconds double precision[])
RETURNS api_smooth.lane[] LANGUAGE plpgsql AS $$
DECLARE
    these api_smooth.lane[] := '{}';
    one api_smooth.lane;
    slower double precision;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO api_smooth.pauses VALUES (account, 0) ON CONFLICT DO NOTHING;
    PERFORM 1 FROM api_smooth.pauses WHERE key = account FOR UPDATE;
    FOR i IN 1 .. cardinality(units) LOOP
        one := ROW(account || '/' || units[i], units[i] = 'image', counts[i], seconds[i] * 1.02, '{}');
        SELECT api_smooth.rate(ceiling, cut, answered) INTO slower FROM api_smooth.paces WHERE quota = one.quota;
        IF slower < counts[i] / seconds[i] THEN
            one.count := 1;
            one.span := 1.02 / slower;
        END IF;
        SELECT past INTO one.past FROM api_smooth.quotas WHERE quota = one.quota;
        -- Turns hours ahead are of a clock that has been set back.
        IF one.past IS NULL OR one.past[cardinality(one.past)] > api_smooth.clock() + 7200 THEN
            one.past := '{}';
        END IF;
        these := these || one;
    END LOOP;
    RETURN these;
END $$;

CREATE FUNCTION api_smooth.keep_lanes(these api_smooth.lane[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO api_smooth.quotas
    SELECT quota, past[greatest(1, cardinality(past) - 511) :] FROM unnest(these)
    ON CONFLICT (quota) DO UPDATE SET past = excluded.past
$$;

-- `these` without turns that came to nothing.
CREATE FUNCTION api_smooth.without(these api_smooth.lane[], images integer[], ats double precision[])
RETURNS api_smooth.lane[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    unit double precision;
    place integer;
BEGIN
    FOR i IN 1 .. cardinality(ats) LOOP
        FOR j IN 1 .. cardinality(these) LOOP
            FOREACH unit IN ARRAY api_smooth.units_of(these[j], images[i], ats[i]) LOOP
                place := array_position(these[j].past, unit);
                IF place IS NOT NULL THEN
                    these[j].past := these[j].past[: place - 1] || these[j].past[place + 1 :];
                END IF;
            END LOOP;
        END LOOP;
    END LOOP;
    RETURN these;
END $$;

-- The turns of a line of requests with `images` images each, at the server's time `now`: those of the first `given` are
-- taken, up to `ahead` seconds from now; the others are when they would come. None is sooner than `lead` seconds.
-- `answers` came since the last call, and the turns `back_at`, of `back` images each, came to nothing.
CREATE FUNCTION api_smooth.turns(
    account text, units text[], counts integer[], seconds double precision[], images integer[],
    lead double precision, ahead double precision, answers bigint, back integer[], back_at double precision[],
    OUT now double precision, OUT given integer, OUT at double precision[]
) LANGUAGE plpgsql AS $$
DECLARE
    these api_smooth.lane[];
    taken api_smooth.lane[];
    one api_smooth.lane;
    start double precision;
    turn double precision;
BEGIN
    these := api_smooth.without(api_smooth.lanes(account, units, counts, seconds), back, back_at);
    taken := these;
    UPDATE api_smooth.paces SET answered = answered + answers
    WHERE answers > 0 AND quota IN (SELECT account || '/' || unit FROM unnest(units) AS unit);
    now := api_smooth.clock();
    SELECT greatest(now + lead, CASE WHEN until <= now + 3600 THEN until END) INTO start
    FROM api_smooth.pauses WHERE key = account;
    given := 0;
    at := '{}';
    FOR i IN 1 .. cardinality(images) LOOP
        turn := start;
        FOREACH one IN ARRAY these LOOP
            turn := greatest(turn, api_smooth.next_turn(one, images[i], start));
        END LOOP;
        at := at || turn;
        FOR j IN 1 .. cardinality(these) LOOP
            these[j].past := these[j].past || api_smooth.units_of(these[j], images[i], turn);
        END LOOP;
        IF turn <= now + lead + ahead AND given = i - 1 THEN
            given := i;
            taken := these;
        END IF;
    END LOOP;
    PERFORM api_smooth.keep_lanes(taken);
END $$;

-- Have a request that left earlier count as one of now, too.
CREATE FUNCTION api_smooth.spare_turn(
    account text, units text[], counts integer[], seconds double precision[], images integer
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    these api_smooth.lane[] := api_smooth.lanes(account, units, counts, seconds);
    at double precision := api_smooth.clock();
BEGIN
    FOR j IN 1 .. cardinality(these) LOOP
        at := greatest(at, these[j].past[cardinality(these[j].past)]);
    END LOOP;
    FOR j IN 1 .. cardinality(these) LOOP
        these[j].past := these[j].past || api_smooth.units_of(these[j], images, at);
    END LOOP;
    PERFORM api_smooth.keep_lanes(these);
END $$;

-- Nobody on this account has a turn before `wait` seconds from now, an hour at most.
CREATE FUNCTION api_smooth.pause(account text, wait double precision) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now double precision := api_smooth.clock();
BEGIN
    INSERT INTO api_smooth.pauses AS p VALUES (account, now + least(wait, 3600))
    ON CONFLICT (key) DO UPDATE
    SET until = greatest(excluded.until, CASE WHEN p.until <= now + 3600 THEN p.until END);
END $$;

-- A request was refused as too fast: everyone pauses, and is slower from then on. What is refused soon after that had
-- left before, and slows nobody again: see rate.py.
CREATE FUNCTION api_smooth.throttle(
    account text, units text[], counts integer[], seconds double precision[], wait double precision
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    now double precision := api_smooth.clock();
    p api_smooth.paces;
    quick double precision;
BEGIN
    PERFORM api_smooth.pause(account, wait);
    FOR i IN 1 .. cardinality(units) LOOP
        SELECT * INTO p FROM api_smooth.paces WHERE quota = account || '/' || units[i];
        CONTINUE WHEN now < p.settled AND p.settled <= now + 7200;
        quick := counts[i] / seconds[i];
        INSERT INTO api_smooth.paces VALUES (
            account || '/' || units[i],
            greatest(quick / 100, least(quick, api_smooth.rate(p.ceiling, p.cut, p.answered))),
            CASE WHEN p.answered IS NULL OR p.answered >= 200 THEN 0.93 WHEN p.answered >= 25 THEN 0.85 ELSE 0.7 END,
            0, now + wait + least(60, greatest(1, seconds[i])))
        ON CONFLICT (quota) DO UPDATE SET ceiling = excluded.ceiling, cut = excluded.cut, answered = 0,
            settled = excluded.settled;
    END LOOP;
END $$;
