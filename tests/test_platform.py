"""The whole platform, from the first `make up` on. The tests stand in the order they run in."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import EXAMPLE, REPOSITORY, Platform, browse, durations, machines, run

DAGS = {"Borrar_datos", "Cargar_datos", "Entrenamiento_mode", "Procesa_data", "Flujo_completo"}
INFERENCE_CPUS = 0.5
INFERENCE_BYTES = 10 * 1024**3
PERIOD_US = 10_000
WORKER_CONCURRENCY = 2


def test_up_ends_with_a_prediction(platform: Platform) -> None:
    assert re.search(r'"class_name": "[A-Z]', platform.first_up.output)
    if not platform.was_there:
        # Promised are 15 minutes on two idle processors. On a host that others use as well, the
        # same work took 8 and a half minutes and 27 within two hours: such a host can only show
        # what is far beyond the promise.
        took = f"from nothing to a prediction: {platform.first_up.seconds:.0f} s"
        print(took)
        if platform.first_up.seconds > 2 * 15 * 60:
            pytest.fail(f"{took}\n{durations(platform.first_up)}", pytrace=False)


def start_times(platform: Platform) -> dict[str, str]:
    """When each container began: at another time after it began anew."""
    return {name: entry["State"]["StartedAt"] for name, entry in platform.containers().items()}


@pytest.mark.usefixtures("memory_in_order")
def test_second_up_changes_and_restarts_nothing(platform: Platform) -> None:
    before = start_times(platform)
    again = platform.make("up")
    assert again.status == 0
    recap = re.findall(r"ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0", again.output)
    # A line for each machine; there are two once load was made.
    assert set(recap) == {"0"}, "Ansible changed something"
    assert "No changes" in again.output, "Terraform changed something"
    assert start_times(platform) == before
    assert again.seconds <= 180


def test_containers_are_hardened(platform: Platform) -> None:
    services = platform.services()
    assert len(services) >= 14
    for name, entry in services.items():
        limits = entry["HostConfig"]
        assert limits["ReadonlyRootfs"], name
        assert limits["CapDrop"] == ["ALL"], name
        assert not limits["CapAdd"], name
        assert limits["SecurityOpt"] == ["no-new-privileges"], name
        assert not limits["Privileged"], name
        assert limits["PidsLimit"] > 0, name
        assert limits["Memory"] > 0, name
        assert limits["CpuQuota"] > 0, name
        assert entry["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
        assert entry["State"]["Health"]["Status"] == "healthy", name
        assert bool(limits["PortBindings"]) == (name == "nginx"), name


def test_containers_are_not_looked_at_together(platform: Platform) -> None:
    periods = [
        entry["Config"]["Healthcheck"]["Interval"]
        for name, entry in platform.services().items()
        # They are alike, and have another one.
        if not name.startswith("inference-api-")
    ]
    assert len(periods) >= 14
    assert len(set(periods)) == len(periods)
    assert all(30e9 <= period < 45e9 for period in periods)


def test_secrets_are_neither_shown_nor_readable(platform: Platform) -> None:
    folder = REPOSITORY / ".deployment" / "secrets"
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    assert len(files) >= 16
    described = json.dumps(platform.containers())
    processes = platform.ssh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path.name
        secret = path.read_text().strip()
        assert len(secret) >= 32, path.name
        assert secret not in described, f"{path.name} is in a container's description"
        assert secret not in processes, f"{path.name} is in a process list"
    assert platform.ssh("find /etc/mlops/secrets -type f -perm /077").strip() == ""


def test_idle_memory(platform: Platform) -> None:
    used = platform.ssh("docker stats --no-stream --format '{{.MemUsage}}'")
    units = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "B": 1}
    total = 0.0
    for line in used.splitlines():
        number, unit = re.match(r"([\d.]+)([KMG]?i?B)", line).groups()  # type: ignore[union-attr]
        total += float(number) * units[unit]
    print(f"idle memory of all containers: {total / 1024**3:.2f} GiB")
    assert total <= 6 * 1024**3


def test_example_is_predicted(platform: Platform) -> None:
    assert '"class_name"' in platform.make("predict").output
    answer = platform.predict()
    assert answer.status_code == 200
    (prediction,) = answer.json()["predictions"]
    assert prediction["class_number"] in range(7)
    assert answer.json()["model"]["name"] == "modelo1"
    (model,) = httpx.get(platform.url(8000, "/models"), timeout=10, verify=platform.trust).json()[
        "models"
    ]
    assert model["name"] == "modelo1"
    assert model["metrics"]["accuracy"] >= 0.89


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (EXAMPLE | {"Elevation": "high"}, "Elevation"),
        (EXAMPLE | {"Elevation": True}, "Elevation"),
        (EXAMPLE | {"Soil_Type": "C0000"}, "Soil_Type"),
        ({key: value for key, value in EXAMPLE.items() if key != "Slope"}, "Slope"),
        (EXAMPLE | {"Colour": "green"}, "Colour"),
        ([EXAMPLE, EXAMPLE | {"Aspect": None}], "Aspect"),
    ],
)
def test_wrong_input_is_refused_by_field(platform: Platform, body: object, field: str) -> None:
    answer = platform.predict(body)
    assert answer.status_code == 422
    assert field in answer.text


@pytest.mark.parametrize("content", [b"", b"no json", b"[", b'{"a":' * 1000, b"x" * 3_000_000])
def test_wrong_bodies_get_4xx_and_harm_nobody(platform: Platform, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(
        platform.url(8000, "/predict"),
        content=content,
        headers=headers,
        timeout=10,
        verify=platform.trust,
    )
    assert 400 <= answer.status_code < 500
    assert platform.predict().status_code == 200
    assert all(entry["RestartCount"] == 0 for entry in platform.services().values())


def test_unknown_model_is_404(platform: Platform) -> None:
    answer = httpx.post(
        platform.url(8000, "/select-model"),
        json={"model_name": "nosuchmodel"},
        timeout=10,
        verify=platform.trust,
    )
    assert answer.status_code == 404


def test_data_api_contract(platform: Platform) -> None:
    base = platform.url(80)
    group = {"group_number": 7}
    restart = httpx.get(f"{base}/restart_data_generation", params=group, timeout=10)
    assert restart.status_code == 200
    batch = httpx.get(f"{base}/data", params=group, timeout=10).json()
    assert batch["group_number"] == 7
    assert batch["batch_number"] == 1
    assert len(batch["data"]) == 5810
    assert all(len(row) == 13 for row in batch["data"])
    for wrong in ({"group_number": 11}, {"group_number": "x"}, {}):
        assert httpx.get(f"{base}/data", params=wrong, timeout=10).status_code == 400


@pytest.mark.parametrize("port", [5000, 5050, 8000, 8080, 8888, 9000, 9001])
def test_all_but_the_data_api_is_encrypted(platform: Platform, port: int) -> None:
    answer = httpx.get(platform.url(port), verify=platform.trust, timeout=10)
    assert answer.status_code < 500
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(platform.url(port), timeout=10)
    plain = f"http://{platform.address}:{port}/page?query=1"
    redirected = httpx.get(plain, timeout=10)
    assert redirected.status_code == 308
    assert redirected.headers["location"] == plain.replace("http", "https", 1)


def test_airflow_leads_to_no_plain_address(platform: Platform) -> None:
    answer = httpx.get(platform.url(8080, "/auth/login"), verify=platform.trust, timeout=10)
    assert answer.is_redirect
    assert answer.headers["location"].startswith(platform.url(8080))


def test_trust_tells_whom_to_trust(platform: Platform) -> None:
    told = platform.make("trust").output
    assert str(platform.authority) in told
    shown = run(f"openssl x509 -in {platform.authority} -noout -fingerprint -sha256").output
    assert shown.strip().partition("=")[2] in told


def test_mlflow_takes_what_its_own_page_sends(platform: Platform) -> None:
    def ask(origin: str) -> int:
        answer = httpx.post(
            platform.url(5000, "/api/2.0/mlflow/experiments/search"),
            json={"max_results": 1},
            auth=("admin", platform.secret("mlflow_admin_password")),
            headers={"Origin": origin},
            timeout=30,
            verify=platform.trust,
        )
        return answer.status_code

    assert ask(platform.url(5000)) == 200
    assert ask("https://elsewhere.example") == 403


def test_wrong_variables_stop_before_anything(platform: Platform) -> None:
    playbook = "PATH=$PWD/../.venvs/control/bin:$PATH ansible-playbook site.yml"
    for value in ("0", "many", "17"):
        refused = run(f"{playbook} -e inference_replicas={value}", folder=REPOSITORY / "ansible")
        assert refused.status != 0
        assert "inference_replicas" in refused.output
        assert "changed=0" in refused.output
    assert platform.make("scale REPLICAS=many").status != 0


# --- DAGs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def airflow(platform: Platform) -> Iterator[httpx.Client]:
    token = httpx.post(
        platform.url(8080, "/auth/token"),
        json={"username": "admin", "password": platform.secret("airflow_admin_password")},
        timeout=30,
        verify=platform.trust,
    ).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(
        base_url=platform.url(8080, "/api/v2"), headers=headers, timeout=30, verify=platform.trust
    ) as api:
        yield api


def test_dags_are_there_and_unpaused(airflow: httpx.Client) -> None:
    dags = {dag["dag_id"]: dag for dag in airflow.get("/dags").json()["dags"]}
    assert set(dags) == DAGS
    assert not any(dag["is_paused"] for dag in dags.values())
    assert airflow.get("/importErrors").json()["total_entries"] == 0


def start(airflow: httpx.Client, dag: str) -> str:
    """Start a run as an operator does by hand; return its path in the API."""
    started = airflow.post(f"/dags/{dag}/dagRuns", json={"logical_date": None})
    assert started.status_code == 200, started.text
    return f"/dags/{dag}/dagRuns/{started.json()['dag_run_id']}"


def follow(platform: Platform, airflow: httpx.Client, path: str) -> None:
    """Wait until a run has ended well."""

    def ended() -> bool:
        return airflow.get(path).json()["state"] in ("success", "failed")

    seconds = platform.wait_for(path, 420, ended)
    print(f"{path}: {seconds:.0f} s")
    assert airflow.get(path).json()["state"] == "success"


def covertype_query(platform: Platform, query: str) -> str:
    """Return what a query answers, a line for each row."""
    password = platform.secret("postgres_admin_password")
    return platform.ssh(
        f"PGPASSWORD={password} docker exec --env PGPASSWORD postgres "
        f"psql -h 127.0.0.1 -U postgres -d airflow -Atc '{query}'"
    )


def test_clearing_runs_by_hand(platform: Platform, airflow: httpx.Client) -> None:
    follow(platform, airflow, start(airflow, "Borrar_datos"))


def test_a_failed_load_that_is_cleared_leaves_no_half_state(
    platform: Platform, airflow: httpx.Client
) -> None:
    path = start(airflow, "Cargar_datos")
    task = f"{path}/taskInstances/load.load_batches"
    staged = "select count(*) from public.covertype_staged_batches"

    def has_begun() -> bool:
        return airflow.get(task).json()["state"] == "running" and int(
            covertype_query(platform, staged)
        ) in range(2, 9)

    platform.wait_for("some batches", 120, has_begun)
    # What the buttons "Failed" and "Clear task" of the web page send.
    failed = airflow.patch(task, json={"new_state": "failed"})
    assert failed.status_code == 200, failed.text
    platform.wait_for("the run", 60, lambda: airflow.get(path).json()["state"] == "failed")
    rows = "select count(*), count(distinct batch_number) from public.covertype"
    assert covertype_query(platform, rows).strip() == "0|0"
    cleared = airflow.post(
        "/dags/Cargar_datos/clearTaskInstances",
        json={
            "dry_run": False,
            "dag_run_id": path.rpartition("/")[2],
            "only_failed": True,
            "reset_dag_runs": True,
        },
    )
    assert cleared.status_code == 200, cleared.text
    follow(platform, airflow, path)
    assert airflow.get(task).json()["try_number"] == 2
    # The load of `make up` came before; its rows are not there twice.
    assert covertype_query(platform, rows).strip() == "58100|10"
    assert covertype_query(platform, staged).strip() == "0"


def test_training_runs_by_hand(platform: Platform, airflow: httpx.Client) -> None:
    follow(platform, airflow, start(airflow, "Entrenamiento_mode"))


def test_a_search_whose_worker_is_killed_tries_its_candidates_again(
    platform: Platform, airflow: httpx.Client
) -> None:
    path = start(airflow, "Procesa_data")
    tasks = f"{path}/taskInstances"

    def fitting() -> bool:
        running = airflow.get(tasks, params={"state": "running"}).json()["task_instances"]
        return any(task["task_id"] == "search.score_on_share" for task in running)

    platform.wait_for("a candidate", 120, fitting)
    platform.ssh(f"kill -9 {platform.services()['airflow-worker-1']['State']['Pid']}")
    follow(platform, airflow, path)
    tries = [
        task["try_number"]
        for task in airflow.get(tasks).json()["task_instances"]
        if task["task_id"] == "search.score_on_share"
    ]
    print(f"attempts at each candidate: {tries}")
    assert 1 <= tries.count(2) <= WORKER_CONCURRENCY
    assert set(tries) == {1, 2}


def test_tasks_ran_on_celery_workers(platform: Platform, airflow: httpx.Client) -> None:
    runs = airflow.get("/dags/Cargar_datos/dagRuns", params={"order_by": "-run_after"}).json()
    path = f"/dags/Cargar_datos/dagRuns/{runs['dag_runs'][0]['dag_run_id']}/taskInstances"
    tasks = airflow.get(path).json()["task_instances"]
    assert tasks
    assert all(task["hostname"].startswith("airflow-worker-") for task in tasks)


def pgadmin(platform: Platform, password: str, **more: str) -> dict[str, Any]:
    """Log in to pgAdmin and do something; `molecule/shared/pgadmin_client.py` says what."""
    asked = {
        "url": platform.url(5050),
        "email": "admin@mlops.example",
        "password": password,
        "authority": platform.authority.read_text(),
    }
    client = REPOSITORY / "molecule" / "shared" / "pgadmin_client.py"
    answered = subprocess.run(
        [sys.executable, client, json.dumps(asked | more)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answered.returncode == 0, answered.stderr
    answer: dict[str, Any] = json.loads(answered.stdout)
    return answer


def test_pgadmin_shows_rows_without_a_click(platform: Platform) -> None:
    password = platform.secret("pgadmin_password")
    database = {"database": "airflow"}
    saved = pgadmin(platform, password, **database, file="/platform/covertype.sql")
    assert [int(row[0]) for row in saved["rows"]] == list(range(7))
    assert sum(int(row[1]) for row in saved["rows"]) == 58100
    # It reads the pipeline's tables alone.
    for statement in ("SELECT * FROM ab_user", "DELETE FROM covertype"):
        refused = pgadmin(platform, password, **database, sql=statement)
        assert re.search("permission denied|read-only transaction", refused["error"]), statement
    assert pgadmin(platform, "not-the-password") == {"refused": True}


# What JupyterLab's user must not be able to do with the logins that it has.
OVERREACH = """
import os, boto3, botocore.exceptions, mlflow, requests, sqlalchemy
name, bucket = os.environ["MODEL_NAME"], os.environ["S3_BUCKET"]
s3 = boto3.client("s3")
key = s3.list_objects_v2(Bucket=bucket, MaxKeys=1)["Contents"][0]["Key"]
registry = mlflow.MlflowClient()
version = registry.get_model_version_by_alias(name, "production")
table = sqlalchemy.create_engine("postgresql+psycopg2://").connect()
for attempt in (
    lambda: s3.delete_object(Bucket=bucket, Key=key),
    lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"x"),
    lambda: registry.set_registered_model_alias(name, "production", "1"),
    lambda: registry.delete_registered_model(name),
    lambda: registry.create_model_version(name, version.source, version.run_id),
    lambda: registry.log_metric(version.run_id, "accuracy", 1.0),
    lambda: registry.log_text(version.run_id, "x", "x.txt"),
    lambda: table.execute(sqlalchemy.text("DELETE FROM covertype")),
    lambda: table.execute(sqlalchemy.text("SELECT * FROM ab_user")),
):
    try:
        attempt()
    except (botocore.exceptions.ClientError, mlflow.MlflowException, requests.HTTPError) as error:
        print(str(error).split(":")[0])
    except sqlalchemy.exc.DBAPIError as error:
        table.rollback()
        print(type(error.orig).__name__)
