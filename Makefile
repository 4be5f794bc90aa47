# offk8s: `make help` lists what there is. A clone needs only Go; tools are
# pinned in go.mod, and versions come from the build info: dist has it from git in any case.
SHELL := /bin/bash
GO ?= go
export GOTOOLCHAIN := local
FUZZTIME ?= 10s
OUT ?=
KEY ?=
PKGS := ./...

.DEFAULT_GOAL := help
.PHONY: help build test race fmt lint check golden catalog known fuzz demo e2e e2e-long bench measure browser clients closure kills fat32 dist dist-check hooks

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/offk8s, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/offk8s ./cmd/offk8s

# Of a package that failed, the last 100 lines; go test prints one package after the other.
define failures
/^(ok|FAIL|\?|---) *\t/ { if (/^FAIL/) { for (i = n > 100 ? n - 100 : 0; i < n; i++) print line[i]; print }; n = 0; next }
!/^ *(=== |--- PASS)/ { line[n++] = $$0 }
endef
export failures

test: ## run the tests; lists what was skipped for want of root or a program
	@set -o pipefail; log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	$(GO) test -v -timeout 20m $(PKGS) >"$$log" 2>&1; rc=$$?; \
	grep -aE '^(ok|FAIL|panic:)|^ *--- FAIL' "$$log" || true; \
	if [ $$rc != 0 ]; then awk "$$failures" "$$log"; fi; \
	grep -a -B1 -E '^ *--- SKIP' "$$log" | grep -aE '^ *--- SKIP|_test\.go:[0-9]+:' | sed 's/^ */skipped: /' || true; \
	p=$$(grep -acE '^ *--- PASS' "$$log"); f=$$(grep -acE '^ *--- FAIL' "$$log"); s=$$(grep -acE '^ *--- SKIP' "$$log"); \
	echo "$$p passed, $$f failed, $$s skipped"; exit $$rc

race: ## run the tests with the race detector
	$(GO) test -race $(PKGS)

fmt: ## format the code
	$(GO) tool gofumpt -w $$(git ls-files '*.go')

