"""Results where people look: pages inside the Airflow UI, and an API for programs. Reads, and writes nothing."""
