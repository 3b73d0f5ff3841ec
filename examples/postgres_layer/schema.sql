-- What the layer keeps in a database. It makes all this where it is missing. Where its user may not, run
-- it with psql, once; and again for another version, since it only adds and replaces.
CREATE SCHEMA IF NOT EXISTS channels;
-- Who listens, and until when others believe it; in which groups these processes have members.
CREATE UNLOGGED TABLE IF NOT EXISTS channels.process (name text PRIMARY KEY, expires timestamptz NOT NULL);
CREATE UNLOGGED TABLE IF NOT EXISTS channels.member (
    layer text, grp text, process text REFERENCES channels.process ON DELETE CASCADE,
    PRIMARY KEY (layer, grp, process));
CREATE INDEX IF NOT EXISTS member_process ON channels.member (process);
-- Named channels in groups, and what waits in named channels, which outlives a crash of the server.
CREATE TABLE IF NOT EXISTS channels.binding (
    layer text, grp text, channel text, expires timestamptz NOT NULL, PRIMARY KEY (layer, grp, channel));
CREATE TABLE IF NOT EXISTS channels.queue (
    id bigserial PRIMARY KEY, layer text NOT NULL, channel text NOT NULL, data bytea NOT NULL,
    expires timestamptz NOT NULL);
CREATE INDEX IF NOT EXISTS queue_channel ON channels.queue (layer, channel, id);
CREATE INDEX IF NOT EXISTS queue_expires ON channels.queue (layer, expires);
-- What is too large for a notification, which names it instead: that has up to 7,999 bytes of text.
CREATE UNLOGGED TABLE IF NOT EXISTS channels.payload (
    id bigserial PRIMARY KEY, data bytea NOT NULL, expires timestamptz NOT NULL);
-- The time in so many seconds; ten years are for ever.
CREATE OR REPLACE FUNCTION channels.after(seconds float) RETURNS timestamptz
LANGUAGE sql AS $$ SELECT clock_timestamp() + least(seconds, 3e8) * interval '1 second' $$;
-- Notify processes, if there are any.
CREATE OR REPLACE FUNCTION channels.notify(processes text[], entry bytea) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE note text := translate(encode(entry, 'base64'), E'\n', '');
BEGIN
    IF length(note) > 7999 AND cardinality(processes) > 0 THEN
        INSERT INTO channels.payload (data, expires) VALUES (entry, channels.after(60))
        RETURNING '#' || id INTO note;
    END IF;
    PERFORM pg_notify('channels_' || process, note) FROM unnest(processes) AS process;
    RETURN cardinality(processes) > 0;
END $$;
-- Send to each process with members in a group, once. Returns the named channels in the group.
CREATE OR REPLACE FUNCTION channels.group_send(to_layer text, to_grp text, entry bytea) RETURNS text[]
LANGUAGE sql AS $$
    SELECT channels.notify(array(
        SELECT process FROM channels.member JOIN channels.process ON name = process
        WHERE layer = to_layer AND grp = to_grp AND expires > clock_timestamp()), entry);
    SELECT array(SELECT channel FROM channels.binding
        WHERE layer = to_layer AND grp = to_grp AND expires > clock_timestamp());
$$;
-- Renew the lease of a process, and let it join groups. Returns whether it had a lease.
CREATE OR REPLACE FUNCTION channels.register(
    process text, lease float, layer text, groups text[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE held boolean := EXISTS (
    SELECT FROM channels.process p WHERE p.name = process AND p.expires > clock_timestamp());
BEGIN
    INSERT INTO channels.process AS p VALUES (process, channels.after(lease))
    ON CONFLICT (name) DO UPDATE SET expires = excluded.expires
    WHERE p.expires < channels.after(lease * 0.9);
    INSERT INTO channels.member SELECT layer, unnest(groups), process ON CONFLICT DO NOTHING;
    RETURN held;
END $$;
-- Append to a named channel, unless it is full. The lock keeps count and order true.
CREATE OR REPLACE FUNCTION channels.enqueue(
    to_layer text, to_channel text, message bytea, capacity int, expiry float) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(to_layer || ' ' || to_channel, 0));
    IF capacity <= (SELECT count(*) FROM channels.queue WHERE layer = to_layer
            AND channel = to_channel AND expires > clock_timestamp()) THEN
        RETURN false;
    END IF;
    INSERT INTO channels.queue (layer, channel, data, expires)
    VALUES (to_layer, to_channel, message, channels.after(expiry));
    PERFORM pg_notify('channels_' || md5(to_layer), to_channel);
    RETURN true;
END $$;
-- Take the first message of a named channel, which may have expired.
CREATE OR REPLACE FUNCTION channels.dequeue(from_layer text, from_channel text)
RETURNS TABLE (id bigint, data bytea, expires timestamptz, expired boolean) LANGUAGE sql AS $$
    DELETE FROM channels.queue q WHERE q.id = (
        SELECT n.id FROM channels.queue n WHERE layer = from_layer AND channel = from_channel
        ORDER BY n.id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING q.id, q.data, q.expires, q.expires <= clock_timestamp();
$$;
-- Delete what has expired. Returns how many messages that was in which named channels.
CREATE OR REPLACE FUNCTION channels.sweep(of_layer text) RETURNS TABLE (channel text, expired bigint)
LANGUAGE sql AS $$
    DELETE FROM channels.process WHERE name IN (
        SELECT name FROM channels.process WHERE expires <= clock_timestamp() FOR UPDATE SKIP LOCKED);
    DELETE FROM channels.binding WHERE expires <= clock_timestamp();
    DELETE FROM channels.payload WHERE expires <= clock_timestamp();
    WITH old AS (
        DELETE FROM channels.queue q WHERE q.id IN (
            SELECT o.id FROM channels.queue o WHERE layer = of_layer AND expires <= clock_timestamp()
            FOR UPDATE SKIP LOCKED) RETURNING q.channel)
    SELECT old.channel, count(*) FROM old GROUP BY old.channel;
$$;
