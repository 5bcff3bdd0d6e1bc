# Each verb is one line that calls the tool; `make help` tells what it does.
.PHONY: help up test status logs passwords trust pipeline models promote rollback predict scale loadtest study benchmark down destroy lock docs

help:
	@python3 -m control help

up:
	@python3 -m control up

test:
	@python3 -m control test $(if $(LAYER),--layer "$(LAYER)")

status:
	@python3 -m control status

logs:
	@python3 -m control logs --service "$(SERVICE)"

passwords:
	@python3 -m control passwords

trust:
	@python3 -m control trust

pipeline:
	@python3 -m control pipeline

models:
	@python3 -m control models

promote:
	@python3 -m control promote --version "$(VERSION)"

rollback:
	@python3 -m control rollback

predict:
	@python3 -m control predict

scale:
	@python3 -m control scale --replicas "$(REPLICAS)"

loadtest:
	@python3 -m control loadtest --users "$(USERS)" --duration "$(DURATION)"

study:
	@python3 -m control study $(if $(FORM),--form "$(FORM)")

benchmark:
	@python3 -m control benchmark

down:
	@python3 -m control down

destroy:
	@python3 -m control destroy $(if $(filter yes,$(CONFIRM)),--yes)

lock:
	@python3 -m control lock

docs:
	@python3 -m control docs
