#!/usr/bin/env bash
# What deploy_cpu.sh and deploy_trt.sh do with the values that they set; not to be run by itself.
# shellcheck disable=SC2154
set -euo pipefail

DRY=""
CALLED_FROM=$PWD
HOUSE=$(cd "$(dirname "$0")" && pwd)
KIND=${DOCKERFILE#Dockerfile_}
LAST_PORT=65535

usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    echo "  --build     build the image although there is one"
    echo "  --dry-run   print the commands instead of running them"
    echo "  --stop      stop and remove the containers"
    echo
    echo "Values, from the environment or from the script itself:"
    sed -n 's/^\([a-z_A-Z]*\)=\${[a-z_A-Z]*:-\(.*\)}$/  \1=\2/p' "$0"
}

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 1
}

# Run a command, or with --dry-run print it so that it can be pasted.
act() {
    if [ -n "$DRY" ]; then
        printf '%q ' "$@" | sed 's/ $//'
        echo
    else
        "$@"
    fi
}

whole() {
    case "${!1}" in
    '' | *[!0-9]*) fail "$1=${!1}: a whole number is expected" ;;
    esac
    [ "${!1}" -ge "$2" ] || fail "$1=${!1}: at least $2 is expected"
}

# A folder as docker takes it; what has no slash is a volume's name.
place() {
    case "$1" in
    /*) echo "$1" ;;
    */* | . | ..) echo "$CALLED_FROM/$1" ;;
    *) echo "$1" ;;
    esac
}

# Containers listen on all of their addresses: who may ask is decided by where they are published, unless a value or env_file says it.
access() {
    if [ -z "$auth" ] && [ -n "$env_file" ] && grep -q '^AUTH=.' "$(place "$env_file")" 2>/dev/null; then return; fi
    case "$auth" in
    off | keys) return ;;
    "") ;;
    *) fail "auth=$auth: off or keys is expected" ;;
    esac
    case "$publish" in
    127.* | ::1 | \[::1\] | localhost) auth=off ;;
    *) fail "publish=$publish lets other machines in: set auth=keys (docker run --rm --volume $data:/data $IMAGE keys add NAME --scopes read,write makes one), or auth=off for whoever reaches it" ;;
    esac
}

# COMMON: what every container gets; ENVIRONMENT: the service's settings.
settings() {
    local pairs=(
        "DET_NAME=$det_model" "REC_NAME=$rec_model" "GA_NAME=$ga_model" "MASK_DETECTOR=$mask_detector"
        "MAX_SIZE=$max_size" "DET_BATCH_SIZE=$det_batch_size" "REC_BATCH_SIZE=$rec_batch_size"
        "DEF_DET_THRESH=$det_thresh" "DEF_RETURN_FACE_DATA=$return_face_data" "DEF_RETURN_LANDMARKS=$return_landmarks"
        "DEF_EXTRACT_EMBEDDING=$extract_embeddings" "DEF_EXTRACT_GA=$detect_ga" "DEF_DETECT_MASKS=$detect_masks"
        "DEF_API_VER=$api_ver" "LOG_LEVEL=$log_level"
    )
    if [ -n "$auth" ]; then pairs+=("AUTH=$auth"); fi
    if [ -n "$accept_licences" ]; then pairs+=("ACCEPT_LICENCES=$accept_licences"); fi
    if [ "$KIND" = trt ]; then pairs+=("FORCE_FP16=$force_fp16"); fi
    ENVIRONMENT=()
    if [ -n "$env_file" ]; then ENVIRONMENT+=(--env-file "$(place "$env_file")"); fi
    local pair
    for pair in "${pairs[@]}"; do ENVIRONMENT+=(--env "$pair"); done
    # A read-only root: the service writes networks into /models, what it remembers into /data, and nothing else.
    COMMON=(--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges)
    COMMON+=(--volume "$(place "$models"):/models" --volume "$(place "$data"):/data")
    if [ -n "$images" ]; then COMMON+=(--volume "$(place "$images"):/images:ro"); fi
}

