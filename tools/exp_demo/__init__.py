"""The demos: experiments through Airflow, on this machine and through the compose stack."""
