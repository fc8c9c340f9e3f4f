{{- define "bolide.name" -}}
{{- .Values.nameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* Name of objects that have no namespace: two releases of one name may stand in two namespaces. */}}
{{- define "bolide.globalName" -}}
{{- printf "%s-%s" .Release.Namespace (include "bolide.name" .) -}}
{{- end -}}

{{- define "bolide.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "bolide.name" .) -}}
{{- end -}}

{{- define "bolide.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "bolide.selector" -}}
app.kubernetes.io/name: bolide-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bolide.labels" -}}
{{ include "bolide.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: bolide
{{- end -}}
