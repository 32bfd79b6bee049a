-- The tables of Prefect 3.8.8 that the fleet reads, for the stand-alone run and the tests: their columns, types,
-- defaults, constraints and indexes as Prefect's own migrations make them (a conformance test compares the two).
-- Left out: every other table, and the foreign keys to those. A real installation never needs this file.

CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TYPE state_type AS ENUM (
    'SCHEDULED', 'PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED', 'CRASHED', 'PAUSED', 'CANCELLING'
);
CREATE TYPE deployment_status AS ENUM ('READY', 'NOT_READY');
CREATE TYPE work_pool_status AS ENUM ('READY', 'NOT_READY', 'PAUSED');
CREATE TYPE work_queue_status AS ENUM ('READY', 'NOT_READY', 'PAUSED');

-- Which migration was the last; CSRF tokens

CREATE TABLE alembic_version (version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('d4a7e1c93f52');

CREATE TABLE csrf_token (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_csrf_token PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    token varchar NOT NULL,
    client varchar NOT NULL CONSTRAINT uq_csrf_token__client UNIQUE,
    expiration timestamptz NOT NULL
);
CREATE INDEX ix_csrf_token__updated ON csrf_token (updated);

-- Flows

CREATE TABLE flow (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_flow PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    name varchar NOT NULL CONSTRAINT uq_flow__name UNIQUE,
    tags jsonb NOT NULL DEFAULT '[]',
    labels jsonb
);
CREATE INDEX ix_flow__created ON flow (created);
CREATE INDEX ix_flow__updated ON flow (updated);
CREATE INDEX trgm_ix_flow_name ON flow USING gin (name gin_trgm_ops);

-- Work pools and their queues; each pool has a default queue, so the two tables point at each other

CREATE TABLE work_pool (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_work_pool PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    name varchar NOT NULL CONSTRAINT uq_work_pool__name UNIQUE,
    description varchar,
    type varchar NOT NULL,
    base_job_template jsonb NOT NULL DEFAULT '{}',
    is_paused boolean NOT NULL DEFAULT false,
    concurrency_limit integer,
    default_queue_id uuid,
    status work_pool_status NOT NULL DEFAULT 'NOT_READY',
    last_transitioned_status_at timestamptz,
    last_status_event_id uuid,
    storage_configuration jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ix_work_pool__type ON work_pool (type);
CREATE INDEX ix_work_pool__updated ON work_pool (updated);

CREATE TABLE work_queue (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_work_queue PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    name varchar NOT NULL,
    filter jsonb,
    description varchar NOT NULL DEFAULT '',
    is_paused boolean NOT NULL DEFAULT false,
    concurrency_limit integer,
    last_polled timestamptz,
    priority integer NOT NULL DEFAULT 1,
    work_pool_id uuid NOT NULL
        CONSTRAINT fk_work_queue__work_pool_id__work_pool REFERENCES work_pool ON DELETE CASCADE,
    status work_queue_status NOT NULL DEFAULT 'NOT_READY',
    CONSTRAINT uq_work_queue__work_pool_id_name UNIQUE (work_pool_id, name)
);
ALTER TABLE work_pool ADD CONSTRAINT fk_work_pool__default_queue_id__work_queue
    FOREIGN KEY (default_queue_id) REFERENCES work_queue ON DELETE RESTRICT;
CREATE INDEX ix_work_queue__updated ON work_queue (updated);
CREATE INDEX ix_work_queue__work_pool_id ON work_queue (work_pool_id);
CREATE INDEX ix_work_queue__work_pool_id_priority ON work_queue (work_pool_id, priority);
CREATE INDEX trgm_ix_work_queue_name ON work_queue USING gin (name gin_trgm_ops);

-- Deployments, their limits and their schedules

CREATE TABLE concurrency_limit_v2 (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_concurrency_limit_v2 PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    active boolean NOT NULL,
    name varchar NOT NULL CONSTRAINT uq_concurrency_limit_v2__name UNIQUE,
    "limit" integer NOT NULL,
    active_slots integer NOT NULL,
    denied_slots integer NOT NULL,
    slot_decay_per_second double precision NOT NULL,
    avg_slot_occupancy_seconds double precision NOT NULL
);
CREATE INDEX ix_concurrency_limit_v2__updated ON concurrency_limit_v2 (updated);

CREATE TABLE deployment (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_deployment PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    name varchar NOT NULL,
    tags jsonb NOT NULL DEFAULT '[]',
    parameters jsonb NOT NULL DEFAULT '{}',
    flow_id uuid NOT NULL CONSTRAINT fk_deployment__flow_id__flow REFERENCES flow ON DELETE CASCADE,
    infrastructure_document_id uuid,
    description text,
    parameter_openapi_schema jsonb,
    storage_document_id uuid,
    version varchar,
    infra_overrides jsonb NOT NULL DEFAULT '{}',
    path varchar,
    entrypoint varchar,
    work_queue_name varchar,
    created_by jsonb,
    updated_by jsonb,
    work_queue_id uuid CONSTRAINT fk_deployment__work_queue_id__work_queue REFERENCES work_queue ON DELETE SET NULL,
    pull_steps jsonb,
    enforce_parameter_schema boolean NOT NULL DEFAULT false,
    last_polled timestamptz,
    paused boolean NOT NULL DEFAULT false,
    status deployment_status NOT NULL DEFAULT 'NOT_READY',
    concurrency_limit integer,
    concurrency_options jsonb,
    concurrency_limit_id uuid CONSTRAINT fk_deployment__concurrency_limit_id__concurrency_limit_v2
        REFERENCES concurrency_limit_v2 ON DELETE SET NULL,
    labels jsonb,
    version_id uuid
);
CREATE INDEX ix_deployment__created ON deployment (created);
CREATE INDEX ix_deployment__flow_id ON deployment (flow_id);
CREATE INDEX ix_deployment__paused ON deployment (paused);
CREATE INDEX ix_deployment__updated ON deployment (updated);
CREATE INDEX ix_deployment__version_id ON deployment (version_id);
CREATE INDEX ix_deployment__work_queue_id ON deployment (work_queue_id);
CREATE INDEX ix_deployment__work_queue_name ON deployment (work_queue_name);
CREATE INDEX trgm_ix_deployment_name ON deployment USING gin (name gin_trgm_ops);
CREATE UNIQUE INDEX uq_deployment__flow_id_name ON deployment (flow_id, name);

CREATE TABLE deployment_schedule (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_deployment_schedule PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    schedule jsonb NOT NULL,
    active boolean NOT NULL,
    deployment_id uuid NOT NULL
        CONSTRAINT fk_deployment_schedule__deployment_id__deployment REFERENCES deployment ON DELETE CASCADE,
    max_scheduled_runs integer,
    parameters jsonb NOT NULL DEFAULT '{}',
    slug varchar
);
CREATE INDEX ix_deployment_schedule__deployment_id ON deployment_schedule (deployment_id);
CREATE UNIQUE INDEX ix_deployment_schedule__deployment_id__slug ON deployment_schedule (deployment_id, slug)
    WHERE slug IS NOT NULL;
CREATE INDEX ix_deployment_schedule__slug ON deployment_schedule (slug);
CREATE INDEX ix_deployment_schedule__updated ON deployment_schedule (updated);

-- Flow runs and task runs; a subflow's run has a parent task run, so the two tables point at each other. A flow run
-- outlives its deployment: there is no foreign key.

CREATE TABLE flow_run (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_flow_run PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    name varchar NOT NULL,
    state_type state_type,
    run_count integer NOT NULL DEFAULT 0,
    expected_start_time timestamptz,
    next_scheduled_start_time timestamptz,
    start_time timestamptz,
    end_time timestamptz,
    total_run_time interval NOT NULL DEFAULT '0',
    flow_version varchar,
    parameters jsonb NOT NULL DEFAULT '{}',
    idempotency_key varchar,
    context jsonb NOT NULL DEFAULT '{}',
    empirical_policy jsonb NOT NULL DEFAULT '{}',
    tags jsonb NOT NULL DEFAULT '[]',
    auto_scheduled boolean NOT NULL DEFAULT false,
    flow_id uuid NOT NULL CONSTRAINT fk_flow_run__flow_id__flow REFERENCES flow ON DELETE CASCADE,
    deployment_id uuid,
    parent_task_run_id uuid,
    state_id uuid,
    state_name varchar,
    infrastructure_document_id uuid,
    work_queue_name varchar,
    state_timestamp timestamptz,
    created_by jsonb,
    infrastructure_pid varchar,
    work_queue_id uuid CONSTRAINT fk_flow_run__work_queue_id__work_queue REFERENCES work_queue ON DELETE SET NULL,
    job_variables jsonb DEFAULT '{}',
    deployment_version varchar,
    labels jsonb
);

CREATE TABLE task_run (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_task_run PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    name varchar NOT NULL,
    state_type state_type,
    run_count integer NOT NULL DEFAULT 0,
    expected_start_time timestamptz,
    next_scheduled_start_time timestamptz,
    start_time timestamptz,
    end_time timestamptz,
    total_run_time interval NOT NULL DEFAULT '0',
    task_key varchar NOT NULL,
    dynamic_key varchar NOT NULL,
    cache_key varchar,
    cache_expiration timestamptz,
    task_version varchar,
    empirical_policy jsonb NOT NULL DEFAULT '{}',
    task_inputs jsonb NOT NULL DEFAULT '{}',
    tags jsonb NOT NULL DEFAULT '[]',
    flow_run_id uuid CONSTRAINT fk_task_run__flow_run_id__flow_run REFERENCES flow_run ON DELETE CASCADE,
    state_id uuid,
    state_name varchar,
    state_timestamp timestamptz,
    flow_run_run_count integer NOT NULL DEFAULT 0,
    labels jsonb
);
ALTER TABLE flow_run ADD CONSTRAINT fk_flow_run__parent_task_run_id__task_run
    FOREIGN KEY (parent_task_run_id) REFERENCES task_run ON DELETE SET NULL;

CREATE INDEX ix_flow_run__coalesce_start_time_expected_start_time_asc ON flow_run
    (coalesce(start_time, expected_start_time));
CREATE INDEX ix_flow_run__coalesce_start_time_expected_start_time_desc ON flow_run
    (coalesce(start_time, expected_start_time) DESC);
CREATE INDEX ix_flow_run__deployment_id ON flow_run (deployment_id);
CREATE INDEX ix_flow_run__deployment_version ON flow_run (deployment_version);
CREATE INDEX ix_flow_run__end_time_desc ON flow_run (end_time DESC);
CREATE INDEX ix_flow_run__expected_start_time_desc ON flow_run (expected_start_time DESC);
CREATE INDEX ix_flow_run__flow_id ON flow_run (flow_id);
CREATE INDEX ix_flow_run__flow_version ON flow_run (flow_version);
CREATE INDEX ix_flow_run__infrastructure_document_id ON flow_run (infrastructure_document_id);
CREATE INDEX ix_flow_run__name ON flow_run (name);
CREATE INDEX ix_flow_run__next_scheduled_start_time_asc ON flow_run (next_scheduled_start_time);
CREATE INDEX ix_flow_run__parent_task_run_id ON flow_run (parent_task_run_id);
CREATE INDEX ix_flow_run__schedule_id_scheduler ON flow_run
    (deployment_id, (created_by ->> 'id'), next_scheduled_start_time)
    WHERE state_type = 'SCHEDULED' AND auto_scheduled = true;
CREATE INDEX ix_flow_run__scheduler_deployment_id_auto_scheduled_next_schedu ON flow_run
    (deployment_id, auto_scheduled, next_scheduled_start_time)
    WHERE state_type = 'SCHEDULED';
CREATE INDEX ix_flow_run__start_time ON flow_run (start_time);
CREATE INDEX ix_flow_run__state_id ON flow_run (state_id);
CREATE INDEX ix_flow_run__state_name ON flow_run (state_name);
CREATE INDEX ix_flow_run__state_timestamp ON flow_run (state_timestamp);
CREATE INDEX ix_flow_run__state_type ON flow_run (state_type);
CREATE INDEX ix_flow_run__state_type_coalesce_start_time ON flow_run
    (state_type, coalesce(start_time, expected_start_time));
CREATE INDEX ix_flow_run__updated ON flow_run (updated);
CREATE INDEX ix_flow_run__work_queue_id ON flow_run (work_queue_id);
CREATE INDEX ix_flow_run__work_queue_name ON flow_run (work_queue_name);
CREATE INDEX trgm_ix_flow_run_name ON flow_run USING gin (name gin_trgm_ops);
CREATE UNIQUE INDEX uq_flow_run__flow_id_idempotency_key ON flow_run (flow_id, idempotency_key);

CREATE INDEX ix_task_run__end_time_desc ON task_run (end_time DESC);
CREATE INDEX ix_task_run__expected_start_time_desc ON task_run (expected_start_time DESC);
CREATE INDEX ix_task_run__flow_run_id ON task_run (flow_run_id);
CREATE INDEX ix_task_run__name ON task_run (name);
CREATE INDEX ix_task_run__next_scheduled_start_time_asc ON task_run (next_scheduled_start_time);
CREATE INDEX ix_task_run__start_time ON task_run (start_time);
CREATE INDEX ix_task_run__state_id ON task_run (state_id);
CREATE INDEX ix_task_run__state_name ON task_run (state_name);
CREATE INDEX ix_task_run__state_timestamp ON task_run (state_timestamp);
CREATE INDEX ix_task_run__state_type ON task_run (state_type);
CREATE INDEX ix_task_run__state_type_start_time ON task_run (state_type, start_time);
CREATE INDEX ix_task_run__updated ON task_run (updated);
CREATE INDEX trgm_ix_task_run_name ON task_run USING gin (name gin_trgm_ops);
CREATE UNIQUE INDEX uq_task_run__flow_run_id_task_key_dynamic_key ON task_run (flow_run_id, task_key, dynamic_key);
