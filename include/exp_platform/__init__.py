"""An A/B experimentation platform on Apache Airflow, Apache Spark and Apache Iceberg."""

import os

# The order in which BLAS adds up depends on its threads: with one of them a result is the same to the bit on a laptop, on
# a Spark worker (where PySpark says the same) and on a larger machine. Read when NumPy is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

__version__ = "0.1.0"
