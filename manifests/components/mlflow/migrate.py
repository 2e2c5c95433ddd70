"""Brings MLflow's two schemas to the version of this image and makes the users. Run again: no change.

Runs in the tracking image, before the server of the same image. Expects MLFLOW_BACKEND_STORE_URI, and the users'
passwords in MLFLOW_AUTH_ADMIN_PASSWORD and MLFLOW_PIPELINES_PASSWORD; a password that changed is set anew.
"""

import os

from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.db.utils import (
    _initialize_tables,
    _is_empty_database,
    _upgrade_db,
    create_sqlalchemy_engine_with_retry,
)

USERS = {"admin": "MLFLOW_AUTH_ADMIN_PASSWORD", "pipelines": "MLFLOW_PIPELINES_PASSWORD"}


def main() -> None:
    uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
    engine = create_sqlalchemy_engine_with_retry(uri)
    # `mlflow db upgrade` cannot begin with an empty database: its first revision alters tables.
    (_initialize_tables if _is_empty_database(engine) else _upgrade_db)(engine)
    print("schema: up to date", flush=True)

    users = SqlAlchemyStore()
    users.init_db(uri)  # migrates the users' tables, too
    for name, variable in USERS.items():
        password = os.environ[variable]
        if not users.has_user(name):
            users.create_user(name, password, is_admin=name == "admin")
            print(f"user {name}: made", flush=True)
        elif not users.authenticate_user(name, password):
            users.update_user(name, password=password)
            print(f"user {name}: new password", flush=True)
        else:
            print(f"user {name}: there already", flush=True)


main()