deploy() {
    local stop="" build=""
    while [ $# -gt 0 ]; do
        case "$1" in
        --help | -h) usage && exit 0 ;;
        --build) build=1 ;;
        --dry-run) DRY=1 ;;
        --stop) stop=1 ;;
        *) fail "$1 is not known; --help tells what is" ;;
        esac
        shift
    done
    whole n_workers 1
    whole start_port 1
    local gpus=0
    if [ "$KIND" = trt ]; then
        whole n_gpu 1
        gpus=$n_gpu
    fi
    local count=$(((gpus > 0 ? gpus : 1) * n_workers))
    [ $((start_port + count - 1)) -le "$LAST_PORT" ] || fail "start_port=$start_port: $count ports from there on are more than there are"
    [ -n "$DRY" ] || check_docker
    if [ -n "$stop" ]; then
        stop_all
        return
    fi
    access
    [ -n "$DRY" ] || check_gpus "$gpus"
    settings
    if [ -n "$DRY$build" ] || ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
        act docker build --file "$HOUSE/$DOCKERFILE" --tag "$IMAGE" "$HOUSE"
    fi
    # Downloads and preparation, once, before any worker starts; engines of one kind of GPU serve all GPUs of it.
    local first=()
    if [ "$gpus" -gt 0 ]; then first=(--gpus device=0); fi
    act docker run --rm ${first[@]+"${first[@]}"} "${COMMON[@]}" "${ENVIRONMENT[@]}" "$IMAGE" prepare
    stop_all
    local port=$start_port gpu worker
    for ((gpu = 0; gpu < (gpus > 0 ? gpus : 1); gpu++)); do
        for ((worker = 0; worker < n_workers; worker++)); do
            start "$port" "$gpus" "$gpu"
            port=$((port + 1))
        done
    done
    if [ -z "$DRY" ]; then
        echo "visage starts on http://127.0.0.1:$start_port/docs (ready when /ready answers 200; logs: docker logs -f visage-$KIND-$start_port)"
    fi
}

# start PORT GPUS GPU
start() {
    local where=()
    if [ "$2" -gt 0 ]; then where=(--gpus "device=$3"); fi
    act docker run --detach --name "visage-$KIND-$1" --label "visage=$KIND" --restart unless-stopped --stop-timeout 30 \
        ${where[@]+"${where[@]}"} --publish "$publish:$1:18080" "${COMMON[@]}" "${ENVIRONMENT[@]}" "$IMAGE"
}

# Those that this script started, of whatever number. They are asked to stop first: what is inside is answered.
stop_all() {
    local those="docker ps --all --quiet --filter label=visage=$KIND"
    if [ -n "$DRY" ]; then
        echo "$those | xargs -r docker stop -t 30"
        echo "$those | xargs -r docker rm"
        return
    fi
    local old=()
    while read -r container; do old+=("$container"); done < <($those)
    if [ ${#old[@]} -gt 0 ]; then
        docker stop -t 30 "${old[@]}" >/dev/null
        docker rm "${old[@]}" >/dev/null
        echo "${#old[@]} stopped and removed"
    fi
}

check_docker() {
    command -v docker >/dev/null || fail "docker is not installed: https://docs.docker.com/engine/install/"
    docker info >/dev/null 2>&1 || fail "the docker daemon does not answer: start it, or join the group docker"
}

# check_gpus COUNT
check_gpus() {
    [ "$1" -gt 0 ] || return 0
    command -v nvidia-smi >/dev/null || fail "nvidia-smi is not there: install NVIDIA's driver (or use deploy_cpu.sh)"
    local there
    there=$(nvidia-smi --list-gpus) || fail "nvidia-smi finds no GPU: $there"
    there=$(grep -c '^GPU ' <<<"$there" || true)
    [ "$1" -le "$there" ] || fail "n_gpu=$1, but this machine has $there"
    # docker's --gpus needs the toolkit's hook; that it is configured as a runtime shows it as well.
    command -v nvidia-container-runtime-hook >/dev/null || docker info --format '{{json .Runtimes}}' | grep -q nvidia ||
        fail "nvidia-container-toolkit is not there: install it, then nvidia-ctk runtime configure --runtime=docker"
}