"""


def jupyterlab(platform: Platform, password: str, **more: str) -> dict[str, Any]:
    """Log in to JupyterLab through nginx, and run what `jupyterlab_client.py` takes."""
    client = (REPOSITORY / "molecule" / "shared" / "jupyterlab_client.py").read_text()
    authority = "/tmp/authority.crt"  # noqa: S108 - the container's own
    asked = {"url": "https://nginx:8888", "password": password, "authority": authority, **more}
    printed = platform.ssh(
        f"docker exec --interactive jupyterlab sh -c 'cat > {authority}' "
        "< /etc/mlops/certificates/ca.crt && "
        f"docker exec jupyterlab python -c {shlex.quote(client)} {shlex.quote(json.dumps(asked))}"
    )
    answer: dict[str, Any] = json.loads(printed)
    return answer


def test_jupyterlab_runs_code_through_nginx_and_overreaches_nowhere(platform: Platform) -> None:
    assert jupyterlab(platform, "not-the-password") == {"refused": True}
    answer = jupyterlab(platform, platform.secret("jupyterlab_password"), code=OVERREACH)
    assert answer["status"] == "ok", answer["printed"]
    refusals = answer["printed"].splitlines()
    assert len(refusals) == 9
    assert all("AccessDenied" in refusal for refusal in refusals[:2]), refusals
    assert all("403" in refusal or "PERMISSION" in refusal for refusal in refusals[2:7]), refusals
    assert refusals[7:] == ["ReadOnlySqlTransaction", "InsufficientPrivilege"]


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_a_notebook_runs_to_its_end(platform: Platform, path: Path) -> None:
    password = platform.secret("jupyterlab_password")
    answer = jupyterlab(platform, password, notebook=f"examples/{path.name}")
    print(answer["printed"])
    assert answer["status"] == "ok", answer["printed"]
    assert answer["shown"]
    assert all(answer["shown"]), "a cell has shown nothing"


def test_the_notebooks_run_is_in_mlflow(platform: Platform) -> None:
    with httpx.Client(
        base_url=platform.url(5000, "/api/2.0/mlflow"),
        auth=("admin", platform.secret("mlflow_admin_password")),
        timeout=30,
        verify=platform.trust,
    ) as mlflow:
        experiment = mlflow.get("/experiments/get-by-name", params={"experiment_name": "notebooks"})
        number = experiment.json()["experiment"]["experiment_id"]
        runs = mlflow.post("/runs/search", json={"experiment_ids": [number]}).json()["runs"]
        metrics = {metric["key"]: metric["value"] for metric in runs[0]["data"]["metrics"]}
        assert metrics["accuracy"] > 0.75
        files = mlflow.get("/artifacts/list", params={"run_id": runs[0]["info"]["run_id"]})
        assert [file["path"] for file in files.json()["files"]] == ["confusion_matrix.png"]


def test_every_page_in_a_browser(platform: Platform) -> None:
    assert browse(platform.address, "test_pages.py").status == 0


# --- models ---------------------------------------------------------------------------------


def wait_for_answers_of(platform: Platform, version: int, seconds: float) -> None:
    """Wait until every replica answers with this version."""

    def all_answer() -> bool:
        # More than the replicas, which nginx asks in turn.
        answers = [platform.predict().json() for _ in range(8)]
        return {answer["model"]["version"] for answer in answers} == {str(version)}

    took = platform.wait_for(f"version {version}", seconds, all_answer)
    print(f"all replicas answer with version {version} after {took:.1f} s")


def test_promote_roll_back_promote(platform: Platform) -> None:
    registry = httpx.Client(
        base_url=platform.url(5000, "/api/2.0/mlflow/registered-models"),
        auth=("admin", platform.secret("mlflow_admin_password")),
        timeout=30,
        verify=platform.trust,
    )
    alias = {"name": "modelo1", "alias": "production"}
    with registry:
        holder = registry.get("/alias", params=alias).json()["model_version"]
        best = int(holder["version"])
        assert best != 1, "the baseline is in production"
        assert platform.make("promote VERSION=1").status != 0, "the worse version was promoted"
        # The checks decide alone where no version is in production.
        assert registry.request("DELETE", "/alias", json=alias).status_code == 200
    assert platform.make("promote VERSION=1").status == 0
    wait_for_answers_of(platform, 1, 30)
    assert platform.make(f"promote VERSION={best}").status == 0
    wait_for_answers_of(platform, best, 5)
    assert platform.make("rollback").status == 0
    wait_for_answers_of(platform, 1, 5)
    assert platform.make(f"promote VERSION={best}").status == 0
    wait_for_answers_of(platform, best, 5)

    query = "select action, version, accepted from model_promotions order by decided_at"
    decisions = covertype_query(platform, query).split()
    assert decisions[-5:] == [
        "promote|1|f",
        "promote|1|t",
        f"promote|{best}|t",
        "rollback|1|t",
        f"promote|{best}|t",
    ]
    listed = platform.make("models").output
    assert re.search(rf"^ *{best} .*since", listed, flags=re.MULTILINE)


# --- scaling and faults ---------------------------------------------------------------------


@contextmanager
def steady_client(platform: Platform) -> Iterator[list[str]]:
    """Predict in a loop on kept connections; gives the list of what went wrong."""
    problems: list[str] = []
    answered = [0]
    stop = threading.Event()

    def loop() -> None:
        with httpx.Client(timeout=10, verify=platform.trust) as client:
            while not stop.is_set():
                try:
                    answer = client.post(platform.url(8000, "/predict"), json=EXAMPLE)
                    if answer.status_code != 200:
                        problems.append(f"{answer.status_code}: {answer.text[:200]}")
                    answered[0] += 1
                except httpx.HTTPError as error:
                    problems.append(repr(error))
                stop.wait(0.02)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield problems
    finally:
        stop.set()
        thread.join()
    print(f"{answered[0]} predictions answered meanwhile")
    assert answered[0] > 0


def replica_limits(platform: Platform) -> dict[str, dict[str, Any]]:
    """Read processor and memory limits of the replicas from the kernel's cgroup files."""
    script = r"""
for name in $(docker ps --filter name=inference-api- --format '{{.Names}}'); do
  pid=$(docker inspect --format '{{.State.Pid}}' $name)
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$pid/cgroup)
    set -- $(cat $group/cpu.max) $(cat $group/memory.max)
  else
    cpu=/sys/fs/cgroup/cpu$(sed -n 's/^[0-9]*:[^:]*\bcpu\b[^:]*://p' /proc/$pid/cgroup | head -n 1)
    memory=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/$pid/cgroup)
    set -- $(cat $cpu/cpu.cfs_quota_us $cpu/cpu.cfs_period_us $memory/memory.limit_in_bytes)
  fi
  echo "$name $1 $2 $3"
done
"""
    limits = {}
    for line in platform.ssh(script).splitlines():
        name, quota, period, memory = line.split()
        limits[name] = {"quota": int(quota), "period": int(period), "memory": int(memory)}
    return limits


