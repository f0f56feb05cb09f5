#!/bin/sh
# Sets up a fresh checkout: checks Node and npm, installs the packages where they are not there.
set -eu
cd "$(dirname "$0")/.."
major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
if [ "$major" -lt 20 ] || ! command -v npm >/dev/null; then
  echo "error: Node 20 or newer with npm is needed to set Holdfast up (found: $(node --version 2>/dev/null || echo none))" >&2
  echo "  → https://nodejs.org, or your distribution's nodejs and npm" >&2
  exit 3
fi
stamp=node_modules/.holdfast-lock
if [ ! -x node_modules/node/bin/node ] || ! cmp -s package-lock.json "$stamp"; then
  began=$(date +%s)
  echo "… packages (npm ci)" >&2
  npm ci --no-fund --no-audit --loglevel=error >&2
  cp package-lock.json "$stamp"
  echo "✓ packages ($(($(date +%s) - began)) s)" >&2
fi
