# sandboxd: plain GNU make. `make` builds into build/$(VARIANT); `make demo`, `make check`, `make up`, `make down`.
#
#   SAN=asan,ubsan   sanitizers (a build directory of its own)
#   CC=clang         the other compiler (likewise)
#   WERROR=1         warnings are errors (CI)
#   V=1              print the commands

VERSION   := $(shell sed -n 's/^\#\# \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -1)
PREFIX    ?= /usr/local
CC        := $(if $(filter default,$(origin CC)),gcc,$(CC))
comma     := ,
VARIANT   ?= $(notdir $(firstword $(CC)))$(if $(SAN),-$(subst $(comma),-,$(SAN)))
B         := build/$(VARIANT)
Q         := $(if $(V),,@)

PKGS      := json-c libcurl libarchive hiredis libbsd-overlay libmd sqlite3 fcgi zlib libseccomp
SANFLAGS  := $(if $(findstring asan,$(SAN)),-fsanitize=address) $(if $(findstring ubsan,$(SAN)),-fsanitize=undefined -fno-sanitize-recover=undefined) \
             $(if $(SAN),-fno-omit-frame-pointer)
HARDEN    := -fstack-protector-strong -fstack-clash-protection -fcf-protection=full $(if $(SAN),,-D_FORTIFY_SOURCE=3)
WARN      := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla \
             -Wformat=2 -Wimplicit-fallthrough -Wundef -Wno-unused-parameter $(if $(WERROR),-Werror)
CFLAGS    ?= -O2 -g
# -fno-optimize-sibling-calls: the function that sets an error is then in the stack of its report.
BASEFLAGS := -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -Isrc -DSBX_VERSION='"$(VERSION)"' $(WARN) $(HARDEN) $(SANFLAGS) \
             -fno-optimize-sibling-calls -MMD -MP
DEPCFLAGS := $(shell pkg-config --cflags $(PKGS))
DEPLIBS   := $(shell pkg-config --libs $(PKGS)) -lm -lpthread
LINKFLAGS := -fPIE -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SANFLAGS) $(LDFLAGS)

