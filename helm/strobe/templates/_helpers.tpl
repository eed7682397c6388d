{{- define "strobe.image" -}}
{{ .root.Values.images.registry }}/{{ .name }}:{{ default .root.Chart.AppVersion .root.Values.images.tag }}
{{- end -}}

{{- define "strobe.namespace" -}}
{{ .Values.namespace.name }}
{{- end -}}

{{- define "strobe.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* A container that needs no right on its node and writes no file. */ -}}
{{- define "strobe.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "strobe.restrictedPod" -}}
runAsNonRoot: true
runAsUser: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}
