-- The questions that were asked of each stream.

CREATE TABLE api_smooth.looks (
    look bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL, question text NOT NULL,
    at double precision NOT NULL, UNIQUE (stream, question)
);

-- Charge a look, unless the same question was asked before; returns all so far. Those of one stream come one by one.
CREATE FUNCTION api_smooth.look(of text, asked text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('api-smooth look ' || of, 0));
    INSERT INTO api_smooth.looks (stream, question, at) VALUES (of, asked, api_smooth.clock())
    ON CONFLICT (stream, question) DO NOTHING;
    RETURN QUERY SELECT question FROM api_smooth.looks WHERE stream = of ORDER BY look;
END $$;
