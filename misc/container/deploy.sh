#!/usr/bin/env bash
# What deploy_cpu.sh and deploy_trt.sh do with the values that they set; not to be run by itself.
# shellcheck disable=SC2154
set -euo pipefail

DRY=""

usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
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

settings() {
    local pairs=(
        "DET_NAME=$det_model" "REC_NAME=$rec_model" "GA_NAME=$ga_model" "MASK_DETECTOR=$mask_detector"
        "MAX_SIZE=$max_size" "DET_BATCH_SIZE=$det_batch_size" "REC_BATCH_SIZE=$rec_batch_size"
        "DEF_DET_THRESH=$det_thresh" "DEF_RETURN_FACE_DATA=$return_face_data" "DEF_RETURN_LANDMARKS=$return_landmarks"
        "DEF_EXTRACT_EMBEDDING=$extract_embeddings" "DEF_EXTRACT_GA=$detect_ga" "DEF_DETECT_MASKS=$detect_masks"
        "DEF_API_VER=$api_ver" "LOG_LEVEL=$log_level"
    )
    if [ -n "$accept_licences" ]; then pairs+=("ACCEPT_LICENCES=$accept_licences"); fi
    if [ "$DOCKERFILE" = Dockerfile_trt ]; then pairs+=("FORCE_FP16=$force_fp16"); fi
    local pair
    for pair in "${pairs[@]}"; do ENVIRONMENT+=(--env "$pair"); done
}

names() { docker ps --all --quiet --filter "name=^visage-[0-9]+$"; }

deploy() {
    local stop=""
    while [ $# -gt 0 ]; do
        case "$1" in
        --help | -h) usage && exit 0 ;;
        --dry-run) DRY=1 ;;
        --stop) stop=1 ;;
        *) fail "$1 is not known; --help tells what is" ;;
        esac
        shift
    done
    cd "$(dirname "$0")"
    whole n_workers 1
    whole start_port 1
    local gpus=0
    if [ "$DOCKERFILE" = Dockerfile_trt ]; then
        whole n_gpu 1
        gpus=$n_gpu
    fi
    [ -n "$DRY" ] || check "$gpus"
    if [ -n "$stop" ]; then
        local old
        for old in $(names); do act docker rm --force "$old"; done
        return
    fi
    ENVIRONMENT=()
    settings
    # A read-only root: the service writes networks into /models, and nothing else.
    local common=(--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --volume "$models:/models")
    if [ -n "$DRY" ] || ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
        act docker build --file "$DOCKERFILE" --tag "$IMAGE" .
    fi
    # Downloads and preparation, once, before any worker starts; engines of one GPU type serve all GPUs of it.
    local first=()
    if [ "$gpus" -gt 0 ]; then first=(--gpus device=0); fi
    act docker run --rm ${first[@]+"${first[@]}"} "${common[@]}" "${ENVIRONMENT[@]}" "$IMAGE" prepare
    local port=$start_port gpu worker
    for ((gpu = 0; gpu < (gpus > 0 ? gpus : 1); gpu++)); do
        for ((worker = 0; worker < n_workers; worker++)); do
            local where=()
            if [ "$gpus" -gt 0 ]; then where=(--gpus "device=$gpu"); fi
            act docker run --detach --name "visage-$port" --restart unless-stopped --stop-timeout 30 ${where[@]+"${where[@]}"} \
                --publish "$publish:$port:18080" "${common[@]}" "${ENVIRONMENT[@]}" "$IMAGE"
            port=$((port + 1))
        done
    done
    if [ -z "$DRY" ]; then
        echo "visage starts on http://127.0.0.1:$start_port/docs (ready when /ready answers 200; logs: docker logs -f visage-$start_port)"
    fi
}

check() {
    command -v docker >/dev/null || fail "docker is not installed: https://docs.docker.com/engine/install/"
    docker info >/dev/null 2>&1 || fail "the docker daemon does not answer: start it, or join the group docker"
    if [ "$1" -gt 0 ]; then
        command -v nvidia-smi >/dev/null || fail "nvidia-smi is not there: install NVIDIA's driver (or use deploy_cpu.sh)"
        local there
        there=$(nvidia-smi --list-gpus | wc -l)
        [ "$1" -le "$there" ] || fail "n_gpu=$1, but this machine has $there"
        docker info --format '{{json .Runtimes}}' | grep -q nvidia ||
            fail "docker has no nvidia runtime: install nvidia-container-toolkit, then nvidia-ctk runtime configure --runtime=docker"
    fi
}
