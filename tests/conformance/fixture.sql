-- The data set of the cases, for an empty database with Prefect's schema. Ids tell what they are: 00000de9-…-012 is
-- deployment 12. Rows 1-12 are ordinary; from 13 on each row carries one oddity, named beside it. No row here makes
-- Prefect answer 500.
BEGIN;
SET LOCAL session_replication_role = replica;  -- two deployments name block documents that are not there
SET LOCAL timezone = 'UTC';

CREATE FUNCTION pg_temp.key(kind text, number int) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN ('00000' || kind || '-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid;
CREATE FUNCTION pg_temp.flow(number int) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN pg_temp.key('f10', number);
CREATE FUNCTION pg_temp.run(number int) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN pg_temp.key('f12', number);
CREATE FUNCTION pg_temp.task(number int) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN pg_temp.key('7a5', number);
CREATE FUNCTION pg_temp.dep(number int) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN pg_temp.key('de9', number);
CREATE FUNCTION pg_temp.queue(number int) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN pg_temp.key('c0e', number);
CREATE FUNCTION pg_temp.pool(number int) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN pg_temp.key('b00', number);
CREATE FUNCTION pg_temp.cap(number int) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN pg_temp.key('c1a', number);
CREATE FUNCTION pg_temp.noon(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE
    RETURN timestamptz '2024-05-01 12:00:00+00' + make_interval(secs => seconds::float8);

-- flows

INSERT INTO flow (id, created, updated, name, tags, labels)
SELECT pg_temp.flow(n), pg_temp.noon(n), pg_temp.noon(100 + n), name, tags::jsonb, labels::jsonb
FROM (VALUES
    (1, 'alpha-etl',      '["prod","etl"]', '{"team":"x"}'),
    (2, 'Marvin Flow',    '[]',             NULL),
    (3, 'percent_100',    '["etl"]',        '{}'),
    (4, 'fifty%off',      '["prod"]',       NULL),
    (5, 'no-deployments', '["etl"]',        NULL),
    (6, 'percentX100',    '[]',             NULL),
    (7, 'sub/flow',       '"prod"',         NULL),            -- tags: a bare string, which matches like an element
    (8, E'it''s "q\\b"',  '{"etl":1}',      NULL),            -- tags: an object, whose keys match like elements
    (9, '🚀 Größe ΣΑΣ',   '[1,"1",null]',   '{"n":null}'),    -- tags: numbers never match
    (10, ' padded ',      '["a","b","a"]',  NULL)
) AS rows (n, name, tags, labels);

-- work pools, queues, limits

INSERT INTO work_pool (id, created, updated, name, type)
SELECT pg_temp.pool(n), pg_temp.noon(n), pg_temp.noon(n), name, type
FROM (VALUES (1, 'pool-a', 'process'), (2, 'pool-b', 'kubernetes'), (3, 'default-agent-pool', 'prefect-agent'),
             (4, 'Pool Ü%_', 'Process'), (5, 'empty-pool', 'docker')) AS rows (n, name, type);

INSERT INTO work_queue (id, created, updated, name, priority, work_pool_id, status)
SELECT pg_temp.queue(n), pg_temp.noon(n), pg_temp.noon(n), name, priority, pg_temp.pool(pool), status::work_queue_status
FROM (VALUES
    (1, 'default', 1, 1, 'READY'), (2, 'Marvin-robot', 2, 1, 'NOT_READY'), (3, 'default', 1, 2, 'NOT_READY'),
    (4, 'wq_1', 2, 2, 'PAUSED'), (5, 'wqX1', 3, 2, 'READY'), (6, 'default', 1, 3, 'READY'),
    (7, 'Ünï%queue', 1, 4, 'READY'), (8, E'wq\\1', 2, 4, 'READY'), (9, 'default', 1, 5, 'READY')
) AS rows (n, name, priority, pool, status);
UPDATE work_pool SET default_queue_id = pg_temp.queue(1) WHERE id = pg_temp.pool(1);

INSERT INTO concurrency_limit_v2
    (id, created, updated, active, name, "limit", active_slots, denied_slots, slot_decay_per_second, avg_slot_occupancy_seconds)
SELECT pg_temp.cap(n), created::timestamptz, updated::timestamptz, active, name, cap, slots, 2, decay::float8, 2.5
FROM (VALUES
    (1, '2024-05-01 10:00:00Z', '2024-05-01 10:00:00.5Z', true, 'deployment:' || pg_temp.dep(1), 3, 1, '0'),
    (2, '2024-05-01 10:00:00.123Z', '2024-05-01 10:00:00.123456Z', false, 'shared limit', 10, 0, '0.25'),
    (3, '2024-05-01 10:00:00.000001Z', 'infinity', true, 'tiny decay', 0, 0, '0.0000001'),
    (4, '-infinity', '2024-05-01 10:00:00Z', true, 'decay is not a number', 2147483647, 5, 'NaN'),
    (5, '2024-05-01 10:00:00Z', '2024-05-01 10:00:00Z', true, E'decay "∞"\n', 1, 1, 'Infinity'),
    (6, '2024-05-01 10:00:00Z', '2024-05-01 10:00:00Z', true, 'big decay', 1, 1, '1e22')
) AS rows (n, created, updated, active, name, cap, slots, decay);

-- deployments

INSERT INTO deployment (id, created, updated, name, flow_id, tags, paused, work_queue_id, work_queue_name)
SELECT pg_temp.dep(n), pg_temp.noon(born), pg_temp.noon(changed), name, pg_temp.flow(flow), tags::jsonb, paused,
       pg_temp.queue(queue), queue_name
FROM (VALUES
    (1, 0, 0.1, 'daily', 1, '["prod","etl","daily"]', false, 2, 'stale-name'),
    (2, 14, 222, 'daily', 2, '[]', true, 1, 'default'),
    (3, 21, 233, 'Weekly', 1, '["prod"]', false, 3, 'default'),
    (4, 28, 244, 'weekly', 2, '["etl","etl"]', true, 4, 'wq_1'),
    (5, 35, 255, 'a_b', 3, '["x y","é"]', false, 5, 'wqX1'),
    (6, 42, 206, 'aXb', 3, '["prod","nightly"]', false, NULL, 'orphan-queue'),
    (7, 49, 217, 'a%b', 4, '[]', false, NULL, NULL),
    (8, 56, 228, E'back\\slash', 4, '["Prod"]', false, NULL, NULL),
    (9, 3, 239, 'Éclair ünïcode ☃', 6, '["daily"]', false, 6, 'default'),
    (10, 3599.999999, 3599.000001, 'zeta', 6, '[]', true, NULL, NULL),
    (11, 17, 201, 'Daily', 3, '["prod","etl"]', false, 1, NULL),
    (12, 24, 212, '10', 2, '[]', false, NULL, NULL),
    (13, 14, 222, 'daily', 3, '["tied"]', false, 3, 'default'),         -- equal name, created and updated as 2 and 14
    (14, 14, 222, 'daily', 4, '["tied"]', true, NULL, 'default'),
    (15, 60, 301, 'sub/name', 7, '[]', false, 7, 'Ünï%queue'),          -- a slash: no route by name leads here
    (16, 61, 302, E'it''s "q\\b"', 8, '["\"","\\","a,b","{}","NULL",""," ","%","_"]', false, 8, ''),
    (17, 62, 303, '😀 𝔘 ﬁ', 9, '["😀","𝔘","é","e\u0301"]', false, NULL, NULL),
    (18, 63, 304, ' padded ', 10, '["a","b","a"]', false, NULL, ' padded '),
    (19, 64, 305, '', 10, '[]', false, NULL, NULL),                     -- an empty name
    (20, 65, 306, '..', 1, '[]', false, NULL, NULL),                    -- a name that a path normaliser would eat
    (21, 66, 307, 'a\_b', 1, '[]', false, NULL, NULL),
    (22, 67, 308, '100%', 1, '[]', false, NULL, NULL),
    (23, 68, 309, 'ΣΑΣ straße ÀÉÎ', 1, '[]', false, NULL, NULL),   -- case folding beyond ASCII
    (24, 69, 310, 'labels-array', 2, '[]', false, NULL, NULL),
    (25, 70, 311, 'labels-zero', 2, '[]', false, NULL, NULL),
    (26, 71, 312, 'labels-false', 2, '[]', false, NULL, NULL),
    (27, 72, 313, 'labels-null', 2, '[]', false, NULL, NULL),
    (28, 73, 314, 'labels-kinds', 2, '[]', false, NULL, NULL),
    (29, 74, 315, 'authors', 2, '[]', false, NULL, NULL),
    (30, 75, 316, 'authors-null', 2, '[]', false, NULL, NULL),
    (31, 76, 317, 'numbers', 3, '[]', false, NULL, NULL),
    (32, 77, 318, 'texts', 3, '[]', false, 1, 'x'),
    (33, 78, 319, 'polled-forever', 3, '[]', false, NULL, NULL),
    (34, 79, 320, 'polled-never', 3, '[]', false, NULL, NULL),
    (35, 80, 321, 'schedules', 4, '[]', true, NULL, NULL),
    (36, 81, 322, 'anchored-now', 4, '[]', true, NULL, NULL),
    (37, 82, 323, 'limit-nan', 6, '[]', false, NULL, NULL),
    (38, 83, 324, 'limit-inf', 6, '[]', false, NULL, NULL),
    (39, 84, 325, 'limit-big', 6, '[]', false, NULL, NULL),
    (40, 85, 326, 'limit-gone', 6, '[]', false, NULL, NULL),
    (41, 86, 327, 'documents', 6, '[]', false, NULL, NULL),
    (42, 87, 328, 'steps', 6, '[]', false, 9, 'default'),
    (43, 3599.999999, 3599.000001, 'Zeta', 2, '["prod","etl"]', true, 1, 'default')
) AS rows (n, born, changed, name, flow, tags, paused, queue, queue_name);

UPDATE deployment SET description = E'line1\nline2', version = 'v1', path = '/opt', entrypoint = 'f.py:flow', status = 'READY',
    parameters = '{"b":1,"a":{"z":[1,2.50,null,true],"y":"ü"},"long_key":1e3}', infra_overrides = '{"env":{"A":"1"}}',
    created_by = '{"id":"00000aaa-0000-4000-8000-000000000001","type":"AUTOMATION","display_value":"auto"}',
    updated_by = '{"type":"USER"}', enforce_parameter_schema = true, last_polled = '2024-06-01 00:00:00.25+00',
    pull_steps = '[{"prefect.deployments.steps.set_working_directory":{"directory":"/opt"}}]', concurrency_limit = 3,
    parameter_openapi_schema = '{"type":"object","title":"Parameters","properties":{}}',
    concurrency_options = '{"collision_strategy":"ENQUEUE"}', concurrency_limit_id = pg_temp.cap(1),
    labels = '{"k":"v","n":42,"f":1.5,"t":true,"prefect.flow.id":"00000f10-0000-4000-8000-000000000001"}'
WHERE id = pg_temp.dep(1);
UPDATE deployment SET labels = '{}', pull_steps = '[]', parameter_openapi_schema = '{}', concurrency_limit_id = pg_temp.cap(2),
    concurrency_options = '{"collision_strategy":"CANCEL_NEW","grace_period_seconds":120}'
WHERE id = pg_temp.dep(2);
UPDATE deployment SET infra_overrides = '{"image":"x","n":1.0,"big":12345678901234567890}',
    parameters = '{"f":0.1,"tiny":0.0000001,"e":1.5e300}'
WHERE id = pg_temp.dep(10);

-- labels that are not an object print {} when they are empty, zero or false
UPDATE deployment SET labels = '[]' WHERE id = pg_temp.dep(24);
UPDATE deployment SET labels = '0' WHERE id = pg_temp.dep(25);
UPDATE deployment SET labels = 'false' WHERE id = pg_temp.dep(26);
UPDATE deployment SET labels = 'null' WHERE id = pg_temp.dep(27);
UPDATE deployment SET labels = '{"z":1,"aa":1.0,"a":true,"B":"x","":"","ü":false,"i":-9007199254740993,"e":1e3,"é\"":0.10}'
WHERE id = pg_temp.dep(28);

-- authors: missing keys print null, further keys vanish; jsonb null is null
UPDATE deployment SET created_by = '{}',
    updated_by = '{"display_value":"d","extra":[1],"id":"00000AAA000040008000000000000001","type":null}'
WHERE id = pg_temp.dep(29);
UPDATE deployment SET created_by = 'null', updated_by = 'null', concurrency_options = 'null', pull_steps = 'null',
    parameter_openapi_schema = 'null'
WHERE id = pg_temp.dep(30);

-- every spelling of a number
UPDATE deployment SET parameters = jsonb_build_object(
    'list', '[0,-0,0.0,-0.0,1e3,1.0,2.50,1E0,1e-7,1.5e-10,0.00001,0.0000099,1e15,1e16,1.0e16,123456789012345.6,1234567890123456.7,
        12345678901234567.8,123456789012345678901234567890.5,9007199254740993,9007199254740993.0,12345678901234567890,
        -12345678901234567890,1e22,1e23,1.5e300,1.7976931348623157e308,5e-324,2.2250738585072014e-308,1e-400,0.1,0.30000000000000004,
        100.10,-1.5,1e400]'::jsonb,
    'long', repeat('7', 400)::jsonb, 'beyond', (repeat('9', 400) || '.5')::jsonb, 'nested', '{"a":[{"b":[[1.10]]}]}'::jsonb)
WHERE id = pg_temp.dep(31);

-- every kind of character that JSON text may carry
UPDATE deployment SET version = '', path = E'C:\\dir/sub', entrypoint = 'ä:ö', description =
    E'\x01\b\t\n\x0b\f\r\x1b\x1f "quoted" \\ / <>& \x7f \u0080 \u00a0 \u2028\u2029 \u200b \ufeff \ufffd \uffff 😀 '
    || repeat('long enough to be worth compressing ', 30),
    parameters = '{"\u0001\n\"\\/<>&\u007f\u2028😀":"\u0001\b\t\n\f\r\"\\/<>&\u007f\u2028😀","a":"","":{"":[]}}',
    infra_overrides = '{"nested":{"deep":[[[{"x":null}]]]}}',
    parameter_openapi_schema = '{"title":"Π","properties":{"a":{"default":1.0,"enum":[1,"1",null,true]}},"required":[],"$defs":{}}'
WHERE id = pg_temp.dep(32);

-- instants at the ends of time
UPDATE deployment SET last_polled = 'infinity', concurrency_limit_id = pg_temp.cap(3),
    concurrency_options = '{"collision_strategy":"ENQUEUE","grace_period_seconds":60,"extra":{"x":1}}'
WHERE id = pg_temp.dep(33);
UPDATE deployment SET last_polled = '-infinity',
    concurrency_options = '{"grace_period_seconds":null,"collision_strategy":"CANCEL_NEW"}'
WHERE id = pg_temp.dep(34);
UPDATE deployment SET last_polled = '9999-12-31 23:59:59.999999+00', concurrency_limit_id = pg_temp.cap(4),
    concurrency_options = '{"collision_strategy":"ENQUEUE","grace_period_seconds":86400}'
WHERE id = pg_temp.dep(37);
UPDATE deployment SET last_polled = '0001-01-01 00:00:00+00', concurrency_limit_id = pg_temp.cap(5),
    concurrency_options = '{"collision_strategy":"ENQUEUE","grace_period_seconds":120.0}'
WHERE id = pg_temp.dep(38);
UPDATE deployment SET last_polled = '2024-02-29 23:59:59.1+05:30', concurrency_limit_id = pg_temp.cap(6),
    concurrency_options = '{"collision_strategy":"ENQUEUE","grace_period_seconds":null,"a":null}'
WHERE id = pg_temp.dep(39);

UPDATE deployment SET concurrency_limit = 7, concurrency_limit_id = pg_temp.cap(99) WHERE id = pg_temp.dep(40);
UPDATE deployment SET storage_document_id = pg_temp.key('d0c', 1), infrastructure_document_id = pg_temp.key('d0c', 2)
WHERE id = pg_temp.dep(41);
UPDATE deployment SET pull_steps = '[{},{"a":{"b":[1.50,"ü"]},"id":null}]', enforce_parameter_schema = true, status = 'READY'
WHERE id = pg_temp.dep(42);

-- schedules: the newest change comes first, and missing keys are filled in

INSERT INTO deployment_schedule (id, created, updated, schedule, active, deployment_id, parameters, slug, max_scheduled_runs)
SELECT pg_temp.key('5ce', n), changed, changed, schedule::jsonb, active, pg_temp.dep(deployment), parameters::jsonb, slug, runs
FROM (SELECT *, timestamptz '2024-05-01 09:00:00+00' + make_interval(secs => at) AS changed FROM (VALUES
    (1, 0, 1, true, '{"interval":3600.0,"timezone":"UTC","anchor_date":"2024-01-01T00:00:00Z"}', '{"p":1}', 'hourly', 5),
    (2, 2.5, 1, false, '{"cron":"0 0 * * *","day_or":true,"timezone":null}', '{}', 'nightly', NULL),
    (3, 1, 1, true, '{"rrule":"FREQ=DAILY;UNTIL=20400102T040000Z","timezone":"UTC"}', '{}', NULL, NULL),
    (4, 0, 2, false, '{"interval":0.5,"timezone":"America/New_York","anchor_date":"2024-01-01T00:00:00+02:00"}', '{}', NULL, NULL),
    (5, 0, 3, true, '{"cron":"0 9 * * 1","day_or":false,"timezone":"Europe/Berlin"}', '{}', NULL, NULL),
    (11, 11, 35, true, '{"cron":"@daily"}', '{}', NULL, 1),
    (12, 12, 35, true, '{"cron":"*/5 * * * * *","day_or":false}', '{}', NULL, 50),
    (13, 13, 35, true, '{"cron":" 0  0 * * mon-fri ","timezone":"Asia/Kolkata"}', '{}', NULL, NULL),
    (14, 14, 35, true, '{"interval":60,"anchor_date":"2024-01-01T00:00:00"}', '{}', NULL, NULL),
    (15, 15, 35, true, '{"interval":0.000001,"anchor_date":"2024-01-01","timezone":null}', '{}', NULL, NULL),
    (16, 16, 35, true, '{"interval":1.0000005,"anchor_date":1704067200.25,"timezone":""}', '{}', NULL, NULL),
    (17, 17, 35, true, '{"interval":"PT1H","anchor_date":"2024-01-01T00:00:00.123456-05:30"}', '{}', NULL, NULL),
    (18, 18, 35, true, '{"interval":"01:00:00","anchor_date":"2024-01-01T00:00:00.5+00:00"}', '{}', NULL, NULL),
    (19, 19, 35, true, '{"interval":"P1DT2H3M4.5S","anchor_date":"2024-01-01 00:00:00z"}', '{}', NULL, NULL),
    (20, 20, 35, true, '{"interval":315576000000,"anchor_date":"1970-01-01T00:00:00Z","timezone":"Etc/GMT+12"}', '{}', NULL, NULL),
    (21, 21, 35, true, '{"interval":0.1,"anchor_date":"0001-01-01T00:00:00Z"}', '{}', NULL, NULL),
    (22, 22, 35, true, '{"rrule":"FREQ=WEEKLY"}', '{"z":1e3,"aa":[1.50]}', 'ünï "slug"', NULL),
    (23, 23, 35, true, '{"rrule":"DTSTART:20240101T000000\nRRULE:FREQ=DAILY;COUNT=3","timezone":null}', '{}', NULL, NULL),
    (24, 24, 35, true, '{"rrule":"FREQ=MONTHLY;BYMONTHDAY=1","timezone":"US/Eastern"}', '{}', NULL, NULL),
    (25, 25.000001, 35, true, '{"interval":86400,"anchor_date":1704067200000,"timezone":"Europe/Kyiv"}', '{}', '', NULL),
    (26, 26, 35, true, '{"interval":1e-6,"anchor_date":"2024-06-30T23:59:59.999999+14:00"}', '{}', NULL, NULL),
    (31, 0, 36, true, '{"interval":3600}', '{}', NULL, NULL),
    (32, 1, 36, true, '{"interval":3600,"anchor_date":"2024-01-01T00:00:00Z","timezone":"UTC"}', '{}', NULL, NULL)
) AS rows (n, at, deployment, active, schedule, parameters, slug, runs)) AS timed;

-- flow runs

INSERT INTO flow_run (id, created, updated, name, flow_id, deployment_id, state_type, state_name, tags, work_queue_name,
    flow_version, expected_start_time, start_time, end_time, next_scheduled_start_time, idempotency_key, created_by)
SELECT pg_temp.run(n), pg_temp.noon(n), pg_temp.noon(n), name, pg_temp.flow(flow), pg_temp.dep(deployment), kind::state_type, state,
    tags::jsonb, queue, version, expected::timestamptz, started::timestamptz, ended::timestamptz, next::timestamptz, idem, author::jsonb
FROM (VALUES
    (1, 'sad-Marvin', 1, 1, 'COMPLETED', 'Completed', '["nightly","a"]', 'q1', '1', '2024-05-02Z', '2024-05-02 00:00:05Z',
        '2024-05-02 00:10Z', NULL, 'key-1', '{"id":"00000aaa-0000-4000-8000-000000000001","type":"DEPLOYMENT","display_value":"x"}'),
    (2, 'green_dog', 1, 1, 'FAILED', 'Failed', '["b"]', NULL, NULL, '2024-05-03Z', '2024-05-03Z', '2024-05-03 00:00:30Z',
        NULL, NULL, '{"type":"AUTOMATION"}'),
    (3, 'run-3', 2, 2, 'SCHEDULED', 'Late', '[]', 'default', '2', '2024-05-04Z', NULL, NULL, '2024-05-04Z', NULL, NULL),
    (4, 'run-4', 1, 3, 'RUNNING', 'Running', '["nightly"]', NULL, NULL, '2024-05-05Z', '2024-05-05 00:00:01.5Z', NULL, NULL, 'key-4', NULL),
    (5, 'run-5', 2, 4, NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (6, 'no-deployment', 3, NULL, 'COMPLETED', 'Completed', '[]', NULL, NULL, NULL, '2024-05-02 00:00:05Z', NULL, NULL, NULL, NULL),
    (7, 'child-of-1', 3, 5, 'COMPLETED', 'Completed', '[]', NULL, NULL, NULL, '2024-05-02 00:01Z', '2024-05-02 00:02Z', NULL, NULL, NULL),
    (8, 'green-dog', 3, 11, 'CANCELLING', 'Cancelling', '[]', NULL, NULL, '2024-05-06Z', NULL, NULL, NULL, NULL, NULL),
    (9, 'grandchild', 3, 6, 'CRASHED', 'Crashed', '["nightly"]', '', '', '2024-05-07Z', '2024-05-07Z', '2024-05-07Z', NULL, '', 'null'),
    (10, 'author-without-id', 4, 7, 'PAUSED', 'Suspended', '[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{"id":null,"type":null}'),
    (11, 'upper-author', 4, 8, 'PENDING', 'Pending', '"nightly"', NULL, NULL, 'infinity', NULL, NULL, 'infinity', 'k',
        '{"id":"00000AAA-0000-4000-8000-000000000001","type":"USER"}'),
    (12, 'tags-are-keys', 6, 9, 'CANCELLED', 'Cancelled', '{"nightly":1}', NULL, NULL, '-infinity', NULL, NULL, '-infinity', 'K', '[]'),
    (13, E'wild %_\\ 😀', 6, 10, 'COMPLETED', 'Cached', '[1,"1","é"]', E'q\\%', '1.0', NULL, NULL, '2024-05-02 00:10Z', NULL, NULL, '"USER"'),
    (14, 'its-deployment-is-gone', 1, 777, 'COMPLETED', 'Completed', '["gone"]', NULL, NULL, '2024-05-02Z', NULL, NULL, NULL, NULL, NULL),
    (15, 'type-without-name', 2, 12, 'FAILED', NULL, '[]', NULL, NULL, '2024-05-02Z', '2024-05-09Z', NULL, NULL, NULL, NULL),
    (16, 'name-without-type', 2, 13, NULL, 'Retrying', '["tied","nightly"]', NULL, NULL, '2024-05-02Z', NULL, NULL, NULL, NULL, NULL)
) AS rows (n, name, flow, deployment, kind, state, tags, queue, version, expected, started, ended, next, idem, author);

INSERT INTO task_run (id, created, updated, name, task_key, dynamic_key, flow_run_id, state_type, state_name, tags, start_time,
    end_time, expected_start_time)
SELECT pg_temp.task(n), pg_temp.noon(n), pg_temp.noon(n), name, 't', n::text, pg_temp.run(run), kind::state_type, state, tags::jsonb,
    started::timestamptz, ended::timestamptz, expected::timestamptz
FROM (VALUES
    (1, 'extract-1', 1, 'COMPLETED', 'Completed', '["t1"]', '2024-05-02 00:00:10Z', '2024-05-02 00:00:20Z', '2024-05-02 00:00:09Z'),
    (2, 'call_child', 1, 'COMPLETED', 'Completed', '[]', '2024-05-02 00:00:59Z', '2024-05-02 00:02:01Z', NULL),
    (3, 'Extract-1', 2, 'FAILED', 'Failed', '["t1","t2"]', '2024-05-03 00:00:01Z', '2024-05-03 00:00:30Z', NULL),
    (4, 'load', 4, 'RUNNING', 'Running', '[]', '2024-05-05 00:00:02Z', NULL, NULL),
    (5, 'background', NULL, 'COMPLETED', 'Completed', '[]', NULL, NULL, NULL),
    (6, 'never', 5, NULL, NULL, '[]', NULL, NULL, NULL),
    (7, 'call_grandchild', 7, 'COMPLETED', 'Completed', '"t1"', '2024-05-02 00:01:10Z', NULL, '2024-05-02 00:01:10Z'),
    (8, 'load', 3, 'SCHEDULED', 'AwaitingRetry', '{"t2":0}', NULL, NULL, 'infinity'),
    (9, E'100%_\\', 13, 'CANCELLED', NULL, '["t1","😀"]', NULL, '-infinity', '-infinity'),
    (10, 'load', 16, NULL, 'Running', '["t2"]', NULL, NULL, '2024-05-02Z')
) AS rows (n, name, run, kind, state, tags, started, ended, expected);
UPDATE flow_run SET parent_task_run_id = pg_temp.task(2) WHERE id = pg_temp.run(7);
UPDATE flow_run SET parent_task_run_id = pg_temp.task(7) WHERE id = pg_temp.run(9);
COMMIT;
