"""Values for the schemas of docs/openapi.yaml: good ones, good ones with one thing wrong, and rubbish."""
import base64
import copy
import json
import string

from openapi import DOC, resolve, validator
from support import BUSYBOX, DEBIAN

PATHS = ("/repo", "/repo/a", "/repo/dir/b", "/repo/dir", "/repo/ümlaut ß", "/workspace/repo/a", "/skills/s", "/workspace/x", "/repo/link",
         "/repo/" + "n" * 255, "/repo/d/" * 3 + "e")
BAD_PATHS = ("", "/", "repo/a", "/etc/passwd", "/repo/../etc/passwd", "/repo/./a", "/repo//a", "/repo/a\0b", "/repo/" + "n" * 256,
             "/repo/" + "d/" * 2100, "/repository", "/repo/\ud800", "/proc/1/environ", "/.sandboxd/agent", "\n", "/repo/a/", "/repo/\x7f\x1b[2J")
COMMANDS = ("true", "exit 3", "echo hello; echo oops >&2", "head -c 70000 /dev/urandom", "kill -9 $$", "sleep 0.05", "cat", "ls -la /repo",
            "printf '\\377\\376\\303'", "ln -sf /etc link; echo x > a", "mkdir -p dir && echo y > dir/b", "rm -rf /repo/*", "env", "sleep 0.1 & true",
            "seq 2000", "echo $$", "exec 1>&- 2>&-", "kill -9 -1", "", "(", "git init -q inner; echo z > inner/f")
# Nothing that would have to be looked for in a registry on the internet.
IMAGES = (DEBIAN, DEBIAN, DEBIAN, BUSYBOX)
BAD_IMAGES = ("UPPER/case", "a b", "x:y:z", "localhost:1/none:1", "-x", "x@sha256:1", "\0", "a\nb", "/", ":", "é")
# What a name means, where the schema does not say; else words of no sense would never get beyond the first check.
POOLS = {
    "base_image": (IMAGES, BAD_IMAGES), "path": (PATHS, BAD_PATHS), "to": (PATHS, BAD_PATHS), "command": (COMMANDS, ("a\0b",)),
    "commands[]": (COMMANDS, ("a\0b",)), "cwd": (("/repo", "/", "/tmp", "/none"), ("repo", "", "/\0", "/" + "x" * 5000)),
    "pattern": (("a", "**/*", "^(a|b)+$", "[[:alpha:]]{2,3}", "(((((a*)*)*)*)*)*b", "*.c", "h.l+o", "\\"), ("(", "[", "\0", "a{99999}", "*" * 70000)),
    "glob": (("*", "*.c", "**"), ("\0", "[" * 1000)), "old": (("hello", "x", "\n"), ("",)), "signal": (("TERM", "SIGINT", "9", "CONT", "WINCH"), ("", "NONE", "-1", "65", "x" * 17)),
    "argv[]": (("/bin/echo", "a", "/none", "", "-c"), ("\0",)), "timeout": ((None, 0, 1, 5), (-1, 2000001, 1e300, "x")),
    "idle_seconds": ((None, 3600, 315360000), (0, 315360001, -1)), "ttl_seconds": ((None, 3600, 315360000), (0, -5, 2 ** 63)),
    "memory_bytes": ((None, 64 << 20, 1 << 30), (6291455, 0, -1, 2 ** 63, 2 ** 64)), "cpus": ((None, 0.5, 1), (0, -1, 1e9, 1e-12)),
    "mode": ((0o644, 0, 0o4755, 0o777), (-1, 4096)), "buffer_bytes": ((None, 65536, 1 << 20), (65535, 2 ** 40)),
}
TEXTS = ("", "a", "hello world\n", "ünïcödé 𝄞", "'\";$(id)`", "%00%ff%n%s", "\u202e\ufeff", "null", "x" * 300, "-" * 64, "\r\n\r\n", "0")
ODD = (None, True, False, 0, -1, 1, 2 ** 31, 2 ** 32, 2 ** 53 + 1, 2 ** 63 - 1, 2 ** 63, -2 ** 63 - 1, 10 ** 40, 0.5, -0.0, 1e308, 5e-324, "", "5", "true",
       "off", "1e3", "0x10", " 1", "é", "\0", "\ud800", "x" * 100000, [], [[]], [None], {}, {"": ""}, {"a": {"b": [1]}})
CONTENTS = (b"", b"hello\n", b"\0\1\2", b"\xff" * 3000, b"line\n" * 400, b"old hello x\n")


