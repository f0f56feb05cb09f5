#!/bin/sh
# Runs a script of this checkout with the Node that it pins.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
[ -x "$here/node_modules/node/bin/node" ] || sh "$here/scripts/setup.sh"
exec "$here/node_modules/node/bin/node" --disable-warning=ExperimentalWarning "$@"