def assert_limits(platform: Platform, replicas: int) -> None:
    limits = replica_limits(platform)
    assert set(limits) == {f"inference-api-{number}" for number in range(1, replicas + 1)}
    for limit in limits.values():
        assert limit["period"] == PERIOD_US
        assert limit["quota"] == int(PERIOD_US * INFERENCE_CPUS / replicas)
        # The kernel keeps whole pages.
        assert limit["memory"] == INFERENCE_BYTES // replicas // 4096 * 4096


@pytest.mark.parametrize("replicas", [1, 4, 2])
def test_scaling_loses_no_request(platform: Platform, replicas: int) -> None:
    before = start_times(platform)
    with steady_client(platform) as problems:
        assert platform.make(f"scale REPLICAS={replicas}").status == 0
        time.sleep(2)
    assert problems == []
    assert_limits(platform, replicas)
    after = start_times(platform)
    kept = [name for name in before.keys() & after.keys() if name.startswith("inference-api-")]
    assert kept
    assert [after[name] for name in kept] == [before[name] for name in kept], "one began anew"


def test_killed_replica_is_not_noticed_and_comes_back(platform: Platform) -> None:
    with steady_client(platform) as problems:
        pid = platform.services()["inference-api-1"]["State"]["Pid"]
        platform.ssh(f"kill -9 {pid}")
        seconds = platform.wait_for(
            "the replica's return",
            60,
            lambda: (
                platform.services()["inference-api-1"]["State"]["Health"]["Status"] == "healthy"
            ),
        )
    print(f"back and healthy after {seconds:.1f} s")
    assert problems == []


