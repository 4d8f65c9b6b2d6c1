//! `import`: what a configuration of Supervisor meets here, and how this machine is switched over.
//!
//! It reads the files themselves and asks no agent: there may be none yet.

mod switch;

use std::path::{Path, PathBuf};

use rsv_config::{
    Difference, Finding, Import, Severity,
    host::{Host, SystemHost},
    import, search_paths,
};

use super::here;
use crate::{
    args::Output,
    error::{Exit, Failure},
    invocation::Invocation,
    json,
    ui::{count, printable},
};
use switch::Switch;

/// Our own place, where no file of Supervisor's is looked for.
const OWN: &str = "/etc/rsv/agent.conf";

/// Looks at a file and says what was found.
pub(super) fn run(invocation: &mut Invocation, file: Option<PathBuf>) -> Result<Exit, Failure> {
    here::only_here(invocation, "import")?;
    let host = SystemHost::new();
    let given = file.or_else(|| invocation.global.configuration.clone());
    let file = match given {
        Some(file) => file,
        None => searched(&host)?,
    };
    let found = import(&file, &host)
        .map_err(|errors| Failure::usage(errors.render().trim_end().to_owned()))?;
    let absolute = std::path::absolute(&file).unwrap_or(file);
    let switch = Switch::of(&absolute, host.node_name(), &found);
    match invocation.ui.output() {
        Output::Table => say(invocation, &found, &switch)?,
        Output::Json | Output::Jsonl => json::print(&mut invocation.ui, &object(&found, &switch))?,
    }
    Ok(match found.is_refused() {
        true => Exit::Failed,
        false => Exit::Done,
    })
}

fn searched(host: &SystemHost) -> Result<PathBuf, Failure> {
    let places = search_paths(Path::new("supervisord"), host).into_iter();
    let mut places = places.filter(|place| place != Path::new(OWN));
    places.find(|place| place.is_file()).ok_or_else(|| {
        Failure::usage("there is no configuration at Supervisor's usual places")
            .hint("name the file: `rsv import FILE`")
    })
}

fn say(invocation: &mut Invocation, found: &Import, switch: &Switch) -> Result<(), Failure> {
    let mut lines = vec![headline(found)];
    for (severity, heading) in [
        (Severity::Refused, "To change first"),
        (Severity::Differs, "What will be different"),
    ] {
        let mut findings = found
            .findings
            .iter()
            .filter(|it| it.severity == severity)
            .peekable();
        if findings.peek().is_some() {
            lines.extend([String::new(), format!("{heading}:")]);
            findings.for_each(|finding| lines.extend(finding_lines(finding)));
        }
    }
    lines.push(String::new());
    lines.push(format!(
        "{} more differences do not depend on the file: see COMPATIBILITY.md.",
        found.everywhere
    ));
    lines.extend(switch.lines());
    lines.iter().try_for_each(|line| invocation.ui.line(line))
}

fn headline(found: &Import) -> String {
    let size = match found.size {
        Some((processes, groups)) => {
            format!(
                "{} in {}",
                count(processes, "program"),
                count(groups, "group")
            )
        }
        None => "not taken as it is".to_owned(),
    };
    let included = match found.included.len() {
        0 => String::new(),
        files => format!(", {}", count(files, "included file")),
    };
    printable(&format!("{}: {size}{included}", found.file.display())).into_owned()
}

fn finding_lines(finding: &Finding) -> Vec<String> {
    let about = finding.difference.map_or("", |difference| difference.topic);
    let text = match finding.text.as_str() {
        "" => about,
        text => text,
    };
    let mut lines = vec![match finding.place.to_string() {
        place if place.is_empty() => format!("  {text}"),
        place => format!("  {place}: {text}"),
    }];
    if let Some(difference) = finding.difference {
        lines.push(format!(
            "    Supervisor: {}",
            or_dash(difference.supervisor)
        ));
        lines.push(format!("    here: {}", difference.here));
    }
    lines.extend(
        finding
            .hint
            .as_ref()
            .map(|hint| format!("    hint: {hint}")),
    );
    lines
        .iter()
        .map(|line| printable(line).into_owned())
        .collect()
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn object(found: &Import, switch: &Switch) -> json::ImportReport {
    json::ImportReport {
        schema: "rsv/import/v1",
        file: found.file.display().to_string(),
        included: found
            .included
            .iter()
            .map(|file| file.display().to_string())
            .collect(),
        processes: found.size.map(|(processes, _)| processes),
        groups: found.size.map(|(_, groups)| groups),
        refused: found.is_refused(),
        findings: found.findings.iter().map(finding_object).collect(),
        more_differences: found.everywhere,
        agent_section: switch.section(),
        commands: switch.commands(),
    }
}

fn finding_object(finding: &Finding) -> json::ImportFinding {
    let place = &finding.place;
    let cell = |of: fn(&Difference) -> &'static str| {
        let cell = finding.difference.map(of);
        cell.filter(|cell| !cell.is_empty()).map(str::to_owned)
    };
    json::ImportFinding {
        severity: match finding.severity {
            Severity::Refused => "refused",
            Severity::Differs => "differs",
        },
        file: place.file.as_ref().map(|file| file.display().to_string()),
        line: place.line,
        section: place.section.clone(),
        key: place.key.clone(),
        text: json::text(&finding.text),
        topic: cell(|difference| difference.topic),
        supervisor: cell(|difference| difference.supervisor),
        here: cell(|difference| difference.here),
        why: cell(|difference| difference.why),
        hint: finding.hint.clone(),
    }
}
