"""What gunicorn serves: pgAdmin with the login, the servers and the queries of the deployment.

All is brought up to date at every start, so that it is there in a new data folder too and a changed
password takes effect. What the user has made beside it stays.
"""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path

DESCRIPTION = Path("/etc/pgadmin/platform/description.json")
SECRETS = Path("/run/secrets")
# Where the queries lie in the user's storage; whatever else is there, nobody here touches.
QUERIES = "platform"
PASSWORD_FILE = ".platform-passwords"  # noqa: S105 - a file's name


def application():
    """Make pgAdmin's application."""
    description = json.loads(DESCRIPTION.read_text())
    password = (SECRETS / "password").read_text()
    # Its own modules import each other from there.
    sys.path.insert(0, importlib.util.find_spec("pgadmin4").submodule_search_locations[0])
    # The first user is made together with the database of settings, from these variables alone.
    setup = {"PGADMIN_SETUP_EMAIL": description["email"], "PGADMIN_SETUP_PASSWORD": password}
    os.environ.update(setup)
    from pgAdmin4 import app

    for name in setup:
        del os.environ[name]
    with app.test_request_context():
        bring_up_to_date(description, password)
    return app


def bring_up_to_date(description: dict, password: str) -> None:
    """Have the user, the servers and the queries as described."""
    from flask_security.utils import hash_password, verify_password
    from pgadmin.model import User, db
    from pgadmin.utils.paths import get_storage_directory

    user = User.query.filter_by(username=description["email"]).one_or_none()
    if user is None:
        raise SystemExit(f"the login {description['email']} could not be made")
    if not verify_password(password, user.password):
        user.password = hash_password(password)
    register(user, description["servers"])
    db.session.commit()
    lay_down(Path(get_storage_directory(user)), description)


def register(user, servers: list[dict]) -> None:
    """Have the described servers, by name; what the user changed of them is set back."""
    from pgadmin.model import Server, ServerGroup, db

    group = ServerGroup.query.filter_by(user_id=user.id).order_by("id").first()
    for described in servers:
        found = {"user_id": user.id, "name": described["name"]}
        server = Server.query.filter_by(**found).one_or_none()
        if server is None:
            server = Server(**found, servergroup_id=group.id)
            db.session.add(server)
        server.host, server.port = described["host"], described["port"]
        server.maintenance_db, server.username = described["database"], described["user"]
        server.connection_params = {
            "sslmode": "prefer",
            "connect_timeout": 10,
            "passfile": f"/{PASSWORD_FILE}",
        }


def lay_down(storage: Path, description: dict) -> None:
    """Write the password file, which must lie in the user's storage, and the queries."""
    storage.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = json.loads((SECRETS / "server_passwords.json").read_text())
    passwords = storage / PASSWORD_FILE
    passwords.unlink(missing_ok=True)
    passwords.touch(mode=0o600)
    with passwords.open("a") as file:
        for server in description["servers"]:
            name, host, port = server["name"], server["host"], str(server["port"])
            fields = (host, port, "*", server["user"], known[name])
            # As libpq reads it: a backslash before what would end a field.
            print(":".join(re.sub(r"([:\\])", r"\\\1", field) for field in fields), file=file)
    folder = storage / QUERIES
    folder.mkdir(exist_ok=True)
    for query in description["queries"]:
        (folder / f"{query['name']}.sql").write_text(query["sql"])
