-- Roles with the least that each needs. Run by a superuser in timbrado's own database, after the first `timbrado migrate`
-- and again after each release that adds a table; it may be run as often as you like:
--
--     psql -X -v ON_ERROR_STOP=1 -d timbrado -f deploy/postgres/roles.sql
--
-- Then give each a password or a certificate:  ALTER ROLE timbrado_worker PASSWORD '...'  (\password in psql)
--
--   timbrado_owner   owns the tables: `timbrado migrate`, and nobody else
--   timbrado_worker  workers, beat, Flower, the command line
--   timbrado_read    looks, and sees no API key: reports, an auditor
--   timbrado_sender  Apunto, where it writes submissions into timbrado_inbox in its own transaction
--
-- What the worker has not: it can't delete an invoice, an attempt, a document's row, an event or a line of history, nor
-- change a line of history. What the law wants kept for five years, no fault of the program takes away.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['timbrado_owner', 'timbrado_worker', 'timbrado_read', 'timbrado_sender'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', wanted);
        END IF;
    END LOOP;
END $$;

-- Nobody reaches this database, or makes anything in it, unless it is said here.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO timbrado_owner, timbrado_worker, timbrado_read, timbrado_sender',
        current_database()
    );
END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO timbrado_owner;
GRANT USAGE ON SCHEMA public TO timbrado_worker, timbrado_read, timbrado_sender;

-- The owner owns all of it, whoever made it.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('ALTER TABLE public.%I OWNER TO timbrado_owner', found.tablename);
    END LOOP;
    FOR found IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'public'
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO timbrado_owner', found.name);
    END LOOP;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, timbrado_worker, timbrado_read, timbrado_sender;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, timbrado_worker, timbrado_read, timbrado_sender;

GRANT SELECT, INSERT, UPDATE ON
    connections, invoices, attempts, documents, events, deliveries, endpoints, providers, timbrado_inbox,
    dead_letters, answer_samples, seen_messages, api_keys, heartbeats, installation
    TO timbrado_worker;
GRANT SELECT, INSERT, DELETE ON actions, panel_sessions TO timbrado_worker;
GRANT DELETE ON seen_messages TO timbrado_worker; -- ids that no message comes with any more
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_refs TO timbrado_worker; -- ContaDigital's ids: learnt, and forgotten
GRANT SELECT, INSERT ON history TO timbrado_worker; -- written by the trigger on invoices, with the worker's rights
GRANT SELECT ON invoice_moves, alembic_version TO timbrado_worker;

GRANT SELECT ON
    invoices, attempts, documents, events, deliveries, endpoints, providers, dead_letters, history, invoice_moves,
    answer_samples, seen_messages, actions, heartbeats, installation, alembic_version
    TO timbrado_read;
GRANT SELECT (id, account, status, reason, rfc, razon_social, codigo_postal, serie, base_url, id_empresa, stamps_left,
              paused, validated_at, broken_at, next_probe_at, created_at, updated_at)
    ON connections TO timbrado_read;

GRANT INSERT (id, kind, payload, trace_id) ON timbrado_inbox TO timbrado_sender;

-- A statement of a person who forgot a WHERE does not hold up the workers for ever.
ALTER ROLE timbrado_read SET statement_timeout = '60s';
ALTER ROLE timbrado_read SET default_transaction_read_only = on;
ALTER ROLE timbrado_owner SET lock_timeout = '5s';
