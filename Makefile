# The user's door. `make help` shows what there is; docs/user-guide.md explains it.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
INV := $(VENV)/bin/python -m invoke

# MODELS_DIR, ARTIFACTS and the other settings reach the farm through its environment: make hands on what stands on
# its command line.

# $(call flag,NAME,option): --option 'value' where the variable NAME was given.
flag = $(if $($1),--$2 '$(subst ','\'',$($1))')
ASKED = $(call flag,OPTIONS,options) $(call flag,PRECISION,precision) $(call flag,VIA,via) $(call flag,BATCH,batch)
CONVERT = $(call flag,MODEL,model) $(call flag,WEIGHTS,weights) $(ASKED) $(call flag,EXPECT,expect)
IMAGE = $(call flag,TARGET,target)
WHICH = $(call flag,MODEL,model) $(IMAGE) $(call flag,VARIANT,variant) $(call flag,WEIGHTS,weights)
SHELF = $(call flag,MODEL,model) $(call flag,VARIANT,variant) $(IMAGE) $(call flag,REGISTRY,registry)
# A folder that is only a way to make another target is none of its own.
TARGETS := $(patsubst docker/%/target.yaml,%,$(shell grep -L '^way_of:' docker/*/target.yaml))

.DEFAULT_GOAL := help
.PHONY: help demo $(TARGETS) nightly all worker compare models status show run trt-run gpu-check report edit diff lint why reproduce job images base pull push publish fetch doctor view clean gc schema test check bench setup setup-dev

##@ Convert

demo: setup ## convert the bundled model and show what it sees: start here
	@$(INV) demo

$(TARGETS): setup ## convert MODEL= to ONNX, prove it, keep it; the same with TARGETS
	@$(INV) convert --target $@ $(CONVERT)

all: setup ## every variant of one MODEL=
	@$(if $(MODEL),,echo "which model? say make all MODEL=name, or make nightly for all models"; exit 2;) \
	  $(INV) nightly $(call flag,MODEL,model) $(call flag,WEIGHTS,weights)

nightly: setup ## every variant of every model, or of MODEL=; ends with a table and what changed
	@$(INV) nightly $(call flag,MODEL,model) $(call flag,WEIGHTS,weights)

compare: setup ## the ways and precisions of TARGET= side by side for MODEL=, converting what is missing
	@$(INV) compare $(IMAGE) $(CONVERT)

##@ Look at what there is

models: setup ## what there is to convert
	@$(INV) models

status: setup ## what has been converted
	@$(INV) status

show: setup ## the smoke-test report of the latest artifact of MODEL=
	@$(INV) show $(call flag,MODEL,model) $(call flag,VARIANT,variant)

report: setup ## pages about all of it, for a browser: artifacts/report/index.html
	@$(INV) report

run: setup ## what the latest artifact of MODEL= sees in PICTURE=face.jpg; VARIANT=onnx
	@$(INV) look $(call flag,MODEL,model) $(call flag,VARIANT,variant) $(call flag,PICTURE,picture)

trt-run: setup ## the same with VARIANT=trt-fp32: what the engine sees
	@$(INV) look $(call flag,MODEL,model) --variant '$(or $(VARIANT),trt-fp32)' $(call flag,PICTURE,picture)

view: setup ## the graph of MODEL= in netron, on loopback
	@$(INV) view $(call flag,MODEL,model) $(call flag,VARIANT,variant) $(call flag,PORT,port)

##@ Understand and change

lint: setup ## what TARGET=, or each target, will not take of MODEL=, before any conversion
	@$(INV) lint $(call flag,MODEL,model) $(IMAGE) $(call flag,WEIGHTS,weights)

why: setup ## which part of the key changed since the latest artifact of MODEL=
	@$(INV) why $(WHICH) $(ASKED) $(call flag,EXPECT,expect)

diff: setup ## how the graphs A= and B= differ: files, models or model/variant
	@$(INV) diff $(call flag,A,one) $(call flag,B,other)

edit: setup ## the graph of MODEL= with BATCH=4 or BATCH=name, only KEEP=output,... or without REMOVE=node,...
	@$(INV) edit $(call flag,MODEL,model) $(call flag,BATCH,batch) $(call flag,KEEP,keep) $(call flag,REMOVE,remove) $(call flag,WEIGHTS,weights)

reproduce: setup ## make the latest artifact of MODEL= again, and compare bytes, then behaviour
	@$(INV) reproduce $(WHICH)

job: setup ## write the job folder of MODEL= to FOLDER=, as the toolchain gets it
	@$(INV) job $(WHICH) $(ASKED) $(call flag,FOLDER,folder)

##@ Share artifacts

publish: setup ## artifacts of MODEL= to REGISTRY=host:port/path, by VARIANT= or TARGET=; SIGN_KEY=file signs
	@$(INV) publish $(SHELF) $(call flag,SIGN_KEY,sign-key) $(call flag,FORCE,force)

fetch: setup ## artifacts of MODEL= from REGISTRY= into the store; VERIFY_KEY=file wants a signature
	@$(INV) fetch $(SHELF) $(call flag,VERSION,version) $(call flag,DIGEST,digest) $(call flag,VERIFY_KEY,verify-key)

##@ Machines and toolchains

doctor: setup ## what this machine can and cannot do, and the remedies
	@$(INV) doctor

worker: setup ## lend this machine to a cluster: a worker for ENGINE=tcp://head:8786; docs/cluster.md
	@exec $(INV) worker $(call flag,NAME,name)

gpu-check: setup ## on a machine with a GPU: every way and precision of TensorRT over all models, or MODEL=, measured
	@$(INV) gpu-check $(call flag,MODEL,model)

images: setup ## build every toolchain image, or that of TARGET=, and let it test itself
	@$(INV) images $(IMAGE)

base: setup ## make the Debian that images stand on with debootstrap, where no registry is in reach
	@$(INV) base

pull: setup ## fetch the images that docker/images.lock names
	@$(INV) pull $(IMAGE)

push: setup ## publish the images to REGISTRY=host:port/path and write docker/images.lock
	@$(INV) push $(IMAGE) $(call flag,REGISTRY,registry)

##@ Tidy up

gc: setup ## remove all but the newest KEEP=3 versions of each variant
	@$(INV) gc $(call flag,KEEP,keep)

clean: setup ## remove failures and leftovers; artifacts stay
	@$(INV) clean

##@ Work on the farm

# Tests with containers share an engine, and count what is in it: one file of them after the other.
BESIDE = $(if $(IMAGES),,--numprocesses=auto --maxprocesses=4 --dist=loadfile)

test: setup-dev ## every test that this machine can run
	@$(VENV)/bin/python -m pytest $(BESIDE) $(TESTS)

check: setup-dev ## style, types, coverage of the core, test size
	@$(INV) check

bench: setup-dev ## timings, as ratios of pairs in one run
	@$(INV) bench

schema: setup ## write docs/recipe.schema.json
	@$(INV) schema

help: ## this list
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z$$()A-Z-]+:.*## /{sub(/\$$\(TARGETS\)/, "onnx", $$1); \
	  sub(/TARGETS/, "$(filter-out onnx,$(TARGETS))", $$2); printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo
	@echo 'Variables, all of them in docs/user-guide.md'
	@echo '  MODEL=name,name or all   WEIGHTS=file or random   EXPECT=none'
	@echo '  OPTIONS="opset=11 simplify=false"   PRECISION=uint8,fp16   VIA=way   BATCH=1,4,8'
	@echo '  RUNNER=docker, podman, venv or auto   GPU=0   JOBS=2   MEMORY=16GiB   CPUS=8'
	@echo '  ENGINE=tcp://head:8786   REGISTRY=host:5000/farm   STRICT=1   REGRESSION="latency=3 size=1.2"'
	@echo '  MODELS_DIR= ARTIFACTS= MODELFARM_DATA= MODELFARM_CACHE= TORCH_INDEX='
	@echo '  of images: EXTRA_CA= WHEELHOUSE= SOURCE_<NAME>= BASE='

setup: $(VENV)/ready
setup-dev: $(VENV)/ready-dev

# Built under a temporary name: an interrupted install is never used. Of several makes one installs, and the others wait.
LOCKED = flock $(VENV).lock sh -ec

$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "modelfarm needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Say: make PYTHON=python3.11 ..."; exit 1; }
	@$(LOCKED) 'test $@ -nt requirements.txt || { \
	  echo "setting up $(VENV) (once) ..."; \
	  rm -rf $(VENV).partial; $(PYTHON) -m venv $(VENV).partial; \
	  $(VENV).partial/bin/python -m pip install --disable-pip-version-check -q -r requirements.txt; \
	  rm -rf $(VENV); mv $(VENV).partial $(VENV); touch $@; }'

$(VENV)/ready-dev: requirements-dev.txt $(VENV)/ready
	@$(LOCKED) '{ test $@ -nt requirements-dev.txt && test $@ -nt $(VENV)/ready; } || { \
	  echo "setting up the tools for tests and checks (once) ..."; \
	  $(VENV)/bin/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt; \
	  touch $@; }'
