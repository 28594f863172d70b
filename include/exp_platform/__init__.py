"""An A/B experimentation platform on Apache Airflow, Apache Spark and Apache Iceberg."""

import os

# In what order BLAS adds up depends on its threads. With one of them, as PySpark has it on workers, a result's last bits do
# not depend on how many cores a driver has (they still do on the kind of processor). Read when NumPy is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

__version__ = "0.1.0"
