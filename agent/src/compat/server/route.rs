//! From a path to what is there. The first that fits counts, and some fit by their beginning, as
//! with Supervisor.

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// XML-RPC.
    Rpc,
    /// The output of a process.
    LogTail,
    /// The main log.
    MainLogTail,
    /// The status page.
    Status,
    /// The page with the end of a log.
    Tail,
    /// A sign of life.
    Ok,
    /// The updates of the status page.
    Live,
    /// The style sheet of the pages.
    Style,
    /// Their script.
    Script,
    /// Their icon.
    Icon,
    /// Nothing.
    NotFound,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        match path {
            _ if path.starts_with("/RPC2") => Self::Rpc,
            _ if path.starts_with("/logtail") => Self::LogTail,
            _ if path.starts_with("/mainlogtail") => Self::MainLogTail,
            "" | "/" | "/index.html" => Self::Status,
            "/tail.html" => Self::Tail,
            "/ok.html" => Self::Ok,
            "/live/status" => Self::Live,
            "/stylesheets/supervisor.css" => Self::Style,
            "/scripts/live.js" => Self::Script,
            "/images/icon.svg" => Self::Icon,
            _ => Self::NotFound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_supervisors_lead() {
        for (path, route) in [
            ("/RPC2", Route::Rpc),
            ("/RPC2anything", Route::Rpc),
            ("/logtail/a/stderr", Route::LogTail),
            ("/mainlogtail", Route::MainLogTail),
            ("/", Route::Status),
            ("/index.html", Route::Status),
            ("/tail.html", Route::Tail),
            ("/ok.html", Route::Ok),
            ("/live/status", Route::Live),
            ("/stylesheets/supervisor.css", Route::Style),
            ("/scripts/live.js", Route::Script),
            ("/images/icon.svg", Route::Icon),
            ("/zzz", Route::NotFound),
            ("/../etc/passwd", Route::NotFound),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
