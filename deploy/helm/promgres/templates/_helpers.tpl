{{/* What several manifests have in common. `.component` is migrate, ingest or api, `.root` the chart's scope. */}}

{{- define "promgres.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 47 | trimSuffix "-" -}}
{{- end -}}

{{- define "promgres.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "promgres.labels" -}}
{{ include "promgres.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The files of /etc/promgres: the settings, and what they name. */}}
{{- define "promgres.files" -}}
promgres.toml: |
  {{- /* To helm every number is a float. */}}
  {{- regexReplaceAll "(?m)= (-?[0-9]+)\\.0$" (toToml .Values.config) "= ${1}" | trim | nindent 2 }}
{{- with .Values.configFiles }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata and all of a pod's specification but its containers. */}}
{{- define "promgres.pod" -}}
{{- $values := index .root.Values .component -}}
metadata:
  labels:
    {{- include "promgres.selector" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Pods are made anew when their settings change.
    checksum/config: {{ include "promgres.files" .root | sha256sum | quote }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  # Nothing of ours asks Kubernetes; variables of services would begin as ours do.
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.serviceAccountName }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- with .root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- /* Users of the image: the read side's is another than the write side's. */}}
  {{- $user := ternary 10002 10001 (eq .component "api") }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $user }}
    runAsGroup: {{ $user }}
    fsGroup: {{ $user }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
  {{- with index $values $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "promgres.fullname" .root }}{{ if eq .component "migrate" }}-migrate{{ end }}
    - name: tmp
      emptyDir: {sizeLimit: 128Mi}
    {{- with .root.Values.database.rootCert }}
    {{- if .configMap }}
    - name: database-root-cert
      configMap:
        name: {{ .configMap }}
    {{- else if .secret }}
    - name: database-root-cert
      secret:
        secretName: {{ .secret }}
    {{- end }}
    {{- end }}
    {{- with .root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A container's image, rights, mounts and environment, which whoever calls goes on with. */}}
{{- define "promgres.container" -}}
{{- $values := index .root.Values .component -}}
{{- $database := .root.Values.database -}}
{{- $host := required "database.host: name the PostgreSQL server" $database.host -}}
{{- $login := $database.owner -}}
{{- $user := $login.user -}}
{{- if eq .component "api" -}}
{{- $login = $database.api -}}
{{- $user = "promgres_api" -}}
{{- else if and (eq .component "ingest") $database.ingest.user -}}
{{- $login = $database.ingest -}}
{{- $user = $login.user -}}
{{- end -}}
{{- $url := printf "postgresql://%s@%s:%v/%s" (urlquery $user | replace "+" "%20") $host $database.port (urlquery $database.name | replace "+" "%20") -}}
image: {{ printf "%s:%s" .root.Values.image.repository (default .root.Chart.AppVersion .root.Values.image.tag) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml $values.resources | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/promgres, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if or $database.rootCert.configMap $database.rootCert.secret }}
  - {name: database-root-cert, mountPath: /etc/promgres-database, readOnly: true}
  {{- end }}
  {{- if eq .component "ingest" }}
  - {name: spool, mountPath: /var/lib/promgres}
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  - name: PROMGRES_CONFIG
    value: /etc/promgres/promgres.toml
  - name: {{ ternary "PROMGRES_API_DATABASE_URL" "PROMGRES_DATABASE_URL" (eq .component "api") }}
    value: {{ quote $url }}
  # Not in the URL, where some characters would need escaping.
  - name: PGPASSWORD
    valueFrom:
      secretKeyRef:
        {{- toYaml $login.passwordSecret | nindent 8 }}
  - name: PGSSLMODE
    value: {{ $database.sslMode }}
  {{- if or $database.rootCert.configMap $database.rootCert.secret }}
  - name: PGSSLROOTCERT
    value: /etc/promgres-database/{{ $database.rootCert.key }}
  {{- end }}
  {{- if eq .component "migrate" }}
  # What the migration gives to the logins that it makes.
  - name: PROMGRES_API_PASSWORD
    valueFrom:
      secretKeyRef:
        {{- toYaml $database.api.passwordSecret | nindent 8 }}
  {{- if $database.reader.passwordSecret.name }}
  - name: PROMGRES_DATABASE__READER_PASSWORD
    valueFrom:
      secretKeyRef:
        {{- toYaml $database.reader.passwordSecret | nindent 8 }}
  {{- end }}
  {{- else }}
  - name: PYTHON_CPU_COUNT
    value: {{ quote $values.processors }}
  {{- end }}
{{- end -}}

{{/* Alive, and answering well: both sides say so at the same paths. */}}
{{- define "promgres.probes" -}}
ports:
  - {name: http, containerPort: {{ . }}}
startupProbe:
  httpGet: {path: /-/healthy, port: http}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /-/healthy, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /-/ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: 3
lifecycle:
  # Services send for a moment to a pod that is about to end.
  preStop: {exec: {command: [sleep, "5"]}}
{{- end -}}

{{- define "promgres.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "promgres.fullname" .root }}-{{ .component }}
  labels:
    {{- include "promgres.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .root.Values.podDisruptionBudget.maxUnavailable }}
  # One that is not ready serves nobody: it does not hold up the node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "promgres.selector" . | nindent 6 }}
{{- end -}}
