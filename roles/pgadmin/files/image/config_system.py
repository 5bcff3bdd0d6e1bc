"""What differs from pgAdmin's own settings; pgAdmin reads this file at its start."""

DATA_DIR = "/var/lib/pgadmin"
SQLITE_PATH = f"{DATA_DIR}/pgadmin4.db"
SESSION_DB_PATH = f"{DATA_DIR}/sessions"
STORAGE_DIR = f"{DATA_DIR}/storage"
AZURE_CREDENTIAL_CACHE_DIR = f"{DATA_DIR}/azurecredentialcache"
# What matters goes to the container's log as well; the folder is this container's own.
LOG_FILE = "/tmp/pgadmin4.log"  # noqa: S108
LOG_ROTATION_MAX_LOG_FILES = 1
# The network has no way out of the machine.
UPGRADE_CHECK_ENABLED = False
LLM_ENABLED = False
SHOW_GRAVATAR_IMAGE = False
# No guessing finds the password; a login that locks itself could be locked by anybody.
MAX_LOGIN_ATTEMPTS = 0
