{{- define "rescored.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{- define "rescored.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rescored.labels" -}}
{{ include "rescored.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* What the chart itself sets; the values' own settings win. */}}
{{- define "rescored.settings" -}}
{{- $ours := dict "LISTEN" "0.0.0.0:8787" "DRAIN" (printf "%ds" (int .Values.drainSeconds)) -}}
{{- $_ := set $ours "ALLOWED_HOSTS" (printf "%s.%s" (include "rescored.name" .) .Release.Namespace) -}}
{{- if .Values.keysSecret }}{{ $_ := set $ours "API_KEYS_FILE" "/keys/keys" }}{{ end -}}
{{- if .Values.snapshot }}{{ $_ := set $ours "CACHE_SNAPSHOT" "/cache/scores.snapshot" }}{{ end -}}
{{- range $name, $value := merge (deepCopy .Values.settings) $ours }}
- name: RESCORED_{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}
