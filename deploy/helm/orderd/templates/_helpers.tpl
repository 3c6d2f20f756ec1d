{{/* A name of 63 characters at most that begins with a letter, as a Service needs. */}}
{{- define "orderd.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" $full) -}}{{- $full = printf "orderd-%s" $full -}}{{- end -}}
{{- regexReplaceAll "-+$" (trunc 63 $full) "" -}}
{{- end -}}

{{- define "orderd.selectorLabels" -}}
app.kubernetes.io/name: {{ regexReplaceAll "-+$" (default .Chart.Name .Values.nameOverride | trunc 63) "" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "orderd.labels" -}}
{{ include "orderd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "orderd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "orderd.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "orderd.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* A setting's text. YAML's numbers are floating-point here, and 4294967296 would become 4.294967296e+09. Kubernetes
replaces $(NAME) in values: what was written is meant. */}}
{{- define "orderd.text" -}}
{{- $text := toString . -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{- $text = printf "%.0f" . -}}{{- end -}}
{{- replace "$(" "$$(" $text -}}
{{- end -}}

{{/* As for the service, an empty setting is not given. */}}
{{- define "orderd.isGiven" -}}
{{- if not (or (kindIs "invalid" .) (eq (toString .) "")) -}}true{{- end -}}
{{- end -}}

{{/* The number of a port: "value", of the value called "name". */}}
{{- define "orderd.port" -}}
{{- $port := include "orderd.text" .value | trim -}}
{{- if not (and (regexMatch "^[0-9]{1,5}$" $port) (ge (atoi $port) 1) (le (atoi $port) 65535)) -}}
{{- fail (printf "%s is %q, which is not a port: it takes a number from 1 to 65535" .name $port) -}}
{{- end -}}
{{- atoi $port -}}
{{- end -}}

{{- define "orderd.isTls" -}}
{{- if (default dict .Values.files).HTTP_TLS_CERT -}}true{{- end -}}
{{- end -}}

{{/* What is needed, and what excludes what. */}}
{{- define "orderd.check" -}}
{{- $settings := default dict .Values.settings -}}
{{- $secrets := default dict .Values.secrets -}}
{{- $files := default dict .Values.files -}}
{{- if not (or $settings.NATS_URL $settings.NATS_HOST $secrets.NATS_URL) -}}
{{- fail "say where NATS is: settings.NATS_URL, such as nats://nats:4222, or secrets.NATS_URL where it holds a password" -}}
{{- end -}}
{{- if not (or $settings.PG_HOST $secrets.DATABASE_URL) -}}
{{- fail "say where PostgreSQL is: settings.PG_HOST with secrets.PG_PASSWORD, or secrets.DATABASE_URL" -}}
{{- end -}}
{{- if not (or $secrets.HTTP_TOKEN (has (include "orderd.text" $settings.HTTP_ANONYMOUS | trim | lower) (list "true" "1" "yes" "on" "y" "t"))) -}}
{{- fail "orders are served to everybody who reaches the Service: set secrets.HTTP_TOKEN, or settings.HTTP_ANONYMOUS to true" -}}
{{- end -}}
{{- if ne (empty $files.HTTP_TLS_CERT) (empty $files.HTTP_TLS_KEY) -}}
{{- fail "files.HTTP_TLS_CERT and files.HTTP_TLS_KEY belong together" -}}
{{- end -}}
{{- /* A Secret or ConfigMap is mounted with a mode that its group can read. */ -}}
{{- if $files.PGPASSFILE -}}
{{- fail "files.PGPASSFILE does not work: as libpq does, the service ignores a password file that a group can read, and a mounted file is such a file. Use secrets.PG_PASSWORD" -}}
{{- end -}}
{{- range $name := list "NATS_PORT" "PG_PORT" -}}
{{- if include "orderd.isGiven" (get $settings $name) -}}
{{- $_ := include "orderd.port" (dict "value" (get $settings $name) "name" (printf "settings.%s" $name)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $settings -}}
{{- if and (include "orderd.isGiven" $value) (or (get $secrets $name) (get $files $name)) -}}
{{- fail (printf "%s is given twice: in settings, and in secrets or files" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What is mounted: each Secret and ConfigMap once, with the keys that are used. A dictionary from "secret/name" to a
list of keys. */}}
{{- define "orderd.sources" -}}
{{- $sources := dict -}}
{{- range $name, $from := .Values.secrets -}}
{{- if $from -}}
{{- $source := printf "secret/%s" $from.name -}}
{{- $_ := set $sources $source (append (default list (get $sources $source)) $from.key) -}}
{{- end -}}
{{- end -}}
{{- range $name, $from := .Values.files -}}
{{- if $from -}}
{{- $source := ternary (printf "secret/%s" $from.secret) (printf "configMap/%s" $from.configMap) (hasKey $from "secret") -}}
{{- $_ := set $sources $source (append (default list (get $sources $source)) $from.key) -}}
{{- end -}}
{{- end -}}
{{- toYaml $sources -}}
{{- end -}}

{{/* Ports as a list in JSON: "value", a number or a list, of the value called "name". */}}
{{- define "orderd.ports" -}}
{{- $ports := list -}}
{{- $name := .name -}}
{{- range ternary .value (list .value) (kindIs "slice" .value) -}}
{{- $ports = append $ports (include "orderd.port" (dict "value" . "name" $name)) -}}
{{- end -}}
{{- toJson (uniq $ports) -}}
{{- end -}}

{{/* The ports of all servers in NATS_URL. As in the service: without brackets, the last group of an IPv6 address is a
port only after `::` and another group, and with four or five digits. */}}
{{- define "orderd.natsPorts" -}}
{{- $settings := default dict .Values.settings -}}
{{- $ports := list -}}
{{- range $address := regexSplit "[,\n]" (toString (default "" $settings.NATS_URL)) -1 -}}
{{- $address = regexReplaceAll "^.*(://|@)" (trim $address) "" -}}
{{- $port := regexFind ":[0-9]+/?$" $address -}}
{{- $isBareIpv6 := regexMatch "^[^\\[]*:.*:" $address -}}
{{- if and $isBareIpv6 (not (regexMatch "::.*[^:]:[0-9]{4,5}/?$" $address)) -}}{{- $port = "" -}}{{- end -}}
{{- if $address -}}
{{- $port = default "4222" (regexFind "[0-9]+" $port) -}}
{{- $ports = append $ports (include "orderd.port" (dict "value" $port "name" "a port in settings.NATS_URL")) -}}
{{- end -}}
{{- end -}}
{{- if not (kindIs "invalid" .Values.networkPolicy.natsPort) -}}{{ include "orderd.ports" (dict "value" .Values.networkPolicy.natsPort "name" "networkPolicy.natsPort") }}
{{- else if $ports -}}{{ toJson (uniq $ports) }}
{{- else -}}{{ include "orderd.ports" (dict "value" (default 4222 $settings.NATS_PORT) "name" "settings.NATS_PORT") }}
{{- end -}}
{{- end -}}

{{/* PG_PORT is the port of PG_HOST. The chart can't read DATABASE_URL in its Secret, so networkPolicy.postgresPort must
list its ports. */}}
{{- define "orderd.postgresPorts" -}}
{{- if not (kindIs "invalid" .Values.networkPolicy.postgresPort) -}}{{ include "orderd.ports" (dict "value" .Values.networkPolicy.postgresPort "name" "networkPolicy.postgresPort") }}
{{- else -}}
{{- $port := default 5432 (default dict .Values.settings).PG_PORT -}}
{{ include "orderd.ports" (dict "value" $port "name" "settings.PG_PORT") }}
{{- end -}}
{{- end -}}
