# The one entry: `make help` lists what there is.

CARGO ?= cargo
# How long `make fuzz` spends on each target.
SECONDS ?= 60
PYTHON ?= python3

.PHONY: help demo test check crash sim real mutants mutations fuzz bench bench-loss bench-proxy fmt docs clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Deploy a small shop three times and watch the bad release go back
	$(CARGO) build --bin tidegate
	$(CARGO) run --quiet --bin tidegate -- demo

test: ## Run every test that needs nothing but Rust and git
	$(CARGO) test --workspace

check: ## Hold the rules: format, lints, licences, walls, generated pages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "$(CARGO) deny check bans licenses sources"; \
		$(CARGO) deny check bans licenses sources; \
	elif [ -n "$$TIDEGATE_TEST_REQUIRE" ]; then \
		echo "error: cargo-deny is missing" >&2; exit 1; \
	else \
		echo "SKIPPED: licences and sources, as cargo-deny is missing (cargo install cargo-deny --locked)" >&2; \
	fi
	$(CARGO) test --package tidegate-house --locked

crash: ## Kill every kind of process at every step of every strategy, under traffic
	$(CARGO) test --package tidegate --test it -- --ignored killed_at_every_step

sim: ## Live a million simulated rollouts, keep what fails (ROLLOUTS=..., resumes)
	$(CARGO) run --release --quiet --package tidegate-trials --bin tidegate-trials -- run $(ROLLOUTS)

real: ## Deploy a real application under traffic (needs Python and the network)
	$(CARGO) build --bin tidegate
	$(PYTHON) tests/real/datasette.py

mutants: ## Break core, plan and analysis in every way and see the tests fail (PACKAGE=plan for one)
	$(PYTHON) tests/mutants/run.py

fuzz: ## Feed made up bytes to whatever reads bytes from outside, each for SECONDS (60)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || \
		{ echo "error: cargo-fuzz is missing (cargo install cargo-fuzz --locked)" >&2; exit 1; }
	@cd fuzz && for target in targets/*.rs; do \
		name=$$(basename $$target .rs); \
		known=$$(ls -d seeds/$$name findings/$$name 2>/dev/null); \
		mkdir -p corpus/$$name; \
		echo "== $$name, $(SECONDS) s"; \
		$(CARGO) fuzz run --sanitizer none $$name corpus/$$name $$known -- \
			-max_total_time=$(SECONDS) -max_len=8192 -timeout=10 \
			-dict=dictionaries/$$name.txt -verbosity=0 -print_final_stats=1 || exit 1; \
	done

mutations: ## Break the code in one place for each invariant and see the check with its number fail
	$(PYTHON) tests/mutations/run.py

bench: ## Measure what is promised: one table, the machine's load beside each figure
	$(CARGO) build --release --bin tidegate --bin tidegate-testapp --bin tidegate-bench
	$(CARGO) run --release --quiet --bin tidegate-bench

bench-loss: ## Count lost requests while everything changes, beside nginx, HAProxy and Caddy (ONLY=tidegate for one)
	$(CARGO) build --release --bin tidegate --bin tidegate-testapp --bin tidegate-loss
	$(CARGO) run --release --quiet --bin tidegate-loss -- $(ONLY)

bench-proxy: ## Measure the proxy beside nginx and HAProxy (needs them, wrk and openssl); ONLY=soak: its memory
	$(CARGO) build --release --bin tidegate --bin tidegate-bench
	$(CARGO) run --release --quiet --bin tidegate-bench -- proxy $(ONLY)

fmt: ## Format the code
	$(CARGO) fmt --all

docs: ## Write the generated pages of docs/ anew
	$(CARGO) run --quiet --package tidegate-house --example pages

clean: ## Remove what was built
	$(CARGO) clean
