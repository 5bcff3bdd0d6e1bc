"""The platform's first page: every service, the model in production, the pipeline's last runs."""