def test_load_from_a_machine_of_its_own(platform: Platform) -> None:
    made = platform.make("loadtest USERS=500 DURATION=60")
    assert made.status == 0, "a request failed"
    assert re.search(r"^/predict +\d+ +0 ", made.output, flags=re.MULTILINE)
    refused = platform.make("loadtest USERS=many DURATION=60")
    assert refused.status != 0
    assert "USERS must be a whole number" in refused.output
    assert_limits(platform, 2)


def test_locusts_page_in_a_browser(platform: Platform) -> None:
    assert browse(machines()["loadtest"]["address"], "test_locust_page.py").status == 0
    assert_limits(platform, 2)


def test_the_study_measures_and_puts_everything_back(platform: Platform) -> None:
    tried = platform.make("study FORM=short")
    assert tried.status == 0
    assert tried.seconds <= 300
    page = (REPOSITORY / ".deployment" / "short_study" / "scaling.md").read_text()
    assert re.search(r"^\| 20 \| [\d.]+ \| 0 \| 0 \|", page, flags=re.MULTILINE), page
    assert re.search(r"^\| 50 \| 50 \| 0 \| 0 \|", page, flags=re.MULTILINE), page
    assert_limits(platform, 2)


@pytest.mark.usefixtures("memory_in_order")
def test_restarted_machine_is_well_within_90_seconds(platform: Platform) -> None:
    began = time.monotonic()
    assert run("incus restart mlops").status == 0
    platform.wait_for("a prediction", 90, lambda: platform.predict().status_code == 200)

    def all_healthy() -> bool:
        return all(
            entry["State"].get("Health", {}).get("Status") == "healthy"
            for entry in platform.services().values()
        )

    platform.wait_for("health of all containers", 90, all_healthy)
    print(f"all healthy {time.monotonic() - began:.0f} s after the restart began")
    assert time.monotonic() - began <= 90
    assert_limits(platform, 2)


