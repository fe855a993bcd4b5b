"""What is written into a deployment's folder to be run or read: start scripts, systemd units, nginx, the guide."""

import shlex
from string import Template

_HEAD = """#!/bin/sh
# Written by fedkd deploy init. Every FEDKD_* below may be set in the environment instead.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
# Seconds between two looks for work to start; Flower's own default is 1.
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL="${FLWR_SUPEREXEC_TASK_POLL_INTERVAL:-0.2}"
"""

SUPERLINK = (
    _HEAD
    + """
# Flower has three APIs on one port, and only that of the nodes asks for a key: read README.md before you open it.
: "${FEDKD_BIND:=127.0.0.1}" "${FEDKD_PORT:=8001}" "${FEDKD_STATE:=$here/state}"
mkdir -p "$FEDKD_STATE"
export FLWR_HOME="$FEDKD_STATE/flwr"
cd "$FEDKD_STATE"
exec flower-superlink --host "$FEDKD_BIND" --port "$FEDKD_PORT" --isolation process \\
  --ssl-ca-certfile "$here/ca.crt" --ssl-certfile "$here/superlink.crt" --ssl-keyfile "$here/superlink.key" \\
  --superexec-auth-secret-file "$here/superexec.secret" --enable-supernode-auth \\
  --database "$FEDKD_STATE/superlink.db"
"""
)

SUPEREXEC = (
    _HEAD
    + """
# Starts the ServerApp of each run, in a process that outlives a SuperLink which is killed and comes back.
: "${FEDKD_BIND:=127.0.0.1}" "${FEDKD_PORT:=8001}" "${FEDKD_STATE:=$here/state}" "${FEDKD_OUT:=$FEDKD_STATE}"
if [ "$FEDKD_BIND" = 0.0.0.0 ]; then FEDKD_BIND=127.0.0.1; fi
mkdir -p "$FEDKD_STATE"
export FLWR_HOME="$FEDKD_STATE/flwr"
cd "$FEDKD_OUT"
exec flower-superexec --runtime-api-address "$FEDKD_BIND:$FEDKD_PORT" --root-certificates "$here/ca.crt" \\
  --superexec-auth-secret-file "$here/superexec.secret"
"""
)

_SUPERNODE = Template(
    _HEAD.replace("$", "$$")
    + """
: "$${FEDKD_SUPERLINK:=$address}" "$${FEDKD_PORT:=9094}" "$${FEDKD_STATE:=/var/lib/fedkd/node-$number}"
# This node's examples: arrays x and y, see docs/deployment.md. The task says what they must look like.
: "$${FEDKD_DATA:=$$here/data.npz}" "$${FEDKD_TASK_DATA:=}" "$${FEDKD_VOCABULARY:=}"
[ -n "$${FEDKD_TASK:-}" ] || FEDKD_TASK=$task
# The class of devices this node is of, a section classes.NAME of the run's settings; empty for what it is dealt.
: "$${FEDKD_CLASS:=}"
# What trains here: litert, by a file and without TensorFlow, or tensorflow. A test set is for this node's own figures.
: "$${FEDKD_ENGINE:=}" "$${FEDKD_TRAINING_FILE:=}" "$${FEDKD_TEST:=}"
if [ -z "$$FEDKD_ENGINE" ]; then
  if command -v fedkd > /dev/null; then FEDKD_ENGINE=tensorflow; else FEDKD_ENGINE=litert; fi
fi
if [ "$$FEDKD_ENGINE" = litert ]; then
  fedkd-node check --own "$$FEDKD_DATA" --state-dir "$$FEDKD_STATE" \\
    $${FEDKD_TRAINING_FILE:+--training-file "$$FEDKD_TRAINING_FILE"} $${FEDKD_TEST:+--test "$$FEDKD_TEST"}
else
  fedkd deploy check --own "$$FEDKD_DATA" --state-dir "$$FEDKD_STATE" --task "$$FEDKD_TASK" \\
    $${FEDKD_TASK_DATA:+--data "$$FEDKD_TASK_DATA"} $${FEDKD_VOCABULARY:+--set "model.vocabulary=$$FEDKD_VOCABULARY"}
fi
# A message's parts one by one: each has 30 s, which several at a time would share.
export FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PUSHES=1 FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PULLS=1
export FLWR_HOME="$$FEDKD_STATE/flwr"
cd "$$FEDKD_STATE"
# It asks for work sooner after some than Flower's own, which older installations have alone.
if command -v fedkd-supernode > /dev/null; then supernode=fedkd-supernode; else supernode=flower-supernode; fi
exec $$supernode --superlink "$$FEDKD_SUPERLINK" --root-certificates "$$here/ca.crt" \\
  --auth-supernode-private-key "$$here/node.key" --port "$$FEDKD_PORT" \\
  --node-config "partition-id=$number data='$$FEDKD_DATA' state-dir='$$FEDKD_STATE' engine='$$FEDKD_ENGINE'\
 training-file='$$FEDKD_TRAINING_FILE' test='$$FEDKD_TEST' class='$$FEDKD_CLASS'"
"""
)

_UNIT = Template("""[Unit]
Description=$what
Wants=network-online.target time-sync.target
After=network-online.target time-sync.target$after

[Service]
User=fedkd
ExecStart=$start
Environment=PATH=/opt/fedkd/bin:/usr/bin:/bin$state
Restart=always
RestartSec=10
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
StateDirectory=$directory
StateDirectoryMode=0700
UMask=0077

[Install]
WantedBy=multi-user.target
""")

