"""What is shipped for Prometheus and Grafana, judged by Prometheus: by its promtool, and by a scrape of a real process.

Wants Debian's `prometheus` (the programs `promtool` and `prometheus`).
"""

import asyncio
import json
import re
import shutil
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from doorway import eventually, intent
from pydantic import SecretStr

import gateway
from gateway.app import serve
from gateway.settings import Settings
from ledger.events import EVENT_TYPES

MONITORING = Path(gateway.__file__).parent / "monitoring"
NAMES = re.compile(r"\b(?:intentledger|process)_[a-z0-9_]+\b")
CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: intentledger
    static_configs: [{{targets: ["{target}"]}}]
"""


def program(name):
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed, and nothing else can judge this: apt-get install prometheus")
    return found


async def run(*command, cwd=MONITORING):
    out = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdout=out, stderr=asyncio.subprocess.STDOUT)
    said, _ = await process.communicate()
    return process.returncode, said.decode()


def queries():
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def serving(dsn, directory):
    """Run the composition root itself, with an adapter."""
    (directory / "intentledger.toml").write_text('[adapters.bank]\ntype = "reference"\n')
    settings = Settings(
        dsn=SecretStr(dsn), data=directory / "data", port=free_port(), config=directory / "intentledger.toml"
    )
    stop, opened = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve(settings, stop=stop, opened=opened.set_result))
    try:
        yield await asyncio.wait_for(opened, 20)
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


@asynccontextmanager
async def prometheus(directory, target):
    """Run a Prometheus that scrapes the target; yields the address of its API."""
    configuration = CONFIGURATION.format(rules=MONITORING / "alerts.yml", target=target.removeprefix("http://"))
    (directory / "prometheus.yml").write_text(configuration)
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=tsdb",
        f"--web.listen-address={address}",
        "--log.level=error",
        cwd=directory,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}/api/v1"
    finally:
        process.kill()
        await process.wait()


async def test_promtool_accepts_the_alert_rules_and_their_tests_pass():
    for command in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        code, said = await run(program("promtool"), *command)
        assert code == 0, said


def test_every_event_that_rules_and_dashboard_count_is_one():
    texts = (*queries(), (MONITORING / "alerts.yml").read_text())
    types = {name for text in texts for name in re.findall(r'type="(\w+)"', text)}
    assert len(types) > 10
    assert types <= EVENT_TYPES.keys()


async def test_prometheus_understands_every_query_of_the_dashboard(tmp_path):
    asked = [expr.replace("$__rate_interval", "1m").replace("$instance", ".*") for expr in queries()]
    assert len(asked) > 40
    rules = {"groups": [{"name": "all", "rules": [{"record": f"q:{n}", "expr": e} for n, e in enumerate(asked)]}]}
    (tmp_path / "queries.yml").write_text(json.dumps(rules))
    code, said = await run(program("promtool"), "check", "rules", str(tmp_path / "queries.yml"))
    assert code == 0, said


async def test_a_real_prometheus_scrapes_a_process_and_finds_everything_that_rules_and_dashboard_name(
    dsn, open_directory
):
    async with serving(dsn, open_directory) as opened, aiohttp.ClientSession() as client:
        token = opened.token_file.read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k", "Prefer": "wait=10"}
        body = intent(("bank.post", "88", 1))
        async with client.post(f"{opened.url}/v1/intents", json=body, headers=headers) as answer:
            assert answer.status == 200
        named = {
            match for text in (*queries(), (MONITORING / "alerts.yml").read_text()) for match in NAMES.findall(text)
        }

        async def told():
            """Wait for everything that rules or dashboard name; what waits in the ledger is counted now and then."""
            async with client.get(f"{opened.url}/metrics") as answer:
                exposed = await answer.text()
            return exposed if named <= _names(exposed.splitlines()) else None

        code, said = await _linted(await eventually(told))
        assert code == 0, said
        async with prometheus(open_directory, opened.url) as api:

            async def asked(path):
                try:
                    async with client.get(api + path) as answer:
                        return (await answer.json())["data"] if answer.status == 200 else None  # it is starting
                except aiohttp.ClientConnectionError:
                    return None

            async def counted():
                found = await asked('/query?query=sum(intentledger_events_total{type="IntentCommitted"})')
                return found and found["result"] and found["result"][0]["value"][1] == "1"

            await eventually(counted)

            async def judged():
                groups = await asked("/rules")
                rules = [rule for group in groups["groups"] for rule in group["rules"]] if groups else []
                return rules if rules and all(rule["health"] == "ok" for rule in rules) else None

            rules = await eventually(judged)
            assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
            (target,) = (await asked("/targets"))["activeTargets"]
            assert (target["health"], target["lastError"]) == ("up", "")


async def _linted(exposition):
    """Let promtool judge the exposition."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program("promtool"), "check", "metrics", stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate(exposition.encode())
    return process.returncode, said.decode()


def _names(exposed):
    """Return the names of all series that there are or can be."""
    found = set()
    for line in exposed:
        match line.split(" ", 3):
            case ["#", "TYPE", name, "histogram"]:
                found |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
            case ["#", "TYPE", name, _]:
                found.add(name)
    return found
