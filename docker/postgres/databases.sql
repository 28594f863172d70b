-- A database and its owner for each of the two; neither may connect to the other's. Passwords come from files.
\set ON_ERROR_STOP on
\set airflow_password `cat /run/secrets/airflow_db_password`
\set catalog_password `cat /run/secrets/catalog_password`
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
CREATE ROLE iceberg LOGIN PASSWORD :'catalog_password';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE iceberg OWNER iceberg;
REVOKE ALL ON DATABASE airflow, iceberg, postgres, template1 FROM PUBLIC;
