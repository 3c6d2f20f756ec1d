//! The flags of traces, under OpenTelemetry's names.

use clap::Args;

/// The export and sampling of traces.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Traces")]
pub struct TracesArgs {
    /// OpenTelemetry collector to send traces to, by OTLP over HTTP (protobuf): http://127.0.0.1:4318; /v1/traces is
    /// appended. If unset, tracing is off.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// Headers of these requests, such as an API key: name=value, separated by commas, values percent-encoded. Also
    /// read from the file that OTEL_EXPORTER_OTLP_HEADERS_FILE names.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, value_name = "NAME=VALUE,…")]
    pub otel_exporter_otlp_headers: Option<String>,
    /// Name of the service in traces.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub otel_service_name: Option<String>,
    /// Further attributes of the service: name=value, separated by commas, values percent-encoded.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_name = "NAME=VALUE,…")]
    pub otel_resource_attributes: Option<String>,
    /// HTTP requests to trace in addition to those whose client traces them: parentbased_always_off (none),
    /// parentbased_always_on (all), parentbased_traceidratio (a fraction); always_on, always_off and traceidratio
    /// ignore the client's decision. A message is traced only if its publisher traces it.
    #[arg(long, env = "OTEL_TRACES_SAMPLER", default_value = "parentbased_always_off", value_name = "NAME")]
    pub otel_traces_sampler: String,
    /// Fraction that traceidratio traces: 0.01 is one in a hundred. 1 by default.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "0…1")]
    pub otel_traces_sampler_arg: Option<String>,
}
