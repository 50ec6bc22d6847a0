#!/usr/bin/env bash
# Builds the Dockerfiles for real, without a Docker engine, and runs what comes out of Dockerfile_cpu: `make image-test` (root,
# some 5 minutes; IMAGES=cpu for that one alone).
#
# The bases are stand-ins: for python:3.11-slim a Debian 12 of debootstrap with its Python 3.11; for NVIDIA's TensorRT image
# the same with pip and without ensurepip, as NVIDIA's is, and without TensorRT. The images are built by buildah and run in a chroot:
# as uid 10001, with a read-only root, a tmpfs at /tmp and folders as the volumes /models and /data.
# The build is lent this machine's certificates, its pip and proxy variables, and the paths in LENT (a pip.conf, a folder of
# wheels); none of that stays in the image.
set -euo pipefail
cd "$(dirname "$0")/../.."

WORK=$PWD/build/image
IMAGES=${IMAGES:-cpu trt}

missing=()
for tool in buildah debootstrap curl unshare nsenter setpriv; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
    echo "image-test needs: apt-get install ${missing[*]}" >&2
    exit 1
fi
[ "$(id -u)" = 0 ] || { echo "image-test needs root: buildah's chroot and mounts" >&2; exit 1; }

build() { buildah --storage-driver vfs --root "$WORK/storage" --runroot "$WORK/run" "$@"; }
said() { echo "image-test: $*"; }
failed() {
    echo "image-test: FAILED: $*" >&2
    exit 1
}

# stand_in KIND PACKAGES: a base named as such, made once
stand_in() {
    local name=localhost/visage-stand-in-for-$1 base
    if ! build inspect --type image "$name" >/dev/null 2>&1; then
        said "a Debian 12 in place of the base of Dockerfile_$1"
        rm -rf "$WORK/rootfs"
        debootstrap --variant=minbase --include="$2" bookworm "$WORK/rootfs" "${MIRROR:-http://deb.debian.org/debian}" >"$WORK/debootstrap.log"
        [ "$1" = trt ] || ln -s python3 "$WORK/rootfs/usr/bin/python"
        rm -f "$WORK"/rootfs/usr/lib/python3*/EXTERNALLY-MANAGED
        base=$(build from scratch)
        build add "$base" "$WORK/rootfs" / >/dev/null
        build commit --format docker "$base" "$name" >/dev/null
        build rm "$base" >/dev/null
        rm -rf "$WORK/rootfs"
    fi
}

# image KIND ARGUMENT: build Dockerfile_KIND on its stand-in, which ARGUMENT names
image() {
    local lent=() path name
    for path in /etc/ssl/certs ${LENT:-}; do lent+=(--volume "$path:$path:ro"); done
    for name in $(compgen -e | grep -E '^(PIP_[A-Z_]+|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)$' || true); do
        lent+=(--env "$name=${!name}" --unsetenv "$name")
    done
    said "Dockerfile_$1"
    build bud --isolation chroot --layers=false --pull=never --format docker "${lent[@]}" --build-arg "$2=localhost/visage-stand-in-for-$1" \
        --build-arg VERSION=0 --file "Dockerfile_$1" --tag "visage:image-test-$1" . >"$WORK/build-$1.log" 2>&1 ||
        { tail -30 "$WORK/build-$1.log" >&2; failed "Dockerfile_$1 is not built"; }
    build inspect --type image "visage:image-test-$1" >"$WORK/inspected-$1.json"
    python3 - "$WORK/inspected-$1.json" "$WORK/environment-$1" <<'PY'
import json, sys
config = json.load(open(sys.argv[1]))["Docker"]["config"]
assert config["User"] == "10001:10001", config["User"]
assert config["Entrypoint"] == ["/opt/visage/entrypoint.sh"] and config["Cmd"] == ["serve"], config
assert {"/models", "/data"} <= set(config["Volumes"]) and "18080/tcp" in config["ExposedPorts"], config
assert config["Healthcheck"]["Test"][0] == "CMD" and config["Healthcheck"]["Test"][2] == "/opt/visage/healthy.py", config["Healthcheck"]
assert config["Labels"]["org.opencontainers.image.version"] == "0", config["Labels"]
assert not [e for e in config["Env"] if "index" in e.lower() or "proxy" in e.lower()], config["Env"]
open(sys.argv[2], "w").write("".join(f"{e}\0" for e in config["Env"]))
PY
    container=$(build from --pull=never "visage:image-test-$1")
    containers+=("$container")
    root=$(build mount "$container")
    said "the image on its stand-in: $(du -smx "$root" | cut -f1) MB, of which visage $(du -sm "$root/opt/visage" | cut -f1)"
    # The volumes begin as the image's folders, as docker does it.
    rm -rf "$WORK/models" "$WORK/data"
    cp -a "$root/models" "$WORK/models"
    cp -a "$root/data" "$WORK/data"
}

