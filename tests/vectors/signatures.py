"""Prints the published test vectors of the first generation's signatures, as JSON.

    python3 tests/vectors/signatures.py > tests/vectors/signatures.json

Written with Python's own hmac and from the V1 guide alone, so that it shares nothing with the engine that it tests.
"""

import hashlib
import hmac
import json

APP_ID = "vw0fcsmv6r9s8hx2"
KEYS = ["master-key-of-32-bytes-0123456789", "sixteen bytes ok"]
SECONDS = "1700000000"
MILLIS = "1700000000123"


def in_bytes(ids):
    return sorted(ids, key=lambda name: name.encode("utf-8"))


def in_utf16(ids):
    """The order of JavaScript's sort."""
    return sorted(ids, key=lambda name: name.encode("utf-16-be"))


def vector(action, peer, peers=(), group=None, key=KEYS[0], timestamp=SECONDS, nonce="4f0c1d", order=in_bytes,
           upper=False, listed=None, word=None):
    """`group` is None where the layout has no field for it. `listed` and `word` replace what stands in the string."""
    word = word or {"super": "su", "join": "join", "invite": "invite", "kick": "kick"}.get(action)
    fields = [APP_ID, peer]
    if action in ("join", "invite", "kick"):
        fields.append(group or "")
    fields.append(":".join(order(peers if listed is None else listed)))
    fields += [timestamp, nonce]
    if word:
        fields.append(word)
    text = ":".join(fields)
    signature = hmac.new(key.encode(), text.encode("utf-8"), hashlib.sha1).hexdigest()
    documented = order(peers) == in_bytes(peers) and listed is None and word != "sp" and not upper
    return {
        "app_id": APP_ID, "key": key, "action": action, "peer": peer, "group": group, "peers": list(peers),
        "timestamp": timestamp, "nonce": nonce, "text": text,
        "signature": signature.upper() if upper else signature,
        "documented": documented,
    }


ASTRAL = ["\U0001f600", "\uff5a", "z"]

VECTORS = [
    vector("open", "alice"),
    vector("open", "alice", timestamp=MILLIS),
    vector("open", "alice", ["bob"]),
    vector("open", "alice", ["dave", "bob", "Carol", "bo"]),
    vector("open", "alice", ["dave", "bob"], upper=True),
    vector("open", "alice", ["bob"], key=KEYS[1]),
    vector("open", "汤姆", ["杰瑞", "élan", "e\u0301lan"]),
    vector("open", "alice", ASTRAL),
    vector("open", "alice", ASTRAL, order=in_utf16),
    vector("open", "alice", nonce="x" * 64),
    vector("open", "alice", nonce="随" * 64),
    vector("open", "alice", ["10", "9", "1"], nonce="12345"),
    vector("watch", "alice", ["bob", "anna"]),
    vector("super", "admin"),
    vector("super", "admin", word="sp"),
    vector("super", "admin", ["bob", "anna"], timestamp=MILLIS),
    vector("super", "admin", ASTRAL, order=in_utf16, word="sp"),
    vector("join", "alice"),
    vector("join", "alice", listed=["alice"]),
    vector("join", "alice", group="5482fad6e4b0e5e1b0c0a0a5"),
    vector("join", "alice", group="5482fad6e4b0e5e1b0c0a0a5", listed=["alice"], timestamp=MILLIS),
    vector("invite", "alice", ["dave", "bob"], group="5482fad6e4b0e5e1b0c0a0a5"),
    vector("invite", "alice", ASTRAL, group="5482fad6e4b0e5e1b0c0a0a5", order=in_utf16),
    vector("kick", "alice", ["bob"], group="5482fad6e4b0e5e1b0c0a0a5"),
    vector("kick", "汤姆", ["杰瑞"], group="5482fad6e4b0e5e1b0c0a0a5", timestamp=MILLIS, key=KEYS[1]),
]

print(json.dumps(VECTORS, indent=1, ensure_ascii=True))