NGINX = Template("""# For /etc/nginx/conf.d/fedkd.conf on the SuperLink's machine: nodes reach their API, nothing else.
server {
    listen $port ssl;
    ssl_certificate     "$folder/superlink/superlink.crt";
    ssl_certificate_key "$folder/superlink/superlink.key";
    ssl_protocols TLSv1.2 TLSv1.3;
    client_max_body_size 0;
    location /v1/fleet/ {
        proxy_pass https://127.0.0.1:8001;
        proxy_http_version 1.1;
        proxy_ssl_verify on;
        proxy_ssl_name localhost;
        proxy_ssl_trusted_certificate "$folder/superlink/ca.crt";
        proxy_read_timeout 300s;
    }
    location / { return 403; }
}
""")

_GUIDE = Template("""# A federation of $nodes nodes

Made by `fedkd deploy init`; valid until $until. Every machine needs fedkd (here: in `/opt/fedkd`, a venv) in one
version, and **a clock set by NTP**: Flower signs each call with the time, and a node that is 10 s ahead or 5 minutes
behind is refused (`timedatectl` should say `System clock synchronized: yes`).

Keep this folder on the SuperLink's machine; `ca/ca.key` is needed only to sign anew and is best kept offline.

## 1. SuperLink (this machine)

    sudo useradd --system fedkd; sudo mkdir -p /etc/fedkd
    sudo cp -r $folder/superlink /etc/fedkd/; sudo chown -R fedkd /etc/fedkd
    sudo cp $folder/systemd/fedkd-superlink.service $folder/systemd/fedkd-superexec.service /etc/systemd/system/
    sudo systemctl enable --now fedkd-superlink fedkd-superexec

or by hand, in two terminals: `$folder/superlink/start.sh` and `$folder/superlink/start-superexec.sh`.

Flower serves nodes, runs and control on one port, and **asks only nodes for a key**: who reaches the rest may register
keys and send code to all nodes. So the SuperLink listens on 127.0.0.1:8001, and `nginx.conf` lets nodes in on port
$port and nothing else. In a network where you trust every machine, `FEDKD_BIND=0.0.0.0 FEDKD_PORT=$port` will do
instead (then both for `start-superexec.sh` too, and the port in `admin/config.toml`).

## 2. Register the nodes' keys (this machine, once)

    /opt/fedkd/bin/fedkd deploy register $folder

It remembers which id Flower gave which node, so that `fedkd deploy status` can say names.

## 3. Nodes

Copy `nodes/N` to node N and nothing else: it holds that node's key, and no other.

    scp -r $folder/nodes/0 pi0:node-0
    # on the node
    sudo useradd --system fedkd; sudo mkdir -p /etc/fedkd; sudo mv node-0 /etc/fedkd/
    sudo cp data.npz /etc/fedkd/node-0/data.npz; sudo chown -R fedkd /etc/fedkd
    sudo cp /etc/fedkd/node-0/fedkd-supernode@.service /etc/systemd/system/
    sudo systemctl enable --now fedkd-supernode@0

`start.sh` checks the data first and says what is wrong (`journalctl -u fedkd-supernode@0`). `data.npz` holds this
node's examples: x as the model takes them, y from 0.

## 4. Run and stop

    export PATH=/opt/fedkd/bin:$$PATH
    fedkd deploy status $folder     # all online?
    sudo /opt/fedkd/bin/fedkd deploy run $folder --rounds 20 --out /var/lib/fedkd/superlink/run
    sudo /opt/fedkd/bin/fedkd deploy status $folder --live
    fedkd deploy logs $folder; fedkd deploy stop $folder
    sudo systemctl stop fedkd-supernode@0   # on a node

Flower's own commands work with `export FLWR_HOME=$folder/admin`: `flwr supernode list`, `flwr ls`, `flwr log RUN-ID`.
What the services write is readable by the user fedkd and by root alone, a run's folder too: so `sudo` above, without
which the rounds aren't shown, and `sudo cp -r /var/lib/fedkd/superlink/run .` for what came of it. A run that stopped
goes on with the same `fedkd deploy run … --out …`, and `--resume` in place of all other options.
""")


def supernode(number: int, address: str, task: str) -> str:
    """Return the start script of a node."""
    return _SUPERNODE.substitute(number=number, address=address, task=shlex.quote(task))


def units() -> dict[str, str]:
    """Return the systemd units by their names."""
    here = "/etc/fedkd/superlink"
    state = "\nEnvironment=FEDKD_STATE=/var/lib/fedkd/superlink"
    link = _UNIT.substitute(
        what="Flower SuperLink of fedkd", start=f"{here}/start.sh", state=state, directory="fedkd/superlink", after=""
    )
    runs = _UNIT.substitute(
        what="Starts the runs of fedkd's SuperLink", start=f"{here}/start-superexec.sh", state=state,
        directory="fedkd/superlink", after=" fedkd-superlink.service",
    )  # fmt: skip
    node = _UNIT.substitute(
        what="Flower SuperNode %i of fedkd", start="/etc/fedkd/node-%i/start.sh", directory="fedkd/node-%i", after="",
        state="\nEnvironment=FEDKD_STATE=/var/lib/fedkd/node-%i",
    )  # fmt: skip
    return {"fedkd-superlink.service": link, "fedkd-superexec.service": runs, NODE_UNIT: node}


NODE_UNIT = "fedkd-supernode@.service"


def guide(nodes: int, folder: str, port: int, until: str) -> str:
    """Return the guide, with the commands for this deployment."""
    return _GUIDE.substitute(nodes=nodes, folder=shlex.quote(folder), port=port, until=until)
