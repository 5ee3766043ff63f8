# make check   what must hold before a change is taken (the same as .ci/run)
# make night   the long lanes; prints what they counted

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

GO       ?= go
FUZZTIME ?= 30s
COUNT    ?= 1

.PHONY: check test race fault planted fuzz bench coldbench night night-tests demo

check: ## everything, under half an hour on two cores
	.ci/run

test: ## the README's command
	$(GO) test ./...

race: ## the same under the race detector, long sweeps sampled
	$(GO) test -race -short ./...

fault: ## with the fault injector built in
	$(GO) test -tags faultinject ./...

planted: ## every deliberate bug is switched on, and seen by a check
	$(GO) test -count 1 -tags planted -run Planted -v ./... | grep -vE '^(=== |testing: warning|ok .*no tests to run|\?)'

fuzz: ## every decoder, FUZZTIME each
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg | tail -n 2; \
		done; \
	done

bench: ## benchmarks, each beside its floor
	$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) ./...

coldbench: ## how fast stores of up to 10 M events open, beside floors, SQLite and bbolt; ARGS="-h" lists the flags
	cd bench && $(GO) run . $(or $(ARGS),-cold -wide 1000000)

night: FUZZTIME = 10m
night: night-tests planted fuzz ## the long lanes with the large sizes

night-tests: ## all that they print stays in night.log; what they counted is shown
	@date; for tags in none faultinject; do \
		BATPAK_NIGHT=1 $(GO) test -count 1 -timeout 6h -tags $$tags -v ./...; \
	done > night.log 2>&1 || { grep -E -- '--- FAIL|^FAIL|^panic:|_test.go' night.log | tail -n 100; exit 1; }; \
	grep -E '_test.go:[0-9]+: .*[0-9]' night.log; date

demo: ## a tour: crash, reopen, verify
	$(GO) run ./cmd/batpak demo
