"""Stands in for kubectl and the cluster behind it: no machine that runs these tests has one.

It keeps objects in $STANDIN/state.json and records every call in $STANDIN/calls.jsonl. It knows what the deploy asks
for, in the words of the real one, and nothing of admission, scheduling or controllers: workloads are ready as soon as
they are applied, unless $STANDIN/trouble.json (title -> status) says otherwise. What the API server would refuse is
not shown here.
"""

import base64
import json
import os
import sys
from pathlib import Path

PLACE = Path(os.environ["STANDIN"])
STATE, CALLS, TROUBLE = PLACE / "state.json", PLACE / "calls.jsonl", PLACE / "trouble.json"
READY = {
    "StatefulSet": {"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1},
    "Deployment": {"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1},
    "Job": {"conditions": [{"type": "Complete", "status": "True"}]},
}


def load(path):
    return json.loads(path.read_text()) if path.exists() else {}


def title(thing):
    return "/".join([thing["kind"].lower(), thing["metadata"].get("namespace", ""), thing["metadata"]["name"]])


def kind_of(resource):
    name = resource.split(".")[0].lower()
    return name[:-1] if name.endswith("s") and name not in ("ingress",) else name


def main(arguments):
    options = {part.split("=", 1)[0]: part.partition("=")[2] for part in arguments if part.startswith("--")}
    verb, *words = [part for part in arguments if not part.startswith("--")]
    reads = "--filename" in options or "--patch-file" in options
    text = sys.stdin.read() if reads else ""
    with CALLS.open("a") as stream:
        stream.write(json.dumps({"arguments": arguments, "stdin": text}) + "\n")
    state = load(STATE)
    given = objects_in(json.loads(text)) if reads and verb != "patch" else []
    namespace = options.get("--namespace", "")
    if verb == "kustomize":
        print(Path(words[0], "rendered.yaml").read_text())
    elif verb == "version":
        if (PLACE / "no-cluster").exists():
            print(json.dumps({"clientVersion": {"major": "1"}}))
            return 1
        print(json.dumps({"serverVersion": {"major": "1", "minor": "32+"}}))
    elif verb == "get":
        return get(state, words, namespace, options)
    elif verb == "diff":
        changed = [name for name in map(title, given) if state.get(name, {}).get("applied") != by(given)[name]]
        for name in changed:
            print(f"+++ {name}")
        return int(bool(changed))
    elif verb in ("apply", "create"):
        for thing in given:
            if verb == "create" and title(thing) in state:
                print(f"Error from server (AlreadyExists): {title(thing)}", file=sys.stderr)
                return 1
            state[title(thing)] = stored(thing)
        STATE.write_text(json.dumps(state))
    elif verb == "patch":
        entry = state[f"secret/{namespace}/{words[1]}"]["object"]
        entry["data"].update(encoded(json.loads(text)["stringData"]))
        STATE.write_text(json.dumps(state))
    elif verb == "delete":
        state.pop("/".join([kind_of(words[0]), namespace, words[1]]), None)
        if kind_of(words[0]) == "namespace":
            state = {name: each for name, each in state.items() if name.split("/")[1] != words[1]}
        STATE.write_text(json.dumps(state))
    elif verb == "logs":
        print("connecting\nno route to host")
    else:
        print(f"the stand-in does not know '{verb}'", file=sys.stderr)
        return 1
    return 0


def objects_in(sent):
    return sent["items"] if sent["kind"] == "List" else [sent]


def by(things):
    return {title(each): each for each in things}


def encoded(values):
    return {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}


def stored(thing):
    shown = {**thing, "status": load(TROUBLE).get(thing["metadata"]["name"], READY.get(thing["kind"], {}))}
    if thing["kind"] == "Secret":
        shown["data"] = encoded(shown.pop("stringData"))
    return {"applied": thing, "object": shown}


def get(state, words, namespace, options):
    kind, names = kind_of(words[0]), words[1:]
    wanted = dict(part.split("=") for part in options.get("--selector", "").split(",") if part)
    found = [
        each["object"]
        for name, each in sorted(state.items())
        if name.split("/")[0] == kind
        and (not namespace or name.split("/")[1] == namespace)
        and (not names or name.split("/")[2] in names)
        and wanted.items() <= each["object"]["metadata"].get("labels", {}).items()
    ]
    if len(names) == 1:
        print(json.dumps(found[0]) if found else "")
    elif found or not names:
        print(json.dumps({"kind": "List", "items": found}))
    return 0


sys.exit(main(sys.argv[1:]))
