#!/usr/bin/env bash
# Builds Dockerfile_cpu for real, without a Docker engine, and runs what comes out: `make image-test` (root, some 5 minutes).
#
# The base is a stand-in for python:3.11-slim: a Debian 12 of debootstrap with its Python 3.11. The image is built by buildah
# and run in a chroot: as uid 10001, with a read-only root, a tmpfs at /tmp and a folder as the volume /models.
# The build is lent this machine's certificates, its pip and proxy variables, and the paths in LENT (a pip.conf, a folder of
# wheels); none of that stays in the image.
set -euo pipefail
cd "$(dirname "$0")/../.."

WORK=$PWD/build/image
STAND_IN=localhost/visage-stand-in-for-python:3.11-slim
PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

missing=()
for tool in buildah debootstrap curl unshare chroot; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
    echo "image-test needs: apt-get install ${missing[*]}" >&2
    exit 1
fi
[ "$(id -u)" = 0 ] || { echo "image-test needs root: buildah's chroot and mounts" >&2; exit 1; }

build() { buildah --storage-driver vfs --root "$WORK/storage" --runroot "$WORK/run" "$@"; }
said() { echo "image-test: $*"; }

mkdir -p "$WORK"
if ! build inspect --type image "$STAND_IN" >/dev/null 2>&1; then
    said "a Debian 12 with Python 3.11, in place of python:3.11-slim"
    rm -rf "$WORK/rootfs"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$WORK/rootfs" "${MIRROR:-http://deb.debian.org/debian}" >"$WORK/debootstrap.log"
    ln -s python3 "$WORK/rootfs/usr/bin/python"
    rm -f "$WORK"/rootfs/usr/lib/python3*/EXTERNALLY-MANAGED
    base=$(build from scratch)
    build add "$base" "$WORK/rootfs" / >/dev/null
    build commit --format docker "$base" "$STAND_IN" >/dev/null
    build rm "$base" >/dev/null
    rm -rf "$WORK/rootfs"
fi

said "Dockerfile_cpu"
lent=()
for path in /etc/ssl/certs ${LENT:-}; do lent+=(--volume "$path:$path:ro"); done
for name in $(compgen -e | grep -E '^(PIP_[A-Z_]+|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)$' || true); do
    lent+=(--env "$name=${!name}" --unsetenv "$name")
done
build bud --isolation chroot --layers=false --pull=never --format docker "${lent[@]}" \
    --build-arg "PYTHON_IMAGE=$STAND_IN" --file Dockerfile_cpu --tag visage:image-test . >"$WORK/build.log" 2>&1 ||
    { tail -30 "$WORK/build.log" >&2; exit 1; }

build inspect --type image visage:image-test >"$WORK/inspected.json"
python3 - "$WORK/inspected.json" <<'PY'
import json, sys
config = json.load(open(sys.argv[1]))["Docker"]["config"]
assert config["User"] == "10001:10001", config["User"]
assert config["Entrypoint"] == ["/opt/visage/entrypoint.sh"] and config["Cmd"] == ["serve"], config
assert "/models" in config["Volumes"] and "18080/tcp" in config["ExposedPorts"], config
assert config["Healthcheck"]["Test"][:2] == ["CMD", "python"], config["Healthcheck"]
assert not [e for e in config["Env"] if "index" in e.lower()], config["Env"]
PY
container=$(build from --pull=never visage:image-test)
root=$(build mount "$container")
said "the image: $(du -sm "$root" | cut -f1) MB"

# The volume begins as the image's /models, as docker does it.
rm -rf "$WORK/models" "$WORK/log"
cp -a "$root/models" "$WORK/models"
cat >"$WORK/inside.sh" <<'SH'
set -e
mount --bind "$1" "$1"
mount --bind "$2/models" "$1/models"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount -o remount,bind,ro "$1"
exec chroot --userspec=10001:10001 "$1" /usr/bin/env -i PATH=/opt/visage/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/cache/visage MODELS_DIR=/models ROOT_IMAGES_DIR=/images HOST=0.0.0.0 PORT="$3" ${4:+OFFLINE=1} \
    /opt/visage/entrypoint.sh serve
SH
finish() {
    if [ -n "${service:-}" ] && kill -0 "$service" 2>/dev/null; then kill -KILL "$service"; fi
    build umount "$container" >/dev/null 2>&1 || true
    build rm "$container" >/dev/null 2>&1 || true
}
trap finish EXIT
started=$(date +%s%N)
unshare --mount bash "$WORK/inside.sh" "$root" "$WORK" "$PORT" offline >"$WORK/log" 2>&1 &
service=$!
until curl --silent --fail "http://127.0.0.1:$PORT/ready" >/dev/null; do
    kill -0 "$service" 2>/dev/null || { cat "$WORK/log" >&2; exit 1; }
    sleep 0.1
done
said "ready after $(( ($(date +%s%N) - started) / 1000000 )) ms, as uid $(ps -o uid= -p "$service" | tr -d ' '), with a read-only root"
[ "$(ps -o uid= -p "$service" | tr -d ' ')" = 10001 ]
nsenter --target "$service" --mount --root --wd=/ /usr/bin/touch /opt/visage/x 2>/dev/null && { echo "the root can be written" >&2; exit 1; }

faces=$(curl --silent --fail --data-binary @misc/images/group.jpg -H 'Content-Type: image/jpeg' \
    "http://127.0.0.1:$PORT/extract?extract_embedding=true" |
    python3 -c 'import json, sys; faces = json.load(sys.stdin)["data"][0]["faces"]; assert all(len(f["vec"]) == 128 for f in faces); print(len(faces))')
said "/extract finds $faces faces in misc/images/group.jpg"
[ "$faces" = 24 ]
PORT=$PORT python3 misc/container/healthy.py && said "HEALTHCHECK's command says ready"
PORT=1 python3 misc/container/healthy.py && { echo "HEALTHCHECK's command says ready where nothing listens" >&2; exit 1; }

# SIGTERM in the midst of requests: those inside are answered, then the process ends by itself.
for _ in 1 2 3 4; do
    curl --silent --output /dev/null --write-out '%{http_code}\n' --data-binary @misc/images/group.jpg -H 'Content-Type: image/jpeg' \
        "http://127.0.0.1:$PORT/extract" >>"$WORK/codes.$$" &
    asking+=($!)
done
sleep 0.3
kill -TERM "$service"
wait "${asking[@]}"
wait "$service" && status=0 || status=$?
said "SIGTERM: answers $(sort "$WORK/codes.$$" | uniq -c | tr -s ' ' | tr '\n' ';'), exit status $status"
[ "$(sort -u "$WORK/codes.$$")" = 200 ] && [ "$status" = 143 ]  # ended by that signal, after its work
rm -f "$WORK/codes.$$"
said "passed"
