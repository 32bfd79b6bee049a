-- compose.yaml: beside the schema of stand-alone mode, an empty database that Prefect's own server fills (profile `prefect`).
CREATE DATABASE prefect;
