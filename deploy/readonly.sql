-- A role per service, which may read the tables that its statements name and do nothing else.
--
--   psql -f deploy/readonly.sql DATABASE      as a superuser, or as the owner of Prefect's tables with CREATEROLE
--
-- It may be run again at any time, and should be after an upgrade of Classis. The roles have no password, so that
-- nobody logs in with one yet; to set it, in psql: \password classis_flows
-- Then CLASSIS_FLOWS_POSTGRES_DSN=postgresql://classis_flows:…@host/database, and so on (docs/security.md).
BEGIN;

DO $$
DECLARE
    service text;
BEGIN
    FOREACH service IN ARRAY ARRAY['classis_flows', 'classis_runs', 'classis_work_pools', 'classis_deployments'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', service);
        END IF;
        -- What it was granted before and needs no more goes.
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', current_schema(), service);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), service);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), service);
        -- Backstops: a service sets the first two itself, the time from its deadline.
        EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', service);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''60s''', service);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''60s''', service);
        -- A replica opens up to CLASSIS_POOL_SIZE connections, of deployments twice as many. To limit them, leave room
        -- for old and new replicas side by side:  ALTER ROLE classis_runs CONNECTION LIMIT 48;  -- 3 replicas x 8 x 2
    END LOOP;
END
$$;

GRANT SELECT ON flow TO classis_flows;
GRANT SELECT ON work_pool, work_queue TO classis_work_pools;
GRANT SELECT ON flow_run, task_run, deployment, flow TO classis_runs;
GRANT SELECT ON deployment, deployment_schedule, concurrency_limit_v2, flow, work_queue, work_pool
    TO classis_deployments;
GRANT SELECT (client, token, expiration) ON csrf_token TO classis_deployments;  -- for CLASSIS_CSRF_PROTECTION_ENABLED
-- Which revision the schema has, for `classis doctor`, and for deployments' classis_schema_known.
GRANT SELECT ON alembic_version TO classis_flows, classis_work_pools, classis_runs, classis_deployments;

COMMIT;

-- What PostgreSQL lets every role do stays, because to forbid it concerns Prefect too: temporary tables
-- (REVOKE TEMPORARY ON DATABASE … FROM PUBLIC), large objects, and before version 15 tables of its own in the schema
-- public (GRANT CREATE ON SCHEMA public TO prefect, then REVOKE CREATE ON SCHEMA public FROM PUBLIC).