lint: ## vet, gofumpt, staticcheck
	$(GO) vet $(PKGS)
	@out=$$($(GO) tool gofumpt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not formatted (make fmt):"; echo "$$out"; exit 1; }
	$(GO) tool staticcheck $(PKGS)

check: lint ## lint, module files tidy and unchanged, import direction
	$(GO) mod verify >/dev/null
	$(GO) mod tidy -diff
	@grep -qx 'go 1.26.5' go.mod || { echo "go.mod: the go line changed"; exit 1; }
	$(GO) test ./test/arch

golden: ## rewrite the golden files; read the diff like code
	$(GO) test $$(git grep -l 'flag.Bool("update"' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's,^,./,') -update

catalog: ## write the releases of the catalog from the inputs in manifests/catalog/gen
	$(GO) run ./manifests/catalog/gen

known: ## read from upstream's sources what each minor understands; 4 GB of downloads
	$(GO) run ./test/known installer/stage/testdata/known.yaml

fuzz: ## fuzz every parser for FUZZTIME each
	@git grep -ho 'func Fuzz[A-Za-z0-9]*' -- '*_test.go' >/dev/null; \
	for f in $$(git grep -l 'func Fuzz' -- '*_test.go'); do \
	  for n in $$(grep -oE 'func Fuzz[A-Za-z0-9]*' $$f | cut -d' ' -f2); do \
	    echo "$$n ($$(dirname $$f))"; $(GO) test ./$$(dirname $$f) -run '^$$' -fuzz "^$$n\$$" -fuzztime $(FUZZTIME) || exit 1; done; done

demo: ## pack, verify, serve, read and plan with made-up artifacts; no root, no network (OUT=DIR keeps the files)
	@echo 'the first run compiles for one to three minutes'
	$(GO) run ./test/demo $(if $(OUT),-out '$(OUT)')

e2e: ## the lab: real hosts, a real Kubernetes (root; the first run builds the components)
	test/e2e/run

e2e-long: ## the lab, every line of the matrix with the parts that take minutes (LINES=REGEXP: these); see test/e2e/RESULTS.md
	E2E_LONG=1 E2E_LINES='$(or $(LINES),.)' E2E_TIMEOUT=8h test/e2e/run

bench: ## measure: ratios against a floor, nginx, distribution and createrepo_c in one run; needs 24 GB of disk
	$(GO) test ./test/bench -run '^$$' -bench . -benchtime 5x -timeout 40m

closure: ## compare the closures of random sets with apt (1,000) and dnf (2,000; REPOS=DIR:DIR of RPMs: 500 more); an hour
	OFFK8S_CLOSURE_SETS=1000 $(GO) test ./bundle/apt -run AgreesWithApt -count=1 -timeout 3h -v
	OFFK8S_CLOSURE_SETS=2000 $(GO) test ./bundle/yum -run 'AgreesWithDnf$$' -count=1 -timeout 3h -v
	$(if $(REPOS),OFFK8S_CLOSURE_SETS=500 OFFK8S_CLOSURE_REPOS='$(REPOS)' $(GO) test ./bundle/yum -run AgreesWithDnfOnRepositories -count=1 -v)

browser: ## show the mirror's page in Debian's chromium, both languages and colours (SCREENSHOTS=DIR keeps the pictures)
	OFFK8S_TEST_BROWSER=chromium OFFK8S_TEST_SCREENSHOTS='$(SCREENSHOTS)' $(GO) test ./mirror -run Browser -count=1 -v

clients: ## real clients that Debian lacks: containerd 2 and helm pull from the mirror (root; the first run builds them)
	c=$$(test/lab/components/build.sh containerd helm) && \
	OFFK8S_TEST_CONTAINERD=$$(awk '$$1 == "containerd" {print $$2}' <<<"$$c") OFFK8S_TEST_HELM=$$(awk '$$1 == "helm" {print $$2}' <<<"$$c")/helm \
	  $(GO) test ./mirror -run 'Containerd|Peer|Helm' -count=1 -v

kills: ## kill pack at 200 random moments; the next run makes the same bytes; ten minutes
	OFFK8S_KILLS=200 $(GO) test ./cmd/offk8s -run PackKilledAnywhere -count=1 -timeout 1h -v

fat32: ## write and read parts on FAT32 in a kernel in user mode (root; Debian's user-mode-linux, dosfstools)
	OFFK8S_UML=linux.uml $(GO) test ./bundle -run KernelWithFAT32 -count=1 -timeout 10m -v

measure: ## the tree's shape: lines, lengths, exports, words of comments
	@$(GO) test ./test/arch -run TestShape -v -count=1

dist: ## release archives for amd64 and arm64 with SBOMs and SHA256SUMS, signed with KEY=FILE; the same bytes from the same commit
	@rm -rf dist && mkdir -p dist
	@for a in amd64 arm64; do CGO_ENABLED=0 GOOS=linux GOARCH=$$a $(GO) build -buildvcs=true -trimpath -ldflags '-s -w' -o dist/offk8s-linux-$$a ./cmd/offk8s || exit 1; done
	@CGO_ENABLED=0 $(GO) test -count=1 ./cmd/offk8s -run '^TestReleaseDocs$$' -release-docs $(CURDIR)/dist/docs
	@dist/offk8s-linux-$$($(GO) env GOHOSTARCH) release sbom dist
	@for a in amd64 arm64; do d=dist/offk8s-linux-$$a.d; mkdir $$d && cp dist/offk8s-linux-$$a $$d/offk8s && cp dist/offk8s-linux-$$a.cdx.json $$d/sbom.cdx.json && \
	  cp -r dist/docs/* LICENSE README.md README.zh-CN.md CHANGELOG.md docs $$d && chmod -R u=rwX,go=rX $$d && \
	  tar -C $$d --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - . | gzip -n >dist/offk8s-linux-$$a.tar.gz && rm -r $$d; done
	@rm -r dist/docs && dist/offk8s-linux-$$($(GO) env GOHOSTARCH) release sums dist $(if $(KEY),--key '$(KEY)') && cat dist/SHA256SUMS

dist-check: ## releases of HEAD from two clones have the same bytes, and the archive of this machine works
	@d=$$(mktemp -d); trap 'rm -rf "$$d"' EXIT; git clone -q . "$$d/one" && git clone -q . "$$d/second" && \
	  $(MAKE) --no-print-directory -C "$$d/one" dist && (umask 077 && TZ=Asia/Tokyo $(MAKE) --no-print-directory -C "$$d/second" dist >/dev/null) && \
	  diff -r "$$d/one/dist" "$$d/second/dist" && cd "$$d/one/dist" && sha256sum --quiet -c SHA256SUMS && \
	  mkdir x && tar -C x -xzf offk8s-linux-$$($(GO) env GOHOSTARCH).tar.gz && cd x && ./offk8s --version && ! ./offk8s --version | grep -q 0.0.0-dev && bash -n completions/offk8s.bash && \
	  ls man completions | wc -l && echo 'the same bytes twice'

hooks: ## use the repository's git hooks
	git config core.hooksPath .githooks
