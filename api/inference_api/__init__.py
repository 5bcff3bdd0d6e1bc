"""Serves the promoted MLflow models over HTTP from ONNX Runtime.

The service knows no column of any data set: what a request must look like is read from
the metadata of the model that answers it. MLflow is a registry only: the models run here.
"""
