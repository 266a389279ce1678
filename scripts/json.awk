# One value of a JSON text, decoded: awk -v want=results.0.output -f json.awk. Objects' names and arrays' indices are
# joined by dots. Exit status 1 when there is no such value. For scripts that cannot count on jq; run with LC_ALL=C.

function skip() {
    while (substr(text, at, 1) ~ /^[ \t\r\n]$/) at++
}

function hex(digits,   i, n) {
    n = 0
    for (i = 1; i <= length(digits); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return n
}

function utf8(code) {
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    if (code < 65536) return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
    return sprintf("%c%c%c%c", 240 + int(code / 262144), 128 + int(code / 4096) % 64, 128 + int(code / 64) % 64, 128 + code % 64)
}

function escape(   c, code) {
    c = substr(text, at++, 1)
    if (c == "n") return "\n"
    if (c == "t") return "\t"
    if (c == "r") return "\r"
    if (c == "b") return "\b"
    if (c == "f") return "\f"
    if (c != "u") return c
    code = hex(substr(text, at, 4))
    at += 4
    if (code >= 55296 && code < 56320 && substr(text, at, 2) == "\\u") {
        code = 65536 + (code - 55296) * 1024 + hex(substr(text, at + 2, 4)) - 56320
        at += 6
    }
    return utf8(code)
}

function string(   out, rest) {
    at++
    out = ""
    for (;;) {
        rest = substr(text, at)
        if (!match(rest, /["\\]/)) exit 2
        out = out substr(rest, 1, RSTART - 1)
        at += RSTART
        if (substr(rest, RSTART, 1) == "\"") return out
        out = out escape()
    }
}

function found(path, value) {
    if (path != want) return
    printf "%s", value
    done = 1
    exit 0
}

function value(path,   c, i, name, prefix) {
    skip()
    prefix = path == "" ? "" : path "."
    c = substr(text, at, 1)
    if (c == "{" || c == "[") {
        at++
        skip()
        if (substr(text, at, 1) ~ /^[]}]$/) {
            at++
            return
        }
        for (i = 0;; i++) {
            skip()
            name = i
            if (c == "{") {
                name = string()
                skip()
                at++
            }
            value(prefix name)
            skip()
            if (substr(text, at++, 1) != ",") return
        }
    } else if (c == "\"") {
        found(path, string())
    } else {
        match(substr(text, at), /^[^],} \t\r\n]*/)
        if (RLENGTH == 0) exit 2
        c = substr(text, at, RLENGTH)
        at += RLENGTH
        found(path, c)
    }
}

{ text = text $0 "\n" }

END {
    if (done) exit 0
    at = 1
    value("")
    exit 1
}
