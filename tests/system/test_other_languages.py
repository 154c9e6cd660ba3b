"""The contract is not Python's: npm `celery-node` sends, and npm `standardwebhooks` verifies what comes back.

Off unless TEST_NODE=1, since it needs node, npm and their registry:

    TEST_NODE=1 ./dev test tests/system/test_other_languages.py
"""

import asyncio
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack import services
from devstack.ports import any_port
from tests.support.apunto import Apunto
from tests.support.builders import an_invoice
from tests.support.doc_examples import examples

PACKAGES = ("celery-node@0.5.9", "standardwebhooks@1.1.1", "fernet@0.3.3")
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.environ.get("TEST_NODE") != "1", reason="TEST_NODE=1 asks npm for its packages"),
    pytest.mark.skipif(
        not (shutil.which("node") and shutil.which("npm")), reason="there is no node, or no npm"
    ),
]

RECEIVER = """
const { createServer } = require("http");
const { appendFileSync } = require("fs");
const { Webhook } = require("standardwebhooks");
const webhook = new Webhook(process.env.WEBHOOK_SECRET);
createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts).toString("utf8");
    let said;
    try {
      const event = webhook.verify(body, request.headers);
      said = { verified: true, id: request.headers["webhook-id"], event };
      try {
        webhook.verify(body.replace("stamped", "stomped") + " ", request.headers);
        said.fooled = true;
      } catch { said.fooled = false; }
    } catch (error) { said = { verified: false, why: String(error) }; }
    appendFileSync("received.jsonl", JSON.stringify(said) + "\\n");
    response.writeHead(said.verified ? 204 : 400).end();
  });
}).listen(0, "127.0.0.1", function () { console.log(this.address().port); });
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages."""
    home = tmp_path_factory.mktemp("node")
    (home / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel", "error", *PACKAGES]
    try:
        asked = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry does not answer")
    if asked.returncode != 0:
        pytest.skip(f"npm could not install: {asked.stderr.strip().splitlines()[-1:]}")
    return home


@pytest.fixture(scope="module")
def received(node: Path) -> Iterator[tuple[str, Path]]:
    """A receiver that node runs: its address, and the file of what it says of each webhook."""
    (node / "receiver.js").write_text(RECEIVER)
    process = subprocess.Popen(
        ["node", "receiver.js"],
        cwd=node,
        env={**os.environ, "WEBHOOK_SECRET": SECRET},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/", node / "received.jsonl"
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="module")
def apunto(
    servers: Any,
    make_stack: Callable[..., Any],
    received: tuple[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Apunto]:
    """A stack over a Redis with a port: celery-node speaks to no unix socket."""
    port = any_port()
    home = tmp_path_factory.mktemp("redis")
    argv = [
        str(services.redis_server()),
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--dir",
        str(home),
        "--save",
        "",
    ]

    async def answers() -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True

    name = f"redis-{port}"
    servers.runtime.add(services.Service(name, argv, ready=answers))
    stack = make_stack(
        env={
            "TIMBRADO_BROKER_URL": f"redis://127.0.0.1:{port}/0",
            "TIMBRADO_WEBHOOK_URL": received[0],
            "TIMBRADO_WEBHOOK_SECRET": SECRET,
            "TIMBRADO_WEBHOOK_HOSTS": "127.0.0.1",
        }
    )
    with Apunto(stack) as client:
        yield client
    servers.runtime.stop_service(name)


def run(node: Path, script: str, broker_url: str, *arguments: str) -> str:
    (node / "script.js").write_text(script)
    ended = subprocess.run(
        ["node", "script.js", *arguments],
        cwd=node,
        env={**os.environ, "TIMBRADO_BROKER_URL": broker_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


END = """.then(() => client.disconnect())
  .then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });"""


def test_what_celery_node_sends_is_stamped(node: Path, apunto: Apunto) -> None:
    """The code of the guide, as it is printed; its trace id is kept."""
    account = apunto.open_account()
    invoice = an_invoice(account=account, external_id="NODE-ñ-1", fecha=None)
    guide = examples("connect-apunto.md")["node"]

    run(
        node,
        guide + f'submit(JSON.parse(process.argv[2]), "trace-of-node"){END}',
        apunto.stack.broker_url,
        json.dumps(invoice),
    )

    row = apunto.until(account, {"stamped"}, 1)["NODE-ñ-1"]
    assert row.content == invoice
    assert row.trace_id == "trace-of-node"


def test_the_short_way_of_celery_node_is_stamped_too(node: Path, apunto: Apunto) -> None:
    """`createTask(name).applyAsync([], {...})`, with none of the headers that the guide sets."""
    account = apunto.open_account()
    invoice = an_invoice(account=account, external_id="NODE-2", fecha=None)
    script = (
        'const client = require("celery-node").createClient('
        'process.env.TIMBRADO_BROKER_URL, process.env.TIMBRADO_BROKER_URL, "intake");\n'
        'client.createTask("stamping.submit_invoice").applyAsync([], { invoice: JSON.parse(process.argv[2]) });\n'
        "setTimeout(() => process.exit(0), 1000);\n"
    )

    run(node, script, apunto.stack.broker_url, json.dumps(invoice))

    assert apunto.until(account, {"stamped"}, 1)["NODE-2"].uuid


def test_npm_fernet_makes_a_key_that_the_worker_reads(node: Path, apunto: Apunto) -> None:
    """The whole of `connect` from node: encrypt with the first key, send, become active."""
    account = f"node-{uuid.uuid4().hex[:6]}"
    key = apunto.stack.sandbox.open_account(
        account,
        rfc="EKU9003173C9",
        razon_social="ESCUELA KEMPER URGATE",
        regimen_fiscal="601",
        lugares=["42501"],
    )["api_key"]
    guide = examples("connect-apunto.md")["node"]
    script = (
        'const fernet = require("fernet");\n'
        + guide
        + "const token = new fernet.Token({ secret: new fernet.Secret(process.argv[3]) });\n"
        + "const facts = JSON.parse(process.argv[2]);\n"
        + "facts.api_key_encrypted = token.encode(process.argv[4]);\n"
        + 'const message = client.createTaskMessage(randomUUID(), "stamping.connect", [], facts);\n'
        + "client.isReady().then(() => "
        + f'client.broker.publish(message.body, "", "intake", message.headers, message.properties)){END}'
    )
    facts = {
        "account": account,
        "rfc": "EKU9003173C9",
        "razon_social": "ESCUELA KEMPER URGATE",
        "codigo_postal": "42501",
    }
    first = apunto.stack.environment["TIMBRADO_ENCRYPTION_KEYS"].split(",")[0]

    run(node, script, apunto.stack.broker_url, json.dumps(facts), first, key)

    apunto.until_connection(account, "active")


def test_npm_standardwebhooks_verifies_every_webhook(apunto: Apunto, received: tuple[str, Path]) -> None:
    """All that was sent verifies there, and what is changed by one word does not."""
    account = apunto.open_account()
    apunto.submit([an_invoice(account=account, external_id="HOOK-ñ", fecha=None)])
    apunto.until(account, {"stamped"}, 1)

    deadline = time.monotonic() + 40
    while True:
        reported = (
            [json.loads(line) for line in received[1].read_text().splitlines()]
            if received[1].exists()
            else []
        )
        mine = [each for each in reported if each["verified"] and each["event"]["data"]["account"] == account]
        if {each["event"]["type"] for each in mine} >= {
            "connection.active",
            "invoice.accepted",
            "invoice.stamped",
        }:
            break
        assert time.monotonic() < deadline, reported[-3:]
        time.sleep(0.1)

    assert all(each["verified"] and not each["fooled"] for each in reported)
    assert {each["id"] for each in mine} <= {str(event.id) for event in apunto.events(account)}
    stamped = next(each for each in mine if each["event"]["type"] == "invoice.stamped")
    assert stamped["event"]["data"]["external_id"] == "HOOK-ñ"
