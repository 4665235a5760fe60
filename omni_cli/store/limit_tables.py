"""What ``limits.py`` counts in: tables and a function of PostgreSQL's."""

TABLES = """
CREATE UNLOGGED TABLE IF NOT EXISTS limit_windows (
    name TEXT NOT NULL, minute INTEGER NOT NULL, requests INTEGER NOT NULL,
    tokens INTEGER NOT NULL, PRIMARY KEY (name, minute)
);
CREATE UNLOGGED TABLE IF NOT EXISTS limit_places (
    place INTEGER NOT NULL, name TEXT NOT NULL, until_at INTEGER NOT NULL, PRIMARY KEY (place)
);
CREATE INDEX IF NOT EXISTS limit_places_by_name ON limit_places (name);
CREATE OR REPLACE FUNCTION omni_enter(
    p_name text, p_rpm bigint, p_tpm bigint, p_tokens bigint, p_most bigint, p_place bigint,
    p_held_ms bigint
) RETURNS TABLE (refused text, left_requests bigint, left_tokens bigint, wait_ms bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_now bigint;
    v_minute bigint;
    v_left bigint;
    v_requests bigint;
    v_tokens bigint;
    v_before bigint;
    v_weighed bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1869442666, hashtext(p_name));
    v_now := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    v_minute := v_now / 60000;
    v_left := 60000 - v_now % 60000;
    IF p_most IS NOT NULL THEN
        DELETE FROM limit_places p WHERE p.name = p_name AND p.until_at <= v_now;
        IF (SELECT count(*) FROM limit_places p WHERE p.name = p_name) >= p_most THEN
            RETURN QUERY SELECT 'once'::text, 0::bigint, 0::bigint, 1000::bigint;
            RETURN;
        END IF;
    END IF;
    SELECT coalesce(sum(w.requests) FILTER (WHERE w.minute = v_minute), 0),
        coalesce(sum(w.tokens) FILTER (WHERE w.minute = v_minute), 0),
        coalesce(sum(w.requests) FILTER (WHERE w.minute = v_minute - 1), 0)
        INTO v_requests, v_tokens, v_before FROM limit_windows w WHERE w.name = p_name;
    IF v_tokens + least(p_tokens, p_tpm) > p_tpm THEN
        RETURN QUERY SELECT 'tokens'::text, 0::bigint, 0::bigint, v_left;
        RETURN;
    END IF;
    v_weighed := v_before * v_left / 60000 + v_requests;
    IF v_weighed >= p_rpm THEN
        RETURN QUERY SELECT 'requests'::text, 0::bigint, 0::bigint, CASE
            WHEN v_requests >= p_rpm THEN v_left
            ELSE v_left - (p_rpm - v_requests) * 60000 / v_before + 1 END;
        RETURN;
    END IF;
    IF p_most IS NOT NULL THEN
        INSERT INTO limit_places VALUES (p_place, p_name, v_now + p_held_ms);
    END IF;
    INSERT INTO limit_windows AS w VALUES (p_name, v_minute, 1, 0)
        ON CONFLICT (name, minute) DO UPDATE SET requests = w.requests + 1;
    IF v_requests = 0 THEN
        DELETE FROM limit_windows w WHERE w.minute < v_minute - 1;
    END IF;
    RETURN QUERY SELECT ''::text, p_rpm - v_weighed - 1, p_tpm - v_tokens - p_tokens, v_left;
END $$
"""
