-- Indexes that Prefect's schema lacks and that pay for Classis: none is needed for an answer, only for its speed.
-- Each comment tells which searches an index helps, and what `python -m bench --phases indexes` found it to gain and to
-- weigh, with 10,000 deployments, 1,000,000 flow runs and 3,000,000 task runs. The numbers of shapes are bench's.
-- `classis doctor` tells which of them a database has, and prints this file with --indexes.

-- Pages sorted by name, without a filter or with one that many pass (shapes 1, 3, 20): ten rows 7 to 2 ms; 0.5 MB.
CREATE INDEX CONCURRENTLY IF NOT EXISTS classis_deployment_name_id ON deployment (name, id);
-- Deployments with a run in some state (shapes 7, 24): FAILED 82 to 32 ms, COMPLETED 45 to 31 ms; 9 MB.
CREATE INDEX CONCURRENTLY IF NOT EXISTS classis_flow_run_state_deployment ON flow_run (state_type, deployment_id);
-- Filters of flow runs and task runs together (shapes 10, 12, 24): FAILED and FAILED 190 to 110 ms; 56 MB.
CREATE INDEX CONCURRENTLY IF NOT EXISTS classis_flow_run_deployment_state_id ON flow_run (deployment_id, state_type) INCLUDE (id);
-- Flow runs by their tags (shapes 23): 320 to 11 ms; 2 MB.
CREATE INDEX CONCURRENTLY IF NOT EXISTS classis_flow_run_tags ON flow_run USING gin (tags);

-- Tried, and not worth their place alone: deployment (tags) with gin, flow_run (deployment_id, state_type) without the
-- id, task_run (state_type, flow_run_id), task_run (flow_run_id, state_type). The last one does gain beside the third
-- above (FAILED and FAILED 110 to 66 ms), for another 25 bytes a task run.
