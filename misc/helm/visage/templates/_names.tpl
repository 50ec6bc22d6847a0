{{- define "visage.name" -}}
{{- if contains "visage" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-visage" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end -}}
{{- end }}
{{- define "visage.selector" -}}
app.kubernetes.io/name: visage
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "visage.labels" -}}
{{ include "visage.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