def good(rnd, schema, name=""):
    """A value that fits; the pools' for the names they know."""
    node = resolve(schema)
    if name in POOLS:
        return rnd.choice(POOLS[name][0])
    if node.get("contentEncoding") == "base64":
        return None if name == "archive" else base64.b64encode(rnd.choice(CONTENTS)).decode()
    if "enum" in node:
        return rnd.choice(node["enum"])
    if "oneOf" in node and "properties" in node:
        chosen = rnd.choice(node["oneOf"])["required"]
        others = {key for one in node["oneOf"] for key in one["required"]} - set(chosen)
        return good_object(rnd, {**node, "required": chosen}, others)
    kinds = node.get("type", "object")
    kind = kinds if isinstance(kinds, str) else rnd.choice(kinds)
    if kind == "object":
        return good_object(rnd, node, ())
    if kind == "array":
        most = min(node.get("maxItems", 4), 4)
        return [good(rnd, node["items"], name + "[]") for _ in range(rnd.randint(node.get("minItems", 0), most))]
    if kind in ("integer", "number"):
        low = node.get("minimum", node.get("exclusiveMinimum", 0) + 1)
        high = node.get("maximum", low + 1000)
        return rnd.choice((low, high, node.get("default", low), rnd.randint(low, min(high, low + 1000))))
    if kind == "string":
        return rnd.choice([t for t in TEXTS if len(t) >= node.get("minLength", 0) and len(t) <= node.get("maxLength", 10 ** 9)])
    return {"boolean": rnd.random() < 0.5, "null": None}[kind]


def good_object(rnd, node, without):
    value = {}
    for key, schema in node.get("properties", {}).items():
        if key not in without and (key in node.get("required", ()) or rnd.random() < 0.3):
            value[key] = good(rnd, schema, key)
    if "propertyNames" in node:  # a map
        for _ in range(rnd.randrange(4)):
            value["".join(rnd.choices(string.ascii_letters + "_", k=rnd.randint(1, 12)))] = rnd.choice(TEXTS)[:255]
    for name, encoding in (("stdin", "stdin_encoding"), ("data", "encoding")):
        if value.get(encoding) == "base64" and isinstance(value.get(name), str):
            value[name] = base64.b64encode(value[name].encode()).decode()
    return value


def fitting(rnd, schema):
    """A good value that the document accepts."""
    while not validator(schema).is_valid(value := good(rnd, schema)):
        pass
    return value


def spots(value, at=()):
    """Every place in a value, as keys from the top."""
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from spots(child, (*at, key))


def put(value, at, new):
    if not at:
        return new
    holder = value
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = new
    return value


def wrong(rnd, schema, value):
    """The value with one thing changed, probably to the worse."""
    value = copy.deepcopy(value)
    how = rnd.randrange(6)
    places = list(spots(value))
    if how == 0 and isinstance(value, dict) and value:  # something is missing
        value.pop(rnd.choice(sorted(value)))
        return value
    if how == 1 and isinstance(value, dict):  # something is too much
        return {**value, rnd.choice(("", "extra", "__proto__", "\0", "k" * 10000)): rnd.choice(ODD)}
    if how == 2:  # a known name with a value that is known to be wrong
        known = [at for at in places if at and pool_of(at) in POOLS]
        known += [(key,) for key in resolve(schema).get("properties", {}) if key in POOLS]
        if known:
            at = rnd.choice(known)
            return put(value, at, rnd.choice(POOLS[pool_of(at)][1]))
    if how == 3:  # a lot of it
        lists = [at for at in places if isinstance(get(value, at), list) and get(value, at)]
        if lists:
            at = rnd.choice(lists)
            return put(value, at, get(value, at)[:1] * rnd.choice((65, 300, 10001)))
    at = rnd.choice(places)
    new = rnd.choice(ODD)
    # a word would be an image's name, and looked for in registries
    if isinstance(new, str) and "base_image" in at and new not in ("", "\0"):
        new = 7
    return put(value, at, new)


def pool_of(at):
    return at[-1] if isinstance(at[-1], str) else f"{at[-2]}[]" if len(at) > 1 else ""


def get(value, at):
    for key in at:
        value = value[key]
    return value


def dumped(value):
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def rubbish(rnd, text):
    """A JSON text that is none any more, or one that parsers read differently."""
    at = rnd.randrange(len(text) + 1)
    how = rnd.randrange(9)
    if how == 0:
        return text[:at]
    if how == 1:
        return text[:at] + bytes(rnd.randrange(256) for _ in range(rnd.randint(1, 4))) + text[at:]
    if how == 2:
        return b"[" * rnd.choice((31, 33, 5000)) + b"]" * rnd.choice((31, 33, 5000))
    if how == 3:  # a key twice
        return text[:-1] + b"," + text[1:] if text[:1] == b"{" and len(text) > 2 else b'{"a":1,"a":2}'
    if how == 4:
        return rnd.choice((b"NaN", b'{"a":Infinity}', b"nul", b"'a'", b"{a:1}", b"[1,]", b"{}{}", b"\xef\xbb\xbf{}", b"", b" ", b'"\\ud800"', b"-", b"01"))
    if how == 5:
        return text.replace(b'"', b'"\\u0000', 1)
    if how == 6:
        return text.decode("utf-8", "replace").encode("utf-16")
    if how == 7:
        return text + b" " * 100000 + b"x"
    return b'{"a":"' + b"x" * rnd.choice((1 << 20, 3 << 20)) + b'"}'


SCHEMAS = DOC["components"]["schemas"]
