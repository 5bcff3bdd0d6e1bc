"""The Covertype pipeline: loading, training, search and promotion, without Airflow."""
