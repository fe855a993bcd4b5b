#!/usr/bin/env bash
# Flower's Grid.push_messages takes an Iterable of messages, and goes through it twice: once to check each, once to send them.
# Of a generator or a map nothing is left the second time, so a request without messages is sent. A SuperLink answers that
# with status 500 ("messages_list must not be empty"), which ends the ServerApp.
#
#     findings/flower_grid_messages_twice.sh
#
# Seen with flwr 1.42.0 on Python 3.11, Linux x86-64; the connection to a SuperLink is a stand-in that counts:
#     messages sent of a list of three: 3; of a generator of three: 0
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet flwr==1.42.0
cd "$folder"
"$folder/env/bin/python" - 2>"$folder/log" <<'PYTHON' || { tail -3 "$folder/log"; exit 1; }
import sys
from types import SimpleNamespace

from flwr.app import Message, RecordDict
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1


class Client:
    """Stands in for the connection to a SuperLink: notes how many messages a request holds."""

    def PushMessages(self, request):
        sent.append(len(request.messages_list))
        return SimpleNamespace(message_ids=[], objects_to_push=[], session_id="1")

    PushObject = None  # nothing is asked for


def messages():
    for node in (1, 2, 3):
        yield Message(RecordDict(), dst_node_id=node, message_type="train")


class Recording(HttpGrid):
    _runtime_client = Client()


sent = []
grid = Recording(insecure=True, token="t")
grid.set_run(Run.create_empty(run_id=1))
grid.push_messages(list(messages()))
grid.push_messages(messages())
print(f"messages sent of a list of three: {sent[0]}; of a generator of three: {sent[1]}")
sys.exit(sent != [3, 0])
PYTHON
