#!/usr/bin/env bash
# In Flower a message's time to live is that of its reply's, too: a reply that the SuperLink has had in time is given to nobody
# once the message it replies to has expired. Who asks then gets an error, "Message Unavailable", as if no node had answered; so
# a server that gives messages the time of its round, and looks for replies when that is up, loses those of the last moments.
#
#     findings/flower_replies_expire.sh
#
# Seen with flwr 1.42.0 on Python 3.11, Linux x86-64, with the SuperLink's state in memory; a message lives for a second:
#     a reply stored at once, asked for after 0.5 s: the reply
#     a reply stored at once, asked for after 1.5 s: Error: Message Unavailable
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet flwr==1.42.0
cd "$folder"
"$folder/env/bin/python" - 2>"$folder/log" <<'PYTHON' || { tail -3 "$folder/log"; exit 1; }
import sys
import time

from flwr.app import Message, RecordDict
from flwr.server.superlink.linkstate.linkstate_factory import LinkStateFactory
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, TaskType
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager

state = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory()).state()
node = state.create_node("owner", "owner", b"key", heartbeat_interval=1000)
state.activate_node(node, heartbeat_interval=1000)
run = state.create_run(None, None, "0" * 64, {}, "@none/default", None, "owner", TaskType.SERVER_APP)
TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run, 1, 1


def reply_fetched(after):
    message = Message(RecordDict(), dst_node_id=node, message_type="train", ttl=1.0)
    message.metadata.__dict__["_message_id"] = message.object_id
    assert state.store_message_ins(message)
    assert state.get_message_ins(node, limit=1)
    TaskIdentity.node_id = node
    reply = Message(RecordDict(), reply_to=message)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    TaskIdentity.node_id = 1
    assert state.store_message_res(reply)
    time.sleep(after)
    (found,) = state.get_message_res({message.object_id}, run)
    return found.error.reason.split(" - ")[0] if found.has_error() else "the reply"


said = []
for seconds in (0.5, 1.5):
    said.append(reply_fetched(seconds))
    print(f"a reply stored at once, asked for after {seconds} s: {said[-1]}")
sys.exit(said != ["the reply", "Error: Message Unavailable"])
PYTHON
