#!/usr/bin/env bash
# Builds the image and starts visage on this machine's CPUs, on http://127.0.0.1:18081 (docs: http://127.0.0.1:18081/docs).
#   ./deploy_cpu.sh            ./deploy_cpu.sh --dry-run            ./deploy_cpu.sh --help
# Edit the values below, or set them for one run: n_workers=2 ./deploy_cpu.sh

IMAGE=${IMAGE:-visage:cpu}
DOCKERFILE=Dockerfile_cpu

# Containers, published on start_port and the ports after it. One fills all cores; more share the machine.
n_workers=${n_workers:-1}
start_port=${start_port:-18081}
# The address that they are published on; 0.0.0.0 is for everybody who reaches this machine.
publish=${publish:-127.0.0.1}
# Who may ask: off, everybody who reaches that address; keys, whoever shows one (visage keys add). Unset it is off on 127.0.0.1,
# and has to be said, here or in env_file, for any other address.
auth=${auth:-}
# A volume's name, or a folder (which uid 10001 may write to), for networks.
models=${models:-visage-models}
# The same for galleries of enrolled faces, and for keys; all containers of this machine share it.
data=${data:-visage-data}
# A folder of pictures that `urls` may name; none
images=${images:-}
# A file of further settings, NAME=value each (docs/operating.md); none. What is named below stands here
env_file=${env_file:-}

# Networks: the embedded pair, which needs no download.
det_model=${det_model:-yunet}
rec_model=${rec_model:-sface}
# InsightFace's pair, which the reference starts with. Its weights are for non-commercial research only: to use it, take the # away.
# det_model=scrfd_10g_gnkps rec_model=glintr100 accept_licences=insightface-nc,unstated
ga_model=${ga_model:-None}
mask_detector=${mask_detector:-None}
accept_licences=${accept_licences:-}

max_size=${max_size:-640,640}
det_batch_size=${det_batch_size:-1}
rec_batch_size=${rec_batch_size:-4}

# What a request means where it does not say
det_thresh=${det_thresh:-0.6}
return_face_data=${return_face_data:-False}
return_landmarks=${return_landmarks:-False}
extract_embeddings=${extract_embeddings:-True}
detect_ga=${detect_ga:-False}
detect_masks=${detect_masks:-False}
api_ver=${api_ver:-None}
log_level=${log_level:-INFO}

# shellcheck source=misc/container/deploy.sh
. "$(dirname "$0")/misc/container/deploy.sh"
deploy "$@"
