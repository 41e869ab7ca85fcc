-- What runs have spent, every reservation, and what each account spends in a day.

CREATE TABLE api_smooth.runs (run text PRIMARY KEY, queries bigint NOT NULL, micro_usd bigint NOT NULL);
CREATE TABLE api_smooth.days (
    account text NOT NULL, day date NOT NULL, micro_usd bigint NOT NULL, PRIMARY KEY (account, day)
);
CREATE TABLE api_smooth.entries (
    entry bigint PRIMARY KEY, run text NOT NULL, provider text NOT NULL, account text NOT NULL, stream text NOT NULL,
    queries integer NOT NULL, micro_usd bigint NOT NULL, state text NOT NULL, at double precision NOT NULL
);

-- The calendar day (UTC) of a time.
CREATE FUNCTION api_smooth.day(at double precision) RETURNS date LANGUAGE sql IMMUTABLE AS $$
    SELECT (to_timestamp(at) AT TIME ZONE 'UTC')::date
$$;

-- Take queries out of a budget, for several callers one after the other: for each as many of `counts` as fit when
-- `leaves` others are kept; returns how many. A limit that is NULL is none. `sent` are entries that were.
-- An entry that is there is that of a call whose reply was lost: it stands as it is.
CREATE FUNCTION api_smooth.reserve(
    of text, by text, on_account text, price bigint, most_queries bigint, most_usd bigint, most_a_day bigint,
    numbers bigint[], streams text[], counts integer[], leaves integer[], sent bigint[]
) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
    at double precision := api_smooth.clock();
    spent record;
    today bigint := 0;
    taken bigint := 0;
    room bigint;
    fits integer;
    granted integer[] := '{}';
BEGIN
    UPDATE api_smooth.entries SET state = 'sent' WHERE entry = ANY (sent) AND state = 'open';
    SELECT queries, micro_usd INTO spent FROM api_smooth.runs WHERE run = of FOR UPDATE;
    IF price > 0 THEN
        INSERT INTO api_smooth.days AS d VALUES (on_account, api_smooth.day(at), 0)
        ON CONFLICT (account, day) DO UPDATE SET micro_usd = d.micro_usd RETURNING d.micro_usd INTO today;
    END IF;
    FOR i IN 1 .. cardinality(numbers) LOOP
        SELECT queries INTO fits FROM api_smooth.entries WHERE entry = numbers[i];
        IF NOT FOUND THEN
            room := least(
                most_queries - spent.queries - taken,
                CASE WHEN price > 0 THEN (most_usd - spent.micro_usd - taken * price) / price END,
                CASE WHEN price > 0 THEN (most_a_day - today - taken * price) / price END);
            fits := CASE WHEN room IS NULL THEN counts[i] ELSE least(counts[i], greatest(0, room - leaves[i])) END;
            IF fits > 0 THEN
                INSERT INTO api_smooth.entries
                VALUES (numbers[i], of, by, on_account, streams[i], fits, fits * price, 'open', at);
            END IF;
            taken := taken + fits;
        END IF;
        granted := granted || fits;
    END LOOP;
    IF taken > 0 THEN
        UPDATE api_smooth.runs SET queries = queries + taken, micro_usd = micro_usd + taken * price WHERE run = of;
        UPDATE api_smooth.days SET micro_usd = micro_usd + taken * price
        WHERE price > 0 AND account = on_account AND day = api_smooth.day(at);
    END IF;
    RETURN granted;
END $$;

-- Give back what surely was not sent, to its run and to the day on which it was reserved; once.
CREATE FUNCTION api_smooth.give_back(number bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    given record;
BEGIN
    UPDATE api_smooth.entries SET state = 'unsent' WHERE entry = number AND state = 'open'
    RETURNING * INTO given;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE api_smooth.runs SET queries = queries - given.queries, micro_usd = micro_usd - given.micro_usd
    WHERE run = given.run;
    UPDATE api_smooth.days SET micro_usd = micro_usd - given.micro_usd
    WHERE account = given.account AND day = api_smooth.day(given.at);
END $$;