# contained KIND [NAME=VALUE …] COMMAND …: what docker run --read-only --tmpfs /tmp --cap-drop ALL does of it
contained() {
    local environment=()
    mapfile -d '' environment <"$WORK/environment-$1"
    shift
    # shellcheck disable=SC2016 # that shell's variables
    exec unshare --mount bash -ec '
        root=$1; models=$2; data=$3; shift 3
        mount --bind "$root" "$root"
        mount --bind "$models" "$root/models"
        mount --bind "$data" "$root/data"
        mount -t tmpfs -o mode=1777,noexec,nosuid,nodev tmpfs "$root/tmp"
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        mount -o remount,bind,ro "$root"
        exec chroot "$root" /usr/bin/env -i /usr/bin/setpriv --reuid 10001 --regid 10001 --clear-groups --bounding-set=-all --no-new-privs "$@"
    ' bash "$root" "$WORK/models" "$WORK/data" /usr/bin/env "${environment[@]}" HOME=/tmp "$@"
}

# inside COMMAND …: docker exec
inside() { nsenter --target "$service" --mount --root --wd=/ /usr/bin/env -i "PORT=$PORT" PATH=/opt/visage/bin:/usr/bin:/bin "$@"; }

# served WORKERS NAME=VALUE …: start the service of Dockerfile_cpu and wait until all its processes are ready
served() {
    local workers=$1
    shift
    PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    local started
    started=$(date +%s%N)
    contained cpu OFFLINE=1 AUTH=off NUMBA_DEBUG_CACHE=1 "PORT=$PORT" "NUM_WORKERS=$workers" "$@" /opt/visage/entrypoint.sh serve >"$WORK/log" 2>&1 &
    service=$!
    until curl --silent --fail "http://127.0.0.1:$PORT/ready" >/dev/null && [ "$(grep -c 'visage is ready' "$WORK/log")" = "$workers" ]; do
        kill -0 "$service" 2>/dev/null || { cat "$WORK/log" >&2; failed "the service ended"; }
        sleep 0.1
    done
    said "ready after $((($(date +%s%N) - started) / 1000000)) ms, NUM_WORKERS=$workers $*"
}

faces() {
    curl --silent --fail --data-binary "@misc/images/$1" -H 'Content-Type: image/jpeg' "http://127.0.0.1:$PORT/extract?extract_embedding=true" |
        python3 -c 'import json, sys; faces = json.load(sys.stdin)["data"][0]["faces"]; assert all(len(f["vec"]) == 128 for f in faces); print(len(faces))'
}

# asked METHOD PATH CURL'S WORDS …: the answer of /v1, which must be no error
asked() {
    curl --silent --show-error --fail --request "$1" "${@:3}" "http://127.0.0.1:$PORT/v1/collections$2"
}

# searched: who the largest face of the group is
searched() {
    asked POST '/staff/search?limit=1' -H 'Content-Type: image/jpeg' --data-binary @misc/images/group.jpg |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["probes"][0]["matches"][0]["person"]["id"])'
}

# SIGTERM in the midst of requests: those inside are answered, then the process ends by itself.
drained() {
    local asking=() status codes
    : >"$WORK/codes"
    for _ in 1 2 3 4; do
        curl --silent --output /dev/null --write-out '%{http_code}\n' --data-binary @misc/images/group.jpg -H 'Content-Type: image/jpeg' \
            "http://127.0.0.1:$PORT/extract" >>"$WORK/codes" &
        asking+=($!)
    done
    sleep 0.3
    kill -TERM "$service"
    wait "${asking[@]}"
    wait "$service" && status=0 || status=$?
    service=""
    codes=$(sort "$WORK/codes" | uniq -c | xargs)
    said "SIGTERM with four requests inside: answers $codes, exit status $status"
    [ "$codes" = "4 200" ] || failed "not all that were inside were answered"
    [ "$status" = 143 ] || [ "$status" = 0 ] || failed "exit status $status"
}

containers=()
service=""
finish() {
    if [ -n "$service" ] && kill -0 "$service" 2>/dev/null; then kill -KILL "$service"; fi
    for container in "${containers[@]}"; do build rm "$container" >/dev/null 2>&1 || true; done
}
trap finish EXIT
mkdir -p "$WORK"

