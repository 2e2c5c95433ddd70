#!/bin/sh
# The build stage of every image: /opt/deepperception, an environment of exactly the locked packages. Neither uv nor
# anything it caches comes along into the last stage.
#
#   install.sh packages     all of shared.lock; wheels in ./wheels are taken before the index's
#   install.sh own          all of own.lock, below /layer: what this image has beyond the shared packages
#   install.sh project      the project itself, from ./source, below /layer: it changes more often than the rest
#
# Nothing is resolved here: the locks name every package. PIP_INDEX_URL is another package index.
set -eu

# The certificates of a network that opens TLS come as a build secret, so that no layer holds them.
if [ -s /run/secrets/ca ]; then
    export PIP_CERT=/run/secrets/ca SSL_CERT_FILE=/run/secrets/ca
fi
if [ -n "${PIP_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
fi
export UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
tools=/opt/build/bin
install="$tools/uv pip install --quiet --compile-bytecode --no-deps --python /opt/deepperception/bin/python"

case "$1" in
packages)
    python3.11 -m venv /opt/build
    $tools/pip install --quiet --disable-pip-version-check uv==0.13.9 setuptools==84.2.1
    $tools/uv venv --quiet --python "$(command -v python3.11)" /opt/deepperception
    $install --find-links ./wheels --requirement shared.lock
    ;;
own)
    mkdir -p /layer
    [ ! -s own.lock ] || $install --find-links ./wheels --prefix /layer/opt/deepperception --requirement own.lock
    ;;
project)
    $tools/uv build --quiet --wheel --no-build-isolation --python $tools/python --out-dir /tmp/dist ./source
    $install --prefix /layer/opt/deepperception /tmp/dist/*.whl
    ;;
*)
    echo "install.sh: '$1' is neither packages nor project" >&2
    exit 2
    ;;
esac
rm -f /opt/deepperception/.lock /layer/opt/deepperception/.lock  # uv's own, and writable by all
