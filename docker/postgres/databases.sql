-- A database and its owner for each of the two; neither may connect to the other's. Passwords come from the environment.
\set ON_ERROR_STOP on
\getenv airflow_password AIRFLOW_DB_PASSWORD
\getenv catalog_password EXP_CATALOG_PASSWORD
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
CREATE ROLE iceberg LOGIN PASSWORD :'catalog_password';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE iceberg OWNER iceberg;
REVOKE ALL ON DATABASE airflow, iceberg, postgres, template1 FROM PUBLIC;