cpu() {
    stand_in cpu python3,python3-venv,ca-certificates
    image cpu PYTHON_IMAGE
    if [ -e "$root/usr/bin/gcc" ] || [ -d "$root/build" ]; then failed "what built it is still in the image"; fi
    served 1
    [ "$(ps -o uid= -p "$service" | tr -d ' ')" = 10001 ] || failed "it does not run as uid 10001"
    if inside touch /opt/visage/x 2>/dev/null; then failed "the root can be written"; fi
    if grep -E '^Cap(Prm|Eff|Bnd)' "/proc/$service/status" | grep -qv '0000000000000000$'; then failed "it has capabilities"; fi
    said "it runs as uid 10001 without any capability, and the root cannot be written"
    # On the processor that built it nothing is compiled again, and nothing on a request.
    [ "$(faces group.jpg)" = 24 ] || failed "/extract does not find 24 faces in misc/images/group.jpg"
    [ "$(faces grace_hopper.jpg)" = 1 ] || failed "/extract does not find the face in misc/images/grace_hopper.jpg"
    said "/extract finds 24 faces in misc/images/group.jpg and one in grace_hopper.jpg"
    asked POST '' -d '{"name": "staff"}' >/dev/null
    asked POST '/staff/persons?id=grace' -H 'Content-Type: image/jpeg' --data-binary @misc/images/grace_hopper.jpg >/dev/null
    [ "$(searched)" = grace ] || failed "who was enrolled is not found"
    grep -q 'data loaded' "$WORK/log" || failed "numba says nothing of its cache"
    if grep -q 'data saved' "$WORK/log"; then failed "something was compiled after the image was built"; fi
    said "nothing was compiled: $(grep -c 'data loaded' "$WORK/log") functions came with the image"
    inside python /opt/visage/healthy.py || failed "HEALTHCHECK's command says that it is not ready"
    if inside PORT=1 python /opt/visage/healthy.py; then failed "HEALTHCHECK's command says ready where nothing listens"; fi
    said "HEALTHCHECK's command says ready, and not ready where nothing listens"
    drained
    (contained cpu PORT=0 /opt/visage/entrypoint.sh serve) >"$WORK/refused" 2>&1 && failed "it starts although nobody said who may ask"
    grep -q 'AUTH=keys' "$WORK/refused" || failed "it does not say what to set: $(cat "$WORK/refused")"
    said "without AUTH: $(tail -1 "$WORK/refused" | cut -c1-120)…"
    served 2
    [ "$(searched)" = grace ] || failed "who was enrolled is not found by the next container"
    said "who was enrolled is found by the next container, too"
    [ "$(faces group.jpg)" = 24 ] || failed "two processes do not find 24 faces"
    drained
    served 1 NUMBA_CPU_NAME=generic # as on another processor than the one that built the image
    [ "$(faces group.jpg)" = 24 ] || failed "no 24 faces as on another processor"
    drained
    # What the chart's init container does to an empty volume, which is root's.
    local copy
    copy=$(sed -n 's/.*command: \[sh, -c, "\(.*\)"\]/\1/p' misc/helm/visage/templates/deployment.yaml)
    rm -rf "$WORK/empty"
    install -d -o root -g 10001 -m 2777 "$WORK/empty"
    setpriv --reuid 10001 --regid 10001 --clear-groups sh -ec "$(sed "s#/models/#$WORK/models/#; s#/copy/#$WORK/empty/#" <<<"$copy")" ||
        failed "the chart's init container fails: $copy"
    [ -f "$WORK/empty/onnx/sface/sface.prepared.onnx" ] || failed "the chart's init container does not bring the networks: $copy"
    rm -rf "$WORK/empty"
    said "the chart's init container fills an empty volume: $copy"
}

trt() {
    stand_in trt python3,python3-pip,ca-certificates
    image trt TENSORRT_IMAGE
    # The stand-in has neither TensorRT nor a GPU: all but that fits.
    (contained trt AUTH=off PORT=0 /opt/visage/entrypoint.sh doctor) >"$WORK/doctor" 2>&1 && failed "the doctor finds TensorRT where there is none"
    grep '^NO' "$WORK/doctor" | sed 's/^/image-test: doctor: /'
    if grep '^NO' "$WORK/doctor" | grep -qv -e "No module named 'tensorrt'" -e "driver"; then failed "more than TensorRT and the driver is missing"; fi
    (contained trt INFERENCE_BACKEND=onnx OFFLINE=1 /opt/visage/entrypoint.sh prepare) >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; failed "it does not start on onnx"; }
    said "Dockerfile_trt: every step runs on the stand-in; CuPy is in it, the networks are prepared; no GPU, no TensorRT"
}

for kind in $IMAGES; do "$kind"; done
said "passed"
