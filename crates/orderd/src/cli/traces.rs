//! Where traces are sent, by the names that OpenTelemetry has for it.

use clap::Args;

/// Where traces go.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Traces")]
pub struct TracesArgs {
    /// Collector of OpenTelemetry that traces are sent to by OTLP over HTTP (protobuf): http://127.0.0.1:4318; /v1/traces
    /// is added. Without it, nothing is traced.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// Headers of what is sent there, such as a key: name=value, separated by commas, values percent-encoded. Also from
    /// the file that OTEL_EXPORTER_OTLP_HEADERS_FILE names.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, value_name = "NAME=VALUE,…")]
    pub otel_exporter_otlp_headers: Option<String>,
    /// What the service is called in traces.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub otel_service_name: Option<String>,
    /// What else is said of the service: name=value, separated by commas, values percent-encoded.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_name = "NAME=VALUE,…")]
    pub otel_resource_attributes: Option<String>,
    /// Which requests over HTTP are traced besides those whose sender traces them: parentbased_always_off (none),
    /// parentbased_always_on (all), parentbased_traceidratio (a part); always_on, always_off and traceidratio do not ask the
    /// sender. Of messages, only those whose sender traces them ever are.
    #[arg(long, env = "OTEL_TRACES_SAMPLER", default_value = "parentbased_always_off", value_name = "NAME")]
    pub otel_traces_sampler: String,
    /// The part that traceidratio traces: 0.01 is one of a hundred. 1 by default.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "0…1")]
    pub otel_traces_sampler_arg: Option<String>,
}
