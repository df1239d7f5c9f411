{{- define "rescored.name" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- if contains $chart .Release.Name -}}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $chart | trunc 63 | trimSuffix "-" }}{{ end -}}
{{- end -}}
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

{{- define "rescored.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "rescored.name" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end -}}
{{- end -}}

{{/* An image by its digest where it has one: list of the image's values and the tag that stands for an empty one. */}}
{{- define "rescored.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest }}{{ printf "%s@%s" $image.repository $image.digest }}
{{- else }}{{ printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}{{ end -}}
{{- end -}}

{{- define "rescored.serverImage" -}}
{{- $tag := .Chart.AppVersion -}}
{{- if .Values.gpu.enabled }}{{ $tag = printf "%s-cuda" $tag }}{{ end -}}
{{- include "rescored.image" (list .Values.image $tag) -}}
{{- end -}}

{{/* The port that serves probes and metrics. */}}
{{- define "rescored.operationsPort" -}}
{{- if .Values.ports.operations }}operations{{ else }}http{{ end -}}
{{- end -}}

{{- define "rescored.operationsScheme" -}}
{{- if and .Values.tlsSecret (not .Values.ports.operations) }}HTTPS{{ else }}HTTP{{ end -}}
{{- end -}}

{{/* Hosts by which callers may ask: the Service's name with the namespace, the Ingress' hosts, the user's. */}}
{{- define "rescored.allowedHosts" -}}
{{- $hosts := list (printf "%s.%s" (include "rescored.name" .) .Release.Namespace) -}}
{{- if .Values.ingress.enabled }}{{ range .Values.ingress.hosts }}{{ $hosts = append $hosts .host }}{{ end }}{{ end -}}
{{- with .Values.settings.ALLOWED_HOSTS }}{{ $hosts = append $hosts . }}{{ end -}}
{{- join "," (uniq $hosts) -}}
{{- end -}}

{{/* Variables of the server: what the chart sets, then the user's settings; the schema keeps the two apart. */}}
{{- define "rescored.environment" -}}
{{- $ours := dict "LISTEN" (printf "%s:%d" .Values.listenAddress (int .Values.ports.http)) -}}
{{- $_ := set $ours "DRAIN" (printf "%ds" (int .Values.drainSeconds)) -}}
{{- $_ := set $ours "MODEL_DIR" "/models" -}}
{{- with .Values.ports.operations }}{{ $_ := set $ours "OPERATIONS_LISTEN" (printf "%s:%d" $.Values.listenAddress (int .)) }}{{ end -}}
{{- if .Values.keysSecret }}{{ $_ := set $ours "API_KEYS_FILE" "/keys/keys" }}{{ end -}}
{{- if .Values.tlsSecret }}{{ $_ := set $ours "TLS_CERT" "/tls/tls.crt" }}{{ $_ := set $ours "TLS_KEY" "/tls/tls.key" }}{{ end -}}
{{- if .Values.snapshot }}{{ $_ := set $ours "CACHE_SNAPSHOT" "/cache/scores.snapshot" }}{{ end -}}
{{- if .Values.gpu.enabled }}{{ $_ := set $ours "PROVIDER" .Values.gpu.provider }}{{ end -}}
{{- range $entry := .Values.extraEnv }}
{{- if hasKey $ours (trimPrefix "RESCORED_" $entry.name) }}
{{- fail (printf "extraEnv: %s is set by the chart from other values (README.md of the chart says which)" $entry.name) }}
{{- end }}
{{- end }}
{{- range $name, $value := mergeOverwrite (deepCopy .Values.settings) $ours (dict "ALLOWED_HOSTS" (include "rescored.allowedHosts" .)) }}
- name: RESCORED_{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Variables of the init containers: which models, and where. */}}
{{- define "rescored.modelEnvironment" -}}
- name: RESCORED_MODEL_DIR
  value: /models
{{- with .Values.settings.MODELS }}
- name: RESCORED_MODELS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rescored.environmentFrom" -}}
{{- with .Values.settingsSecret }}
- secretRef: {name: {{ . | quote }}}
  prefix: RESCORED_
{{- end }}
{{- with .Values.extraEnvFrom }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rescored.securityContext" -}}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Resources with the GPUs among the limits: list of the root and the resources. */}}
{{- define "rescored.resources" -}}
{{- $root := index . 0 -}}
{{- $resources := deepCopy (index . 1) -}}
{{- if $root.Values.gpu.enabled -}}
{{- $limits := default (dict) $resources.limits -}}
{{- $_ := set $limits $root.Values.gpu.resource $root.Values.gpu.count -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* A probe: list of the root, the path, and the fields beside the request. */}}
{{- define "rescored.probe" -}}
{{- $root := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  port: {{ include "rescored.operationsPort" $root }}
  scheme: {{ include "rescored.operationsScheme" $root }}
{{- with index . 2 }}
{{ toYaml . }}
{{- end }}
{{- end -}}
