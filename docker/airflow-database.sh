#!/bin/bash
# Prints the address of Airflow's database with its password, for Airflow, which runs this where it needs it.
printf 'postgresql+psycopg2://airflow:%s@postgres:5432/airflow' "$(</run/secrets/airflow_db_password)"