MODULES   := base wire docker store archive http session report api
LIBSRC    := $(foreach m,$(MODULES),$(wildcard src/$(m)/*.c))
LIBOBJ    := $(LIBSRC:src/%.c=$(B)/obj/%.o)
MAINOBJ   := $(patsubst src/%.c,$(B)/obj/%.o,$(wildcard src/sandboxd/*.c))
# The agent runs in other people's containers: always the plain compiler's static build, never sanitized.
AGENTSRC  := $(wildcard src/agent/*.c src/wire/*.c)
AGENTOBJ  := $(AGENTSRC:src/%.c=$(B)/agent-obj/%.o)
SUPPORT   := $(patsubst %.c,$(B)/%.o,$(wildcard tests/support/*.c))
UNITSRC   := $(wildcard tests/unit/test_*.c)
UNITBIN   := $(UNITSRC:tests/unit/%.c=$(B)/unit/%)
UNITHELP  := $(patsubst %.c,$(B)/%.o,$(filter-out $(UNITSRC),$(wildcard tests/unit/*.c)))

.DEFAULT_GOAL := all
.PHONY: all up down demo reload units check check-unit check-e2e check-fault lint fuzz fuzz-api bench bench-check clean install dist
.SECONDARY:

all: $(B)/sandboxd $(B)/sandboxd-agent

$(B)/sandboxd: $(MAINOBJ) $(B)/libsandboxd.a
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LINKFLAGS) -o $@ $^ $(DEPLIBS)

$(B)/sandboxd-agent: $(AGENTOBJ)
	@echo "  LD    $@"
	$(Q)$(CC) -static-pie -Wl,-z,relro,-z,now -o $@ $^
	$(Q)strip $@

$(B)/libsandboxd.a: $(LIBOBJ)
	@echo "  AR    $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/agent-obj/%.o: src/%.c
	@mkdir -p $(@D)
	@echo "  CC    $< (agent)"
	$(Q)$(CC) $(filter-out $(SANFLAGS),$(BASEFLAGS)) $(if $(SAN),-D_FORTIFY_SOURCE=3) -fPIE -Os -c -o $@ $<

$(B)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(BASEFLAGS) $(DEPCFLAGS) $(CFLAGS) -fPIE -c -o $@ $<

# takes these files into itself
$(B)/obj/api/docs.o: docs/openapi.json src/api/docs.html

$(B)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(BASEFLAGS) $(DEPCFLAGS) $(CFLAGS) -Itests -fPIE -c -o $@ $<

$(B)/unit/%: $(B)/tests/unit/%.o $(UNITHELP) $(SUPPORT) $(B)/libsandboxd.a
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LINKFLAGS) -o $@ $^ $(DEPLIBS) -lcmocka

# the processes are no library either
$(B)/unit/test_admission: $(B)/obj/sandboxd/admission.o $(B)/obj/sandboxd/scoreboard.o
$(B)/unit/test_relieve: $(B)/obj/sandboxd/relieve.o $(B)/obj/sandboxd/scoreboard.o

units: all $(UNITBIN)

check-unit: units
	@scripts/run-unit $(B) $(UNITBIN)

# libFuzzer targets, built by clang with sanitizers of their own: make fuzz FUZZ_SECONDS=600 FUZZ_JOBS=2
FUZZ_SECONDS ?= 60
FUZZ         := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZB        := build/fuzz

fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang SAN=asan,ubsan VARIANT=fuzz CFLAGS='-O1 -g -fsanitize=fuzzer-no-link' build/fuzz/libsandboxd.a
	$(Q)$(MAKE) --no-print-directory CC=clang SAN=asan,ubsan VARIANT=fuzz CFLAGS='-O1 -g -fsanitize=fuzzer-no-link' $(FUZZ:%=build/fuzz/bin/%)
	$(Q)FUZZ_JOBS="$(FUZZ_JOBS)" scripts/run-fuzz build/fuzz/bin $(FUZZ_SECONDS)

# The whole interface on a real stack with sanitizers, by a seed: make fuzz-api FUZZ_API_SECONDS=600 FUZZ_API_SEED=1
fuzz-api:
	$(Q)$(MAKE) --no-print-directory SAN=asan,ubsan all
	@DOCKER_HOST=$$(scripts/dockerd start fuzz-api) && export DOCKER_HOST && scripts/images && \
	    FUZZ_API_SECONDS="$(FUZZ_API_SECONDS)" FUZZ_API_SEED="$(FUZZ_API_SEED)" FUZZ_API_REPLAY="$(FUZZ_API_REPLAY)" \
	    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 VARIANT=gcc-asan-ubsan \
	    /usr/bin/python3 -m pytest -q -s -p no:cacheprovider tests/fuzz/api; \
	    status=$$?; scripts/dockerd stop fuzz-api; exit $$status

# the agent is a program of its own, in no library
$(B)/bin/fuzz_fs: $(patsubst %,$(B)/obj/agent/fs_%.o,literal match nfa scan)

$(B)/bin/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/libsandboxd.a
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(CFLAGS) $(LINKFLAGS) -fsanitize=fuzzer -o $@ $^ $(DEPLIBS)

# Kills at random instants under load, on a dockerd of its own: make check-fault FAULT_SECONDS=600 FAULT_SEED=1
check-fault: all
	@FAULT_SECONDS="$(or $(FAULT_SECONDS),60)" FAULT_SEED="$(FAULT_SEED)" \
	    /usr/bin/python3 -m pytest -q -s -p no:cacheprovider tests/fault

up down demo reload bench check lint:
	@scripts/$@

bench-check:
	@scripts/bench --check

check-e2e: all
	@DOCKER_HOST=$$(scripts/dockerd start check-e2e) && export DOCKER_HOST && scripts/images && \
	    /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/e2e; status=$$?; scripts/dockerd stop check-e2e; exit $$status

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/libexec/sandboxd $(DESTDIR)$(PREFIX)/share/sandboxd/nginx \
	    $(DESTDIR)$(PREFIX)/share/doc/sandboxd $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 0755 $(B)/sandboxd $(DESTDIR)$(PREFIX)/sbin/sandboxd
	install -m 0755 $(B)/sandboxd-agent $(DESTDIR)$(PREFIX)/libexec/sandboxd/sandboxd-agent
	install -m 0644 nginx/*.in $(DESTDIR)$(PREFIX)/share/sandboxd/nginx
	install -m 0644 README.md LICENSE CHANGELOG.md $(wildcard docs/*.md docs/*.yaml docs/*.svg docs/*.json) $(DESTDIR)$(PREFIX)/share/doc/sandboxd
	for unit in sandboxd sandboxd-nginx; do \
	    sed 's|/usr/local|$(PREFIX)|g' scripts/$$unit.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service || exit 1; done

dist:
	git archive --prefix=sandboxd-$(VERSION)/ -o sandboxd-$(VERSION).tar.gz HEAD

clean:
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
