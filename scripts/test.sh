#!/bin/sh
# All tests. In a fresh clone it sets up first; what needs an engine that can't run here is reported
# as skipped.
#
#   npm test              everything
#   npm test -- FILE ...  only these
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh
sh scripts/node.sh scripts/install-engines.ts
if [ $# -eq 0 ]; then
  sh scripts/node.sh scripts/check.ts
  set -- $(find src test -name '*.test.ts' | sort)
fi
# Most of them wait for engines most of the time.
exec sh scripts/node.sh --test --test-concurrency=3 \
  --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter=./scripts/slowest-tests.ts --test-reporter-destination=stdout "$@"
