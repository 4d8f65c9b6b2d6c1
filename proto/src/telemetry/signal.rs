//! What the standard environment variables ask for.

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    const fn endpoint(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            Self::Metrics => "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        }
    }

    const fn exporter(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_TRACES_EXPORTER",
            Self::Metrics => "OTEL_METRICS_EXPORTER",
        }
    }
}

/// Whether the standard variables ask for an export of this.
pub(super) fn is_wanted(signal: Signal, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).is_some_and(|value| !value.trim().is_empty());
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let none = variable(signal.exporter()).is_some_and(|v| v == "none");
    let endpoint = set("OTEL_EXPORTER_OTLP_ENDPOINT") || set(signal.endpoint());
    endpoint && !disabled && !none
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_named() {
        let wanted = |signal, set: &[(&str, &str)]| {
            is_wanted(signal, |name| {
                let mut set = set.iter().filter(|(known, _)| *known == name);
                set.next().map(|(_, value)| (*value).to_owned())
            })
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
        let metrics = (
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "http://127.0.0.1:4317",
        );
        for (set, traces_wanted, metrics_wanted) in [
            (&[][..], false, false),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], false, false),
            (&[endpoint], true, true),
            (&[metrics], false, true),
            (&[endpoint, ("OTEL_METRICS_EXPORTER", "none")], true, false),
            (&[endpoint, ("OTEL_SDK_DISABLED", "true")], false, false),
        ] {
            assert_eq!(wanted(Signal::Traces, set), traces_wanted, "{set:?}");
            assert_eq!(wanted(Signal::Metrics, set), metrics_wanted, "{set:?}");
        }
    }
}