def test_status_shows_everything_well(platform: Platform) -> None:
    status = platform.make("status")
    assert status.status == 0
    assert "nginx" in status.output
    assert "is in production" in status.output
    assert platform.url(5000) in status.output


def test_logs_of_a_service(platform: Platform) -> None:
    assert "== nginx" in platform.make("logs SERVICE=nginx").output
    unknown = platform.make("logs SERVICE=apache")
    assert unknown.status != 0
    assert "airflow-scheduler" in unknown.output


def test_passwords_are_printed_on_demand(platform: Platform) -> None:
    # Not shown here: what the tests print is kept where others read it.
    printed = subprocess.run(
        ["make", "passwords"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    platform.commands.add("make passwords")
    for name in ("airflow_admin_password", "mlflow_admin_password", "minio_root_user"):
        assert (platform.secret(name) in printed) is True, name


def test_down_and_up_again_keep_everything(platform: Platform) -> None:
    assert platform.make("down").status == 0
    for step in ("[4/8]", "[5/8]", "[6/8]"):
        assert "goes on from here" in interrupted("make up", step)
    # The same run takes a certificate that the operator has put there meanwhile.
    with own_certificate(platform) as own:
        assert platform.make("up").status == 0
        trust = ssl.create_default_context(cafile=str(own))
        for port in (443, 5000, 5050, 8000, 8080, 8888, 9000, 9001):
            assert httpx.get(platform.url(port), verify=trust, timeout=10).status_code < 500
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            platform.predict()
        assert '"class_name"' in platform.make("predict").output
    assert platform.make("up").status == 0
    assert platform.predict().status_code == 200


@contextmanager
def own_certificate(platform: Platform) -> Iterator[Path]:
    """Have a certificate of the operator's own where the next `make up` finds it."""
    own = platform.authority.with_name("own.crt")
    key = own.with_suffix(".key")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=operator -days 2"
    try:
        made = run(f"{make} -addext subjectAltName=IP:{platform.address} -keyout {key} -out {own}")
        assert made.status == 0
        yield own
    finally:
        own.unlink(missing_ok=True)
        key.unlink(missing_ok=True)


def interrupted(command: str, mark: str) -> str:
    """Run a command, press Ctrl-C once it has printed the mark, and return what it printed."""
    process = subprocess.Popen(
        command.split(),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    printed = ""
    assert process.stdout is not None
    for line in process.stdout:
        if mark in line and mark not in printed:
            os.killpg(process.pid, signal.SIGINT)
        printed += line
    assert process.wait() != 0
    print(f"\n$ {command}, interrupted at {mark}:\n{printed}")
    return printed


# --- README ---------------------------------------------------------------------------------


def readme_commands() -> list[str]:
    """Return every command line of the README's shell blocks."""
    text = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def test_every_command_of_the_readme_is_exercised(platform: Platform) -> None:
    # `make test` is what runs this; `make destroy` is the end of it, after all tests; the pipeline
    # ran inside the first `make up`.
    elsewhere = {"make test", "make destroy", "make pipeline"}
    for command in readme_commands():
        if command.startswith("make "):
            assert command in platform.commands | elsewhere, command
        else:
            ran = run(command)
            assert ran.status == 0, command
            assert ran.output.strip(), command
