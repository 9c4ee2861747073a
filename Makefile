# Minglu. Only Go, git and make are needed; `make test` installs the rest (tools/install).
export CGO_ENABLED = 0
FUZZTIME ?= 20s
SOAK_KILLS ?= 1000
OUTAGE ?= 5m
SEEDS ?= 5
NORMAL ?= 10m
CHAOS ?= 30m
HIL ?= usual
# Debian sorts 0~git before any release; a release build names its own.
VERSION ?= 0~git$(shell git log -1 --format=%cd.%h --date=format:%Y%m%d%H%M%S 2>/dev/null || echo 0)
NFPM = go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

build: ## the three programs in bin/
	go build -trimpath -o bin/minglu-agent ./agent
	go build -trimpath -o bin/minglu-provisioning ./provisioning
	go build -trimpath -o bin/minglu-sim ./sim

run: build ## a whole simulated room; ctrl-C seals and verifies
	bin/minglu-sim demo

test: tools ## everything, on this machine; what runs in real time comes last, alone
	go test -count=1 -timeout 15m $$(go list ./... | grep -vE '/sim/(scenario|hil)$$')
	go test -count=1 -timeout 20m -skip TestChaos ./sim/scenario

check: ## vet, house rules, fast tests: the inner loop
	go vet ./...
	go test -short -timeout 90s . ./agent/... ./drivers/... ./provisioning/...

race: ## fast tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -short -timeout 10m ./agent/... ./drivers/... ./provisioning/...

fuzz: ## each fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) tools/fuzz

bench: ## what recording costs, beside ffmpeg: 80 minutes; BENCH=-short for less than one
	go run ./sim/bench $(BENCH)

microbench: ## benchmarks of packages with memory
	go test -run '^$$' -bench . -benchmem -timeout 20m ./agent/... ./drivers/... ./provisioning/...

soak: tools ## recovery with SEEDS other seeds; kill -9 at SOAK_KILLS random moments; faults of every kind for CHAOS; an office away for OUTAGE; NORMAL of undisturbed running
	for n in $$(seq $(SEEDS)); do MINGLU_SEED=$$(date +%s%N) go test -count=1 -timeout 10m -run 'TestModelTraces|TestReordered' ./agent/record/recovery || exit 1; done
	MINGLU_KILLS=$(SOAK_KILLS) go test -v -count=1 -timeout 90m -run TestKill ./sim/scenario
	[ $(CHAOS) = 0 ] || MINGLU_CHAOS=$(CHAOS) go test -v -count=1 -timeout 90m -run TestChaos ./sim/scenario
	MINGLU_OUTAGE=$(OUTAGE) MINGLU_NORMAL=$(NORMAL) go test -v -count=1 -timeout 90m -run 'TestOfficeOutage|TestNormalRun' ./sim/scenario

hil: ## boards that are not there (qemu): drivers, power cuts, tests on arm64 and arm/7; HIL=short takes 2 minutes, HIL=long an hour and more
	@tools/install --hil
	HIL=$(HIL) go test -count=1 -timeout 120m -v ./sim/hil

lint: ## staticcheck
	go tool staticcheck ./...

cross: ## all programs for all boards
	for t in arm64 arm amd64; do GOOS=linux GOARCH=$$t GOARM=7 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o out/$$t/ ./agent ./provisioning ./sim || exit 1; done

deb: cross ## Debian packages of agent and office, for arm64, armhf, amd64 in out/deb
	mkdir -p out/deb
	for t in arm64:arm64 arm:armhf amd64:amd64; do for p in agent provisioning; do \
		BUILT=out/$${t%:*} DEB_ARCH=$${t#*:} VERSION=$(VERSION) $(NFPM) package --packager deb --config $$p/package/nfpm.yaml --target out/deb/ || exit 1; \
	done; done

one-deb:
	$(NFPM) package --packager deb --config $(PROGRAM)/package/nfpm.yaml --target $(TO)

tools: ## install what the tests need (apt, npm)
	@tools/install

clean: ## remove what was built
	rm -rf bin out var

.PHONY: help build run test check race fuzz bench microbench soak hil lint cross deb one-deb tools clean
